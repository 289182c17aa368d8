"""Lets a new study inherit finished trials of another: those that it could have run itself, so that none runs twice."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from drsearch.errors import StudyError
from drsearch.settings import SEARCHED_SECTIONS, Value
from drsearch.space.build_model import PREFIX, functions_of, own_code, settings_in
from drsearch.space.known_values import Fitted, Misfit, fit
from drsearch.space.search_space import SearchSpace, read_space
from drsearch.study.definition import StudyDefinition, load_study, trial_seed
from drsearch.trials.attributes import INHERITED, TRIAL, WARM_START, WORKER
from drsearch.trials.retrying import Storage
from drsearch.trials.storage import transaction
from drsearch.trials.trials import Trial, read_attempts, read_trials

_OF_NO_RESULT = ("training.seed", "training.threads", "model.hypermodel")
"""Settings in which two trainings of one point may differ, and one that is compared value by value."""

_OF_A_RESULT = (
    "study.objective",
    "study.second_objective",
    "study.constraints",
    "search.folds",
    "search.repeats",
    "registry.symmetries",
    "registry.networks",
)
"""Settings of a study on which the values of its trials, or the predictions kept with them, depend."""


@dataclass(frozen=True)
class WarmStart:
    """The trials that a study inherits.

    Attributes:
        study: The other study.
        trials: Maps numbers of trials in the new study to their numbers in the other.
        n_left: Finished trials of the other study that the new one could not have run.
        why_left: Why not, of the first of these.
    """

    study: str
    trials: Mapping[int, int]
    n_left: int = 0
    why_left: str = ""


def planned(storage: Storage, name: str, source: str, space: SearchSpace, wanted: StudyDefinition) -> WarmStart | None:
    """The trials that a study inherits: those planned when it began, or planned now.

    Args:
        storage: The database of both studies.
        name: The new study; if it has begun, it keeps its plan.
        source: The other study; empty for none.
        space: The space of the new study.
        wanted: Its definition; data are compared if its photographs are prepared.

    Returns:
        None without another study.

    Raises:
        StudyError: If there is no such study, none of its trials can be inherited, or the new study began without it.
    """
    begun = _begun(storage, name)
    plan = begun.user_attrs.get(WARM_START) if begun is not None else None
    if begun is not None and source and (plan is None or plan["study"] != source):
        how = f"with --warm-start {plan['study']}" if plan else "without --warm-start"
        raise StudyError(
            f"study {name!r} was begun {how}; give it as it was, or --study OTHER --warm-start {source} to begin one."
        )
    if plan is not None:
        return WarmStart(plan["study"], {int(new): old for new, old in plan["trials"].items()})
    return _plan(storage, source, space, wanted) if source and begun is None else None


def _begun(storage: Storage, name: str) -> optuna.Study | None:
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return None
    return study if read_trials(study) or WARM_START in study.user_attrs else None


def _plan(storage: Storage, source: str, space: SearchSpace, wanted: StudyDefinition) -> WarmStart:
    study, definition = load_study(storage, source)
    _check_comparable(source, definition, wanted)
    points = _numbered(space.grid()) if wanted.settings.study.sampler == "grid" else None
    trials: dict[int, int] = {}
    left: list[str] = []
    finished = [trial for trial in read_trials(study) if trial.state in ("complete", "pruned")]
    with space_of(definition) as old_space:
        for trial in sorted(finished, key=lambda trial: trial.state):  # of two trials of one point, the complete one
            try:
                params = _fitted(space, old_space, definition, trial).params
            except Misfit as misfit:
                left.append(f"trial {trial.number}: {misfit}")
                continue
            number = points[_key(params)] if points is not None else len(trials)
            trials.setdefault(number, trial.number)
    if not trials:
        why = f" ({left[0]})" if left else ""
        raise StudyError(
            f"--warm-start {source}: none of its {len(finished)} finished trials could be this study's{why}; "
            "begin without it, or give the settings as they were there."
        )
    return WarmStart(source, trials, len(left), left[0] if left else "")


def inherit(study: optuna.Study, storage: Storage, warm: WarmStart, space: SearchSpace) -> None:
    """Add the inherited trials that the study lacks, each finished and marked with its origin.

    It may be repeated, also after a crash in the middle of it.

    Args:
        study: The new study.
        storage: The database of both studies.
        warm: The trials to inherit.
        space: The space of the new study.
    """
    numbers = {trial.number for trial in read_trials(study)}
    if warm.trials.keys() <= numbers and WARM_START in study.user_attrs:
        return  # the other study may be gone by now
    source, definition = load_study(storage, warm.study)
    old = {trial.number: trial for trial in read_trials(source)}

    def add() -> None:
        if WARM_START not in study.user_attrs:
            origin = {"study": warm.study, "trials": {str(new): number for new, number in warm.trials.items()}}
            study.set_user_attr(WARM_START, origin)
        numbers = {attempt.user_attrs.get(TRIAL) for attempt in read_attempts(study)}
        for new, number in sorted(warm.trials.items()):
            if new not in numbers:
                fitted = _fitted(space, old_space, definition, old[number])
                study.add_trial(_inherited(old[number], new, fitted, warm.study, definition))

    with space_of(definition) as old_space:
        transaction(storage, study.study_name, add)


def _inherited(trial: Trial, number: int, fitted: Fitted, source: str, definition: StudyDefinition) -> FrozenTrial:
    last = trial.last
    from_here = {
        "study": source,
        "uid": definition.uid,
        "trial": trial.number,
        "seed": trial_seed(definition.settings.study.seed, trial.number),
    }
    kept = {key: value for key, value in last.user_attrs.items() if key not in (TRIAL, WORKER)}
    return optuna.create_trial(
        state=last.state,
        params=fitted.params,
        distributions=fitted.distributions,
        values=last.values,
        intermediate_values=last.intermediate_values,
        constraints=last.constraints,
        user_attrs={INHERITED: from_here} | kept | {TRIAL: number},  # one that was inherited there keeps where it began
    )


@contextmanager
def space_of(definition: StudyDefinition) -> Iterator[SearchSpace]:
    """Open the space that a study keeps.

    Args:
        definition: Of the study.

    Yields:
        Its space, on its settings; the file is gone afterwards.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / definition.space_file
        path.write_text(definition.space_source, encoding="utf-8")
        yield read_space(path, lambda _: definition.settings)


