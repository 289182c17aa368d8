"""The report of a study in MLflow: logged to the study's run, and linked from the pages about it."""

import tempfile
from pathlib import Path
from typing import Any

from drsearch.home import Home
from drsearch.masking import without_user
from drsearch.reports.study_facts import study_run
from drsearch.reports.study_report import study_report
from drsearch.tracking.mlflow_client import open_client, translated_errors
from drsearch.tracking.mlflow_server import MODEL_TRAINING
from drsearch.tracking.mlflow_views import study_names
from drsearch.tracking.tags import NOTE_TAG

REPORT_FILE = "report.html"
"""Name of the page in the artifacts of the study's run."""

_LINK = "**[Report of this study]({})**"


def log_report(storage: Any, name: str, home: Home) -> None:
    """Make the report of a study, log it to the study's run, and link it from the notes of experiment and run.

    Args:
        storage: The opened study database.
        name: The study's name.
        home: Names MLflow.

    Raises:
        StudyError: If there is no such study.
        TrackerUnavailable: If MLflow does not answer.
    """
    page = study_report(storage, name, home)
    with translated_errors(home.tracking_uri), tempfile.TemporaryDirectory() as folder:
        client = open_client(home.tracking_uri)
        experiment, run = study_run(client, name)
        if run is None:
            return
        file = Path(folder) / REPORT_FILE
        file.write_text(page, encoding="utf-8")
        client.log_artifact(run.info.run_id, str(file))
        link = _LINK.format(report_path(experiment.experiment_id, run.info.run_id))
        if link not in (note := experiment.tags.get(NOTE_TAG, "")):
            client.set_experiment_tag(experiment.experiment_id, NOTE_TAG, f"{note}\n\n{link}")
        if link not in (note := run.data.tags.get(NOTE_TAG, "")):
            client.set_tag(run.info.run_id, NOTE_TAG, f"{note}\n\n{link}")


def report_link(url: str, study: str = "") -> str:
    """The link to the report of a study on MLflow's pages; empty where it has none.

    Args:
        url: Of an MLflow server.
        study: The study's name; empty for the newest.
    """
    client = open_client(url)
    experiment, run = study_run(client, study or next(iter(study_names(url)), ""))
    if run is None or not any(file.path == REPORT_FILE for file in client.list_artifacts(run.info.run_id)):
        return ""
    return f"{without_user(url).rstrip('/')}/{report_path(experiment.experiment_id, run.info.run_id)}"


def report_path(experiment_id: str, run_id: str) -> str:
    """Where the report is on MLflow's pages."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{REPORT_FILE}?{MODEL_TRAINING}"
