"""One training that survives death: its checkpoints, its journal, its outcome."""
