"""Reads `docs/tags_and_metrics.md`: the names in the first column of its tables."""

import re
from pathlib import Path

from drsearch.metrics import EXAMPLES

_PAGE = Path(__file__).parents[1] / "docs" / "tags_and_metrics.md"
_CHOSEN = "(" + "|".join(re.sub(r"0\\\.\d+", r"[0-9.]+", re.escape(name[4:])) for name in EXAMPLES) + ")"
_PLACES = {
    "<i>": r"\d+",
    "<objective>": f"val_{_CHOSEN}",
    "<chosen>": _CHOSEN,
    "<score>": "[a-z]+",
    "<corruption>": "[a-z]+",
    "<region>": "[a-z0-9_]+",
}


def page_names(section: str) -> list[str]:
    """The names that a section's table lists, placeholders such as `<score>` included."""
    table = _PAGE.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(.*?)`", row)]


def undocumented_metrics(metrics: set[str]) -> set[str]:
    """Those of the metrics that the page does not list; of a fold's, the name without the fold counts."""
    patterns = []
    for name in page_names("Metrics"):
        pattern = re.escape(name)
        for place, values in _PLACES.items():
            pattern = pattern.replace(re.escape(place), values)
        patterns.append(pattern)
    plain = {re.sub(r"^(repeat\d+/)?fold\d+/|^repeat\d+/", "", name): name for name in metrics}
    return {name for metric, name in plain.items() if not re.fullmatch("|".join(patterns), metric)}
