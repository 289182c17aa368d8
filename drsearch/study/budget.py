"""The budgets of a study: trials, hours, epochs and patience, counted over all calls."""

import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

import optuna

from drsearch.settings import Settings
from drsearch.study.best_trial import since_improved
from drsearch.trials.trials import Trial, read_trials

if TYPE_CHECKING:
    from drsearch.space.search_space import SearchSpace

BUDGETS = ("study.trials", "study.hours", "study.epochs", "study.patience_trials")
"""Settings that may change from call to call: a study that goes on with more of them is the same study."""

EPOCHS = "drsearch.epochs"
"""Of a trial: epochs trained so far, where its reports do not show them."""

N_TRIALS = "drsearch.trials"
"""Of a study: trials in total, as the last call asked for."""

TRIALS_WITHOUT_GRID = 20
"""Trials of a study whose space is no grid and that has no other budget."""

_BUDGETS = "drsearch.budgets"
_SPENT = "drsearch.spent"
_CALL = "drsearch.call."
_NOTE_S = 10.0


def total_trials(space: "SearchSpace") -> int | None:
    """How many trials a study has in total: `study.trials`, at most the whole grid; 20 where neither is given.

    Returns:
        None where another budget ends the study.
    """
    study = space.settings.study
    if study.sampler == "grid":
        size = len(space.grid())
        return size if study.trials is None else min(study.trials, size)
    ends_otherwise = any(budget is not None for budget in (study.hours, study.epochs, study.patience_trials))
    return study.trials or (None if ends_otherwise else TRIALS_WITHOUT_GRID)


def n_trials_of(study: optuna.Study) -> int:
    """How many trials a study has in total, as the last call asked for."""
    return int(study.user_attrs.get(N_TRIALS, 0))  # none, if its launcher died while it began


