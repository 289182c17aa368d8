"""The language of search spaces: KerasTuner words, drawn by Optuna, each naming a setting."""
