"""Facts about a version, from which pages and checklists are put together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from drsearch.tracking.markdown import note_table


@dataclass(frozen=True)
class Table:
    """A table of a fact.

    Attributes:
        head: One cell per column.
        rows: As wide as the head.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Fact:
    """One fact: paragraphs and tables.

    Attributes:
        blocks: Paragraphs in Markdown, and tables.
        known: Whether drsearch knows it; otherwise the text says how to come to know it.
    """

    blocks: tuple[str | Table, ...]
    known: bool = True


def markdown(facts: Iterable[Fact]) -> list[str]:
    """The lines of some facts, with an empty line between paragraphs and tables."""
    lines: list[str] = []
    for block in (block for fact in facts for block in fact.blocks):
        lines += [""] if lines else []
        lines += [block] if isinstance(block, str) else note_table(block.head, block.rows)
    return lines
