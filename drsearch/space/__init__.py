"""Search spaces: files in KerasTuner's language that name settings, and from which Optuna draws."""
