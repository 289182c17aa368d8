"""Checks the text of a space file before it runs: its names, parameters, imports and literal settings.

Nothing heavy is loaded here, so that a mistake is named at once: to run the file takes Keras and TensorFlow.
"""

import ast
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from drsearch.errors import SearchSpaceError, SettingsError
from drsearch.settings import Settings, Value, near_names, setting_names
from drsearch.space.shipped import no_such_space
from drsearch.texts import read_text

KNOWN = {
    "space": ("hp",),
    "build_model": ("hp", "image_px", "n_classes"),
    "build_loss": ("settings",),
    "augment": ("image", "rng"),
    "objective": ("labels", "probabilities"),
}
"""The functions of a space file that drsearch calls, with their parameters."""

_DEFINES = (
    "a space file defines SETTINGS, space(hp), build_model(hp, image_px, n_classes), build_loss(settings), "
    "augment(image, rng), objective(labels, probabilities), and what these use"
)

_HOOKS = {
    "loss": "The loss is the setting training.loss, or build_loss(settings).",
    "metric": "What judges a trial is the setting study.objective, or objective(labels, probabilities).",
    "optimizer": "The optimizer is the setting training.optimizer.",
    "schedule": "The schedule is the setting training.schedule.",
    "callback": "There are no callbacks: study.pruner ends trials early, training.schedule moves the learning rate.",
    "augment": "Augmentation is set by augmentation.*, or is augment(image, rng).",
    "preprocess": "Photographs are prepared as images.* says, and build_model may scale its input.",
    "class_weight": "Classes are evened out by training.balance.",
}
"""Parts of names that other tools call in a training, and what takes their place here."""


def read_source(path: Path) -> str:
    """The text of a space file, checked: its names, parameters, imports and literal settings.

    Raises:
        SearchSpaceError: Naming the file and the line.
    """
    source = read_text(path, SearchSpaceError, no_such_space(path))
    module = _parsed(path, source)
    _check_imports(path, module)
    _check_names(path, module)
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef) and statement.name in KNOWN:
            _check_parameters(path, statement)
    literal_settings(path, source)
    return source


def literal_settings(path: Path, source: str) -> dict[str, Value] | None:
    """The SETTINGS of a space file, if it writes them out; None if it computes them.

    Raises:
        SearchSpaceError: If one is no setting, or out of its range.
    """
    module = ast.parse(source)
    n_names = sum(isinstance(node, ast.Name) and node.id == "SETTINGS" for node in ast.walk(module))
    if not n_names:
        return {}
    for statement in module.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id="SETTINGS")], value=value)
                | ast.AnnAssign(target=ast.Name(id="SETTINGS"), value=ast.expr() as value)
            ) if n_names == 1:  # else what follows may change them
                try:
                    settings = ast.literal_eval(value)
                except (ValueError, TypeError):
                    return None
                return check_settings(path, settings)
    return None


def check_settings(path: Path, settings: Any) -> dict[str, Value]:
    """The SETTINGS of a space file, as a dict.

    Raises:
        SearchSpaceError: If they are no dict, or one is no setting or out of its range.
    """
    if not isinstance(settings, Mapping):
        raise SearchSpaceError(
            f"{path}: SETTINGS is a {type(settings).__name__}; write a dict, for example "
            "SETTINGS = {'training.epochs': 40}."
        )
    if names := [name for name in settings if not isinstance(name, str)]:
        raise SearchSpaceError(f"{path}: SETTINGS: {names[0]!r} is no name; write for example 'training.epochs'.")
    try:
        Settings().replace(settings)
    except SettingsError as wrong:
        raise SearchSpaceError(f"{path}: SETTINGS: {wrong}") from wrong
    return dict(settings)


def _parsed(path: Path, source: str) -> ast.Module:
    try:
        compile(source, str(path), "exec", dont_inherit=True)  # refuses more than the parser alone
        return ast.parse(source, filename=str(path))
    except SyntaxError as wrong:
        raise SearchSpaceError(f"{path}: line {wrong.lineno} is not Python: {wrong.msg}.") from wrong
    except (RecursionError, MemoryError, ValueError) as wrong:
        raise SearchSpaceError(f"{path}: is no Python that can be read ({wrong}).") from wrong


