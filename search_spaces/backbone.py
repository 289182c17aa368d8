"""What a network of keras.applications has learned elsewhere: a classifier on its features, which trains in seconds.

what for   features learned on ImageNet, or on another set of eyes, against features learned on these eyes alone
command    drsearch run-study backbone --data ~/IDRiD --set model.weights=imagenet
minutes    the features of an eye are computed once; then not measured on IDRiD
expect     not measured

model.weights is `imagenet`, which Keras downloads once (9 MB), or the path of a file that every worker can read. Write
model.trainable=two_stage to go on from the classifier with all weights, which takes minutes per trial.
"""

from keras_tuner import HyperParameters

SETTINGS = {
    "study.sampler": "tpe",
    "study.trials": 40,
    "images.image_px": 224,
    "model.backbone": "MobileNetV2",
    "model.weights": "imagenet",
    "model.trainable": "head",
    "training.epochs": 60,
}


def space(hp: HyperParameters) -> None:
    """How the classifier is trained."""
    hp.Float("training.learning_rate", 1e-4, 1e-2, sampling="log")
    hp.Choice("training.batch_size", [8, 16, 32])
    hp.Choice("training.optimizer", ["adam", "sgd"])
    hp.Choice("model.pooling", ["mean", "mean_max"])
    hp.Choice("model.dropout", [0.0, 0.2, 0.5])
