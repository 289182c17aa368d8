"""MLflow's client: how one is made, experiments, searches through all pages, and what its errors mean.

Only `MlflowClient` is used: MLflow's fluent API keeps global state.
"""

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import requests
import sqlalchemy.exc
from mlflow import MlflowClient
from mlflow.entities import Experiment, LifecycleStage, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.store.entities import PagedList
from mlflow.utils.time import get_current_time_millis

from drsearch.files import fault, is_full
from drsearch.processes import in_threads
from drsearch.tracking.availability import is_served, set_up_client, unavailable_reason
from drsearch.tracking.tracker import TrackerRefused, TrackerUnavailable

_Item = TypeVar("_Item")

_PER_PAGE = 1000
_DELETED_AT_ONCE = 8  # requests to a server
# Error codes of an MLflow that refuses an event. Any other error (no connection, a locked or full database, an
# expired password) may pass, and events wait until it does.
_REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE"}


def open_client(tracking_uri: str) -> MlflowClient:
    """A client of MLflow's tracking server and of its model registry.

    Args:
        tracking_uri: Of both.

    Raises:
        TrackerUnavailable: If a database that MLflow opens itself does not answer.
    """
    set_up_client()
    with translated_errors(tracking_uri):
        return MlflowClient(tracking_uri, tracking_uri)


def get_or_create_experiment(
    client: MlflowClient, name: str, location: str | None = None, tags: Mapping[str, str] | None = None
) -> Experiment:
    """The experiment with a name; another process may create it at the same time.

    Args:
        client: Of MLflow.
        name: The experiment's.
        location: Where its artifacts go if it is created here; None leaves that to MLflow.
        tags: Of the experiment; those that differ are set.

    Raises:
        TrackerRefused: If it was deleted.
        MlflowException: If MLflow does not let this user create it.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.get_experiment(client.create_experiment(name, location, dict(tags or {})))
        except MlflowException as wrong:
            if wrong.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        experiment = client.get_experiment_by_name(name)
    refuse_deleted(client, experiment)
    for tag, value in (tags or {}).items():
        if experiment.tags.get(tag) != value:
            client.set_experiment_tag(experiment.experiment_id, tag, value)
    return experiment


def refuse_deleted(client: MlflowClient, experiment: Experiment) -> None:
    """Refuse an experiment that was deleted in MLflow: its name stays taken, and nothing can be written to it.

    Raises:
        TrackerRefused: With the command that restores it.
    """
    if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
        command = f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
        raise TrackerRefused(
            f"experiment {experiment.name!r} was deleted in MLflow; restore it with "
            f"`MLFLOW_TRACKING_URI={client.tracking_uri} {command}`."
        )


def search_runs(
    client: MlflowClient, experiment_ids: Sequence[str], wanted: str = "", order_by: Sequence[str] = ()
) -> Iterator[Run]:
    """All runs of experiments that match a filter.

    Args:
        client: Of MLflow.
        experiment_ids: The experiments.
        wanted: A filter in MLflow's language, see `has_tag`; empty for all runs.
        order_by: Columns in MLflow's language.
    """
    return _pages(
        lambda token: client.search_runs(
            list(experiment_ids), wanted, max_results=_PER_PAGE, order_by=list(order_by), page_token=token
        )
    )


def first_run(client: MlflowClient, experiment_id: str, wanted: str) -> Run | None:
    """A run of an experiment that matches a filter.

    Args:
        client: Of MLflow.
        experiment_id: The experiment.
        wanted: The filter, see `has_tag`.

    Returns:
        The run; None if no run matches.
    """
    runs = client.search_runs([experiment_id], wanted, max_results=1)
    return runs[0] if runs else None


def delete_runs(client: MlflowClient, run_ids: Sequence[str]) -> None:
    """Delete runs as MLflow does, so that they can be restored; those that `mlflow gc` took away are passed over.

    A server is asked for each. In a database that MLflow opens itself they go in one transaction: one each would take
    several milliseconds and a write to the disk.

    Args:
        client: Of MLflow.
        run_ids: Of the runs.
    """
    if is_served(client.tracking_uri):
        for _ in in_threads(functools.partial(_delete_run, client), run_ids, _DELETED_AT_ONCE):
            pass
        return
    from mlflow.store.tracking.dbmodels.models import SqlRun

    gone = {"lifecycle_stage": LifecycleStage.DELETED, "deleted_time": get_current_time_millis()}
    with client._tracking_client.store.ManagedSessionMaker(read_only=False) as session:
        for start in range(0, len(run_ids), _PER_PAGE):
            some = session.query(SqlRun).filter(SqlRun.run_uuid.in_(run_ids[start : start + _PER_PAGE]))
            some.update(gone, synchronize_session=False)


def _delete_run(client: MlflowClient, run_id: str) -> None:
    try:
        client.delete_run(run_id)
    except MlflowException as wrong:
        if wrong.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise


def search_versions(client: MlflowClient, wanted: str = "") -> Iterator[ModelVersion]:
    """All versions of registered models that match a filter."""
    return _pages(lambda token: client.search_model_versions(wanted, max_results=_PER_PAGE, page_token=token))


def _pages(search: Callable[[str | None], PagedList[_Item]]) -> Iterator[_Item]:
    token = None
    while True:
        page = search(token)
        yield from page
        if not (token := page.token):
            return


@contextmanager
def translated_errors(tracking_uri: str) -> Iterator[None]:
    """A block that raises errors of MLflow's client as `TrackerRefused` or `TrackerUnavailable`."""
    try:
        yield
    except MlflowException as wrong:
        if wrong.error_code in _REFUSALS:
            raise TrackerRefused(f"MLflow refuses it: {first_line(wrong)}") from wrong
        raise TrackerUnavailable(
            outage(wrong, tracking_uri) or f"MLflow does not take it: {first_line(wrong)}"
        ) from wrong
    except (OSError, requests.RequestException, sqlalchemy.exc.SQLAlchemyError) as wrong:
        text = (
            outage(wrong, tracking_uri) or fault(wrong).rstrip(".") or f"MLflow does not take it: {first_line(wrong)}"
        )
        raise TrackerUnavailable(text) from wrong


def is_denied(wrong: BaseException) -> bool:
    """Whether a server knows this user, and refuses the call."""
    return isinstance(wrong, MlflowException) and wrong.error_code == "PERMISSION_DENIED"


def is_unavailable(wrong: BaseException) -> bool:
    """Whether an error of MLflow's client means that its server does not answer; a server that refuses a user does."""
    unanswered = (
        isinstance(wrong, MlflowException)
        and "API request to" in str(wrong)
        and not re.search(r"error code 40[13]\b", str(wrong))
    )
    return unanswered or isinstance(wrong, requests.ConnectionError | requests.Timeout)


def outage(wrong: BaseException, tracking_uri: str) -> str:
    """A sentence if MLflow or its database does not answer; empty for any other error."""
    if is_unavailable(wrong):
        return f"MLflow at {tracking_uri} does not answer: {unavailable_reason(wrong)}"
    error: BaseException | None = wrong
    while error is not None:
        if isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError) and not is_full(error):
            return f"MLflow's database {tracking_uri} does not answer: {first_line(error)}"
        error = error.__cause__ or error.__context__
    return ""


def first_line(wrong: BaseException) -> str:
    """The first line of an error's text, or its class where it has none."""
    return (str(wrong).splitlines() or [type(wrong).__name__])[0][:300].rstrip(".")
