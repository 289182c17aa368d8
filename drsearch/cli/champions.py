"""Commands on the champion: promote, rollback, history, lineage."""

import re
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from drsearch.cli.app import command
from drsearch.cli.options import Assignments, Configs, Json, ModelName, SkipBad, Yes
from drsearch.cli.output import command_name, confirmed, console, counting, liner, print_json, reach_runs
from drsearch.errors import DrsearchError
from drsearch.home import Home

if TYPE_CHECKING:
    from drsearch.release.contest import Contest
    from drsearch.release.lineage import Node
    from drsearch.release.registry import ModelVersion, Registry

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded with the decision.")]


@command("Champion")
def promote(
    name: ModelName,
    version: Annotated[
        int | None,
        typer.Option("--version", metavar="N", help="The challenger. NAME may say it, too: retinopathy/2."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FOLDER",
            help="Data set whose test split decides. Default: the one that the version was trained with.",
        ),
    ] = None,
    config: Configs = [],  # noqa: B006
    set_: Assignments = [],  # noqa: B006
    force: Annotated[bool, typer.Option("--force", help="Promote even if the rule fails; needs --reason.")] = False,
    reason: Reason = "",
    skip_bad: SkipBad = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make a version the champion if it passes the rule.

    Challenger and champion are compared on the same test eyes. The challenger may lose at most gate.sensitivity_margin
    of sensitivity, and the 95 % interval of the AUC difference (DeLong) must lie above -gate.auc_margin. A version that
    was trained on test eyes is refused. Every decision, also a refusal, becomes an MLflow run in the experiment
    drsearch-decisions.

    Example:
        drsearch promote retinopathy --version 2
    """
    if force and not reason:
        raise DrsearchError(
            "--force needs --reason TEXT: what is decided against the rule is recorded with its reason."
        )
    if not yes and not sys.stdin.isatty():
        raise DrsearchError(
            "nothing was judged or changed: there is nobody to ask here; --yes promotes without asking."
        )
    from drsearch import config as gin_files
    from drsearch.data.folder import read_folder

    out, home = console(as_json), Home.from_environment()
    gate = gin_files.load(config, set_).gate
    if data is not None:
        read_folder(data, home.path)
    reach_runs(home)

    from drsearch.release.decisions import check_may_decide
    from drsearch.release.registry import Registry

    check_may_decide(home, name.partition("/")[0])
    challenger = _challenger(Registry(home.tracking_uri), name, version)
    name, version = challenger.name, challenger.version

    from dataclasses import asdict

    from drsearch.release.champion import Promotion  # loads TensorFlow, for a version that is there

    promotion = Promotion.begin(name, version, gate, home)
    with counting(out, "photographs") as count:
        contest = promotion.judge(data, skip_bad=skip_bad, on_photograph=count)
    _print_contest(out, contest, promotion.earlier_decisions(contest))
    question = f"Make version {version} of {name} the champion?"
    decision = promotion.decide(contest, force=force, reason=reason, confirmed=lambda: yes or confirmed(out, question))
    recorded = f"recorded as run {decision.run_id}"
    if decision.changed:
        liner(out)(f"models:/{name}@champion is version {version} now ({decision.outcome}); {recorded}")
    print_json(as_json, {**asdict(decision), **contest.to_json()})
    if decision.outcome == "refused":
        raise DrsearchError(
            f"version {version} of {name} is refused and the champion unchanged ({recorded}); --force --reason TEXT "
            "overrides the rule."
        )
    if decision.outcome == "declined":
        raise DrsearchError(f"the champion is unchanged; {recorded}.")


@command("Champion")
def rollback(
    name: ModelName,
    reason: Reason,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make the previous champion the champion again.

    A second rollback goes back one champion further. Nothing is compared, and the test split is not used. The decision
    becomes an MLflow run, as promotions do.

    Example:
        drsearch rollback retinopathy --reason "misses small lesions"
    """
    out, home, name = console(as_json), Home.from_environment(), _whole_model(name)
    reach_runs(home)
    from dataclasses import asdict

    from drsearch.release.champion import Rollback
    from drsearch.release.decisions import check_may_decide

    check_may_decide(home, name)
    back = Rollback.begin(name, home)
    question = (
        f"Make version {back.to.version} of {name} the champion again, in place of version {back.champion.version}?"
    )
    if not yes and not confirmed(out, question):
        raise DrsearchError("nothing was changed; --yes rolls back without asking.")
    decision = back.decide(reason)
    liner(out)(f"models:/{name}@champion is version {back.to.version} again; recorded as run {decision.run_id}")
    print_json(as_json, asdict(decision))


@command("Champion")
def history(name: ModelName, as_json: Json = False) -> None:
    """List all decisions on a model: champion when, by whom, why.

    Promotions, refusals and rollbacks, the oldest first.

    Example:
        drsearch history retinopathy
    """
    out, home, name = console(as_json), Home.from_environment(), _whole_model(name)
    reach_runs(home)
    from dataclasses import asdict

    from drsearch.release.decisions import Decisions
    from drsearch.release.history import champions
    from drsearch.release.registry import CHAMPION, Registry

    registry = Registry(home.tracking_uri)
    decisions = Decisions(registry, home).history(name)
    champion = registry.with_alias(name, CHAMPION)
    table = Table("when", "version", "decision", "champion then", "by", "why")
    for each, then in zip(decisions, champions(decisions), strict=True):
        asked = each.rule.split("; ") if each.rule else []
        fails = [text for text in asked if not text.startswith("holds: ")]
        why = "; ".join(text for text in (each.reason, *(fails or (["the rule holds"] if asked else []))) if text)
        when = datetime.fromtimestamp(each.at_ms / 1000)
        table.add_row(f"{when:%Y-%m-%d %H:%M:%S}", str(each.version), each.outcome, str(then or "none"), each.by, why)
    if decisions:
        out.print(table)
    else:
        liner(out)(f"nothing was decided about {name} yet; {command_name()} promote {name} --version N")
    changes = [each.version for each in decisions if each.changed]
    now = champion.version if champion is not None else None
    if now != (changes[-1] if changes else None):
        liner(out)(f"@champion is {f'version {now}' if now else 'nobody'} now: it was changed outside drsearch")
    print_json(as_json, {"name": name, "champion": now, "decisions": [asdict(each) for each in decisions]})


@command("Champion")
def lineage(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|STUDY|RUN",
            help="A version (retinopathy/3, retinopathy@champion), a model, a study, or the id of an MLflow run.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Trace a version to its study, trial, data, code and decisions.

    For a model, a study or a run: its versions, each with its own lineage.

    Example:
        drsearch lineage retinopathy@champion
    """
    out, home = console(as_json), Home.from_environment()
    reach_runs(home)
    from drsearch.release.lineage import Lineage

    found = Lineage(home).of(what)
    out.print(_tree(found))
    print_json(as_json, found.to_json())


def _whole_model(name: str) -> str:
    """The name of a registered model, as it is or after `models:/`."""
    bare = name.removeprefix("models:/")
    if "/" in bare or "@" in bare:
        model = re.split("[/@]", bare)[0]
        raise DrsearchError(f"{name} is one version, and this command is about the whole model; write {model}.")
    return bare


def _challenger(registry: "Registry", name: str, version: int | None) -> "ModelVersion":
    """The version to judge: `retinopathy --version 2`, `retinopathy/2` or `retinopathy@search-best`."""
    model, at, which = re.fullmatch(r"([^/@]*)([/@]?)(.*)", name.removeprefix("models:/")).groups()  # type: ignore[union-attr]  # matches all
    if version is None and at == "@":
        return registry.named(model, which)
    if at == "/" and which.isdigit() and version in (None, int(which)):
        return registry.version(model, int(which))
    if version is None or at:
        raise DrsearchError(f"{name}: name one version to judge, for example {model} --version 2.")
    return registry.version(model, version)


def _tree(node: "Node", onto: Tree | None = None) -> Tree:
    label = _Label(node)
    branch = onto.add(label) if onto is not None else Tree(label)
    for part in node.parts:
        _tree(part, branch)
    return branch


class _Label:
    """A node's kind, name and facts; a line ends between two facts, so that each can be copied whole."""

    def __init__(self, node: "Node") -> None:
        self._head = Text.assemble((node.kind, "bold"), f" {node.name}")
        self._facts = [Text(f"{name} {value}", style="dim") for name, value in node.facts.items()]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [self._head]
        for fact in self._facts:
            if lines[-1].cell_len + 2 + fact.cell_len <= options.max_width:
                lines[-1] = Text.assemble(lines[-1], "  ", fact)
            else:
                lines.append(Text.assemble("  ", fact))
        yield from lines


def _print_contest(out: Console, contest: "Contest", before: int) -> None:
    from drsearch.release.contest import p_text

    champion = contest.champion
    shown = Table(
        "",
        f"challenger, version {contest.challenger.version.version}",
        f"champion, version {champion.version.version}" if champion else "no champion to compare with",
        "difference",
        title=f"{len(contest.labels)} test eyes, 95 % intervals",
        title_justify="left",
    )
    for row in contest.table():
        shown.add_row(*row)
    out.print(shown)
    say = liner(out)
    if (pair := contest.comparison) is not None:
        say(f"AUC, paired: DeLong's p {p_text(pair.auc.p)}; by the bootstrap {pair.auc_bootstrap:+.3f}")
        say(
            f"errors, paired: the challenger alone is wrong on {pair.mcnemar.first_only}, the champion alone on "
            f"{pair.mcnemar.second_only} (McNemar's exact p {p_text(pair.mcnemar.p)})"
        )
    for check in contest.checks:
        say(f"{'holds' if check.passed else 'FAILS'}: {check.text}")
    say(
        f"test evaluations of this test split from this home: {contest.test_evaluations}; "
        f"earlier decisions on it: {before}; "
        "the more often a test split decides, the less its scores say about other eyes"
    )
