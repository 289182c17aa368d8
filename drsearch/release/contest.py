"""Judges a challenger and the champion on the same test eyes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drsearch.data.records import RecordSet, count_test_evaluations, read_same_test_eyes
from drsearch.datasets.read import Dataset
from drsearch.errors import RegistryError
from drsearch.home import Home
from drsearch.measure.blind_baseline import BesideBlind
from drsearch.measure.comparison import Comparison, compare
from drsearch.measure.figures import contest_roc_figure, png, reliability_figure
from drsearch.measure.patients import PATIENT_SCORES, patient_groups, patient_metrics
from drsearch.measure.scores import Interval
from drsearch.release.blind_scores import blind_caution, blind_json, blind_text, model_beside_blind
from drsearch.release.gate import Check, rule
from drsearch.release.registry import ModelVersion, Registry
from drsearch.release.same_eyes import SCORES, TITLES, Contender, SameEyes, ScoredVersion
from drsearch.settings import GateSettings


@dataclass(frozen=True)
class Contest:
    """Challenger and champion on the same test eyes.

    Attributes:
        challenger: The version that may become champion.
        champion: The version in use; None if there is none, or it was trained on these eyes.
        comparison: Challenger minus champion; None without a champion.
        labels: 0 or 1, shape `(eyes,)`.
        checks: The conditions of the rule, and whether they hold.
        test_evaluations: Test evaluations of this test split that this home has counted, this one included.
        records: The test eyes as the challenger reads them.
        blind: The challenger beside the lesion-blind baseline of these records; a text that says why there is none.
            It is shown, and no part of the rule.
    """

    challenger: ScoredVersion
    champion: ScoredVersion | None
    comparison: Comparison | None
    labels: NDArray[np.int64]
    checks: tuple[Check, ...]
    test_evaluations: int
    records: RecordSet
    blind: BesideBlind | str

    @property
    def passed(self) -> bool:
        """Whether the challenger passes the rule."""
        return all(check.passed for check in self.checks)

    @property
    def eyes_text(self) -> str:
        """How many eyes, and how many patients where they are known: `16 test eyes, 8 patients`."""
        patients = self.challenger.patients
        return f"{len(self.labels)} test eyes" + (f", {patients.n} patients" if patients is not None else "")

    def difference(self, name: str) -> Interval | None:
        """Challenger minus champion in one of `SCORES`: the AUC by `delong`, the others by the bootstrap."""
        if self.comparison is None:
            return None
        difference: Interval = self.comparison.auc.difference if name == "auc" else getattr(self.comparison, name)
        return difference

    def metrics(self) -> dict[str, float]:
        """All figures as a run's metrics: `challenger_auc`, `champion_auc_low`, `difference_auc`, ..."""
        metrics = {"test_eyes": float(len(self.labels)), "test_evaluations": float(self.test_evaluations)}
        if self.challenger.patients is not None:
            metrics["test_patients"] = float(self.challenger.patients.n)
        for role, side in (("challenger", self.challenger), ("champion", self.champion)):
            if side is not None:
                metrics[f"{role}_threshold"] = side.serving.threshold
                for name in SCORES:
                    metrics |= side.interval(name).metrics(f"{role}_{name}")
                if side.patients is not None:
                    metrics |= patient_metrics(side.patients, f"{role}_")
        for name in SCORES:
            if (difference := self.difference(name)) is not None:
                metrics |= difference.metrics(f"difference_{name}")
        if self.comparison is not None:
            metrics |= {"delong_p": self.comparison.auc.p, "mcnemar_p": self.comparison.mcnemar.p}
        if isinstance(self.blind, BesideBlind):
            metrics |= self.blind.metrics("challenger_")
        return metrics

    def table(self) -> Sequence[tuple[str, str, str, str]]:
        """Rows of score, challenger, champion and difference; without a champion the last two are empty."""
        rows = []
        for name in SCORES:
            champion = str(self.champion.interval(name)) if self.champion is not None else ""
            difference = self.difference(name)
            shown = format(difference, "+.3f") if difference is not None else ""
            rows.append((TITLES.get(name, name), str(self.challenger.interval(name)), champion, shown))
        for name in PATIENT_SCORES if self.challenger.patients is not None else ():
            ours, theirs = (
                str(getattr(side.patients, name) or "") if side else "" for side in (self.challenger, self.champion)
            )
            rows.append((f"{TITLES.get(name, name)} of patients", ours, theirs, ""))
        threshold = f"{self.champion.serving.threshold:.4f}" if self.champion is not None else ""
        return [*rows, ("threshold", f"{self.challenger.serving.threshold:.4f}", threshold, "")]

    def paired(self) -> list[str]:
        """The paired tests of AUC and errors, a sentence each; empty without a champion."""
        if self.comparison is None:
            return []
        auc, errors = self.comparison.auc, self.comparison.mcnemar
        names = (
            ("Obuchowski's", "exact p by patients")
            if self.comparison.by_patients
            else ("DeLong's", "McNemar's exact p")
        )
        return [
            f"AUC, paired: {names[0]} p {p_text(auc.p)}; by the bootstrap {self.comparison.auc_bootstrap:+.3f}",
            f"errors, paired: eyes that only the challenger gets wrong {errors.first_only}, only the champion "
            f"{errors.second_only} ({names[1]} {p_text(errors.p)})",
        ]

    def beside_blind(self) -> list[str]:
        """The challenger beside the lesion-blind baseline, and a caution if it is not shown to be better."""
        return [text for text in (blind_text(self.blind, "challenger"), blind_caution(self.blind)) if text]

    def to_json(self) -> dict[str, Any]:
        """Numbers, texts, lists and dicts only, as `--json` prints them."""
        return {
            "challenger": self.challenger.to_json(),
            "champion": self.champion.to_json() if self.champion is not None else None,
            "comparison": self.comparison.to_json() if self.comparison is not None else None,
            "blind": blind_json(self.blind),
            "rule": [asdict(check) for check in self.checks],
            "passed": self.passed,
            "eyes": len(self.labels),
            "test_evaluations": self.test_evaluations,
            "test_fingerprint": self.records.test_fingerprint,
        }

    def write(self, folder: Path) -> tuple[str, ...]:
        """Write figures and numbers into a folder.

        Returns:
            The names of the files.
        """
        sides = [(f"version {side.version.version}", side) for side in (self.challenger, self.champion) if side]
        curves = [(name, side.probabilities, side.serving.threshold) for name, side in sides]
        (folder / "roc.png").write_bytes(png(contest_roc_figure(self.labels, curves)))
        probabilities = [(name, side.probabilities) for name, side in sides]
        (folder / "reliability.png").write_bytes(png(reliability_figure(self.labels, probabilities)))
        (folder / "decision.json").write_text(json.dumps(self.to_json(), indent=2) + "\n")
        return "roc.png", "reliability.png", "decision.json"


