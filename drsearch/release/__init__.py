"""Registered models: from the best trial to a tested version, promotion, rollback, history and lineage."""
