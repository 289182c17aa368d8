"""How far a picture lies from those that the model was trained on, and the limit that real eyes keep to.

A network has an answer for every picture, also for a drawing of a cat. So pictures are compared before they reach it.
Two measures describe a picture, as the network sees it:

- layout: the mean colours of an 8 x 8 grid (192 numbers);
- detail: how much fine structure a picture has at each scale, from pixels to large patches, by colour channel: the mean
  and the 98 % quantile of |picture - its 3 x 3 mean| in the round field, as logarithms (up to 30 numbers).

By each measure, the training eyes are a cloud with a mean and a covariance, and a picture has a Mahalanobis distance
from it. The larger of its two distances counts.

The distance has nothing to do with right or wrong: an eye near the others may be graded wrongly, and a good photograph
from a camera that the model has never seen may lie far away.
"""

import base64
import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SHARE_BEYOND = 0.01
"""Share of the validation eyes that may lie beyond the limit before its margin is added."""

_VERSION = 1
_GRID = 8
_LARGEST_PX, _SMALLEST_PX = 256, 16  # detail is measured at these sides, each half of the one before
_FIELD = 0.45  # radius of the round field, sides: the border of the retina is no detail
_FAINTEST = 0.25  # levels; added before the logarithm
_LARGEST_SIDE_PX = 2048  # of images.image_px
_MOST = 1e9  # of any stored number: distances stay finite


@dataclass(frozen=True)
class _Cloud:
    """Distribution of the training eyes by one measure.

    Attributes:
        mean: Shape `(d,)`.
        scale: Standard deviations, shape `(d,)`.
        precision: Inverse of the covariance of the scaled values, shape `(d, d)`.
        usual: The median distance of the validation eyes.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    precision: NDArray[np.float32]
    usual: float

    def distances(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mahalanobis distances, in medians of the validation eyes."""
        scaled = (values - self.mean) / self.scale
        squared = np.sum(scaled @ self.precision.astype(np.float64) * scaled, axis=1)
        return np.asarray(np.sqrt(np.maximum(squared, 0)) / self.usual)


