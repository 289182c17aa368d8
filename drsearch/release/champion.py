"""Makes a version the champion: by promotion, or by going back to the champion before."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from drsearch.datasets.read import Dataset
from drsearch.errors import RegistryError
from drsearch.home import Home
from drsearch.release.claims import ChampionState
from drsearch.release.contest import Contest, TrainedOnTestEyes, contest
from drsearch.release.decisions import Decisions, Draft, who
from drsearch.release.history import Decision, previous_champion
from drsearch.release.registry import CHAMPION, ModelVersion, Registry
from drsearch.settings import GateSettings
from drsearch.tracking.events import DatasetInput
from drsearch.tracking.markdown import note_table
from drsearch.tracking.tags import TEST_EVALUATIONS_TAG, TEST_FINGERPRINT_TAG


@dataclass(frozen=True)
class Promotion:
    """The promotion of one version: judge it, then decide.

    Attributes:
        challenger: The version.
        state: The champion when the promotion began.
        gate: Margins and minima of the rule.
        decisions: Where the decision is recorded.
    """

    challenger: ModelVersion
    state: ChampionState
    gate: GateSettings
    decisions: Decisions

    @classmethod
    def begin(cls, name: str, number: int, gate: GateSettings, home: Home) -> "Promotion":
        """Read challenger and champion from the registry.

        Args:
            name: The registered model.
            number: The challenger's version number.
            gate: Margins and minima of the rule.
            home: Its MLflow holds registry and decisions.

        Returns:
            The promotion; nothing is judged or changed yet.

        Raises:
            RegistryError: If there is no such version, or it is the champion already.
        """
        decisions = Decisions(Registry(home.tracking_uri), home)
        challenger = decisions.registry.version(name, number)
        state = decisions.claims.state(name)
        if state.champion is not None and state.champion.version == number:
            raise RegistryError(f"version {number} of {name} is the champion already; nothing was changed.")
        return cls(challenger, state, gate, decisions)

    def judge(
        self,
        data: Dataset | None = None,
        *,
        skip_bad: bool = False,
        on_photograph: Callable[[int, int], None] | None = None,
    ) -> Contest:
        """Judge challenger and champion on the same test eyes.

        Args:
            data: A data set whose test split is used; None: that of the challenger's records.
            skip_bad: Leave out photographs of `data` that cannot be used.
            on_photograph: Called with the number of photographs of `data` that are done, and of all.

        Returns:
            The scores of both, and the conditions of the rule.

        Raises:
            TrainedOnTestEyes: If the challenger was trained on test eyes; the refusal is recorded.
            RegistryError: If the test eyes are not available.
        """
        decisions, champion = self.decisions, self.state.champion
        try:
            return contest(
                decisions.registry,
                self.challenger,
                champion,
                self.gate,
                decisions.home,
                data,
                skip_bad=skip_bad,
                on_photograph=on_photograph,
            )
        except TrainedOnTestEyes as why:
            decisions.record(Draft(self.challenger, "refused", champion, rule=(str(why),), note=str(why)))
            raise

    def earlier_decisions(self, contest: Contest) -> int:
        """The number of decisions, about any model and on any machine, that used the test split of a contest."""
        return self.decisions.judged_on(contest.records.test_fingerprint)

    def decide(
        self,
        contest: Contest,
        *,
        force: bool = False,
        reason: str = "",
        confirmed: Callable[[], bool] = lambda: True,
    ) -> Decision:
        """Decide by the rule, carry the decision out, and record it.

        Args:
            contest: From `judge`.
            force: Promote even if the rule fails.
            reason: Recorded with the decision.
            confirmed: Asked last, and only if the version can be promoted; False declines.

        Returns:
            The decision. Its outcome is `promoted` or `forced` (the challenger is the champion now), or `refused` or
            `declined` (nothing was changed).

        Raises:
            Overtaken: If another decision was faster.
        """
        if not contest.passed and not force:
            outcome = "refused"
        elif not confirmed():
            outcome = "declined"
        else:
            outcome = "promoted" if contest.passed else "forced"
        with tempfile.TemporaryDirectory() as folder:
            draft = self._draft(contest, outcome, reason, Path(folder))
            if outcome in ("promoted", "forced"):
                return self.decisions.carry_out(self.state, draft, Path(folder))
            return self.decisions.record(draft, Path(folder))

    def _draft(self, contest: Contest, outcome: str, reason: str, folder: Path) -> Draft:
        return Draft(
            version=self.challenger,
            outcome=outcome,
            previous=self.state.champion,
            reason=reason,
            rule=tuple(f"{check.verdict}: {check.text}" for check in contest.checks),
            note=self._note(contest, outcome, reason),
            metrics=contest.metrics(),
            files=contest.write(folder),
            tags={
                TEST_FINGERPRINT_TAG: contest.records.test_fingerprint,
                TEST_EVALUATIONS_TAG: str(contest.test_evaluations),
            },
            params={f"gate.{name}": value for name, value in asdict(self.gate).items()},
            dataset=DatasetInput("test eyes", contest.records.fingerprint, str(contest.records.folder), "testing"),
        )

    def _note(self, contest: Contest, outcome: str, reason: str) -> str:
        """The text of the decision's page in MLflow, Markdown."""
        lines = [_heading(self.challenger, self.state.champion, outcome, reason), ""]
        lines += note_table(("", "challenger", "champion", "difference"), contest.table())
        lines += ["", f"On {contest.eyes_text}, each version at its own threshold; 95 % intervals."]
        lines += [f"Referable: {contest.records.task.words}."]
        lines += ["", *(f"- {text}" for text in (*contest.paired(), *contest.beside_blind())), "", "The rule:", ""]
        lines += [f"- {check.verdict if check.passed else '**fails**'}: {check.text}" for check in contest.checks]
        n = contest.test_evaluations
        return "\n".join([*lines, "", f"Test evaluations of this test split from that home, this one included: {n}."])


