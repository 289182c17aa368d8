"""May this version become the champion? Both are judged on the same test eyes, and a rule that is a setting decides."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drsearch.data.prepare import prepare
from drsearch.data.records import MANIFEST, RecordSet, open_records, read_same_test_eyes, test_looks
from drsearch.errors import RecordsError, RegistryError
from drsearch.home import Home
from drsearch.measure.calibration import Calibration, calibration
from drsearch.measure.comparison import Comparison, compare
from drsearch.measure.figures import contest_roc_figure, png, reliability_figure
from drsearch.measure.scores import Interval, Scores, scores
from drsearch.release.evaluate import same_eyes, some_of
from drsearch.release.registry import ModelVersion, Registry
from drsearch.serving.grader import Grader
from drsearch.serving.model_files import Serving
from drsearch.settings import GateSettings, ImageSettings, Settings
from drsearch.workers.remote import fetch_record_set

SCORES = ("accuracy", "auc", "sensitivity", "specificity", "brier", "ece")
"""What both are judged by: the first four are better when high, Brier score and calibration error when low."""


@dataclass(frozen=True)
class Judged:
    """A version on the test eyes, asked as it is asked in use: at its own temperature and threshold.

    Attributes:
        version: Which.
        serving: How it is asked.
        probabilities: Of RDR, shape `(eyes,)`.
        scores: With 95 % intervals.
        calibration: Brier score and expected calibration error, likewise.
    """

    version: ModelVersion
    serving: Serving
    probabilities: NDArray[np.float64]
    scores: Scores
    calibration: Calibration

    def interval(self, name: str) -> Interval:
        """One of `SCORES`."""
        found: Interval = getattr(self.calibration if name in ("brier", "ece") else self.scores, name)
        return found


@dataclass(frozen=True)
class Check:
    """One thing that was asked of a version.

    Attributes:
        passed: Whether it holds.
        said: What was asked and found, one sentence with the figures.
    """

    passed: bool
    said: str


@dataclass(frozen=True)
class Contest:
    """Challenger and champion on the same test eyes.

    Attributes:
        challenger: The version that asks to become champion.
        champion: The one in use; None if there is none, or it cannot be judged on these eyes.
        comparison: Challenger minus champion; None without the latter.
        labels: 0 or 1, shape `(eyes,)`.
        checks: What the rule asked, and whether it holds.
        looks: How often this test split has been looked at from this home, this time included.
        records: The test eyes as the challenger reads them.
    """

    challenger: Judged
    champion: Judged | None
    comparison: Comparison | None
    labels: NDArray[np.int64]
    checks: tuple[Check, ...]
    looks: int
    records: RecordSet

    @property
    def passed(self) -> bool:
        """Whether the rule lets the challenger through."""
        return all(check.passed for check in self.checks)

    def difference(self, name: str) -> Interval | None:
        """Challenger minus champion in one of `SCORES`; the AUC's by DeLong, the others' by the bootstrap."""
        if self.comparison is None:
            return None
        found: Interval = self.comparison.auc.difference if name == "auc" else getattr(self.comparison, name)
        return found

    def numbers(self) -> dict[str, float]:
        """All figures by name, as a run's metrics."""
        numbers: dict[str, float] = {}
        named = {"challenger": self.challenger.interval, "difference": self.difference}
        if self.champion is not None:
            named["champion"] = self.champion.interval
        for who, interval in named.items():
            for name in SCORES:
                if (found := interval(name)) is not None:
                    numbers |= {f"{who}_{name}": found.value, f"{who}_{name}_low": found.low}
                    numbers[f"{who}_{name}_high"] = found.high
        if self.comparison is not None:
            numbers |= {"delong_p": self.comparison.auc.p, "mcnemar_p": self.comparison.mcnemar.p}
        numbers["challenger_threshold"] = self.challenger.serving.threshold
        if self.champion is not None:
            numbers["champion_threshold"] = self.champion.serving.threshold
        return numbers | {"test_eyes": float(len(self.labels)), "test_looks": float(self.looks)}

    def to_json(self) -> dict[str, Any]:
        """Numbers, texts, lists and dicts only, as `--json` prints them."""
        judged = {"challenger": self.challenger, "champion": self.champion}
        return {
            **{who: _judged_json(found) if found else None for who, found in judged.items()},
            "comparison": self.comparison.to_json() if self.comparison else None,
            "rule": [asdict(check) for check in self.checks],
            "passed": self.passed,
            "eyes": len(self.labels),
            "looks": self.looks,
            "test_fingerprint": self.records.test_fingerprint,
        }

    def write(self, folder: Path) -> tuple[str, ...]:
        """Write figures and numbers into a folder; their names are returned."""
        models = [(f"version {each.version.version}", each) for each in (self.challenger, self.champion) if each]
        curves = [(name, each.probabilities, each.serving.threshold) for name, each in models]
        (folder / "roc.png").write_bytes(png(contest_roc_figure(self.labels, curves)))
        plotted = [(name, each.probabilities) for name, each in models]
        (folder / "reliability.png").write_bytes(png(reliability_figure(self.labels, plotted)))
        (folder / "decision.json").write_text(json.dumps(self.to_json(), indent=2) + "\n")
        return "roc.png", "reliability.png", "decision.json"


