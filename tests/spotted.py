"""Small networks whose evidence is known, and eyes with spots for them."""

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

PX = 32


def spot_finder(certainty: float = 4.0) -> Any:
    """A model made by hand: bright red places speak for RDR, bright green ones against it."""
    photograph = keras.Input((PX, PX, 3))
    x = layers.Rescaling(1 / 255)(photograph)
    x = layers.Conv2D(2, 1, use_bias=False, activation="relu", name="places")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(photograph, layers.Dense(2, activation="softmax", name="classes")(x))
    model.get_layer("places").set_weights([np.array([[1.0, 0], [0, 1.0], [0, 0]])[None, None]])
    weights = certainty * np.array([[-1.0, 1.0], [1.0, -1.0]])  # from (red, green) to (NRDR, RDR)
    model.get_layer("classes").set_weights([weights, np.zeros(2)])
    return model


def eye_with_spots(red: tuple[int, int], green: tuple[int, int]) -> NDArray[np.uint8]:
    eye = np.zeros((PX, PX, 3), np.uint8)
    eye[red[0] : red[0] + 6, red[1] : red[1] + 6, 0] = 255
    eye[green[0] : green[0] + 4, green[1] : green[1] + 4, 1] = 255
    return eye


def small_resnet() -> Any:
    photograph = keras.Input((PX, PX, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same")(layers.Rescaling(1 / 255)(photograph))
    y = layers.Conv2D(8, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(x)))
    x = layers.ReLU(name="post_relu")(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(photograph, layers.Dense(2, activation="softmax")(x))


def pooled_apart() -> Any:
    """Two branches are pooled one after the other, so the places of one do not decide alone."""
    photograph = keras.Input((PX, PX, 3))
    x = layers.Conv2D(4, 3, strides=2, activation="relu", padding="same")(layers.Rescaling(1 / 255)(photograph))
    y = layers.Conv2D(4, 3, strides=2, activation="relu", padding="same", name="places")(x)
    x = layers.Concatenate()([layers.GlobalMaxPooling2D()(x), layers.GlobalAveragePooling2D()(y)])
    return keras.Model(photograph, layers.Dense(2, activation="softmax")(x))


def noise(n: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (n, PX, PX, 3), dtype=np.uint8)


def everywhere(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Retina in every pixel."""
    return np.ones(images.shape[:3], bool)