@dataclass(frozen=True)
class Familiarity:
    """Tells familiar pictures from others.

    Attributes:
        clouds: By name of the measure.
        limit: The distance beyond which a picture is unfamiliar, in medians of the validation eyes.
        n_train: Eyes that the clouds were fitted to.
        n_validation: Eyes that chose the limit.
        n_beyond: Number of these that lie beyond it.
        image_px: Side of the pictures, pixels.
    """

    clouds: Mapping[str, _Cloud]
    limit: float
    n_train: int
    n_validation: int
    n_beyond: int
    image_px: int

    def distances(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Distances from the training eyes; 1 is the limit.

        Args:
            images: RGB as the network takes them, shape `(n, image_px, image_px, 3)`.

        Returns:
            Shape `(n,)`, at least 0; above 1 for pictures unlike the training eyes.
        """
        each = [cloud.distances(_values(images, _MEASURES[name])) for name, cloud in self.clouds.items()]
        return np.asarray(np.max(each, axis=0) / self.limit)

    def to_json(self) -> str:
        """The object as a text that `from_json` reads."""
        clouds = {
            name: {
                **{key: _packed(getattr(cloud, key)) for key in ("mean", "scale", "precision")},
                "usual": cloud.usual,
            }
            for name, cloud in self.clouds.items()
        }
        numbers = {name: getattr(self, name) for name in ("limit", "n_train", "n_validation", "n_beyond", "image_px")}
        return json.dumps({"version": _VERSION, **numbers, "clouds": clouds}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Familiarity":
        """The object that `to_json` wrote.

        Raises:
            ValueError: If the text is anything else; it may come from anywhere.
        """
        try:
            read = json.loads(text)
            side = read["image_px"]
            counts = [read[name] for name in ("n_train", "n_validation", "n_beyond")]
            if read["version"] != _VERSION or not all(type(number) is int for number in (side, *counts)):
                raise ValueError("another version, or counts that are no numbers")
            if not _SMALLEST_PX <= side <= _LARGEST_SIDE_PX:
                raise ValueError("image_px out of range")
            sizes = {name: len(measure(np.zeros((side, side, 3), np.uint8))) for name, measure in _MEASURES.items()}
            clouds = {name: _unpacked(read["clouds"][name], n) for name, n in sizes.items()}
            n_train, n_validation, n_beyond = counts
            return cls(clouds, _positive(read["limit"]), n_train, n_validation, n_beyond, side)
        except (KeyError, TypeError, AttributeError, RecursionError) as wrong:
            raise ValueError("not as drsearch writes it") from wrong


def fit_familiarity(train: NDArray[np.uint8], validation: NDArray[np.uint8]) -> Familiarity:
    """The distribution of the training eyes, with a limit chosen on the validation eyes.

    The limit is the distance that 99 % of the validation eyes keep to, the largest where there are fewer than 100,
    and a margin of 1/sqrt(n) more: of few eyes the largest distance says little about the next eye.

    Args:
        train: RGB, shape `(n, image_px, image_px, 3)`, at least two.
        validation: Likewise, at least one; none of them is in `train`.

    Source:
        Lee et al. (2018), A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks,
        arXiv:1807.03888, for the Mahalanobis distance, there of a network's features. Ledoit and Wolf (2004), A
        well-conditioned estimator for large-dimensional covariance matrices, doi:10.1016/S0047-259X(03)00096-4. Vovk et
        al. (2005), Algorithmic Learning in a Random World, for a limit by the rank among held-out distances.
    """
    clouds = {name: _fitted(_values(train, m), _values(validation, m)) for name, m in _MEASURES.items()}
    draft = Familiarity(clouds, 1.0, len(train), len(validation), 0, train.shape[1])
    n, distances = len(validation), np.sort(draft.distances(validation))
    rank = min(n, math.ceil((1 - SHARE_BEYOND) * (n + 1)))
    limit = max(float(distances[rank - 1]), 1.0) * (1 + 1 / math.sqrt(n))
    return Familiarity(clouds, limit, len(train), n, int(np.sum(distances > limit)), train.shape[1])


def _fitted(train: NDArray[np.float64], validation: NDArray[np.float64]) -> _Cloud:
    from sklearn.covariance import LedoitWolf

    mean, spread = train.mean(axis=0), train.std(axis=0)
    scale = spread + 0.01 * float(np.median(spread)) + 0.02  # what never varies in training weighs much, not infinitely
    shrunk = LedoitWolf(assume_centered=True).fit((train - mean) / scale).covariance_
    floor = 1e-3 * np.eye(len(mean))  # of two training eyes that are the same, the covariance is 0
    cloud = _Cloud(_single(mean), _single(scale), _single(np.linalg.inv(shrunk + floor)), 1.0)
    return dataclasses.replace(cloud, usual=max(float(np.median(cloud.distances(validation))), 1e-3))


def _single(array: NDArray[np.float64]) -> NDArray[np.float32]:
    return array.astype(np.float32)


def _values(images: NDArray[np.uint8], measure: Callable[[NDArray[np.uint8]], NDArray[np.float64]]) -> Any:
    return np.stack([measure(image) for image in images])


def _layout(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean colours of a grid, shape `(192,)`."""
    return np.asarray(cv2.resize(image, (_GRID, _GRID), interpolation=cv2.INTER_AREA), np.float64).ravel()


def _detail(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Logarithms of the fine structure by scale and channel, shape `(6 * scales,)`."""
    values: list[float] = []
    if image.shape[0] > _LARGEST_PX:
        image = cv2.resize(image, (_LARGEST_PX, _LARGEST_PX), interpolation=cv2.INTER_AREA)
    while (side := image.shape[0]) >= _SMALLEST_PX:
        field, middle = np.zeros((side, side), np.uint8), (side - 1) // 2
        cv2.circle(field, (middle, middle), int(_FIELD * side), 1, cv2.FILLED)
        residue = cv2.absdiff(image, cv2.blur(image, (3, 3)))
        values += cv2.mean(residue, mask=field)[:3]
        for channel in range(3):
            counts = np.cumsum(cv2.calcHist([residue], [channel], field, [256], [0, 256]))
            values.append(float(np.searchsorted(counts, 0.98 * counts[-1])))
        image = cv2.resize(image, (side // 2, side // 2), interpolation=cv2.INTER_AREA)
    return np.log(_FAINTEST + np.array(values))


_MEASURES: Mapping[str, Callable[[NDArray[np.uint8]], NDArray[np.float64]]] = {"layout": _layout, "detail": _detail}


def _packed(array: NDArray[np.float32]) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def _unpacked(read: Mapping[str, Any], n: int) -> _Cloud:
    shapes: Mapping[str, Sequence[int]] = {"mean": (n,), "scale": (n,), "precision": (n, n)}
    arrays = {
        name: np.frombuffer(base64.b64decode(read[name], validate=True), "<f4").reshape(shape)
        for name, shape in shapes.items()
    }
    if not all((np.abs(array) < _MOST).all() for array in arrays.values()) or not (arrays["scale"] > 1 / _MOST).all():
        raise ValueError("numbers out of range")
    return _Cloud(**arrays, usual=_positive(read["usual"]))


def _positive(number: Any) -> float:
    if type(number) not in (int, float) or not 1 / _MOST < number < _MOST:
        raise ValueError("a number out of range")
    return float(number)
