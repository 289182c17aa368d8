"""HTML of objects in a notebook."""

from html import escape
from typing import Any


def described_table(title: str, table: Any, text: str = "") -> str:
    """A table with a title above and a sentence below.

    Args:
        title: Plain text.
        table: A pandas DataFrame.
        text: Plain text.

    Returns:
        HTML.
    """
    below = f"<p>{escape(text)}</p>" if text else ""
    return f"<p><b>{escape(title)}</b></p>{table._repr_html_()}{below}"
