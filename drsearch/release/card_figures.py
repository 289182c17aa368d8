"""What a model card is made of: data sets, splits, the network, and what was measured of the version."""

from collections.abc import Mapping
from dataclasses import dataclass

from drsearch.measure.scores import Interval, OneClassScores, Scores

Scored = Scores | OneClassScores

CHART, SHEET = "explain.png", "eyes.jpg"
"""Files of a measurement of what a version looks at: its chart, and one picture of some eyes with their heat maps."""


@dataclass(frozen=True)
class SourceSet:
    """A data set that a model was made from, as its description names it.

    Attributes:
        name: Its name.
        source: An address or a reference; empty where the description has none.
        licence: Its licence; empty where the description has none.
        scale: What its grades mean.
        notes: What a user must know about it.
    """

    name: str
    source: str = ""
    licence: str = ""
    scale: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitCounts:
    """The eyes of a split.

    Attributes:
        n: Eyes.
        referable: Those that are referable.
        grades: Eyes of each grade, by its number as text.
        patients: Patients that are known.
    """

    n: int
    referable: int
    grades: Mapping[str, int]
    patients: int


@dataclass(frozen=True)
class NetworkFacts:
    """The size of a network, and the time that it takes.

    Attributes:
        kind: `mean of 5 networks`; empty for one.
        parameters: Weights.
        megabytes: Of its file.
        latency_ms: For one eye, on the cores of the process that registered it.
        cores: How many these are.
    """

    kind: str
    parameters: int
    megabytes: float
    latency_ms: float
    cores: int

    @property
    def text(self) -> str:
        """All of it in words.

        Example:
            >>> NetworkFacts("", 176322, 0.8, 12.34, 2).text
            '176,322 parameters, 0.8 MB, 12.3 ms per eye on 2 cores'
        """
        return (
            f"{self.kind}{', ' if self.kind else ''}{self.parameters:,} parameters, {self.megabytes:.1f} MB, "
            f"{self.latency_ms:.1f} ms per eye on {self.cores} core{'s' if self.cores > 1 else ''}"
        )


@dataclass(frozen=True)
class OnEyes:
    """What was measured on one split of a data set.

    Attributes:
        data: Name of the data set.
        data_fingerprint: Of its photographs, grades and split.
        split: The split.
    """

    data: str
    data_fingerprint: str
    split: str

    @property
    def key(self) -> tuple[str, ...]:
        """A card keeps one value of each key, the last one."""
        return self.data_fingerprint, self.split


@dataclass(frozen=True)
class Evaluated(OnEyes):
    """Scores on one split of a data set, at the version's threshold.

    Attributes:
        scores: Of eyes.
        patients: Of patients; None where none is known.
        grades: Of the eyes of each grade, by its number as text.
        qualities: Of the thirds of the eyes by quality.
        sources: Of each data set, where several are pooled.
        n_gradable: Eyes that the model gives a grade.
        blind: The model beside the lesion-blind baseline, or why there is none, one sentence without its full stop.
        blind_caution: Why it may have learned the camera; empty if it is shown better.
        test_evaluations: Of this test split, this one included; 0 for other splits.
        kappa: Quadratic weighted kappa of the five grades; None for a model that does not know them.
    """

    scores: Scored
    patients: Scored | None
    grades: Mapping[str, Scored]
    qualities: Mapping[str, Scored]
    sources: Mapping[str, Scored]
    n_gradable: int
    blind: str
    blind_caution: str
    test_evaluations: int
    kappa: Interval | None = None


@dataclass(frozen=True)
class RegionRow:
    """How the heat lies in one kind of region: hits and heat with their intervals, and both by chance."""

    name: str
    n: int
    hit: Interval
    heat: Interval
    area: float


@dataclass(frozen=True)
class Explained(OnEyes):
    """What the version looks at, by `drsearch explain`.

    Attributes:
        method: How the maps were made.
        text: The answer in one line.
        regions: All lesions, each kind, each grade.
        untrained: Hits and heat in lesions of networks with random weights.
        deletion: Area under the deletion curve.
        insertion: Area under the insertion curve.
    """

    method: str
    text: str
    regions: tuple[RegionRow, ...]
    untrained: tuple[Interval, Interval]
    deletion: Interval
    insertion: Interval

    @property
    def key(self) -> tuple[str, ...]:
        """There may be several methods."""
        return *super().key, self.method


@dataclass(frozen=True)
class StressRow:
    """The scores under one condition; None where a class is missing."""

    condition: str
    auc: Interval | None
    auc_change: Interval | None
    graded: float


@dataclass(frozen=True)
class Stressed(OnEyes):
    """The version on photographs that are made worse, by `drsearch stress`.

    Attributes:
        text: The answer in one line.
        worst: The photographs as they are, and each corruption at its greatest strength.
    """

    text: str
    worst: tuple[StressRow, ...]


Figures = Evaluated | Explained | Stressed
"""What is measured of a version after it was registered."""
