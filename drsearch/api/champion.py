"""Champions: promote, roll back, list decisions, and trace a version to where it comes from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console

from drsearch.api.access import (
    Configs,
    GivenSettings,
    console_of,
    merged_settings,
    open_home,
    reach_runs,
)
from drsearch.api.data import Data, GivenData, dataset_and_settings
from drsearch.api.model import Model, load_model
from drsearch.errors import DrsearchError

if TYPE_CHECKING:
    import pandas as pd

    from drsearch.release.contest import Contest
    from drsearch.release.history import Decision
    from drsearch.release.lineage import Node
    from drsearch.release.registry import ModelVersion


@dataclass(frozen=True, repr=False)
class Promotion:
    """What came of `drsearch.promote`.

    Attributes:
        decision: The decision as MLflow keeps it: outcome, version, previous champion, by whom, why, and the run.
        contest: Challenger and champion on the same test eyes: scores, paired differences, and what the rule asked.
        decided_before: How many decisions were made on this test split before, from any machine.
    """

    decision: Decision
    contest: Contest
    decided_before: int

    @property
    def outcome(self) -> str:
        """`promoted`, `forced`, `refused` or `declined`."""
        return self.decision.outcome

    @property
    def is_champion(self) -> bool:
        """Whether the version is the champion now."""
        return self.decision.changed

    @property
    def scores(self) -> pd.DataFrame:
        """One row per score: challenger, champion, and their paired difference, with 95 % intervals."""
        import pandas as pd

        columns = ["score", "challenger", "champion", "difference"]
        return pd.DataFrame(self.contest.table(), columns=columns).set_index("score")

    def __repr__(self) -> str:
        failed = [check.text for check in self.contest.checks if not check.passed]
        why = f": {'; '.join(failed)}" if failed else ""
        return f"<Promotion {self.decision.name}/{self.decision.version} {self.outcome}{why}>"

    def _repr_html_(self) -> str:
        from drsearch.display.html import described_table

        return described_table(
            repr(self).strip("<>"),
            self.scores,
            f"{self.contest.eyes_text}; MLflow run {self.decision.run_id}",
        )


def promote(
    model: str | Model,
    *,
    data: GivenData | None = None,
    settings: GivenSettings = None,
    config: Configs = (),
    force: bool = False,
    reason: str = "",
    skip_bad: bool = False,
    confirm: Callable[[Contest, int], bool] = lambda _contest, _decided_before: True,
    progress: bool | Console = True,
) -> Promotion:
    """Make a version the champion if it passes the rule.

    Challenger and champion are compared on the same test eyes. The challenger may lose at most
    `gate.sensitivity_margin` of sensitivity, and the 95 % interval of the AUC difference (DeLong) must lie above
    `-gate.auc_margin`. Every decision, also a refusal, becomes an MLflow run in the experiment drsearch-decisions.

    Args:
        model: The challenger: a version, or its name.
        data: A data set whose test split decides. Default: the one that the version was trained with.
        settings: Settings by name, of which `gate.*` count.
        config: Gin files.
        force: Promote even if the rule fails.
        reason: Why; recorded with the decision, and required by `force`.
        skip_bad: Leave out photographs and labels of `data` that cannot be used.
        confirm: Called before the champion changes, with the comparison and the number of earlier decisions on this
            test split; the version is declined if it returns False.
        progress: Show a bar; or the Rich console that shows it.

    Returns:
        The decision and the comparison behind it. A refusal is not an error: see `outcome`.

    Raises:
        RegistryError: If there is no such version, it is the champion already, it was trained on test eyes, or this
            user may not decide.
        Overtaken: If another decision was faster; nothing is changed.

    Example:
        >>> import drsearch
        >>> drsearch.promote("retinopathy/1", force=True, reason="an example", progress=False).outcome in (
        ...     "promoted", "forced")
        True
    """
    if force and not reason:
        raise DrsearchError(
            "--force needs --reason TEXT: what is decided against the rule is recorded with its reason."
        )
    home, out = open_home(), console_of(progress)
    gate = merged_settings(settings, config).gate
    skip_bad = skip_bad or (isinstance(data, Data) and data.skip_bad)
    dataset = dataset_and_settings(data, None, home)[0] if data is not None else None
    reach_runs(home)

    from drsearch.release.decisions import check_may_decide

    name = model.version.name if isinstance(model, Model) else whole_name(model, or_version=True)
    from drsearch.display.output import counting, working

    with working(out, f"loading {name} and its champion"):
        check_may_decide(home, name)
        challenger = load_model(model).version

        from drsearch.release.champion import Promotion as Judging  # loads TensorFlow, for a version that is there

        judging = Judging.begin(challenger.name, challenger.version, gate, home)
    with working(out, "judging on the same test photographs"), counting(out, "photographs") as count:
        contest = judging.judge(dataset, skip_bad=skip_bad, on_photograph=count)
    before = judging.earlier_decisions(contest)
    decision = judging.decide(contest, force=force, reason=reason, confirmed=lambda: confirm(contest, before))
    return Promotion(decision, contest, before)


def rollback(
    name: str, reason: str, confirm: Callable[[ModelVersion, ModelVersion], bool] = lambda _to, _champion: True
) -> Decision:
    """Make the previous champion the champion again.

    A second rollback goes back one champion further. Nothing is compared, and the test split is not used. The decision
    becomes an MLflow run, as promotions do.

    Args:
        name: The registered model.
        reason: Why; recorded with the decision.
        confirm: Called before anything changes, with the version that comes back and the present champion.

    Returns:
        The decision as MLflow keeps it.

    Raises:
        RegistryError: If there is no champion, or none before it, or it is not confirmed.
        Overtaken: If another decision was faster; nothing is changed.
    """
    home, name = open_home(), whole_name(name)
    reach_runs(home)
    from drsearch.errors import RegistryError
    from drsearch.release.champion import Rollback
    from drsearch.release.decisions import check_may_decide

    check_may_decide(home, name)
    back = Rollback.begin(name, home)
    if not confirm(back.to, back.champion):
        raise RegistryError("nothing was changed; --yes rolls back without asking.")
    return back.decide(reason)


def history(name: str) -> pd.DataFrame:
    """All decisions on a model, the oldest first: promotions, refusals and rollbacks.

    Args:
        name: The registered model.

    Returns:
        One row per decision: when, version, outcome, the champion after it, by whom, why, and the MLflow run.

    Raises:
        RegistryError: If there is no such model.

    Example:
        >>> import drsearch
        >>> drsearch.history("retinopathy")["version"].to_list()
        [1]
    """
    import pandas as pd

    from drsearch.release.history import champions

    made, _ = decisions(name)
    rows = [
        {
            "when": datetime.fromtimestamp(each.at_ms / 1000),
            "version": each.version,
            "outcome": each.outcome,
            "champion": champion,
            "by": each.by,
            "reason": each.reason,
            "rule": each.rule,
            "run_id": each.run_id,
        }
        for each, champion in zip(made, champions(made), strict=True)
    ]
    return pd.DataFrame(rows, columns=["when", "version", "outcome", "champion", "by", "reason", "rule", "run_id"])


def decisions(name: str) -> tuple[list[Decision], ModelVersion | None]:
    """All decisions on a model, the oldest first, and the version that is champion now.

    Args:
        name: The registered model.

    Raises:
        RegistryError: If there is no such model.
    """
    home, name = open_home(), whole_name(name)
    reach_runs(home)
    from drsearch.release.decisions import Decisions
    from drsearch.release.registry import CHAMPION, Registry

    registry = Registry(home.tracking_uri)
    return list(Decisions(registry, home).history(name)), registry.with_alias(name, CHAMPION)


def lineage(what: str | Model) -> Node:
    """Trace a version to its study, trial, data, code and decisions.

    Args:
        what: A version or its name; or a model, a study, or the id of an MLflow run, whose versions are traced.

    Returns:
        A tree: kind, name, facts, and the parts under it.

    Raises:
        RegistryError: If there is nothing of that name.

    Example:
        >>> import drsearch
        >>> drsearch.lineage("retinopathy/1").name
        'retinopathy/1'
    """
    home = open_home()
    reach_runs(home)
    from drsearch.release.lineage import Lineage

    return Lineage(home).of(what.uri if isinstance(what, Model) else what)


def whole_name(name: str, *, or_version: bool = False) -> str:
    """The name of a registered model, as it is or after `models:/`.

    Args:
        name: As it was given.
        or_version: Take the name of a version, too.

    Raises:
        DrsearchError: If it names one version where a whole model is meant.
    """
    model = re.split("[/@]", name.removeprefix("models:/"))[0]
    if not or_version and model != name.removeprefix("models:/"):
        raise DrsearchError(f"{name} is one version, and this command is about the whole model; write {model}.")
    return model
