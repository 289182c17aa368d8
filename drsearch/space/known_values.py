"""Fits given settings to a space: enqueued ones, and those of inherited trials."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from keras_tuner.engine import hyperparameters as kinds
from optuna.distributions import BaseDistribution

from drsearch.errors import SettingsError
from drsearch.settings import Settings, Value, near_names, quoted
from drsearch.space.build_model import PREFIX
from drsearch.space.hyperparameters import Hyperparameter, discrete_values, distribution_of, random_value
from drsearch.space.known_files import Known
from drsearch.space.search_space import SearchSpace

_WALKS, _BUILDS = 30, 5
"""Walks that show what a space draws where known settings leave something open; fewer where each builds a network."""


@dataclass(frozen=True)
class Fitted:
    """Known settings as a space draws them.

    Attributes:
        params: Values by name, as Optuna keeps them: without fixed ones.
        distributions: The distribution of each.
        drawn: All values by name, including fixed ones.
    """

    params: dict[str, Value]
    distributions: dict[str, BaseDistribution]
    drawn: dict[str, Value]


class Misfit(Exception):
    """Why a space cannot draw some settings, in a few words. Control flow, no error."""


def fit(space: SearchSpace, given: Mapping[str, Value], dice: random.Random | None = None) -> Fitted:
    """The given values, as a space draws them.

    Args:
        space: The space.
        given: Values by name; those that the space does not draw are left out.
        dice: Draws what `given` does not name; None to refuse that.

    Raises:
        Misfit: If the space cannot draw one of them, or asks for one that is not given, and there is no `dice`.
    """
    params: dict[str, Value] = {}
    distributions: dict[str, BaseDistribution] = {}

    def draw(name: str, hyperparameter: Hyperparameter) -> Value:
        if name in given:
            value = _same_value(hyperparameter, given[name])
            if value is None:
                raise Misfit(f"{name} = {given[name]!r}, and the space draws it from {_range_of(hyperparameter)}")
        elif dice is not None:
            value = random_value(hyperparameter, dice)
        else:
            raise Misfit(f"the space draws {name} too")
        params[name] = value
        distributions[name] = distribution_of(hyperparameter)
        return value

    def fix(name: str, fixed: Hyperparameter) -> Value:
        if name in given and given[name] != fixed.value:
            raise Misfit(f"{name} = {given[name]!r}, and the space fixes it at {fixed.value!r}")
        return fixed.value  # type: ignore[no-any-return]

    drawn = space.walk(draw, fix)
    return Fitted(params, distributions, drawn)


def _same_value(hyperparameter: Hyperparameter, value: Value) -> Value:
    """A value as a hyperparameter gives it (5 may become 5.0); None if it cannot."""
    values = discrete_values(hyperparameter)
    if values is not None:
        if isinstance(hyperparameter, kinds.Float) and _is_number(value):
            return next((each for each in values if math.isclose(each, value, rel_tol=1e-9)), None)  # type: ignore
        same = [each for each in values if each == value and isinstance(each, bool) == isinstance(value, bool)]
        return same[0] if same else None
    if not _is_number(value) or (isinstance(hyperparameter, kinds.Int) and not isinstance(value, int)):
        return None
    assert isinstance(value, (int, float))
    inside = hyperparameter.min_value <= value <= hyperparameter.max_value
    return (value if isinstance(hyperparameter, kinds.Int) else float(value)) if inside else None


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _range_of(hyperparameter: Hyperparameter) -> str:
    match hyperparameter:
        case kinds.Choice():
            return str(list(hyperparameter.values))
        case kinds.Boolean():
            return "[False, True]"
    step = f" in steps of {hyperparameter.step:g}" if hyperparameter.step not in (None, 1) else ""
    return f"{hyperparameter.min_value:g} to {hyperparameter.max_value:g}{step}"


def enqueued_params(space: SearchSpace, known: Known) -> dict[str, Value]:
    """The values that a trial must draw to start from known settings; the sampler chooses the others.

    Args:
        space: The space, on the study's settings.
        known: The settings.

    Raises:
        SettingsError: If the space cannot draw them.
    """
    dice = random.Random(0)
    try:
        n_walks = _BUILDS if space.has_hypermodel else _WALKS
        walks = [fit(space, known.values, dice) for _ in range(n_walks)]
    except Misfit as misfit:
        raise SettingsError(f"--enqueue {known.where}: {misfit}.") from None
    sometimes = {name for walk in walks for name in walk.drawn}
    always = {name for name in sometimes if all(name in walk.drawn for walk in walks)}
    for name, value in known.values.items():
        if name not in sometimes:
            _check_undrawn(space, known, name, value, tuple(sorted(sometimes)))
        elif name not in always:
            raise SettingsError(
                f"--enqueue {known.where}: {name} is drawn only under conditions that are left open; "
                "give what they depend on too."
            )
    return {name: walks[0].params[name] for name in known.values if name in walks[0].params}


def _check_undrawn(space: SearchSpace, known: Known, name: str, value: Value, drawn: tuple[str, ...]) -> None:
    if not known.whole or name.startswith(PREFIX):
        near = near_names(name, drawn)
        raise SettingsError(
            f"--enqueue {known.where}: the space does not draw {name!r} with these; "
            + (f"did you mean {quoted(near, 'or')}?" if near else f"it draws {quoted(drawn, 'and')}.")
        )
    if Settings().replace({name: value}).flat()[name] != (base := space.settings.flat()[name]):
        raise SettingsError(
            f"--enqueue {known.where}: {name} = {value!r}, which this space does not draw, and this study has "
            f"{base!r}; leave the line out, or give --set {name}={value}."
        )
