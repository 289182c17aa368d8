"""One setting, the best known here; its networks of five folds are registered together, as one model.

what for   a model of referable retinopathy from a few hundred photographs: see what it makes of yours; or add choices
           to `space` and search around it
command    drsearch run-study best --data ~/IDRiD --config best.gin
minutes    60 of one core's time for IDRiD's 413 photographs: five networks of 90 epochs at 512 px
expect     out of fold, one network, three repeats: AUC 0.976 [0.958, 0.987], accuracy 0.908 [0.875, 0.936]; the mean
           of five, one run: AUC of the folds 0.973; test AUC 0.973 [0.941, 0.994] on 82 photographs, accuracy 0.902
           [0.829, 0.963] (docs/science.md)
needs      boxes around lesions, as IDRiD has; without them add --set training.lesions_weight=0
"""

from keras_tuner import HyperParameters

SETTINGS = {"study.sampler": "grid", "search.folds": 5, "registry.networks": "folds"}


def space(hp: HyperParameters) -> None:
    """The weight of the grade's levels: the choice that best.gin makes."""
    hp.Choice("training.levels_weight", [0.5])