class TouchedTest(RegistryError):
    """The version was trained on eyes of the test split: no score of it counts there."""


def contest(
    registry: Registry,
    challenger: ModelVersion,
    champion: ModelVersion | None,
    gate: GateSettings,
    home: Home,
    data: Path | None = None,
    *,
    skip_bad: bool = False,
    on_photograph: Callable[[int, int], None] | None = None,
) -> Contest:
    """Judge challenger and champion on the same test eyes; one look at them is counted.

    The eyes are the test split of the records that the challenger was trained from: those in this home, or at the
    MLflow server; of a data set given by `data` they are its test split, divided as the challenger's data was. Models
    that read other images (`images.*`) are each given theirs, of the same photographs.

    Args:
        registry: Where both are fetched.
        challenger: The version that asks.
        champion: The one in use.
        gate: The rule's settings.
        home: Where records lie and looks are counted.
        data: A data set to take the test eyes from.
        skip_bad: Go on without photographs of `data` that cannot be used.
        on_photograph: Told how many photographs of `data` are done, of how many.

    Raises:
        TouchedTest: If the challenger was trained on a picture of the test split; nothing is looked at then.
        RegistryError: If the records are not here.
    """
    with tempfile.TemporaryDirectory() as folder:
        first = Grader(registry.download(challenger.uri, _made(Path(folder) / "challenger")))
        second = Grader(registry.download(champion.uri, _made(Path(folder) / "champion"))) if champion else None
    if data is not None:
        sets = [
            prepare(
                data,
                Settings(images=grader.serving.images, data=first.serving.data),
                home,
                skip_bad=skip_bad,
                on_photograph=on_photograph,
            ).records
            for grader in (first, second)
            if grader is not None
        ]
    else:
        sets = [_records_of(challenger, first.serving, home)]
        if second is not None:
            sets.append(_same_eyes_for(second.serving, sets[0], home))
    eyes = sets[0].eyes("test")
    if touched := same_eyes(eyes, first.trained_on):
        raise TouchedTest(
            f"version {challenger.version} was trained on {len(touched)} of the {len(eyes)} test eyes "
            f"({some_of(touched)}), so that its scores there say nothing; judge it on other eyes with --data FOLDER."
        )
    known = same_eyes(eyes, second.trained_on) if second is not None else []
    if known:
        sets, second = sets[:1], None
    read = read_same_test_eyes(sets, home, f"promote {challenger.name} --version {challenger.version}")
    labels = read[0].labels
    judged = _judged(challenger, first, read[0].images, labels)
    other, comparison = None, None
    if champion is not None and second is not None:
        other = _judged(champion, second, read[1].images, labels)
        thresholds = judged.serving.threshold, other.serving.threshold
        comparison = compare(labels, judged.probabilities, other.probabilities, thresholds)
    if known:
        assert champion is not None
        checks: tuple[Check, ...] = (
            Check(
                False,
                f"the champion, version {champion.version}, was trained on {len(known)} of these {len(eyes)} test eyes "
                f"({some_of(known)}), so that the two cannot be compared on them; give other eyes with --data FOLDER",
            ),
        )
    else:
        checks = rule(judged, other, comparison, gate)
    return Contest(judged, other, comparison, labels, checks, test_looks(sets[0], home), sets[0])


