"""Features of eyes: what a frozen backbone makes of each, computed once and stored in the home."""

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from numpy.typing import NDArray

from drsearch.data.mapped_images import Images
from drsearch.errors import DrsearchError
from drsearch.files import full_place, is_full, open_whole, sentence
from drsearch.model.predictor import eight_views

_VERSION = "1"
"""Of what the features of an eye are; raise it when they change for the same network."""

_EYES_PER_FILE = 64
"""Eyes that are computed and written together: what a killed process loses."""

_BATCH = 32


class FeaturesStopped(DrsearchError):
    """Raised where features are computed and `stop_asked` says so; those that are stored stay."""


def never() -> bool:
    """Never stop."""
    return False


class FeatureStore:
    """The features of eyes under one network, on disk; several processes may use it at once.

    An eye is recognised by its pixels, so folds, splits and data sets share what is stored.

    Args:
        network: From images, `(n, h, w, 3)`, to features, `(n, channels)`.
        n_views: Views of an eye: 1, as it is, or 8, the symmetries of the square.
        folder: Holds a folder per network; None: nothing is stored.
        stop_asked: Whether to stop; asked before every batch.
    """

    def __init__(
        self, network: keras.Model, n_views: int, folder: Path | None, stop_asked: Callable[[], bool] = never
    ) -> None:
        signature = [tf.TensorSpec((None, *network.inputs[0].shape[1:]), tf.uint8)]
        self._of_batch = tf.function(
            lambda images: tf.cast(network(tf.cast(images, tf.float32), training=False), tf.float32),
            input_signature=signature,
            autograph=False,
        )
        self._n_views, self._stop_asked = n_views, stop_asked
        self._folder = None if folder is None else folder / f"{network.name}-{_digest(network, n_views)}"

    def features(self, images: Images) -> NDArray[np.float32]:
        """The features of eyes; those that are not stored yet are computed and stored.

        Args:
            images: RGB, shape `(n, h, w, 3)`.

        Returns:
            Shape `(n, views, channels)`, the eye as it is first.

        Raises:
            FeaturesStopped: If `stop_asked` says so.
            OSError: If they cannot be written; on a full disk they are not stored.
        """
        if self._folder is None:
            return self._computed(np.asarray(images))
        eyes = [hashlib.sha256(image.tobytes()).digest() for image in images]
        self._folder.mkdir(parents=True, exist_ok=True)
        stored = dict(self._stored())
        if missing := [i for i, eye in enumerate(eyes) if eye not in stored]:
            logging.info("computing the features of %d eyes in %s", len(missing), self._folder)
            for first in range(0, len(missing), _EYES_PER_FILE):
                some = missing[first : first + _EYES_PER_FILE]
                stored |= zip((eyes[i] for i in some), self._write([eyes[i] for i in some], images[some]), strict=True)
        return np.stack([stored[eye] for eye in eyes])

    def _stored(self) -> Iterator[tuple[bytes, NDArray[np.float32]]]:
        assert self._folder is not None
        for path in self._folder.glob("*.npz"):
            try:
                with path.open("rb") as whole, np.load(whole, allow_pickle=False) as file:
                    yield from zip(map(bytes, file["eyes"]), file["features"], strict=True)
            except (zipfile.BadZipFile, ValueError, KeyError, EOFError, FileNotFoundError):
                path.unlink(missing_ok=True)  # altered from outside: computed again

    def _write(self, eyes: list[bytes], images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The features of some eyes, stored unless another process has just stored them."""
        assert self._folder is not None
        path = self._folder / f"{hashlib.sha256(b''.join(eyes)).hexdigest()[:16]}.npz"
        if path.is_file():
            with np.load(path, allow_pickle=False) as file:
                return np.asarray(file["features"])
        features = self._computed(images)
        digests = np.frombuffer(b"".join(eyes), np.uint8).reshape(len(eyes), -1)
        try:
            with open_whole(path, replace=True) as file:
                np.savez(file, allow_pickle=False, eyes=digests, features=features)
        except OSError as wrong:
            if not is_full(wrong):
                raise
            logging.warning("%s; these features are not stored, and the next training computes them again",
                            sentence(full_place(wrong, path)))  # fmt: skip
        return features

    def _computed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        views = [images] if self._n_views == 1 else eight_views(images)
        return np.stack([self._of_view(view) for view in views], axis=1)

    def _of_view(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        features = []
        for first in range(0, len(images), _BATCH):
            if self._stop_asked():
                raise FeaturesStopped("stopped while the features of eyes were computed")
            features.append(self._of_batch(tf.constant(images[first : first + _BATCH])).numpy())
        return np.concatenate(features)


def _digest(network: keras.Model, n_views: int) -> str:
    """16 hex digits of a network's weights, input, output, precision and Keras, and the number of views."""
    what = (_VERSION, keras.__version__, network.input_shape, network.output_shape, network.output.dtype, n_views)
    digest = hashlib.sha256(" ".join(map(str, what)).encode())
    for weight in network.weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()[:16]
