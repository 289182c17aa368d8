"""What a registered model looks at: its heat against the boxes around lesions, and tests of the explanations."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from drsearch.data.images import retina_in_square
from drsearch.data.records import EyeEntry, RecordSet
from drsearch.datasets.boxes import Box
from drsearch.errors import DataError
from drsearch.grades import GRADES
from drsearch.home import Home
from drsearch.measure.deletion import STEPS, Curves, curves
from drsearch.measure.explainers import Explainer, own_method
from drsearch.measure.explanation_figure import explanation_figure
from drsearch.measure.patients import patient_groups
from drsearch.measure.pointing import (
    Paired,
    Pointing,
    mean,
    paired,
    point,
    point_at_others,
    rank_correlation,
)
from drsearch.measure.randomised import randomised_weights
from drsearch.measure.scores import Interval
from drsearch.model.predictor import RDR, Predictor
from drsearch.release.card_figures import Explained, RegionRow
from drsearch.release.evaluate import Split, n_test_evaluations, split_eyes, unseen_eyes
from drsearch.tracking.tags import EXPLAIN_TAG

if TYPE_CHECKING:
    from drsearch.serving.grader import Grader

LESION = "lesion"
"""The region of all boxes around lesions, of whatever kind."""

_UNTRAINED = 3  # networks
_CASCADE = (1e-9, 1 / 3, 2 / 3)  # shares of the layers; the least is the last layer alone, and all are the untrained


@dataclass(frozen=True)
class Region:
    """How the heat lies to the boxes of one kind, in the referable eyes that have some.

    Attributes:
        name: `lesion` for all kinds, `red`, `bright`, a kind that is no lesion; `grade 3 lesion` for eyes of a grade.
        n: Eyes.
        hit: Share of eyes whose map is strongest in such a box.
        heat: Share of the heat in such boxes, mean over eyes.
        area: Share of the retina in such boxes, mean over eyes: what both are by chance.
        hit_over_area: Hits minus area, paired.
        heat_over_area: Heat minus area, paired.
    """

    name: str
    n: int
    hit: Interval
    heat: Interval
    area: Interval
    hit_over_area: Paired
    heat_over_area: Paired


@dataclass(frozen=True)
class Against:
    """The model's hits and heat in lesions against something else, paired by eyes.

    Attributes:
        name: What else.
        hit: Its hits.
        heat: Its heat.
        hit_difference: The model's minus these.
        heat_difference: Likewise.
    """

    name: str
    hit: Interval
    heat: Interval
    hit_difference: Paired
    heat_difference: Paired


@dataclass(frozen=True, repr=False)
class Explanation:
    """What a model looks at, measured on the referable eyes of a split that have boxes around lesions.

    Attributes:
        split: The split.
        method: How the maps are made.
        layer: Of the network; empty for the last one with places.
        n: Eyes with boxes around lesions.
        n_referable: Referable eyes of the split.
        n_without_heat: Eyes in which nothing speaks for RDR; their hit and heat are 0.
        regions: All lesions, each kind, and each grade.
        against: The model against chance by area, untrained networks, and boxes of other eyes.
        bright_over_red: Heat per area in bright lesions minus that in red ones, in eyes with both; None without such.
        deletion: Area under the curve of the probability while pixels are taken away; less is better.
        insertion: While they are put back; more is better.
        deletion_over_other: Minus that of another eye's map.
        insertion_over_other: Likewise.
        curves: Mean curves: share of pixels, deletion, insertion, and both of another eye's map.
        randomised: Share of the layers with random weights, from the output on, and the rank correlation of maps.
        test_evaluations: Of this test split from this home, this one included; 0 for other splits.
    """

    tag: ClassVar[str] = EXPLAIN_TAG
    split: Split
    method: str
    layer: str
    n: int
    n_referable: int
    n_without_heat: int
    regions: tuple[Region, ...]
    against: tuple[Against, ...]
    bright_over_red: Paired | None
    deletion: Interval
    insertion: Interval
    deletion_over_other: Paired
    insertion_over_other: Paired
    curves: dict[str, list[float]]
    randomised: tuple[tuple[float, Interval], ...]
    test_evaluations: int

    @property
    def text(self) -> str:
        """The answer in one line."""
        lesion = self.regions[0]
        return (
            f"{self.method} on {self.n} referable {self.split} eyes with boxes around lesions: the peak lies in one in"
            f" {lesion.hit}, by chance in {lesion.area.value:.3f}; heat in them {lesion.heat}"
        )

    @property
    def on(self) -> str:
        """Split and method."""
        return f"{self.split}-{self.method}"

    def metrics(self) -> dict[str, list[float]]:
        """The figures as a run's metrics, such as `explain_lesion_hit`."""
        numbers: dict[str, float] = {}
        for region in self.regions:
            name = f"explain_{region.name.replace(' ', '_')}"
            numbers |= region.hit.metrics(f"{name}_hit") | region.heat.metrics(f"{name}_heat")
            numbers[f"{name}_area"] = region.area.value
        for other in self.against[1:]:
            name = f"explain_{other.name.split()[0]}"
            numbers |= {f"{name}_hit": other.hit.value, f"{name}_heat": other.heat.value}
        numbers |= {"explain_deletion": self.deletion.value, "explain_insertion": self.insertion.value}
        numbers["explain_randomised_correlation"] = self.randomised[-1][1].value
        return {name: [value] for name, value in numbers.items()}

    def to_json(self) -> dict[str, Any]:
        """Numbers, texts, lists and dicts only, as `--json` prints them."""
        plain = _plain(vars(self))
        assert isinstance(plain, dict)
        return plain

    def for_card(self, data: str, data_fingerprint: str) -> Explained:
        """What the model card of the version keeps of it.

        Args:
            data: Name of the data set.
            data_fingerprint: Of its photographs, grades and split.
        """
        untrained = next(each for each in self.against if each.name.startswith("untrained"))
        rows = [RegionRow(each.name, each.n, each.hit, each.heat, each.area.value) for each in self.regions]
        return Explained(
            data,
            data_fingerprint,
            self.split,
            self.method,
            self.text,
            tuple(rows),
            (untrained.hit, untrained.heat),
            self.deletion,
            self.insertion,
        )

    def __repr__(self) -> str:
        return f"<Explanation by {self.text}>"


