"""What MkDocs calls while it builds the site: pages made from the code, and links to files of the repository."""

import inspect
import posixpath
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import griffe
import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import drsearch
from drsearch.cli import app
from drsearch.settings import SECTIONS, searchable_names

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "drsearch" / "configs"
SOURCE = "source"
"""Folder of the site with the files of the repository that pages link to."""

_LINK = re.compile(r"(?<=\]\()(\.\./[^)#\s]+)")
_UNITS = {
    "_px": "pixels", "_deg": "degrees", "mask": "share of the side", "_fraction": "fraction", "accuracy": "share",
    "sensitivity": "share", "percentile": "percent", "width": "channels", "stages": "stages",
    "blocks_per_stage": "blocks", "batch_size": "images", "epochs": "epochs", "hours": "hours", "trials": "trials",
    "_population": "trials", "folds": "folds", "_eyes": "eyes", "threads": "threads",
}  # fmt: skip
"""Units of settings, by the ends of their names."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and every file of the repository that a page links to."""
    made = {"settings": settings_page(), "commands": commands_page(), "python": python_page()}
    for name, text in made.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    pages = files.documentation_pages()
    linked = {_path(link, page) for page in pages for link in _LINK.findall(page.content_string)}
    for path in sorted(linked):
        if not path.startswith("docs/") and (ROOT / path).is_file():
            files.append(File.generated(config, _shown(path), content=(ROOT / path).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files of the repository lead to their copies in the site; MkDocs then refuses what is not there."""

    def moved(link: re.Match[str]) -> str:
        path = _path(link[1], page.file)
        if path.startswith("docs/"):
            return link[1]
        return posixpath.relpath(_shown(path), posixpath.dirname(page.file.src_uri) or ".")

    return _LINK.sub(moved, markdown)


def _path(link: str, page: File) -> str:
    """Where a link of a page leads, as a path of the repository."""
    return posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.src_uri), link))


def _shown(path: str) -> str:
    """The copy of a file: as text, which every browser shows instead of saving it."""
    return f"{SOURCE}/{path}.txt"


def settings_page() -> str:
    """All settings, a table per section, from `drsearch/settings.py`."""
    searchable = set(searchable_names())
    lines = [
        "# Settings",
        "",
        "Defaults < the space's `SETTINGS` < `--config FILE.gin` < `--set section.field=value` < what a trial draws. "
        "A name that does not exist is refused with the nearest one that does. *Drawn* says whether a search space "
        "may draw a setting. The `settings.gin` of every run has all of them. Files that come with drsearch, by name: "
        + ", ".join(f"[`{file.name}`](../../drsearch/configs/{file.name})" for file in sorted(CONFIGS.glob("*.gin")))
        + ".",
    ]
    for section, kind in SECTIONS.items():
        lines += ["", f"## {section}", "", _paragraphs(kind.__doc__ or ""), ""]
        lines += ["| setting | default | type, unit, range | drawn | meaning |", "|-|-|-|-|-|"]
        for item in fields(kind):
            name = f"{section}.{item.name}"
            shown = getattr(item.type, "__name__", str(item.type))
            value = ", ".join(filter(None, (shown, _unit(item.name), _range(item.metadata))))
            cells = [f"`{name}`", f"`{item.default!r}`", value, "yes" if name in searchable else "no"]
            lines.append("| " + " | ".join(map(_cell, [*cells, item.metadata["doc"]])) + " |")
    return "\n".join(lines) + "\n"


def _unit(name: str) -> str:
    return next((unit for end, unit in _UNITS.items() if name.endswith(end)), "")


def _range(metadata: Any) -> str:
    if metadata["choices"]:
        return ", ".join(f"`{choice}`" for choice in metadata["choices"])
    words = {"at least": metadata["low"], "above": metadata["above"], "at most": metadata["high"]}
    return ", ".join(f"{word} {end:.12g}" for word, end in words.items() if end is not None)


def commands_page() -> str:
    """All commands with their help, arguments and options, from the program itself."""
    program: Any = typer.main.get_command(app)
    lines = ["# Command line", "", str(program.help), "", _paragraphs(program.epilog), ""]
    lines += ["Exit status: 0 on success, 2 for a mistake that is said in one sentence, 130 when interrupted.", ""]
    with program.make_context("drsearch", [], resilient_parsing=True) as context:
        lines += ["## Before a command", "", *_options(program, context)]
        for name, command in program.commands.items():
            if not command.hidden:
                with command.make_context(name, [], parent=context, resilient_parsing=True) as own:
                    usage = command.get_usage(own).removeprefix("Usage: ")
                    lines += ["", f"## {name}", "", f"    {usage}", "", _paragraphs(command.help), ""]
                    lines += _options(command, own)
    return "\n".join(lines) + "\n"


def _options(command: Any, context: Any) -> list[str]:
    records = [record for param in command.params if (record := param.get_help_record(context))]
    return (
        ["| argument, option | meaning |", "|-|-|", *(f"| `{name}` | {_cell(text)} |" for name, text in records)]
        if records
        else []
    )


def python_page() -> str:
    """All public names, from their docstrings.

    Raises:
        PluginError: If a public name, or a public method or attribute of a class, has no docstring.
    """
    package = griffe.load("drsearch", search_paths=[ROOT])
    lines = [
        "# Python",
        "",
        "Everything that the command line does. [From Python](../python.md) has a recipe per function.",
    ]
    silent = []
    for name in sorted(drsearch.__all__, key=lambda name: (name[0].isupper(), name)):
        thing = package[name].final_target if package[name].is_alias else package[name]
        members = thing.members.items() if thing.is_class else ()
        own = {f"{name}.{key}": each for key, each in members if not key.startswith("_") and not each.is_alias}
        silent += [key for key, each in {name: thing, **own}.items() if not each.has_docstring and not _described(each)]
        lines += ["", f"::: {thing.canonical_path}"]
    if silent:
        raise PluginError(f"public names without a docstring: {', '.join(silent)}")
    return "\n".join(lines) + "\n"


def _described(thing: Any) -> bool:
    """Whether an attribute stands under `Attributes:` or `Args:` of its class."""
    text = thing.parent.docstring.value if thing.parent.docstring else ""
    return thing.is_attribute and re.search(rf"^ +{re.escape(thing.name)}( \(.*\))?: ", text, re.MULTILINE) is not None


def _paragraphs(text: str) -> str:
    """Text of a docstring as Markdown: `Example:` and other sections become a word and a code block."""
    return re.sub(r"^(\w+):\n(?=    )", r"\1:\n\n", inspect.cleandoc(text), flags=re.MULTILINE)


def _cell(text: str) -> str:
    """Text within a table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")
