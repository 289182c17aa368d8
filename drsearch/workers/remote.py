"""What the machines of a study exchange: record sets and checkpoints; and the checks that their code is the same."""

import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from absl import logging
from optuna.trial import FrozenTrial

from drsearch.data.records import open_records
from drsearch.errors import RecordsError, StudyError
from drsearch.files import lock
from drsearch.home import Home
from drsearch.study.definition import CODE, StudyDefinition, code_now
from drsearch.tracking.availability import is_served
from drsearch.tracking.sent import is_sent
from drsearch.tracking.tracker import TrackerUnavailable
from drsearch.training.run_lock import RunLock
from drsearch.trials.trials import read_trials
from drsearch.waiting import growing_pauses, pause

if TYPE_CHECKING:
    from drsearch.training.plan import Plan

RECORDS_EXPERIMENT = "drsearch-records"
"""The MLflow experiment that holds the record sets of studies on several machines, one run per set."""

_RECORDS_NOTE = (
    "**Photographs of patients.** Each run holds the record set of a data set (artifacts `files/`), for the machines "
    "that join a study: whoever may read this server can read them. Delete a run when no study needs its set any more."
)

_SENT_S = 60.0
"""How long a worker waits until the end of a trial is in MLflow, before it tells the study."""

_RETRY_S = 5.0

_CHANGES_RESULTS = ("tensorflow", "keras", "keras-tuner", "optuna", "numpy", "opencv-python-headless", "scikit-learn",
                    "scipy")  # fmt: skip
"""Libraries whose version decides what is drawn, trained or scored; of Python and MLflow a difference only warns."""


def is_shared(storage_url: str, tracking_uri: str) -> bool:
    """Whether other machines can join: both the database and MLflow can be reached from there."""
    return is_served(tracking_uri) and not storage_url.startswith("sqlite:")


def check_addresses(storage_url: str, tracking_uri: str) -> None:
    """Refuse addresses that other machines cannot reach.

    Raises:
        StudyError: With the address, and what to write instead.
    """
    if storage_url.startswith("sqlite:"):
        raise StudyError(
            f"--storage {storage_url}: a file of one machine, which others cannot join; "
            "give both commands a database that all machines reach, for example postgresql://user@host/optuna."
        )
    if not is_served(tracking_uri):
        raise StudyError(
            f"MLFLOW_TRACKING_URI is {tracking_uri}: a worker fetches records and checkpoints through an MLflow "
            "server; set it to the one of the study, for example http://host:5000."
        )


def check_code(study: optuna.Study) -> None:
    """Compare the code of this machine with that of the study's launcher.

    Raises:
        StudyError: If they differ in what decides results.
    """
    there, here = study.user_attrs.get(CODE, {}), code_now()
    differences = [
        f"{name} {there_is or 'none'} (here {here_is or 'none'})"
        for name in _CHANGES_RESULTS
        if (there_is := _version(there, name)) != (here_is := _version(here, name))
    ]
    if there.get("source") != here["source"]:
        differences.insert(0, f"drsearch {_code_name(there)} (here {_code_name(here)})")
    if differences:
        raise StudyError(
            f"study {study.study_name!r} runs with {', '.join(differences)}: "
            "its results would not be comparable; install here what runs there."
        )
    others = [name for name in ("python", "mlflow") if there.get(name) != here.get(name)]
    if others:
        shown = ", ".join(f"{name} {there.get(name)} there and {here.get(name)} here" for name in others)
        logging.warning("study %s runs with %s; results do not depend on it", study.study_name, shown)


def _version(code: dict[str, str], name: str) -> str:
    """A library's version; TensorFlow's of whichever of its distributions is installed."""
    return code.get(name) or code.get(f"{name}-cpu", "")


def _code_name(code: dict[str, str]) -> str:
    commit = code.get("commit", "")
    where = f"commit {commit[:12]}{commit[40:]}, " if commit else ""
    return f"{code.get('drsearch', '')} ({where}source {code.get('source', '')})"


def start_upload(definition: StudyDefinition, home: Home) -> None:
    """Upload the study's record sets to MLflow in a thread, which waits while MLflow does not answer."""

    def upload() -> None:
        while not put_records(definition, home):
            time.sleep(_RETRY_S)

    threading.Thread(target=upload, name="records", daemon=True).start()


def put_records(definition: StudyDefinition, home: Home) -> bool:
    """Upload the study's record sets to MLflow, each once, for machines that join.

    Returns:
        False if MLflow does not answer.
    """
    from drsearch.tracking.remote_runs import RemoteRuns

    try:
        remote_runs = RemoteRuns(home.tracking_uri)
        for fingerprint in sorted(set(definition.records.values())):
            if remote_runs.upload_folder(RECORDS_EXPERIMENT, fingerprint, home.records / fingerprint, _RECORDS_NOTE):
                logging.warning(
                    "record set %s was uploaded to %s (experiment %s) for the machines that join: it holds photographs "
                    "of patients, and whoever may read that server can read them",
                    fingerprint,
                    home.tracking_uri,
                    RECORDS_EXPERIMENT,
                )
    except TrackerUnavailable as wrong:
        message = "%s; the records are uploaded when it is back, and machines that join wait for them"
        logging.log_every_n_seconds(logging.WARNING, message, 600, wrong)
        return False
    return True


