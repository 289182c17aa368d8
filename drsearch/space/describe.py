"""Describes a search space: its axes, their conditions, the size of its grid, and some draws. Nothing is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from keras_tuner.engine import hyperparameters as kinds

from drsearch.errors import SearchSpaceError
from drsearch.settings import Value
from drsearch.space.build_model import PREFIX
from drsearch.space.explorer import Explorer
from drsearch.space.hyperparameters import Hyperparameter
from drsearch.space.search_space import SearchSpace

_WALKS, _BUILDS = 300, 12
"""Walks from which conditions are read; fewer where each builds a network."""

_COUNTED, _BUILT = 100_000, 500
"""A grid is counted up to so many points."""

_LISTED = 12
"""A condition on an axis with more values than this cannot be told from chance."""

N_SAMPLES = 10


@dataclass(frozen=True)
class Axis:
    """One name that a space draws or fixes.

    Attributes:
        name: Of the setting, or `hypermodel.<name>`.
        kind: Int, Float, Choice, Boolean or Fixed.
        values: Its range or choices, in words.
        condition: When it is drawn, in words; empty for always.
        default: Its value where it is not drawn: the setting's, or KerasTuner's default in a hypermodel.
    """

    name: str
    kind: str
    values: str
    condition: str
    default: Value


@dataclass(frozen=True)
class Overview:
    """The description of a search space.

    Attributes:
        axes: In the order drawn.
        grid_points: Points of its grid, None if it is continuous.
        at_least: Whether there are more points than were counted.
        why_no_grid: Why it has no grid, in a sentence; empty if it has.
        samples: Random draws.
    """

    axes: tuple[Axis, ...]
    grid_points: int | None
    at_least: bool
    why_no_grid: str
    samples: tuple[dict[str, Value], ...]


def overview(space: SearchSpace) -> Overview:
    """The description of a space; no trial is made, and no study is touched.

    Args:
        space: The space, checked.
    """
    explorer = Explorer()
    for _ in range(_BUILDS if space.has_hypermodel else _WALKS):
        explorer.walk(space.walk)
    walks, names = explorer.walks, _in_order(explorer.walks)
    axes = tuple(_axis(space, name, explorer.forms[name], _condition(name, names, walks)) for name in names)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=space.settings.study.seed))
    samples = tuple(space.draw(study.ask()) for _ in range(N_SAMPLES))
    counted = _BUILT if space.has_hypermodel else _COUNTED
    try:
        n = len(space.grid(at_most=counted + 1))
    except SearchSpaceError as continuous:
        return Overview(axes, None, False, str(continuous), samples)
    return Overview(axes, min(n, counted), n > counted, "", samples)


def _in_order(walks: Sequence[Mapping[str, Value]]) -> list[str]:
    """All names, each after those that precede it in some walk."""
    names: list[str] = []
    for walk in walks:
        at = 0
        for name in walk:
            if name in names:
                at = names.index(name) + 1
            else:
                names.insert(at, name)
                at += 1
    return names


def _axis(space: SearchSpace, name: str, forms: list[Hyperparameter], condition: str) -> Axis:
    first = forms[0]
    default = first.default if name.startswith(PREFIX) else space.settings.flat()[name]
    kind = " or ".join(dict.fromkeys(type(form).__name__ for form in forms))
    values = " or ".join(dict.fromkeys(_values_of(form) for form in forms))
    return Axis(name, kind, values, condition, default)


def _values_of(hyperparameter: Hyperparameter) -> str:
    match hyperparameter:
        case kinds.Choice():
            return ", ".join(str(value) for value in hyperparameter.values)
        case kinds.Boolean():
            return "False, True"
        case kinds.Fixed():
            return str(hyperparameter.value)
    words = f"{hyperparameter.min_value:g} to {hyperparameter.max_value:g}"
    if hyperparameter.sampling == "log":
        return f"{words}, log"
    whole = isinstance(hyperparameter, kinds.Int) and hyperparameter.step == 1
    return words if hyperparameter.step is None or whole else f"{words}, step {hyperparameter.step:g}"


def _condition(name: str, names: Sequence[str], walks: Sequence[Mapping[str, Value]]) -> str:
    """When a name is drawn, read from walks: the values of earlier names that all walks with it share.

    KerasTuner's conditions and Python's `if` give the same text. Redundant clauses are left out; `...` follows where
    the clauses also allow walks without the name.
    """
    with_it = [walk for walk in walks if name in walk]
    if len(with_it) == len(walks):
        return ""
    parents = {
        parent: list(dict.fromkeys(walk.get(parent) for walk in with_it))
        for parent in reversed(names[: names.index(name)])
        if len({walk.get(parent) for walk in walks}) <= _LISTED
    }
    clauses: list[str] = []
    allowed = list(walks)
    for parent, values in sorted(parents.items(), key=lambda item: None in item[1]):  # what it is, before what is not
        narrower = [walk for walk in allowed if walk.get(parent) in values]
        if len(narrower) < len(allowed):
            allowed = narrower
            clauses.append(_clause(parent, values))
        if len(allowed) == len(with_it):
            break
    if len(allowed) > len(with_it):
        clauses.append("...")
    return " and ".join(clauses)


def _clause(parent: str, values: Sequence[Value]) -> str:
    shown = [str(value) for value in values if value is not None]
    if not shown:
        return f"without {parent}"
    also = f" or without {parent}" if None in values else ""
    return (f"{parent} = {shown[0]}" if len(shown) == 1 else f"{parent} in {', '.join(sorted(shown))}") + also