def explain(
    grader: "Grader",
    records: RecordSet,
    split: Split,
    home: Home,
    why: str,
    method: str = "",
    layer: str = "",
    allow_seen: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Measure what a model looks at in referable eyes, wherever it sees RDR, whether or not it calls them so.

    Args:
        grader: The model. Its weights are changed meanwhile, and restored.
        records: Prepared with the model's `images.*`, with boxes.
        split: As for `evaluate`; of the test split, this is a test evaluation.
        home: Where test evaluations are counted.
        why: The purpose, recorded with a test evaluation.
        method: How the maps are made, one of `METHODS`, or `lesion_map`; empty for `own_method`.
        layer: Of the network; empty for the last one with places.
        allow_seen: Also of eyes that the model was trained on.
        on_step: Called with the number of steps done, and of all.

    Raises:
        DataError: If fewer than two referable eyes (of two patients) have boxes around lesions, or the split is empty
            or holds photographs or patients that the model was trained on.
        MetricError: If there is no such method or layer.
    """
    method = method or own_method(grader.model, layer)
    maker = grader.explainer(method, layer)
    _check_boxes(records, split)
    _, eyes = unseen_eyes(grader, records, split, home, why, allow_seen)
    n_referable = int(eyes.labels.sum())
    eyes = eyes.some(np.flatnonzero(eyes.labels))
    inside = np.stack([retina_in_square(image, grader.serving.images) for image in eyes.images])
    with_lesions = np.flatnonzero(_masks(eyes.boxes, inside)[LESION].any(axis=(1, 2)))
    eyes, inside = eyes.some(with_lesions), inside[with_lesions]
    masks, groups = _masks(eyes.boxes, inside), patient_groups(eyes.patients)
    steps = _Steps(on_step, 3 + _UNTRAINED + len(_CASCADE))

    def made(share: float = 0, seed: int = 0) -> NDArray[np.float32]:
        return _maps(maker, grader, np.asarray(eyes.images), inside, share, seed, steps)

    maps = made()
    untrained = [made(1, seed) for seed in range(_UNTRAINED)]
    cascade = [(share, rank_correlation(maps, made(share), inside)) for share in _CASCADE]
    all_random = np.mean([rank_correlation(maps, each, inside) for each in untrained], axis=0)
    predict = Predictor(grader.model)
    own = curves(predict, np.asarray(eyes.images), maps, inside)
    steps.done()
    other = curves(predict, np.asarray(eyes.images), np.roll(maps, 1, axis=0), inside)
    steps.done()
    lesion = point(maps, masks[LESION], inside)
    return Explanation(
        split,
        method,
        layer,
        len(eyes.names),
        n_referable,
        int((maps.max(axis=(1, 2)) == 0).sum()),
        tuple(_regions(maps, masks, inside, eyes.grades, groups)),
        tuple(_against(lesion, maps, untrained, masks[LESION], inside, groups)),
        _bright_over_red(maps, masks, inside, groups),
        mean(own.deletion_area, groups),
        mean(own.insertion_area, groups),
        paired(own.deletion_area, other.deletion_area, groups),
        paired(own.insertion_area, other.insertion_area, groups),
        _mean_curves(own, other),
        tuple((round(share, 2), mean(each, groups)) for share, each in [*cascade, (1.0, all_random)]),
        n_test_evaluations(records, split, home),
    )


def measured_eyes(records: RecordSet, split: Split) -> list[EyeEntry]:
    """The referable eyes of a split that have boxes around lesions.

    Args:
        records: With boxes.
        split: `all` is the whole set.
    """
    return [eye for eye in split_eyes(records, split) if eye.label == 1 and any(box.colour for box in eye.boxes)]


def _check_boxes(records: RecordSet, split: Split) -> None:
    """Refuse records without boxes before the test split is read."""
    with_boxes = measured_eyes(records, split)
    patients = {eye.patient or number for number, eye in enumerate(with_boxes)}
    if len(patients) < 2:
        listed = split_eyes(records, split)
        raise DataError(
            f"{len(with_boxes)} of the {len(listed)} eyes of split {split!r} are referable and have boxes around"
            " lesions; at least two, of two patients, are needed: name a table of boxes in the description of the data."
        )


class _Steps:
    """Counts what is done."""

    def __init__(self, on_step: Callable[[int, int], None] | None, n: int) -> None:
        self._on_step, self._n, self._done = on_step, n, 0

    def done(self) -> None:
        self._done += 1
        if self._on_step is not None:
            self._on_step(self._done, self._n)


def _maps(
    maker: Explainer,
    grader: "Grader",
    images: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    share: float,
    seed: int,
    steps: _Steps,
) -> NDArray[np.float32]:
    """The maps of RDR, where a share of the layers may have random weights."""
    with randomised_weights(grader.model, share, seed):
        maps, _ = maker.maps(images, inside, RDR)
    steps.done()
    return maps


def _masks(boxes: Sequence[Sequence[Box]], inside: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """The retina within the boxes of all lesions, of each colour, and of each kind that is no lesion."""
    names = dict.fromkeys(box.kind for of_eye in boxes for box in of_eye if not box.colour)
    masks = {name: np.zeros(inside.shape, bool) for name in (LESION, "red", "bright", *names)}
    side = np.array(inside.shape[1:])
    for i, of_eye in enumerate(boxes):
        for box in of_eye:
            first = np.floor(np.array([box.top, box.left]) * side).astype(int)
            end = np.maximum(np.ceil(np.array([box.bottom, box.right]) * side).astype(int), first + 1)
            for name in (LESION, box.colour) if box.colour else (box.kind,):
                masks[name][i, first[0] : end[0], first[1] : end[1]] = True
    return {name: mask & inside for name, mask in masks.items()}


def _regions(
    maps: NDArray[np.float32],
    masks: dict[str, NDArray[np.bool_]],
    inside: NDArray[np.bool_],
    grades: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
) -> Iterator[Region]:
    everyone = np.ones(len(maps), bool)
    wanted = [(name, name, everyone) for name in masks]
    wanted += [(f"grade {grade} {LESION}", LESION, grades == grade) for grade in GRADES]
    for title, name, which in wanted:
        which = which & masks[name].any(axis=(1, 2))
        if which.any():
            some, of = point(maps[which], masks[name][which], inside[which]), _some(groups, which)
            yield Region(
                title,
                int(which.sum()),
                mean(some.hit, of),
                mean(some.heat, of),
                mean(some.area, of),
                paired(some.hit, some.area, of),
                paired(some.heat, some.area, of),
            )


def _against(
    lesion: Pointing,
    maps: NDArray[np.float32],
    untrained: Sequence[NDArray[np.float32]],
    regions: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    groups: NDArray[np.int64] | None,
) -> Iterator[Against]:
    random = [point(each, regions, inside) for each in untrained]
    others = {
        "chance by area": (lesion.area, lesion.area),
        "untrained networks": (
            np.mean([each.hit for each in random], axis=0),
            np.mean([each.heat for each in random], axis=0),
        ),
        "shuffled pairs: boxes of other eyes": point_at_others(maps, regions, groups),
    }
    for name, (hit, heat) in others.items():
        yield Against(
            name,
            mean(hit, groups),
            mean(heat, groups),
            paired(lesion.hit, hit, groups),
            paired(lesion.heat, heat, groups),
        )


def _bright_over_red(
    maps: NDArray[np.float32],
    masks: dict[str, NDArray[np.bool_]],
    inside: NDArray[np.bool_],
    groups: NDArray[np.int64] | None,
) -> Paired | None:
    both = masks["red"].any(axis=(1, 2)) & masks["bright"].any(axis=(1, 2))
    if not both.any():
        return None
    bright, red = (point(maps[both], masks[name][both], inside[both]).density for name in ("bright", "red"))
    return paired(bright, red, _some(groups, both))


def _some(groups: NDArray[np.int64] | None, which: Any) -> NDArray[np.int64] | None:
    return None if groups is None else groups[which]


def _mean_curves(own: Curves, other: Curves) -> dict[str, list[float]]:
    return {
        "share": [step / STEPS for step in range(STEPS + 1)],
        "deletion": own.deletion.mean(axis=0).tolist(),
        "insertion": own.insertion.mean(axis=0).tolist(),
        "deletion_other": other.deletion.mean(axis=0).tolist(),
        "insertion_other": other.insertion.mean(axis=0).tolist(),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Interval | Paired):
        return value.to_json()
    if isinstance(value, Region | Against):
        return _plain(vars(value))
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def figure(result: Explanation) -> NDArray[np.uint8]:
    """The chart of the figures: hits and heat beside chance, deletion and insertion, and randomised weights.

    Returns:
        RGB, shape `(height, width, 3)`.
    """
    rows: list[tuple[str, Interval, Interval, float | None]] = [
        (f"{each.name} ({each.n})", each.hit, each.heat, each.area.value) for each in result.regions
    ]
    rows += [(each.name.partition(":")[0], each.hit, each.heat, None) for each in result.against[1:]]
    return explanation_figure(rows, result.curves, result.randomised)
