"""The best trial of a study; with two objectives, the Pareto front and the member of it that is registered."""

import math
from collections.abc import Sequence

from drsearch.settings import Settings
from drsearch.training.objective import objectives_of
from drsearch.trials.attributes import ERROR
from drsearch.trials.trials import Trial


def best_trial(trials: Sequence[Trial], settings: Settings) -> Trial | None:
    """The complete trial that is registered: of those that keep all constraints the best, of equals the first.

    With two objectives a member of the Pareto front: by `study.pick = "one_standard_error"` the one with the best
    second objective of those whose objective is within one standard error (that of the best one's value) of the best;
    else the one with the best objective. Source of the rule: Breiman et al. (1984), Classification and Regression
    Trees, section 3.4.3.
    """
    members = front(trials, settings)
    if not members:
        return None
    best = min(members, key=lambda trial: (_losses(trial, settings), trial.number))
    if settings.study.second_objective == "none" or settings.study.pick == "best":
        return best
    error = float(best.last.user_attrs.get(ERROR, 0.0))
    limit = _losses(best, settings)[0] + (error if math.isfinite(error) else 0.0)
    near = [trial for trial in members if _losses(trial, settings)[0] <= limit]
    return min(near, key=lambda trial: (_losses(trial, settings)[1], trial.number))


def ranked(trials: Sequence[Trial], settings: Settings) -> list[Trial]:
    """The complete trials that keep the constraints, the one with the best objective first, of equals the first."""
    complete = [trial for trial in trials if trial.state == "complete" and not trial.violated]
    return sorted(complete, key=lambda trial: (_losses(trial, settings), trial.number))


def front(trials: Sequence[Trial], settings: Settings) -> list[Trial]:
    """The complete trials that no other beats in one objective without losing in another; of equals the first.

    Only trials that keep all constraints count. With one objective these are the best trials, the first of them alone.
    """
    members: list[Trial] = []
    least = math.inf
    for trial in ranked(trials, settings):  # best objective first: each further member is better in the second
        if not members or (settings.study.second_objective != "none" and _losses(trial, settings)[1] < least):
            members.append(trial)
            least = _losses(trial, settings)[-1]
    return members


def since_improved(trials: Sequence[Trial], settings: Settings) -> int:
    """How many trials ended, complete or pruned, since the last that was better than all before it.

    With two objectives, better means a new member of the Pareto front; with constraints, a trial that violates one is
    never better. Trials count in the order in which they ended.
    """
    ended = [trial for trial in trials if trial.state in ("complete", "pruned")]
    ended.sort(key=lambda trial: (trial.last.datetime_complete is None, trial.last.datetime_complete, trial.number))
    members: list[Trial] = []
    since = 0
    for trial in ended:
        counts = trial.state == "complete" and not trial.violated
        if counts and not any(_covers(member, trial, settings) for member in members):
            members = [*(member for member in members if not _covers(trial, member, settings)), trial]
            since = 0
        else:
            since += 1
    return since


def why_none(trials: Sequence[Trial], settings: Settings) -> str:
    """Why no complete trial is the best: none keeps all constraints, and by how much; empty if one does, or none is."""
    complete = [trial for trial in trials if trial.state == "complete"]
    if not complete or best_trial(complete, settings) is not None:
        return ""
    beyond = {trial.number: sum(max(0.0, one) for one in trial.last.constraints.values()) for trial in complete}
    nearest = min(complete, key=lambda trial: (beyond[trial.number], _losses(trial, settings), trial.number))
    return (
        f"none of {len(complete)} complete trials keeps study.constraints = {settings.study.constraints!r}; nearest is "
        f"trial {nearest.number} with {nearest.violated}"
    )


def pick_rule(settings: Settings) -> str:
    """The rule by which the registered member of the front is picked, in words."""
    if settings.study.pick == "best":
        return f"the best {settings.study.objective}"
    first, second = objectives_of(settings)
    which = "smallest" if second.less_is_better else "highest"
    return f"the {which} {second.name} within one standard error of the best {first.name}"


def _covers(one: Trial, other: Trial, settings: Settings) -> bool:
    """Whether `one` is at least as good in every objective."""
    return all(mine <= theirs for mine, theirs in zip(_losses(one, settings), _losses(other, settings), strict=True))


def _losses(trial: Trial, settings: Settings) -> tuple[float, ...]:
    """The objectives, turned so that less is better."""
    return tuple(each.loss(value) for each, value in zip(objectives_of(settings), trial.values, strict=True))
