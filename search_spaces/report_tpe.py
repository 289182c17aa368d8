"""The axes of the report's grid, searched by TPE with a pruner instead of tried one by one.

what for   look for as good a setting as the grid's best in fewer epochs
command    drsearch run-study report_tpe --data ~/IDRiD --workers 2
minutes    about 10 on 2 cores
expect     with luck, the grid's best validation AUC in a ninth of its epochs: of three study seeds two reached it,
           after 20 and 35 of its 320 epochs, one did not within 320 (`python -m benchmarks.search_cost`)
"""

from keras_tuner import HyperParameters

SETTINGS = {
    "study.sampler": "tpe",
    # Of twenty trials: ten at random, Optuna's default, would leave TPE little to choose.
    "study.sampler_startup_trials": 5,
    "study.pruner": "median",
    "study.pruner_startup_trials": 2,
    # The validation AUC says little before: with study seed 2 on IDRiD the grid's best point stood at 0.70 after 5 and
    # 10 epochs, as its worst did, and a pruner that looked at 5 epochs stopped good settings too.
    "study.pruner_warmup_epochs": 20,
    "study.trials": 20,
    "training.optimizer": "adam",
    "training.epochs": 40,
    "training.checkpoint_every_epochs": 5,
}


def space(hp: HyperParameters) -> None:
    """Learning rate, on a log scale from end to end of the grid, x batch size."""
    hp.Float("training.learning_rate", 1e-5, 1e-2, sampling="log")
    hp.Choice("training.batch_size", [2, 4])
