"""The sections of a report that say what the model card of a version says, and no other section does."""

import re

from markupsafe import Markup, escape

from drsearch.release.facts import Fact, Table
from drsearch.release.model_card import SECTIONS, ModelCard
from drsearch.reports.page import Section, heading, points, table, text

_LIMITS = ("not_for", "unknown_groups", "poor_photographs", "counted")
_TOLD_ELSEWHERE = {
    *_LIMITS, "origin", "patients", "patient_scores", "sources", "blind", "cautions", "front", "confusion",
    "failures", "grades", "qualities", "splits", "exclusions", "selection", "settings", "explanations", "lineage",
    "repeat",
}  # fmt: skip


def limits_section(card: ModelCard) -> Section:
    """What a version may not be used for, and what is unknown of it.

    Args:
        card: Of the version.
    """
    facts = card.facts()
    limits = [block for name in _LIMITS if name in facts for block in facts[name].blocks if isinstance(block, str)]
    return Section("What it may not be used for", [points(*map(_inline, limits))])


def card_section(card: ModelCard) -> Section:
    """The facts of a model card that no other section of the report has.

    Args:
        card: Of the version.
    """
    intro = (
        f"What the other sections leave open. `drsearch card {card.name}` prints the whole card, and with "
        "`--checklist tripod-ai`, `claim` or `stard-ai` the items of that guideline."
    )
    facts, parts = card.facts(), [text(_inline(intro))]
    for title, names in SECTIONS.items():
        own = [part for name in names if name in facts.keys() - _TOLD_ELSEWHERE for part in fact_parts(facts[name])]
        parts += [heading(title), *own] if own else []
    return Section("Model card", parts)


def fact_parts(fact: Fact) -> list[Markup]:
    """The paragraphs and tables of a fact.

    Args:
        fact: With Markdown's code and strong text.
    """
    return [
        table([*map(_inline, block.head)], [[*map(_inline, row)] for row in block.rows])
        if isinstance(block, Table)
        else text(_inline(block))
        for block in fact.blocks
    ]


def _inline(markdown: str) -> Markup:
    """A text with Markdown's code and strong text, as HTML.

    Example:
        >>> _inline("**On test**: `a < b`")
        Markup('<strong>On test</strong>: <code>a &lt; b</code>')
    """
    code = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(markdown)))
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", code))