def fetch_records(definition: StudyDefinition, home: Home, stop_asked: Callable[[], bool]) -> bool:
    """Fetch the study's record sets into this machine's home, and check them.

    Args:
        definition: The study's definition.
        home: The home of this machine.
        stop_asked: Whether to stop waiting for MLflow, or for the launcher to upload them.

    Returns:
        False if it was asked to stop before all had arrived.

    Raises:
        RecordsError: If what arrived is not the set that the study was begun on.
    """
    return all(fetch_record_set(each, home, stop_asked) for each in sorted(set(definition.records.values())))


def fetch_record_set(fingerprint: str, home: Home, stop_asked: Callable[[], bool] = lambda: True) -> bool:
    """Fetch one record set into this machine's home and check it; of several processes, one fetches it.

    Args:
        fingerprint: The set's fingerprint.
        home: The home of this machine.
        stop_asked: Whether to stop waiting for MLflow, or for the upload; by default it does not wait.

    Returns:
        False if it is neither here nor on an MLflow server when it stops waiting.

    Raises:
        RecordsError: If what arrived is another set.
    """
    if _is_whole(home.records / fingerprint):
        return True
    if not is_served(home.tracking_uri):
        return False
    home.records.mkdir(parents=True, exist_ok=True)
    with open(home.records / "fetch.lock", "w") as file:
        lock(file)  # goes with its process
        return _is_whole(home.records / fingerprint) or _fetch_records(fingerprint, home, stop_asked)


def _fetch_records(fingerprint: str, home: Home, stop_asked: Callable[[], bool]) -> bool:
    partial = home.records / f".partial-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def fetch() -> bool:
        from drsearch.tracking.remote_runs import RemoteRuns

        if not RemoteRuns(home.tracking_uri).fetch_folder(RECORDS_EXPERIMENT, fingerprint, partial):
            raise TrackerUnavailable(f"record set {fingerprint} is not at {home.tracking_uri} yet")
        return True

    try:
        if not _waiting(fetch, stop_asked):
            return False
        records = open_records(partial)
        records.check()
        if records.fingerprint != fingerprint:
            raise RecordsError(
                f"{home.tracking_uri} gave record set {records.fingerprint} as {fingerprint}; "
                f"delete its run in the experiment {RECORDS_EXPERIMENT}, and give `drsearch run-study` again."
            )
        place = home.records / fingerprint
        shutil.rmtree(place, ignore_errors=True)
        partial.rename(place)
        logging.info("record set %s is fetched: photographs of patients lie in %s now", fingerprint, place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def _is_whole(folder: Path) -> bool:
    try:
        open_records(folder).check()
    except RecordsError:
        return False
    return True


def fetch_attempt(
    study: optuna.Study, trial: int, attempt: FrozenTrial, plan: "Plan", home: Home, stop_asked: Callable[[], bool]
) -> bool:
    """Fetch the last checkpoint of a trial from MLflow, where another machine began it.

    Args:
        study: The study.
        trial: The trial's number.
        attempt: The attempt of this machine.
        plan: The training of this attempt.
        home: The home of this machine.
        stop_asked: Whether to stop waiting for MLflow.

    Returns:
        False if it was asked to stop before MLflow answered.

    Raises:
        GivenAway: If a later attempt has taken the trial over.
    """
    earlier = [each for each in read_trials(study) if each.number == trial and each.attempts[0].number < attempt.number]
    if not earlier:
        return True
    from drsearch.tracking.remote_runs import RemoteRuns, RunTaken
    from drsearch.training.plan import GivenAway  # here: who only joins a study needs no TensorFlow

    def fetch() -> bool:
        with RunLock(plan.folder).take(plan.owner):
            RemoteRuns(home.tracking_uri).fetch_run(plan.start.experiment, plan.start.key, plan.folder, attempt.number)
        return True

    try:
        return _waiting(fetch, stop_asked)
    except RunTaken as taken:
        raise GivenAway(f"{plan.start.name}: {taken}") from taken


def _waiting(ask: Callable[[], bool], stop_asked: Callable[[], bool]) -> bool:
    """The result of `ask`, repeated with growing pauses while MLflow has none; False if asked to stop meanwhile."""
    for n_tries, pause_s in enumerate(growing_pauses()):
        try:
            return ask()
        except TrackerUnavailable as wrong:
            if n_tries == 0 and not stop_asked():
                logging.warning("%s; waiting", wrong)
        if pause(pause_s, stop_asked):
            break
    return False


def wait_until_sent(folder: Path) -> None:
    """Wait up to 60 s until a trial's outcome is in MLflow, so that no result exists on this machine only."""
    until = time.monotonic() + _SENT_S
    while not is_sent(folder):
        if time.monotonic() > until:
            logging.warning("%s has not reached MLflow in %.0f s; going on", folder, _SENT_S)
            return
        time.sleep(0.1)
