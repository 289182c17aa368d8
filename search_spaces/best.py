"""One setting, the best known here; its networks of five folds are registered together, as one model.

what for   a model of referable retinopathy from a few hundred photographs: see what it makes of yours; or add choices
           to `space` and search around it
command    drsearch run-study search_spaces/best.py --data ~/IDRiD --config best.gin
minutes    five networks of 90 epochs at 384 px
expect     see docs/science.md
"""

from keras_tuner import HyperParameters

SETTINGS = {"study.sampler": "grid", "search.folds": 5, "registry.networks": "folds"}


def space(hp: HyperParameters) -> None:
    """The weight of the grade's levels: the choice that best.gin makes."""
    hp.Choice("training.levels_weight", [0.5])