class TrainedOnTestEyes(RegistryError):
    """The challenger was trained on eyes of the test split: its scores there count for nothing."""


def contest(
    registry: Registry,
    challenger: ModelVersion,
    champion: ModelVersion | None,
    gate: GateSettings,
    home: Home,
    data: Dataset | None = None,
    *,
    skip_bad: bool = False,
    on_photograph: Callable[[int, int], None] | None = None,
) -> Contest:
    """Judge challenger and champion on the same test eyes; counts as one test evaluation.

    The eyes are the test split of the records that the challenger was trained with, from this home or from the MLflow
    server. With `data` they are the test split of that data set, split as the challenger's data was. Models with
    different image settings (`images.*`) each get their own version of the same photographs.

    Args:
        registry: Where both versions are downloaded from.
        challenger: The version that may become champion.
        champion: The version in use; None if there is none.
        gate: Margins and minima of the rule.
        home: Where records lie and test evaluations are counted.
        data: A data set to take the test eyes from.
        skip_bad: Leave out photographs of `data` that cannot be used.
        on_photograph: Called with the number of photographs of `data` that are done, and of all.

    Returns:
        Scores of both sides, and the conditions of the rule. Without a champion, or if the champion was trained on test
        eyes, the challenger is scored alone; in the latter case the rule fails.

    Raises:
        TrainedOnTestEyes: If the challenger was trained on a photograph of the test split; nothing is evaluated then.
        RegistryError: If the records are neither here nor on the MLflow server.
    """
    shared = SameEyes(
        registry, challenger, "the challenger", home, data, skip_bad=skip_bad, on_photograph=on_photograph
    )
    _refuse_trained_on_test(shared.first)
    if champion is None:
        return _alone(shared.first, gate, home)
    return _paired(shared.first, shared.with_version(champion, "the champion"), gate, home)


def _refuse_trained_on_test(challenger: Contender) -> None:
    if seen := challenger.seen(challenger.records):
        raise TrainedOnTestEyes(
            f"version {challenger.version.version} was trained on {seen}, so that its scores there say nothing; judge "
            "it on other eyes with --data FOLDER."
        )


def _alone(challenger: Contender, gate: GateSettings, home: Home, failed: Check | None = None) -> Contest:
    """Score a challenger that cannot be compared with a champion; `failed` says why, if there is a champion."""
    (eyes,) = read_same_test_eyes([challenger.records], home, _purpose(challenger))
    scored = challenger.scored(eyes)
    checks = (failed,) if failed is not None else rule(scored.scores, None, None, gate)
    n_evaluations = count_test_evaluations(challenger.records, home)
    blind = model_beside_blind(challenger.records, eyes, scored.probabilities)
    return Contest(scored, None, None, eyes.labels, checks, n_evaluations, challenger.records, blind)


def _paired(challenger: Contender, champion: Contender, gate: GateSettings, home: Home) -> Contest:
    """Score challenger and champion on the same eyes."""
    records = challenger.records
    if seen := champion.seen(records):
        failed = Check(
            False,
            f"the champion, version {champion.version.version}, was trained on {seen}, so the two cannot be compared "
            "on them; give other eyes with --data FOLDER",
        )
        return _alone(challenger, gate, home, failed)
    eyes, champion_eyes = read_same_test_eyes([records, champion.records], home, _purpose(challenger))
    ours, theirs = challenger.scored(eyes), champion.scored(champion_eyes)
    thresholds = ours.serving.threshold, theirs.serving.threshold
    comparison = compare(
        eyes.labels, ours.probabilities, theirs.probabilities, thresholds, groups=patient_groups(eyes.patients)
    )
    checks = rule(ours.scores, theirs.scores, comparison, gate)
    blind, n_evaluations = model_beside_blind(records, eyes, ours.probabilities), count_test_evaluations(records, home)
    return Contest(ours, theirs, comparison, eyes.labels, checks, n_evaluations, records, blind)


def _purpose(challenger: Contender) -> str:
    return f"promote {challenger.version.name} --version {challenger.version.version}"


def p_text(p: float) -> str:
    """A p-value with three digits.

    Example:
        >>> p_text(0.0421), p_text(0.00001)
        ('0.042', '< 0.001')
    """
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"
