"""The search: a space drawn through Optuna, trials, the study and its workers."""
