"""One training that can be resumed after a crash: its checkpoints, its journal, its outcome."""
