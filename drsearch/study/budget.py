"""When has a study had enough? Trials, hours and epochs are counted over all calls, and how long nothing improved."""

import time
import uuid
from collections.abc import Sequence

import optuna

from drsearch.settings import Settings
from drsearch.study.best_trial import since_improved
from drsearch.trials.retrying import patiently
from drsearch.trials.trials import Trial, read_trials

BUDGETS = ("study.trials", "study.hours", "study.epochs", "study.patience_trials")
"""Settings that may change from call to call: a study that goes on with more of them is the same study."""

EPOCHS = "drsearch.epochs"
"""Of a trial: epochs trained so far, where what it reports does not tell."""

_BUDGETS = "drsearch.budgets"
_SPENT = "drsearch.spent"
_CALL = "drsearch.call."
_NOTE_S = 10.0


class Hours:
    """How long a study has been run, over all calls; two calls at once count once.

    Each call keeps when it began and was last seen, in an attribute of its own: one that is killed loses the seconds
    since its last note, and nobody counts the night until it is run again.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study, self._key = study, f"{_CALL}{uuid.uuid4().hex[:12]}"
        self._began, self._monotonic = time.time(), time.monotonic()
        self._noted = -_NOTE_S

    def so_far(self) -> float:
        """Hours in all; this call's last moment is noted now and then."""
        elapsed = time.monotonic() - self._monotonic  # the clock may be set while a study runs
        if elapsed - self._noted >= _NOTE_S:
            self.note()
        calls = {key: span for key, span in patiently(lambda: self._study.user_attrs).items() if key.startswith(_CALL)}
        calls[self._key] = [self._began, self._began + elapsed]
        return union_s(list(calls.values())) / 3600

    def note(self) -> None:
        """Keep this call's last moment."""
        self._noted = time.monotonic() - self._monotonic
        patiently(lambda: self._study.set_user_attr(self._key, [self._began, self._began + self._noted]))


def union_s(spans: Sequence[Sequence[float]]) -> float:
    """Seconds that at least one of some spans covers.

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
    """Epochs trained in a trial, up to its last checkpoint; those trained again after a death count once."""
    return max(int(attempt.user_attrs.get(EPOCHS, attempt.last_step or 0)) for attempt in trial.attempts)


def what_is_spent(trials: Sequence[Trial], hours: float, settings: Settings) -> str:
    """The budget that is used up, in a few words; empty while none is. Retries of a trial count as one trial."""
    study = settings.study
    if study.hours is not None and hours >= study.hours:
        return f"study.hours = {study.hours:g} are over"
    if study.epochs is not None and sum(map(epochs_of, trials)) >= study.epochs:
        return f"study.epochs = {study.epochs} are trained"
    if study.patience_trials is not None and (since := since_improved(trials, settings)) >= study.patience_trials:
        return f"no improvement in {since} trials (study.patience_trials = {study.patience_trials})"
    return ""


def set_budgets(study: optuna.Study, settings: Settings) -> None:
    """Let the workers know the budgets of this call; none is spent yet."""
    budgets = {name: value for name, value in settings.flat().items() if name in BUDGETS}
    patiently(lambda: study.set_user_attr(_BUDGETS, budgets))
    set_spent(study, "")


def set_spent(study: optuna.Study, reason: str) -> None:
    """Let the workers know what the launcher finds spent: they begin no trial until it says otherwise."""
    patiently(lambda: study.set_user_attr(_SPENT, reason))


def spent(study: optuna.Study, settings: Settings) -> str:
    """What a worker finds spent before it begins a trial: it counts itself, and hears of the hours.

    Args:
        study: With what `set_budgets` and `set_spent` said last.
        settings: The study's; the budgets of the last call stand above theirs.
    """
    said = patiently(lambda: study.user_attrs)
    if reason := said.get(_SPENT, ""):
        return str(reason)
    current = settings.replace(said.get(_BUDGETS, {}))
    if current.study.epochs is None and current.study.patience_trials is None:
        return ""
    return what_is_spent(read_trials(study), 0.0, current)