def _check_comparable(source: str, there: StudyDefinition, wanted: StudyDefinition) -> None:
    """Refuse a study whose values cannot be compared."""
    if wanted.data_fingerprint and there.data_fingerprint != wanted.data_fingerprint:
        raise StudyError(
            f"--warm-start {source}: it was run on other data ({there.data_fingerprint[:12]} of {there.data_source}, "
            f"here {wanted.data_fingerprint[:12]}), so its results cannot be inherited; --enqueue FILE starts from "
            "its settings."
        )
    values, wanted_values = there.settings.flat(), wanted.settings.flat()
    for key in _OF_A_RESULT:
        if values[key] != wanted_values[key]:
            raise StudyError(
                f"--warm-start {source}: it has {key} = {values[key]!r}, and this study "
                f"{wanted_values[key]!r}, so its values mean something else; --enqueue FILE starts from its "
                "settings."
            )
    functions = functions_of(wanted.space_source)
    if functions and own_code(there.space_source) != own_code(wanted.space_source):
        raise StudyError(
            f"--warm-start {source}: {functions[0]} of {wanted.space_file} is not what it was there, beyond what it "
            "draws, so equal values make another training; --enqueue FILE starts from its settings."
        )


def _fitted(space: SearchSpace, old_space: SearchSpace, there: StudyDefinition, trial: Trial) -> Fitted:
    """The values that the new study's space draws for a trial of another study, with the same training.

    Raises:
        Misfit: If the new study could not run that training.
    """
    drawn = old_space.draw(trial.last)
    was = there.trial_settings(trial.number, drawn).flat()
    network = {name: value for name, value in drawn.items() if name.startswith(PREFIX)}
    fitted = fit(space, was | network)
    settings = settings_in(fitted.drawn)
    for name, value in space.settings.replace(settings).flat().items():
        counts = name.partition(".")[0] in SEARCHED_SECTIONS and name not in _OF_NO_RESULT
        if counts and was[name] != value:
            raise Misfit(f"{name} = {was[name]!r} there, and {value!r} here")
    for name, value in network.items():
        if name not in fitted.drawn:
            raise Misfit(f"{name} = {value!r} there, and this space does not draw it")
    return fitted


def _key(params: Mapping[str, Value]) -> frozenset[tuple[str, Value]]:
    return frozenset(params.items())


def _numbered(points: Sequence[Mapping[str, Value]]) -> dict[frozenset[tuple[str, Value]], int]:
    return {_key(point): number for number, point in enumerate(points)}
