"""Joins a study that another machine began, through its database and its MLflow server."""

from drsearch.home import Home
from drsearch.study.budget import Budget
from drsearch.study.definition import load_study
from drsearch.trials.storage import open_storage
from drsearch.workers.remote import check_addresses, check_code
from drsearch.workers.supervisor import Supervisor


def join_study(name: str, storage_url: str, home: Home) -> Supervisor:
    """Open a study that another machine began, to run trials of it here.

    Args:
        name: The study's name.
        storage_url: Its database.
        home: Where records, journals and checkpoints lie on this machine.

    Returns:
        The study, whose trials `run` runs on this machine.

    Raises:
        StudyError: If there is no such study, an address means one machine alone, or the code here gives other results.
        MlflowException: If the MLflow server does not let this user write to the study's experiment.
    """
    from drsearch.tracking.remote_runs import RemoteRuns

    check_addresses(storage_url, home.tracking_uri)
    RemoteRuns(home.tracking_uri).check_may_write(name)
    storage = open_storage(storage_url)
    study, definition = load_study(storage, name)
    check_code(study)
    return Supervisor(study, definition, storage, storage_url, home, Budget(study, definition.settings))
