"""Begins a study, or resumes it, with worker processes on this machine."""

from collections.abc import Mapping, Sequence

from drsearch.data.prepare import Prepared
from drsearch.datasets.read import Dataset
from drsearch.home import Home
from drsearch.run_folder import CROPS_FOLDER
from drsearch.settings import Value
from drsearch.space.search_space import SearchSpace
from drsearch.study.budget import LaunchersBudget, total_trials
from drsearch.study.crops import write_crops
from drsearch.study.definition import check_goes_on, open_study, study_folder, wanted_study
from drsearch.study.preparation import define
from drsearch.study.study_run import StudyRun
from drsearch.study.warm_start import WarmStart, inherit, planned
from drsearch.trials.storage import may_hold_studies, open_storage
from drsearch.trials.trials import enqueue, read_trials
from drsearch.workers.supervisor import Supervisor


def check_begins(
    name: str, space: SearchSpace, data: Dataset, storage_url: str, warm_start: str = ""
) -> WarmStart | None:
    """Refuse, before photographs are prepared, what `launch_study` would refuse whatever they are.

    Args:
        name: The study's name.
        space: Its space, checked, on the study's settings.
        data: The photographs and their labels.
        storage_url: The study database.
        warm_start: Another study, whose finished trials it begins with.

    Returns:
        The trials that it begins with; None without `warm_start`.

    Raises:
        SearchSpaceError: If a grid is asked of a space that has none.
        StudyError: If a study of this name has another definition, or could not begin with the other's trials.
    """
    total_trials(space)
    if not may_hold_studies(storage_url):
        return None
    storage = open_storage(storage_url)
    wanted = wanted_study(space.path, space.source, space.settings, data)
    check_goes_on(storage, name, wanted)
    return planned(storage, name, warm_start, space, wanted)


def launch_study(
    name: str,
    space: SearchSpace,
    data: Dataset,
    prepared: Sequence[Prepared],
    home: Home,
    storage_url: str,
    warm_start: str = "",
    enqueued: Sequence[Mapping[str, Value]] = (),
) -> Supervisor:
    """Begin a study in its database, or open it to resume it; no trial runs before `Supervisor.run`.

    Args:
        name: The study's name.
        space: Its space, checked, on the study's settings.
        data: The photographs and their labels.
        prepared: The record sets of `prepare_all`.
        home: Where everything lies.
        storage_url: The study database.
        warm_start: Another study, whose finished trials it begins with.
        enqueued: Values that its first trials draw.

    Returns:
        The study, whose trials `run` runs.

    Raises:
        StudyError: If a study of this name has another definition, could not begin with the other's trials, or has no
            room for the enqueued values.
    """
    wanted, settings, total = define(space, data, prepared), space.settings, total_trials(space)
    storage = open_storage(storage_url)
    warm = planned(storage, name, warm_start, space, wanted)
    if total is not None and warm is not None and settings.study.sampler != "grid":
        total += len(warm.trials)  # in a grid they are some of its points
    study, definition = open_study(storage, name, wanted, total)
    if warm is not None:
        inherit(study, storage, warm, space)
    n_taken = 1 + max((trial.number for trial in read_trials(study)), default=-1)
    enqueue(study, storage, n_taken + len(enqueued) if total is None else total, enqueued)
    folder = study_folder(home, name, definition.uid)
    records = prepared[0].records
    shows_eyes = settings.study.gradcam_eyes > 0  # 0 keeps photographs out of MLflow
    crops = write_crops(records, folder / CROPS_FOLDER) if shows_eyes else []
    run = StudyRun(
        name,
        definition,
        settings,
        folder,
        (records.audit_path, records.description_path, records.manifest_path),
        home.contact_sheets / f"{definition.data_fingerprint}.html",
        warm.study if warm is not None else "",
        crops,
    )
    budget = LaunchersBudget(study, settings, total)
    return Supervisor(study, definition, storage, storage_url, home, budget, run)
