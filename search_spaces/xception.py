"""KerasTuner's own Xception, shrunk to a few hundred photographs, in the ResNet's place.

what for   see that any KerasTuner hypermodel can be searched; separable convolutions against the ResNet's
command    drsearch run-study xception --data ~/IDRiD --workers 2
minutes    not measured on IDRiD; three trials of 2 epochs on 60 synthetic eyes of 64 px: half a minute on 2 cores
expect     not measured
"""

import keras
from keras_tuner import HyperParameters
from keras_tuner.applications import HyperXception

SETTINGS = {
    "study.sampler": "tpe",
    "study.trials": 20,
    "study.pruner": "median",
    "images.image_px": 128,
    "training.epochs": 60,
    "training.batch_size": 8,
}


def space(hp: HyperParameters) -> None:
    """How it is trained."""
    hp.Float("training.learning_rate", 1e-4, 1e-2, sampling="log")
    hp.Float("augmentation.strength", 0.0, 1.5)


def build_model(hp: HyperParameters, image_px: int, n_classes: int) -> keras.Model:
    """Xception without its top, a sixteenth as wide as KerasTuner's, and a head of our own."""
    # What is drawn first under a name holds: HyperXception asks for the same names, with larger values.
    hp.Fixed("conv2d_num_filters", 16)
    hp.Int("sep_num_filters", 16, 48, step=16)
    hp.Int("num_residual_blocks", 1, 3)
    hp.Choice("pooling", ["avg", "max"])
    images = keras.Input((image_px, image_px, 3))
    body = HyperXception(include_top=False, input_shape=(image_px, image_px, 3)).build(hp)
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # see drsearch/model/resnet_v2.py
    features = body(keras.layers.Rescaling(1 / 127.5, offset=-1)(images))
    features = keras.layers.Dropout(hp.Float("dropout", 0.0, 0.5, step=0.25))(features)
    return keras.Model(images, keras.layers.Dense(n_classes, activation="softmax")(features))
