"""How long is the code, and how much of it explains itself? `python docs/counts.py` prints a row per room."""

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

ROOT = Path(__file__).parents[1] / "drsearch"
_SELF = ("self", "cls")


@dataclass
class Counts:
    """Counts of one room.

    Attributes:
        lines: All lines.
        code: Lines with code: no blank lines, comments or docstrings.
        long: Public functions with three or more arguments.
        with_args: Of these, those whose docstring (for `__init__` the class's) has `Args:`.
        returning: Public functions that return something.
        say_what: Of these, those whose docstring says what: in its first sentence's words or under `Returns:`.
        examples: Doctests.
    """

    lines: int = 0
    code: int = 0
    long: int = 0
    with_args: int = 0
    returning: int = 0
    say_what: int = 0
    examples: int = 0


def count(path: Path) -> Counts:
    """The counts of one file."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    counts = Counts(lines=source.count("\n"), code=len(_code_lines(source, tree)), examples=source.count(">>> "))
    for function, docstring, is_init in public_functions(tree):
        n_arguments = len([each for each in _arguments(function) if each not in _SELF])
        if n_arguments >= 3:
            counts.long += 1
            counts.with_args += "Args:" in docstring
        if not is_init and returns(function):
            counts.returning += 1
            counts.say_what += says_what(docstring)
    return counts


def public_functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef, str, bool]]:
    """Public functions and methods with their docstrings; an `__init__` with its class's."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node, ast.get_docstring(node) or "", False
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for each in node.body:
                if isinstance(each, ast.FunctionDef) and each.name == "__init__":
                    yield each, ast.get_docstring(node) or "", True
                elif isinstance(each, ast.FunctionDef) and not each.name.startswith("_"):
                    yield each, ast.get_docstring(each) or "", False


def returns(function: ast.FunctionDef) -> bool:
    """Whether a function gives something back."""
    return function.returns is not None and ast.unparse(function.returns) not in ("None", "NoReturn")


def says_what(docstring: str) -> bool:
    """Whether a docstring says what is returned: `Returns:`, `Yields:`, or a first sentence that is the thing.

    A first sentence is the thing if it begins with "Return", "Yield" or "Whether", or with a noun phrase.

    Example:
        >>> says_what("The best trial."), says_what("Whether it is over."), says_what("Open a study.")
        (True, True, False)
    """
    if "Returns:" in docstring or "Yields:" in docstring:
        return True
    first = docstring.split(None, 1)[0].strip(":,.") if docstring else ""
    nouns = (
        "The",
        "A",
        "An",
        "Whether",
        "How",
        "Why",
        "What",
        "Which",
        "Where",
        "When",
        "All",
        "Every",
        "Each",
        "Return",
    )
    return first in nouns or first.startswith(("Return", "Yield")) or first in ("Number", "Names", "Seconds", "Bytes")


def _arguments(function: ast.FunctionDef) -> list[str]:
    asked = function.args
    return [each.arg for each in (*asked.posonlyargs, *asked.args, *asked.kwonlyargs)]


def _code_lines(source: str, tree: ast.Module) -> set[int]:
    docstrings: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            docstrings |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    nothing = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in nothing:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines - docstrings


def main() -> None:
    """Print the table."""
    rooms: dict[str, Counts] = {}
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0] if path.parent != ROOT else "ground floor"
        for name in (room, "all"):
            total, one = rooms.setdefault(name, Counts()), count(path)
            for field in fields(Counts):
                setattr(total, field.name, getattr(total, field.name) + getattr(one, field.name))
    rooms["all"] = rooms.pop("all")
    print(f"{'room':14}{'lines':>8}{'code':>8}{'Args':>12}{'says what':>12}{'examples':>10}")
    for room, counts in rooms.items():
        args, what = f"{counts.with_args}/{counts.long}", f"{counts.say_what}/{counts.returning}"
        print(f"{room:14}{counts.lines:8}{counts.code:8}{args:>12}{what:>12}{counts.examples:10}")


if __name__ == "__main__":
    sys.exit(main())
