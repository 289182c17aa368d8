"""Chooses values for walks through a space, so that soon every branch has been seen."""

import random
from collections.abc import Callable

from keras_tuner.engine import hyperparameters as kinds

from drsearch.settings import Value
from drsearch.space.hyperparameters import Draw, Hyperparameter, discrete_values, middle, random_value

_PROBES = 24
"""Of an axis with more values than this, the ends and the middle are tried first."""


class Explorer:
    """Answers what a space draws: first with values that no walk has had, then with any.

    Attributes:
        walks: What each walk drew, by name.
        forms: The hyperparameters that each name was drawn from, each once.
        n_idle: Walks since the last that drew a new value.
    """

    def __init__(self) -> None:
        self.walks: list[dict[str, Value]] = []
        self.forms: dict[str, list[Hyperparameter]] = {}
        self.n_idle = 0
        self._dice = random.Random(0)
        self._tried: dict[str, set[Value]] = {}

    def walk(self, through: Callable[[Draw, Draw], dict[str, Value]]) -> None:
        """Walk through a space once.

        Args:
            through: Walks with what draws and what answers fixed values, and returns everything drawn.
        """
        self.n_idle += 1
        self.walks.append(through(self.draw, self.fix))

    def draw(self, name: str, hyperparameter: Hyperparameter) -> Value:
        """A value of a hyperparameter, which is noted."""
        self._note(name, hyperparameter)
        tried = self._tried.setdefault(name, set())
        untried = [value for value in _probes(hyperparameter) if value not in tried]
        if not untried:
            return random_value(hyperparameter, self._dice)
        self.n_idle = 0
        tried.add(value := self._dice.choice(untried))
        return value

    def fix(self, name: str, fixed: Hyperparameter) -> Value:
        """The value of a `Fixed`, which is noted."""
        self._note(name, fixed)
        return fixed.value  # type: ignore[no-any-return]

    def _note(self, name: str, hyperparameter: Hyperparameter) -> None:
        forms = self.forms.setdefault(name, [])
        if all(repr(hyperparameter) != repr(form) for form in forms):
            forms.append(hyperparameter)


def _probes(hyperparameter: Hyperparameter) -> list[Value]:
    values = discrete_values(hyperparameter)
    if values is None or (len(values) > _PROBES and not isinstance(hyperparameter, kinds.Choice)):
        inner = values[len(values) // 2] if values else middle(hyperparameter)
        return [hyperparameter.min_value, hyperparameter.max_value, inner]
    return values
