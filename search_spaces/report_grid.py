"""The report's grid: eight settings of learning rate and batch size.

what for   repeat the two-page report that drsearch starts from
command    drsearch run-study report_grid --data ~/IDRiD --workers 2
minutes    80 of one core's time; with --set training.epochs=40, 7 on 2 cores
expect     test AUC 0.916 [0.853, 0.965] on 82 photographs, accuracy 0.817 [0.744, 0.890]; docs/idrid.md has the table
           of the eight cells; the report names 82.2 % accuracy for its best
"""

from keras_tuner import HyperParameters

SETTINGS = {
    "study.sampler": "grid",
    "training.optimizer": "adam",
    "training.epochs": 300,
    "training.checkpoint_every_epochs": 5,
}


def space(hp: HyperParameters) -> None:
    """Learning rate x batch size, every point once."""
    hp.Choice("training.learning_rate", [1e-2, 1e-3, 1e-4, 1e-5])
    hp.Choice("training.batch_size", [2, 4])
