"""Several versions on the same test eyes: scores, paired differences, and the eyes on which they disagree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drsearch.data.records import Eyes, RecordSet, count_test_evaluations, read_same_test_eyes
from drsearch.datasets.description import read_source_file
from drsearch.datasets.read import Dataset
from drsearch.errors import RegistryError
from drsearch.grades import CLASS_NAMES
from drsearch.home import Home
from drsearch.measure.blind_baseline import BesideBlind, BlindBaseline, blind_features
from drsearch.measure.comparison import Comparison, compare
from drsearch.measure.patients import patient_groups
from drsearch.measure.scores import Interval
from drsearch.release.blind_scores import blind_json, fitted_baseline, model_beside_blind
from drsearch.release.registry import ModelVersion, Registry
from drsearch.release.same_eyes import SameEyes, ScoredVersion


@dataclass(frozen=True, repr=False)
class Versions:
    """Versions on the same test eyes.

    Attributes:
        scored: Each version's answers and scores, in the order in which they were named.
        differences: Of each further version minus the first.
        eyes: The test eyes as the first version reads them.
        records: Their record set.
        beside_blind: Each version beside the lesion-blind baseline; a text that says why there is none.
        blind_probabilities: Of the baseline, shape `(eyes,)`; None where there is none.
        data: Name of the data set.
        test_evaluations: Of this test split from this home, this one included.
    """

    scored: tuple[ScoredVersion, ...]
    differences: tuple[Comparison, ...]
    eyes: Eyes
    records: RecordSet
    beside_blind: tuple[BesideBlind | str, ...]
    blind_probabilities: NDArray[np.float64] | None
    data: str
    test_evaluations: int

    @property
    def names(self) -> tuple[str, ...]:
        """The versions as commands take them: `retinopathy/3`."""
        return tuple(f"{each.version.name}/{each.version.version}" for each in self.scored)

    @property
    def called(self) -> NDArray[np.bool_]:
        """Whether each version calls each eye RDR, shape `(versions, eyes)`."""
        return np.stack([each.probabilities >= each.serving.threshold for each in self.scored])

    @property
    def disagreeing(self) -> NDArray[np.intp]:
        """The places of the eyes that the versions do not all call alike, those with the widest probabilities first."""
        probabilities = np.stack([each.probabilities for each in self.scored])
        spread = np.ptp(probabilities, axis=0)
        places = np.flatnonzero(self.called.any(axis=0) & ~self.called.all(axis=0))
        return places[np.argsort(-spread[places], kind="stable")]

    def difference(self, which: int, name: str) -> Interval:
        """The difference of a further version from the first in one of `SCORES`: the AUC by DeLong, or by patients.

        Args:
            which: Its place among the further versions, from 0.
            name: Of the score.
        """
        comparison = self.differences[which]
        difference: Interval = comparison.auc.difference if name == "auc" else getattr(comparison, name)
        return difference

    def to_json(self) -> dict[str, Any]:
        """Numbers, texts, lists and dicts only, as `--json` prints them."""
        called, first = self.called, self.names[0]
        return {
            "data": self.data,
            "eyes": len(self.eyes.names),
            "models": [
                {"model": name, **each.to_json(), "blind": blind_json(blind)}
                for name, each, blind in zip(self.names, self.scored, self.beside_blind, strict=True)
            ],
            "differences": [
                {"model": name, "minus": first, **difference.to_json()}
                for name, difference in zip(self.names[1:], self.differences, strict=True)
            ],
            "disagreeing": [
                {
                    "eye": self.eyes.names[place],
                    "grade": int(self.eyes.grades[place]),
                    "label": CLASS_NAMES[self.eyes.labels[place]],
                    "probabilities": [float(each.probabilities[place]) for each in self.scored],
                    "called": [CLASS_NAMES[int(each)] for each in called[:, place]],
                }
                for place in self.disagreeing
            ],
            "test_evaluations": self.test_evaluations,
            "test_fingerprint": self.records.test_fingerprint,
        }

    def __repr__(self) -> str:
        aucs = ", ".join(f"{name} AUC {each.scores.auc}" for name, each in zip(self.names, self.scored, strict=True))
        return f"<Versions on {len(self.eyes.names)} test eyes: {aucs}; they disagree on {len(self.disagreeing)}>"


def compare_versions(
    registry: Registry,
    versions: Sequence[ModelVersion],
    home: Home,
    data: Dataset | None = None,
    *,
    skip_bad: bool = False,
    on_photograph: Callable[[int, int], None] | None = None,
) -> Versions:
    """Score versions on the same test eyes, paired; counts as one test evaluation.

    The eyes are those of the first version, see `SameEyes`.

    Args:
        registry: Where they are downloaded from.
        versions: At least two, all different.
        home: Where records lie and test evaluations are counted.
        data: A data set to take the test eyes from.
        skip_bad: Leave out photographs of `data` that cannot be used.
        on_photograph: Called with the number of photographs of `data` that are done, and of all.

    Returns:
        Scores, differences, and the eyes.

    Raises:
        RegistryError: If a version was trained on a photograph or patient of these eyes (nothing is evaluated then),
            or the records are not to be had.
    """
    first, *others = versions
    shared = SameEyes(
        registry, first, f"version {first.uri}", home, data, skip_bad=skip_bad, on_photograph=on_photograph
    )
    contenders = [shared.first, *(shared.with_version(each, f"version {each.uri}") for each in others)]
    for each in contenders:
        if seen := each.seen(each.records):
            raise RegistryError(
                f"{each.version.uri} was trained on {seen}, so that its scores there say nothing; compare on other "
                "eyes with --data FOLDER."
            )
    why = f"compare {' '.join(f'{each.name}/{each.version}' for each in versions)}"
    read = read_same_test_eyes([each.records for each in contenders], home, why)
    scored = [each.scored(eyes) for each, eyes in zip(contenders, read, strict=True)]
    eyes, records = read[0], shared.first.records
    groups = patient_groups(eyes.patients)
    reference = scored[0]
    differences = [
        compare(
            eyes.labels,
            each.probabilities,
            reference.probabilities,
            (each.serving.threshold, reference.serving.threshold),
            groups=groups,
        )
        for each in scored[1:]
    ]
    baseline = fitted_baseline(records)
    return Versions(
        tuple(scored),
        tuple(differences),
        eyes,
        records,
        tuple(model_beside_blind(records, eyes, each.probabilities) for each in scored),
        baseline.probabilities(blind_features(np.asarray(eyes.images)))
        if isinstance(baseline, BlindBaseline)
        else None,
        data.name if data else _data_name(records),
        count_test_evaluations(records, home),
    )


def _data_name(records: RecordSet) -> str:
    """The name of the data set of the records, as their description has it."""
    return read_source_file(records.description_path).name if records.description_path.is_file() else "records"
