"""Begins a study, or resumes it, with worker processes on this machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from drsearch.home import Home
from drsearch.settings import Settings, Value
from drsearch.space.search_space import SearchSpace
from drsearch.study.budget import LaunchersBudget, total_trials
from drsearch.study.definition import StudyDefinition, check_goes_on, open_study, study_folder, wanted_study
from drsearch.study.study_run import StudyRun
from drsearch.study.warm_start import WarmStart, inherit, planned
from drsearch.trials.storage import may_hold_studies, open_storage
from drsearch.trials.trials import enqueue
from drsearch.workers.supervisor import Supervisor


def check_begins(
    name: str, space: SearchSpace, settings: Settings, data: Path, storage_url: str, warm_start: str = ""
) -> WarmStart | None:
    """Refuse, before photographs are prepared, what `launch_study` would refuse whatever they are.

    Args:
        name: The study's name.
        space: Its space, checked.
        settings: What its trials start from.
        data: The folder of photographs.
        storage_url: The study database.
        warm_start: Another study, whose finished trials it begins with.

    Returns:
        The trials that it begins with; None without `warm_start`.

    Raises:
        SearchSpaceError: If a grid is asked of a space that has none.
        StudyError: If a study of this name has another definition, or could not begin with the other's trials.
    """
    total_trials(space, settings)
    if not may_hold_studies(storage_url):
        return None
    storage = open_storage(storage_url)
    wanted = wanted_study(space.path, space.source, settings.flat(), data)
    check_goes_on(storage, name, wanted)
    return planned(storage, name, warm_start, space, wanted)


def launch_study(
    name: str,
    space: SearchSpace,
    wanted: StudyDefinition,
    home: Home,
    storage_url: str,
    audit: Path,
    warm_start: str = "",
    enqueued: Sequence[Mapping[str, Value]] = (),
) -> Supervisor:
    """Begin a study in its database, or open it to resume it; no trial runs before `Supervisor.run`.

    Args:
        name: The study's name.
        space: Its space, checked.
        wanted: Its definition; an existing study of this name must have the same.
        home: Where everything lies.
        storage_url: The study database.
        audit: The audit of its records, kept with the study's run.
        warm_start: Another study, whose finished trials it begins with.
        enqueued: Values that its first trials draw.

    Returns:
        The study, whose trials `run` runs.

    Raises:
        StudyError: If a study of this name has another definition, could not begin with the other's trials, or has no
            room for the enqueued ones.
    """
    settings = wanted.base()
    total = total_trials(space, settings)
    n_trials = total or 0
    storage = open_storage(storage_url)
    warm = planned(storage, name, warm_start, space, wanted)
    if warm is not None and settings.study.sampler != "grid":
        n_trials += len(warm.trials)  # in a grid they are some of its points
    study, definition = open_study(storage, name, wanted, n_trials)
    if warm is not None:
        inherit(study, storage, warm, space)
    enqueue(study, storage, n_trials, enqueued)
    folder = study_folder(home, name, definition.uid)
    run = StudyRun(name, definition, settings, folder, audit, warm.study if warm is not None else "")
    budget = LaunchersBudget(study, settings, n_trials, grows=total is None)
    return Supervisor(study, definition, storage, storage_url, home, budget, run)
