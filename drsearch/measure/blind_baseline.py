"""What can be predicted from a photograph without seeing a lesion: from its colours and a picture of 8 x 8 pixels.

Sessions, cameras and patients differ in colour and framing, and data sets differ in how often their eyes are referable.
So labels can be predicted to some degree by what is no sign of the disease. A network that is no better than this
baseline has not been shown to see lesions. Blind means: to lesions of the usual sizes. Laser scars, large bleedings and
exudates that cover much of the retina change its colours, too.

Source:
    Badgeley et al. (2019), Deep learning predicts hip fracture using confounding patient and healthcare variables,
    npj Digital Medicine 2, 31. Breiman (2001), Random Forests, Machine Learning 45, 5-32.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsearch.errors import MetricError
from drsearch.measure.comparison import AucDifference, delong
from drsearch.measure.scores import Scores, scores

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

_GRID = 8  # side of the small picture, pixels
_FIELD = 0.45  # radius of the round field, sides
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # a lesion that covers less than a twentieth of the field moves none of them
_TREES, _LEAST_IN_LEAF = 100, 3


@dataclass(frozen=True)
class BlindBaseline:
    """A forest on features that hardly show a lesion.

    Attributes:
        forest: Fitted on `blind_features`.
        n_train: Eyes that it was fitted on.
    """

    forest: "RandomForestClassifier"
    n_train: int

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities of RDR, shape `(n,)`, for the features of n eyes, see `blind_features`."""
        return np.asarray(self.forest.predict_proba(features)[:, 1], np.float64)


@dataclass(frozen=True)
class BesideBlind:
    """A model beside the blind baseline, on the same eyes.

    Attributes:
        scores: Of the baseline, at threshold 0.5.
        auc: The model's area minus the baseline's, by DeLong, or by Obuchowski where patients are known.
    """

    scores: Scores
    auc: AucDifference

    def text(self, model: str = "model") -> str:
        """The baseline's AUC and the model's difference from it, one sentence without its full stop."""
        return (
            f"lesion-blind baseline, from colours and an 8 x 8 picture: AUC {self.scores.auc} on the same "
            f"{self.scores.n} eyes; {model} minus baseline, paired: AUC {self.auc.difference:+.3f}"
        )

    @property
    def caution(self) -> str:
        """Why the model may have learned the camera instead of lesions, one sentence; empty if it is shown better."""
        if self.auc.difference.low > 0:
            return ""
        return (
            f"The model is not shown to be better than what colours and an 8 x 8 picture tell (AUC "
            f"{self.auc.difference:+.3f} from the lesion-blind baseline's {self.scores.auc.value:.3f}): it may have "
            "learned the camera instead of the lesions."
        )

    def metrics(self, prefix: str) -> dict[str, float]:
        """The figures as a run's metrics, each with `_low` and `_high`: `test_blind_auc`, `test_auc_over_blind`, ...

        Args:
            prefix: Begins the names: `test_`.
        """
        return {
            **self.scores.auc.metrics(f"{prefix}blind_auc"),
            **self.scores.accuracy.metrics(f"{prefix}blind_accuracy"),
            **self.auc.difference.metrics(f"{prefix}auc_over_blind"),
        }

    def to_json(self) -> dict[str, Any]:
        """Numbers, texts, lists and dicts only, as `--json` prints them."""
        return {
            "scores": self.scores.to_json(),
            "auc_difference": self.auc.difference.to_json(),
            "p": self.auc.p,
            "caution": self.caution,
        }


def blind_features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Colours and an 8 x 8 picture of each eye.

    Args:
        images: RGB as the network takes them, shape `(n, image_px, image_px, 3)`.

    Returns:
        Shape `(n, 213)`: the mean colours of an 8 x 8 grid, and of each channel in the round field the mean, the
        standard deviation and the quantiles 5, 25, 50, 75 and 95 %, in levels.
    """
    values = [np.concatenate([_small_picture(image), _colours(image)]) for image in images]
    return np.array(values, np.float32).reshape(len(images), 3 * (_GRID * _GRID + 2 + len(_QUANTILES)))


def _small_picture(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(cv2.resize(image, (_GRID, _GRID), interpolation=cv2.INTER_AREA), np.float64).ravel()


def _colours(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean, spread and quantiles of each channel in the round field."""
    side = image.shape[0]
    field, middle = np.zeros((side, side), np.uint8), (side - 1) // 2
    cv2.circle(field, (middle, middle), max(1, int(_FIELD * side)), 1, cv2.FILLED)
    mean, spread = cv2.meanStdDev(image, mask=field)
    quantiles = []
    for channel in range(3):
        counts = np.cumsum(cv2.calcHist([image], [channel], field, [256], [0, 256]))
        quantiles.append(np.searchsorted(counts, np.array(_QUANTILES) * counts[-1]))
    return np.concatenate([mean.ravel(), spread.ravel(), *quantiles])


def fit_blind_baseline(features: NDArray[np.float32], labels: ArrayLike) -> BlindBaseline:
    """Fit the baseline; the same eyes give the same baseline.

    Args:
        features: Of the training eyes, see `blind_features`, shape `(n, 213)`.
        labels: 0 or 1, shape `(n,)`.

    Raises:
        MetricError: If the eyes are all of one class.
    """
    from sklearn.ensemble import RandomForestClassifier

    truth = np.asarray(labels)
    if np.unique(truth).size < 2:
        raise MetricError(f"The {truth.size} training eyes are not of both classes; a blind baseline needs both.")
    forest = RandomForestClassifier(_TREES, min_samples_leaf=_LEAST_IN_LEAF, random_state=0, n_jobs=1)
    return BlindBaseline(forest.fit(features, truth), truth.size)


def blind_scores(
    baseline: BlindBaseline, features: NDArray[np.float32], labels: ArrayLike, groups: ArrayLike | None = None
) -> Scores:
    """The scores of the baseline on eyes that it was not fitted on, at threshold 0.5, with 95 % intervals.

    Args:
        baseline: The fitted baseline.
        features: Of the eyes, see `blind_features`, shape `(n, 213)`.
        labels: 0 or 1, shape `(n,)`.
        groups: A value per eye that is equal for eyes of one patient, shape `(n,)`; None without patients.

    Raises:
        MetricError: If the eyes are all of one class.
    """
    return scores(labels, baseline.probabilities(features), groups=groups)


def beside_blind(
    baseline: BlindBaseline,
    features: NDArray[np.float32],
    labels: ArrayLike,
    probabilities: ArrayLike,
    groups: ArrayLike | None = None,
) -> BesideBlind:
    """A model and the baseline on the same eyes, which neither was fitted on.

    Args:
        baseline: The fitted baseline.
        features: Of the eyes, see `blind_features`, shape `(n, 213)`.
        labels: 0 or 1, shape `(n,)`.
        probabilities: Of RDR, by the model, shape `(n,)`.
        groups: A value per eye that is equal for eyes of one patient, shape `(n,)`; None without patients.

    Raises:
        MetricError: If a class has fewer than two eyes or patients.
    """
    blind = baseline.probabilities(features)
    return BesideBlind(scores(labels, blind, groups=groups), delong(labels, probabilities, blind, groups))