class Hours:
    """How long a study has been run, over all calls; two calls at once count once.

    Each call notes its begin and its last moment in an attribute of its own: a call that is killed loses the seconds
    since its last note, and the time until the next call does not count.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study, self._key = study, f"{_CALL}{uuid.uuid4().hex[:12]}"
        self._began, self._monotonic = time.time(), time.monotonic()
        self._noted = -_NOTE_S

    def so_far(self) -> float:
        """The hours of all calls; notes the last moment of this call every 10 s."""
        elapsed = time.monotonic() - self._monotonic  # the clock may be set while a study runs
        if elapsed - self._noted >= _NOTE_S:
            self.note()
        calls = {key: span for key, span in self._study.user_attrs.items() if key.startswith(_CALL)}
        calls[self._key] = [self._began, self._began + elapsed]
        return union_s(list(calls.values())) / 3600

    def note(self) -> None:
        """Note the last moment of this call."""
        self._noted = time.monotonic() - self._monotonic
        self._study.set_user_attr(self._key, [self._began, self._began + self._noted])


def union_s(spans: Sequence[Sequence[float]]) -> float:
    """Seconds that at least one of several spans covers.

    Example:
        >>> union_s([(0, 10), (5, 12), (20, 21)])
        13.0
    """
    total, reached = 0.0, float("-inf")
    for begin, end in sorted((float(span[0]), float(span[1])) for span in spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def epochs_of(trial: Trial) -> int:
    """How many epochs a trial was trained, up to its last checkpoint; epochs repeated after a crash count once."""
    return max(int(attempt.user_attrs.get(EPOCHS, attempt.last_step or 0)) for attempt in trial.attempts)


def what_is_spent(trials: Sequence[Trial], hours: float, settings: Settings) -> str:
    """The budget that is used up, in a few words; empty while none is. Retries count as one trial.

    Args:
        trials: The trials of the study.
        hours: How long it was run, over all calls.
        settings: Its settings, with the budgets.
    """
    study = settings.study
    if study.hours is not None and hours >= study.hours:
        return f"study.hours = {study.hours:g} are over"
    if study.epochs is not None and sum(map(epochs_of, trials)) >= study.epochs:
        return f"study.epochs = {study.epochs} are trained"
    if study.patience_trials is not None and (since := since_improved(trials, settings)) >= study.patience_trials:
        return f"no improvement in {since} trials (study.patience_trials = {study.patience_trials})"
    return ""


def set_budgets(study: optuna.Study, settings: Settings) -> None:
    """Write the budgets of this call to the study, for the workers; none is spent yet."""
    budgets = {name: value for name, value in settings.flat().items() if name in BUDGETS}
    study.set_user_attr(_BUDGETS, budgets)
    set_spent(study, "")


def set_spent(study: optuna.Study, reason: str) -> None:
    """Write to the study that a budget is spent: workers begin no trial until the reason is empty again."""
    study.set_user_attr(_SPENT, reason)


def spent(study: optuna.Study, settings: Settings) -> str:
    """The budget that is used up, as a worker finds it before it begins a trial; empty while none is.

    The worker counts trials and epochs itself; the launcher counts the hours.

    Args:
        study: The study, with the values of `set_budgets` and `set_spent`.
        settings: The settings of its definition; the budgets of the last call replace theirs.
    """
    attributes = study.user_attrs
    if reason := attributes.get(_SPENT, ""):
        return str(reason)
    current = settings.replace(attributes.get(_BUDGETS, {}))
    if current.study.epochs is None and current.study.patience_trials is None:
        return ""
    return what_is_spent(read_trials(study), 0.0, current)


class Budget:
    """The budgets of a study, as a machine that joined it reads them.

    Args:
        study: The study.
        settings: Its settings.

    Attributes:
        n_trials: Trials in total.
        spent: The budget that is used up, in a few words; empty while none is.
    """

    def __init__(self, study: optuna.Study, settings: Settings) -> None:
        self._study, self._settings = study, settings
        self.n_trials, self.spent = 0, ""

    def update(self, trials: Sequence[Trial], n_workers: int) -> None:
        """Bring `n_trials` and `spent` up to date.

        Args:
            trials: All trials of the study, as they are now.
            n_workers: Workers of this machine.
        """
        self.n_trials, self.spent = n_trials_of(self._study), spent(self._study, self._settings)

    def close(self) -> None:
        """Note what this process spent; called once, at its end."""


class LaunchersBudget(Budget):
    """The budgets of a study, as its launcher counts them and lets all workers know.

    A study that another budget than its number of trials ends always has some more trials than were begun.

    Args:
        study: The study.
        settings: Its settings, with the budgets of this call.
        total: Trials in total; None where another budget ends the study.
    """

    def __init__(self, study: optuna.Study, settings: Settings, total: int | None) -> None:
        super().__init__(study, settings)
        self.n_trials, self._grows = total or 0, total is None
        self._hours = Hours(study)
        self._is_known = False
        self._stop = ""

    def stop(self, reason: str) -> None:
        """Count the study as spent from the next `update` on; threads and callbacks may call this."""
        self._stop = reason

    def update(self, trials: Sequence[Trial], n_workers: int) -> None:
        """See `Budget.update`; what changed is written to the study."""
        counted = [trial for trial in trials if self._grows or trial.number < self.n_trials]
        spent = self._stop or what_is_spent(counted, self._hours.so_far(), self._settings)
        if not self._is_known:
            set_budgets(self._study, self._settings)
            self._is_known = True
        if spent != self.spent:
            set_spent(self._study, spent)
            self.spent = spent
        if self._grows:
            begun = 1 + max((trial.number for trial in trials if trial.was_begun), default=-1)
            wanted = begun if spent else begun + 2 * n_workers
            if wanted != self.n_trials:
                self._study.set_user_attr(N_TRIALS, wanted)
                self.n_trials = wanted

    def close(self) -> None:
        """Note the last moment of this call."""
        self._hours.note()
