"""Checklists of reporting guidelines, filled in with what is known of a version."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from drsearch.errors import DrsearchError
from drsearch.release.facts import Fact, markdown

CHECKLISTS = ("tripod-ai", "claim", "stard-ai")
"""Names of the checklists; each is a file of `checklists/`."""


@dataclass(frozen=True)
class Item:
    """An item of a checklist.

    Attributes:
        number: As the guideline has it: `12c`.
        section: Of the guideline.
        topic: What it asks for, in our words.
        facts: Names of the facts of a model card that answer it, without those that do not apply to the version.
        person: What a person must write; empty if the facts answer it whole.
    """

    number: str
    section: str
    topic: str
    facts: tuple[str, ...] = ()
    person: str = ""


@dataclass(frozen=True)
class Checklist:
    """A checklist, and what is known of a version.

    Attributes:
        name: Of the guideline, with its year.
        reference: Where it was published.
        items: In the guideline's order.
        of: The version.
        facts: What is known of it, by name.
    """

    name: str
    reference: str
    items: tuple[Item, ...]
    of: str
    facts: Mapping[str, Fact]

    def status(self, item: Item) -> str:
        """`filled in`, `in part` or `to write`."""
        known = [self.facts[name].known for name in item.facts]
        if not any(known):
            return "to write"
        return "in part" if item.person or not all(known) else "filled in"

    def to_write(self, item: Item) -> str:
        """What a person must still write or measure; empty if nothing."""
        unknown = [fact for fact in map(self.facts.__getitem__, item.facts) if not fact.known]
        return " ".join([*markdown(unknown), *([item.person] if item.person else [])])

    @property
    def text(self) -> str:
        """How many items are filled in."""
        states = [self.status(item) for item in self.items]
        counts = ", ".join(f"{states.count(state)} {state}" for state in ("filled in", "in part", "to write"))
        numbers = {item.number.rstrip("abcdefg") for item in self.items}
        rows = f" in {len(states)} rows" if len(states) > len(numbers) else ""
        return f"{len(numbers)} items{rows}: {counts}"

    def markdown(self) -> str:
        """The checklist as Markdown; what a person must write stands after **To write:**."""
        lines = [f"# {self.name}: {self.of}", "", f"{self.text}. {self.reference}", ""]
        lines += ["The words of the items are drsearch's, and shorter than the guideline's, which count."]
        section, shown = "", dict[str, str]()
        for item in self.items:
            if item.section != section:
                section = item.section
                lines += ["", f"## {section}"]
            lines += ["", f"**{item.number}. {item.topic}**"]
            known = [name for name in item.facts if self.facts[name].known]
            if again := sorted({shown[name] for name in known if name in shown}, key=list(shown.values()).index):
                lines += ["", f"See {', '.join(again)}."]
            if new := [self.facts[name] for name in known if name not in shown]:
                lines += ["", *markdown(new)]
            shown |= {name: item.number for name in known if name not in shown}
            if rest := self.to_write(item):
                lines += ["", f"**To write:** {rest}"]
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Texts, lists and dicts only, as `--json` prints them."""
        items = [
            {
                "number": item.number,
                "section": item.section,
                "topic": item.topic,
                "status": self.status(item),
                "known": "\n".join(markdown(self.facts[name] for name in item.facts if self.facts[name].known)),
                "to_write": self.to_write(item),
            }
            for item in self.items
        ]
        return {"checklist": self.name, "reference": self.reference, "model": self.of, "items": items}


def checklist(name: str, of: str, facts: Mapping[str, Fact]) -> Checklist:
    """A checklist, filled in.

    Args:
        name: One of `CHECKLISTS`.
        of: The version.
        facts: What is known of it, by name.

    Raises:
        DrsearchError: If there is no such checklist.
    """
    if name not in CHECKLISTS:
        raise DrsearchError(f"--checklist {name}: write one of {', '.join(CHECKLISTS)}.")
    text = (resources.files("drsearch") / "release" / "checklists" / f"{name}.toml").read_text(encoding="utf-8")
    values = tomllib.loads(text)
    items = tuple(
        Item(**{**item, "facts": tuple(each for each in item.get("facts", ()) if each in facts)})
        for item in values["items"]
    )
    return Checklist(values["name"], values["reference"], items, of, facts)
