"""What matters beyond the report's grid, searched by TPE with a pruner.

what for   find what helps on a few hundred photographs: normalisation of the photograph, augmentation,
           width and depth of the network, optimizer and schedule, regularisation
command    drsearch run-study resnet --data ~/IDRiD --workers 2 --trials 40
minutes    one record set for each of 3 normalisations and 2 sizes is prepared first (seconds); then 40
           trials of at most 80 epochs, most of them pruned: about 40 minutes of one core's time
expect     on IDRiD's 413 photographs (commit f82216d) 23 of 40 trials were pruned. The best had a validation AUC of
           0.928, after fine-tuning 0.938; on 82 test eyes AUC 0.868 [0.782, 0.935], accuracy 0.756 [0.659, 0.841].
           All that came above 0.9 have the photograph as it is at 192 pixels, three stages and two blocks. That
           validation flatters by 0.07 is what choosing among 40 on 66 eyes does; best.py is better, and chosen by
           cross-validation
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