def _check_imports(path: Path, module: ast.Module) -> None:
    """Refuse the import of a package that is not installed; one within `try` may fail."""
    for node in _outside_of_try(module):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            if node.level:
                raise SearchSpaceError(
                    f"{path}: line {node.lineno} imports from its own folder; a study keeps the space file alone, so "
                    "write into it what it uses."
                )
            names = [node.module or ""]
        for name in (name.partition(".")[0] for name in names):
            if not _is_installed(name):
                line = getattr(node, "lineno", 0)
                raise SearchSpaceError(f"{path}: line {line} imports {name}, {_why_missing(path, name)}.")


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # a module that runs as a script
        return True


def _why_missing(path: Path, name: str) -> str:
    if (path.parent / f"{name}.py").is_file() or (path.parent / name).is_dir():
        return (
            "which lies beside it and is not installed; a study keeps the space file alone, so write into it what it "
            "uses, or install the package on every machine"
        )
    return "which is not installed here; install it on every machine that runs trials, or do without it"


def _outside_of_try(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        may_fail = isinstance(child, ast.Try) and child.handlers
        only_read = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
        if not may_fail and not only_read:
            yield child
            yield from _outside_of_try(child)


def _check_names(path: Path, module: ast.Module) -> None:
    """Refuse a public name that nothing uses: it looks as if it did something."""
    statements = list(_statements(module.body))
    imported = {name for statement in statements if _is_import(statement) for name in _bound(statement)}
    uses: dict[str, set[str]] = {}
    used = {"SETTINGS", *KNOWN}
    for statement in statements:
        names = _bound(statement)
        for name in names:  # of a, b = ... it will do that one is used
            uses[name] = uses.get(name, set()) | _loaded(statement) | set(names)
        if not names:
            used |= _loaded(statement)  # it runs with the file
    waiting = list(used)
    while waiting:
        new = uses.get(waiting.pop(), set()) - used
        used |= new
        waiting += new
    for statement in statements:
        for name in _bound(statement):
            if name not in used | imported and not name.startswith("_"):
                raise SearchSpaceError(f"{path}: {_what_is_unused(statement, name)}")
    if not {"space", "*"} & uses.keys():
        raise SearchSpaceError(f"{path}: defines no space(hp); begin with `def space(hp):` and draw settings in it.")


def _what_is_unused(statement: ast.stmt, name: str) -> str:
    unused = f"line {statement.lineno} defines {name}, which nothing uses"
    if near := near_names(name, ["SETTINGS", *KNOWN]):
        return f"{unused}; did you mean {near[0]}?"
    about = next((hint for part, hint in _HOOKS.items() if part in name.lower()), "")
    if not about and (settings := near_names(name, setting_names())):
        about = f"The setting {settings[0]} goes into SETTINGS, or is drawn in space(hp)."
    return f"{unused}: {_DEFINES}. {about or 'Leave it out, or begin its name with _.'}"


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module that run with it, those under `if`, `try`, `with` and in loops too."""
    for statement in body:
        match statement:
            case ast.If() | ast.Try() | ast.With() | ast.For() | ast.While():
                yield ast.Expr(_head(statement), lineno=statement.lineno)
                for name in ("body", "orelse", "finalbody"):
                    yield from _statements(getattr(statement, name, []))
                for handler in getattr(statement, "handlers", []):
                    yield from _statements(handler.body)
            case _:
                yield statement


def _head(statement: ast.stmt) -> ast.expr:
    """The expression that a compound statement evaluates before its body runs."""
    match statement:
        case ast.If(test=head) | ast.While(test=head) | ast.For(iter=head):
            return head
        case ast.With(items=items):
            return ast.Tuple([item.context_expr for item in items], ast.Load())
    return ast.Constant(None)


def _bound(statement: ast.stmt) -> list[str]:
    """The names that a statement defines or imports."""
    match statement:
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return [alias.asname or alias.name for alias in aliases]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            stored = [node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
            return [node.id for node in stored if isinstance(node.ctx, ast.Store)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _is_import(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Import | ast.ImportFrom)


def _loaded(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _check_parameters(path: Path, function: ast.FunctionDef) -> None:
    wanted = KNOWN[function.name]
    arguments = function.args
    positional = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    n_needed = len(positional) - len(arguments.defaults)
    fits = n_needed <= len(wanted) and (len(positional) >= len(wanted) or arguments.vararg is not None)
    needs_more = any(default is None for default in arguments.kw_defaults)
    in_another_order = sorted(positional) == sorted(wanted) and tuple(positional) != wanted
    if not fits or needs_more or in_another_order:
        raise SearchSpaceError(
            f"{path}: line {function.lineno} defines {function.name}({ast.unparse(arguments)}); "
            f"write def {function.name}({', '.join(wanted)})."
        )
