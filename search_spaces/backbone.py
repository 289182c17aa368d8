"""A small MobileNetV2 from keras.applications in the ResNet's place: from scratch, or from ImageNet.

what for   features learned on ImageNet against features learned on the eyes alone
command    drsearch run-study search_spaces/backbone.py --data ~/IDRiD --workers 2 --set model.weights=imagenet
minutes    not measured on IDRiD; two trials of 2 epochs on 60 synthetic eyes of 64 px: 2 minutes on 2 busy cores
expect     not measured; from scratch (the default) a few hundred photographs are too few for 400,000 weights

model.weights is `none`, `imagenet` (Keras downloads it once, 2 MB), or a .weights.h5 file that every worker can read.
"""

import keras
from keras_tuner import HyperParameters

SETTINGS = {
    "study.sampler": "tpe",
    "study.trials": 20,
    "images.image_px": 128,
    "training.epochs": 40,
    "training.batch_size": 8,
}


def space(hp: HyperParameters) -> None:
    """How it is trained."""
    hp.Float("training.learning_rate", 1e-4, 1e-2, sampling="log")
    hp.Choice("training.optimizer", ["adam", "sgd"])


def build_model(hp: HyperParameters, image_px: int, n_classes: int) -> keras.Model:
    """The backbone, an average over the places, and a classifier."""
    weights = hp.get("model.weights")
    backbone = keras.applications.MobileNetV2(
        input_shape=(image_px, image_px, 3),
        alpha=0.35,
        include_top=False,
        weights=None if weights == "none" else weights,
    )
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # its 0.999 remembers a thousand steps: an epoch of small data has some dozens
    images = keras.Input((image_px, image_px, 3))
    features = backbone(keras.layers.Rescaling(1 / 127.5, offset=-1)(images))
    features = keras.layers.GlobalAveragePooling2D()(features)
    features = keras.layers.Dropout(hp.Choice("dropout", [0.0, 0.2, 0.5]))(features)
    return keras.Model(images, keras.layers.Dense(n_classes, activation="softmax")(features))