def rule(
    challenger: Judged, champion: Judged | None, comparison: Comparison | None, gate: GateSettings
) -> tuple[Check, ...]:
    """What is asked of a challenger, and whether it holds.

    Of one that meets a champion: its sensitivity is at most `gate.sensitivity_margin` lower (as counted on these eyes,
    each at its own threshold), and its AUC is not worse: non-inferiority, the lower end of DeLong's two-sided 95 %
    interval of the difference lies above `-gate.auc_margin`. Of the first: the lower end of its AUC's interval lies
    above `gate.first_auc`, and its sensitivity reaches `gate.first_sensitivity`. A challenger that answers the same for
    every eye never passes.
    """
    ours = challenger.scores
    if ours.is_constant:
        return (Check(False, f"it answers the same for each of these {ours.n} eyes: it cannot tell them apart"),)
    if champion is None or comparison is None:
        auc = ours.auc
        asked = f"its AUC is {_shown(auc)}, and the interval must lie above {gate.first_auc:g}"
        checks = [Check(auc.low > gate.first_auc, asked + _no_width(auc, ours.n))]
        if gate.first_sensitivity:
            found = ours.sensitivity
            asked = (
                f"its sensitivity at {ours.threshold:.4g} is {_shown(found)}, and must reach {gate.first_sensitivity:g}"
            )
            checks.append(Check(found.value >= gate.first_sensitivity, asked))
        return tuple(checks)
    lost = comparison.sensitivity.value
    sensitivity = (
        f"its sensitivity at {ours.threshold:.4g} is {ours.sensitivity.value:.3f} and the champion's at "
        f"{champion.scores.threshold:.4g} {champion.scores.sensitivity.value:.3f}: {lost:+.3f}, and "
        f"{-gate.sensitivity_margin:+g} is the most that may be lost"
    )
    difference = comparison.auc.difference
    auc_said = (
        f"its AUC differs by {difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}] from the "
        f"champion's, and the interval must lie above {-gate.auc_margin:+g}{_no_width(difference, ours.n)}"
    )
    rounding = 1e-9  # 11/12 - 10/12 against a margin of 1/12
    return (
        Check(lost >= -gate.sensitivity_margin - rounding, sensitivity),
        Check(difference.low > -gate.auc_margin, auc_said),
    )


def _no_width(interval: Interval, n: int) -> str:
    if interval.high > interval.low:
        return ""
    return f" (an interval without width: on these {n} eyes nothing varies, which says little of others)"


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _judged(version: ModelVersion, grader: Grader, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Judged:
    said = grader.probabilities(images)
    found = scores(labels, said, grader.serving.threshold)
    return Judged(version, grader.serving, said, found, calibration(labels, said))


def _records_of(version: ModelVersion, serving: Serving, home: Home) -> RecordSet:
    if not fetch_record_set(serving.fingerprint, home):
        raise RegistryError(
            f"{home.records} does not hold record set {serving.fingerprint}, from which version {version.version} was "
            "trained; give the photographs with --data FOLDER."
        )
    return open_records(home.records / serving.fingerprint)


def _same_eyes_for(serving: Serving, records: RecordSet, home: Home) -> RecordSet:
    """The same photographs as another model reads them."""
    if serving.images == records.images:
        return records
    fetch_record_set(serving.fingerprint, home)  # often the same data at these images: look there too
    for manifest in sorted(home.records.glob(f"[!.]*/{MANIFEST}")):
        try:
            found = open_records(manifest.parent)
        except RecordsError:
            continue
        if found.images == serving.images and found.test_fingerprint == records.test_fingerprint:
            return found
    raise RegistryError(
        f"the champion reads images with {_images(serving.images)} and the challenger with {_images(records.images)}, "
        f"and {home.records} holds the test photographs only as the latter; give them with --data FOLDER."
    )


def _images(images: ImageSettings) -> str:
    return ", ".join(f"images.{name} = {value!r}" for name, value in asdict(images).items())


def _judged_json(judged: Judged) -> dict[str, Any]:
    return {
        "version": judged.version.version,
        "threshold": judged.serving.threshold,
        "temperature": judged.serving.temperature,
        "scores": {name: judged.interval(name).to_json() for name in SCORES},
        "confusion": [list(row) for row in judged.scores.confusion],
    }


def _shown(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def p_shown(p: float) -> str:
    """A p value as it is shown."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def table(found: Contest) -> Sequence[tuple[str, str, str, str]]:
    """Challenger, champion and difference, a row per score, and the thresholds; empty texts without a champion."""
    rows = []
    for name in SCORES:
        other = _shown(found.champion.interval(name)) if found.champion else ""
        gap = found.difference(name)
        shown = f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]" if gap else ""
        rows.append((_WORDS.get(name, name), _shown(found.challenger.interval(name)), other, shown))
    thresholds = [f"{each.serving.threshold:.4f}" if each else "" for each in (found.challenger, found.champion)]
    return [*rows, ("threshold", thresholds[0], thresholds[1], "")]


_WORDS = {"auc": "AUC", "brier": "Brier score", "ece": "calibration error"}
