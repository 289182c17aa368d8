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
from drsearch.cli.output import command_name, confirmed, console, print_json, progress_on
from drsearch.display.output import liner, working
from drsearch.errors import DrsearchError

if TYPE_CHECKING:
    from drsearch.release.contest import Contest
    from drsearch.release.lineage import Node
    from drsearch.release.registry import ModelVersion

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded with the decision.")]


@command("Champion")
def promote(
    name: ModelName,
    version: Annotated[
        int | None,
        typer.Option("--version", metavar="N", help="The challenger. NAME may say it, too: retinopathy/2."),
    ] = None,
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            metavar="FOLDER",
            help="Data set whose test split decides. Default: the one that the version was trained with. Repeatable.",
        ),
    ] = [],  # noqa: B006
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
    if not yes and not sys.stdin.isatty() and not (force and not reason):
        raise DrsearchError(
            "nothing was judged or changed: there is nobody to ask here; --yes promotes without asking."
        )
    from dataclasses import asdict

    from drsearch.api.champion import promote as decide
    from drsearch.config import assignments

    out, challenger = console(as_json), _challenger(name, version)

    def confirm(contest: "Contest", decided_before: int) -> bool:
        _print_contest(out, contest, decided_before)
        version = contest.challenger.version
        return yes or confirmed(out, f"Make version {version.version} of {version.name} the champion?")

    promotion = decide(
        challenger,
        data=data or None,
        settings=assignments(set_),
        config=config,
        force=force,
        reason=reason,
        skip_bad=skip_bad,
        confirm=confirm,
        progress=progress_on(out),
    )
    decision = promotion.decision
    if promotion.outcome == "refused":
        _print_contest(out, promotion.contest, promotion.decided_before)
    if promotion.is_champion:
        liner(out)(
            f"models:/{decision.name}@champion is version {decision.version} now ({decision.outcome}); "
            f"recorded as run {decision.run_id}"
        )
    print_json(as_json, {**asdict(decision), **promotion.contest.to_json()})
    if promotion.outcome == "refused":
        raise DrsearchError(
            f"version {decision.version} of {decision.name} is refused and the champion unchanged (recorded as run "
            f"{decision.run_id}); --force --reason TEXT overrides the rule."
        )
    if promotion.outcome == "declined":
        raise DrsearchError(f"the champion is unchanged; recorded as run {decision.run_id}.")


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
    from dataclasses import asdict

    from drsearch.api.champion import rollback as go_back

    out = console(as_json)

    def confirm(to: "ModelVersion", champion: "ModelVersion") -> bool:
        return yes or confirmed(
            out,
            f"Make version {to.version} of {to.name} the champion again, in place of version {champion.version}?",
        )

    decision = go_back(name, reason, confirm)
    liner(out)(
        f"models:/{decision.name}@champion is version {decision.version} again; recorded as run {decision.run_id}"
    )
    print_json(as_json, asdict(decision))


@command("Champion")
def history(name: ModelName, as_json: Json = False) -> None:
    """List all decisions on a model: champion when, by whom, why.

    Promotions, refusals and rollbacks, the oldest first.

    Example:
        drsearch history retinopathy
    """
    from dataclasses import asdict

    from drsearch.api.champion import decisions as read_decisions
    from drsearch.api.champion import whole_name
    from drsearch.release.history import champions

    out, name = console(as_json), whole_name(name)
    with working(progress_on(out), "reading the decisions"):
        decisions, champion = read_decisions(name)
    table = Table("when", "version", "decision", "champion then", "by", "why")
    for each, then in zip(decisions, champions(decisions), strict=True):
        checks = each.rule.split("; ") if each.rule else []
        fails = [text for text in checks if not text.startswith("holds: ")]
        why = "; ".join(text for text in (each.reason, *(fails or (["the rule holds"] if checks else []))) if text)
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
    """Trace a version to study, trial, data, code and decisions.

    For a model, a study or a run: its versions, each with its own lineage.

    Example:
        drsearch lineage retinopathy@champion
    """
    from drsearch.api.champion import lineage as trace

    out = console(as_json)
    with working(progress_on(out), f"tracing {what}"):
        tree = trace(what)
    out.print(_tree(tree))
    print_json(as_json, tree.to_json())


def _challenger(name: str, version: int | None) -> str:
    """The version to judge: `retinopathy --version 2`, `retinopathy/2` or `retinopathy@search-best`."""
    bare = name.removeprefix("models:/")
    model, at, which = re.fullmatch(r"([^/@]*)([/@]?)(.*)", bare).groups()  # type: ignore[union-attr]  # matches all
    if version is None and (at == "@" or which.isdigit()):
        return bare
    if version is None or (at and (at == "@" or which != str(version))):
        raise DrsearchError(f"{name}: name one version to judge, for example {model} --version 2.")
    return f"{model}/{version}"


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
    champion = contest.champion
    shown = Table(
        "",
        f"challenger, version {contest.challenger.version.version}",
        f"champion, version {champion.version.version}" if champion else "no champion to compare with",
        "difference",
        title=f"{contest.eyes_text}, 95 % intervals",
        title_justify="left",
    )
    for row in contest.table():
        shown.add_row(*row)
    out.print(shown)
    say = liner(out)
    for text in contest.paired():
        say(text)
    for text in contest.beside_blind():
        say(text)
    for check in contest.checks:
        say(f"{'holds' if check.passed else 'FAILS'}: {check.text}")
    say(
        f"test evaluations of this test split from this home: {contest.test_evaluations}; "
        f"earlier decisions on it: {before}; "
        "the more often a test split decides, the less its scores say about other eyes"
    )
