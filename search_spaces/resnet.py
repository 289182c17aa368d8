"""What matters beyond the report's grid, searched by TPE with a pruner.

what for   find what helps on a few hundred photographs: normalisation of the photograph, augmentation,
           width and depth of the network, optimizer and schedule, regularisation
command    drsearch run-study resnet --data ~/IDRiD --workers 2 --trials 40
minutes    one record set for each of 3 normalisations and 2 sizes is prepared first (seconds); then 40
           trials of at most 80 epochs: some hours on 2 cores
expect     not measured yet on the whole of IDRiD; local_mean gained most in first probes
"""

from keras_tuner import HyperParameters

SETTINGS = {
    "study.sampler": "tpe",
    "study.pruner": "median",
    "study.trials": 40,
    "training.epochs": 80,
}


def space(hp: HyperParameters) -> None:
    """Photograph, augmentation, network, optimizer."""
    hp.Choice("images.normalisation", ["none", "local_mean", "clahe"])
    hp.Choice("images.image_px", [192, 256])
    hp.Float("augmentation.strength", 0.0, 2.0)
    hp.Choice("model.width", [8, 16, 24, 32])
    hp.Int("model.stages", 3, 4)
    hp.Int("model.blocks_per_stage", 1, 2)
    hp.Float("model.dropout", 0.0, 0.5)
    hp.Choice("training.batch_size", [4, 8, 16])
    hp.Float("training.learning_rate", 1e-4, 1e-2, sampling="log")
    hp.Choice("training.schedule", ["constant", "cosine"])
    optimizer = hp.Choice("training.optimizer", ["adam", "adamw", "sgd"])
    if optimizer == "adamw":
        hp.Float("training.weight_decay", 1e-5, 1e-1, sampling="log")
