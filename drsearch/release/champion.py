"""How does a version become the champion? Judged, decided, written down."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from drsearch.errors import RegistryError
from drsearch.home import Home
from drsearch.release.decisions import Decision, Decisions, Draft, Standing, heading, previous_champion
from drsearch.release.gate import Contest, TouchedTest, contest, p_shown, table
from drsearch.release.registry import ModelVersion, Registry
from drsearch.settings import GateSettings
from drsearch.tracking.events import DatasetInput
from drsearch.tracking.markdown import note_table
from drsearch.tracking.tags import TEST_EVALUATIONS_TAG, TEST_FINGERPRINT_TAG


class Promotion:
    """One version's way through the gate.

    Args:
        name: Of the registered model.
        number: Of the version.
        gate: The rule's settings.
        home: Its MLflow keeps the registry and the decisions.

    Attributes:
        challenger: The version.
        standing: What the decision starts from.

    Raises:
        RegistryError: If there is no such version, or it is the champion already.
    """

    def __init__(self, name: str, number: int, gate: GateSettings, home: Home) -> None:
        self._gate, self._home = gate, home
        self._registry = Registry(home.tracking_uri)
        self._decisions = Decisions(self._registry, home)
        self.challenger = self._registry.version(name, number)
        self.standing: Standing = self._decisions.standing(name)
        if self.standing.champion is not None and self.standing.champion.version == number:
            raise RegistryError(f"version {number} of {name} is the champion already; nothing was changed.")

    def judge(
        self,
        data: Path | None = None,
        *,
        skip_bad: bool = False,
        on_photograph: Callable[[int, int], None] | None = None,
    ) -> tuple[Contest, int]:
        """Judge challenger and champion.

        Returns:
            The contest, and how many decisions were made on this test split before, by whatever machine.

        Raises:
            TouchedTest: If the challenger was trained on test eyes; the refusal is written down.
        """
        try:
            found = contest(
                self._registry,
                self.challenger,
                self.standing.champion,
                self._gate,
                self._home,
                data,
                skip_bad=skip_bad,
                on_photograph=on_photograph,
            )
        except TouchedTest as touched:
            draft = Draft(self.challenger, "refused", self.standing.champion, rule=(str(touched),), note=str(touched))
            with tempfile.TemporaryDirectory() as folder:
                self._decisions.record(draft, Path(folder))
            raise
        return found, self._decisions.judged_on(found.records.test_fingerprint)

    def decide(self, found: Contest, outcome: str, reason: str) -> Decision:
        """Carry a decision out, and write it down.

        Args:
            found: What was judged.
            outcome: `promoted` or `forced` make the challenger the champion; `refused` and `declined` change nothing.
            reason: Why, as the person at the terminal gives it.

        Raises:
            Overtaken: If another decision was faster.
        """
        with tempfile.TemporaryDirectory() as folder:
            draft = Draft(
                version=self.challenger,
                outcome=outcome,
                previous=self.standing.champion,
                reason=reason,
                rule=tuple(f"{'holds' if check.passed else 'fails'}: {check.said}" for check in found.checks),
                note=decision_note(found, self.challenger, self.standing.champion, outcome, reason),
                numbers=found.numbers(),
                files=found.write(Path(folder)),
                tags={
                    TEST_FINGERPRINT_TAG: found.records.test_fingerprint,
                    TEST_EVALUATIONS_TAG: str(found.looks),
                },
                params={f"gate.{name}": value for name, value in asdict(self._gate).items()},
                dataset=DatasetInput("test eyes", found.records.fingerprint, str(found.records.folder), "testing"),
            )
            if outcome in ("promoted", "forced"):
                return self._decisions.carry_out(self.standing, draft, Path(folder))
            return self._decisions.record(draft, Path(folder))


def decision_note(
    found: Contest, challenger: ModelVersion, champion: ModelVersion | None, outcome: str, reason: str
) -> str:
    """What a decision's run says on MLflow's page, Markdown."""
    lines = [heading(challenger, champion, outcome, reason), ""]
    lines += note_table(("", "challenger", "champion", "difference"), table(found))
    lines += ["", f"On {len(found.labels)} test eyes, each version at its own threshold; 95 % intervals."]
    if (pair := found.comparison) is not None:
        lines.append(
            f"DeLong's p for the AUC {p_shown(pair.auc.p)}. The challenger alone is wrong on {pair.mcnemar.first_only} "
            f"of them, the champion alone on {pair.mcnemar.second_only} (McNemar's exact p {p_shown(pair.mcnemar.p)})."
        )
    lines += ["", "The rule:", ""]
    lines += [f"- {'holds' if check.passed else '**fails**'}: {check.said}" for check in found.checks]
    lines += ["", f"This test split had been looked at {found.looks} times from that home, this time included."]
    return "\n".join(lines)


class Rollback:
    """The way back to the champion before.

    Args:
        name: Of the registered model.
        home: Its MLflow keeps the registry and the decisions.

    Attributes:
        standing: What the decision starts from.
        to: The version that comes back.

    Raises:
        RegistryError: If there is no champion, or none was before it, or that version is gone.
    """

    def __init__(self, name: str, home: Home) -> None:
        registry = Registry(home.tracking_uri)
        self._decisions = Decisions(registry, home)
        self.standing = self._decisions.standing(name)
        if self.standing.champion is None:
            raise RegistryError(f"{name} has no champion to roll back from; `drsearch promote {name}` makes one.")
        before = previous_champion(self._decisions.history(name), self.standing.champion.version)
        if before is None:
            raise RegistryError(
                f"version {self.standing.champion.version} is the first champion of {name}; there is none to go back "
                f"to. `drsearch promote {name} --version N` makes another one champion."
            )
        self.to: ModelVersion = registry.version(name, before)

    def decide(self, reason: str) -> Decision:
        """Make the champion before the champion again, and write it down.

        Raises:
            Overtaken: If another decision was faster.
        """
        champion = self.standing.champion
        assert champion is not None
        note = heading(self.to, champion, "rolled back", reason) + (
            "\n\nNothing was judged: the version had been champion before."
        )
        with tempfile.TemporaryDirectory() as folder:
            draft = Draft(self.to, "rolled back", champion, reason, note=note)
            return self._decisions.carry_out(self.standing, draft, Path(folder))