def _heading(version: ModelVersion, champion: ModelVersion | None, outcome: str, reason: str) -> str:
    before = f"version {champion.version}" if champion is not None else "none"
    why = f" Reason: {reason}" if reason else ""
    return (
        f"**{version.name} version {version.version}: {outcome}** by {who()}, "
        f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}. {CHAMPION.capitalize()} before: {before}.{why}"
    )


@dataclass(frozen=True)
class Rollback:
    """The way back to the champion before.

    Attributes:
        champion: The present champion.
        to: The version that becomes the champion again.
        state: The champion when the rollback began.
        decisions: Where the decision is recorded.
    """

    champion: ModelVersion
    to: ModelVersion
    state: ChampionState
    decisions: Decisions

    @classmethod
    def begin(cls, name: str, home: Home) -> "Rollback":
        """Find the champion before the present one.

        Args:
            name: The registered model.
            home: Its MLflow holds registry and decisions.

        Returns:
            The rollback; nothing is changed yet.

        Raises:
            RegistryError: If there is no champion, if no champion was before it, or if that version is gone.
        """
        decisions = Decisions(Registry(home.tracking_uri), home)
        state = decisions.claims.state(name)
        if state.champion is None:
            raise RegistryError(f"{name} has no champion to roll back from; `drsearch promote {name}` makes one.")
        before = previous_champion(decisions.history(name), state.champion.version)
        if before is None:
            raise RegistryError(
                f"version {state.champion.version} is the first champion of {name}; there is none to go back "
                f"to. `drsearch promote {name} --version N` makes another one champion."
            )
        return cls(state.champion, decisions.registry.version(name, before), state, decisions)

    def decide(self, reason: str) -> Decision:
        """Make the champion before the present one the champion again, and record it.

        Args:
            reason: Recorded with the decision.

        Returns:
            The decision, `rolled back`.

        Raises:
            Overtaken: If another decision was faster.
        """
        note = _heading(self.to, self.champion, "rolled back", reason)
        note += "\n\nNothing was judged: the version had been champion before."
        draft = Draft(self.to, "rolled back", self.champion, reason, note=note)
        return self.decisions.carry_out(self.state, draft)
