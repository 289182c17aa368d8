"""Whether MLflow answers. Commands check that first: MLflow's own client would try for minutes without a message."""

import os
import socket
import sqlite3
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from drsearch.files import fault
from drsearch.masking import hide, without_user
from drsearch.tracking.tracker import TrackerUnavailable

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_ANSWER_S = 10.0
_CLIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # drsearch waits by itself, with a message, and Ctrl-C ends it
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # Otherwise MLflow prints the address of every run that ends to standard output, among the results.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server with a bucket would send clients to the bucket itself, which they may not reach.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
}


def set_up_client() -> None:
    """Set how MLflow's client waits and logs in this process and its children; settings of the user stay."""
    for name, value in _CLIENT.items():
        os.environ.setdefault(name, value)


def is_served(tracking_uri: str) -> bool:
    """Whether a tracking URI names a server, which other machines can reach too."""
    return tracking_uri.startswith(("http://", "https://"))


def check_available(tracking_uri: str, timeout_s: float = _ANSWER_S) -> None:
    """Check that MLflow answers.

    Args:
        tracking_uri: Of a server, of a database that MLflow opens itself, or of a local store.
        timeout_s: How long to wait for the answer.

    Raises:
        TrackerUnavailable: If it does not; the text names the address and the cause.
    """
    hide(tracking_uri)
    if tracking_uri.startswith("sqlite:///"):
        file = tracking_uri.removeprefix("sqlite:///").partition("?")[0]
        if why := _why_no_file(file):
            raise TrackerUnavailable(f"MLflow's database cannot be read: {why}")
        return
    why = (_why_no_server if is_served(tracking_uri) else _why_no_database)(tracking_uri, timeout_s)
    if why:
        raise TrackerUnavailable(f"MLflow at {tracking_uri} does not answer: {why}")


@dataclass(frozen=True)
class ServerFacts:
    """What an MLflow server says of itself without a user.

    Attributes:
        version: Of MLflow.
        seconds: Until it answered.
        ahead_s: How far its clock is ahead of this machine's, seconds, to one second; None if it does not say.
    """

    version: str
    seconds: float
    ahead_s: float | None


def server_facts(tracking_uri: str) -> ServerFacts:
    """Ask an MLflow server that answers for its version and its time.

    Args:
        tracking_uri: Its address, http or https.

    Raises:
        requests.RequestException: If it does not answer after all.
    """
    import requests

    began = time.time()
    answer = requests.get(f"{without_user(tracking_uri).rstrip('/')}/version", timeout=_ANSWER_S)
    ended = time.time()
    date = parsedate_to_datetime(answer.headers["Date"]).timestamp() if "Date" in answer.headers else None
    ahead_s = None if date is None else date + 0.5 - (began + ended) / 2  # the header has whole seconds, cut off
    return ServerFacts(answer.text.strip()[:20] if answer.ok else "of an unknown version", ended - began, ahead_s)


def unavailable_reason(wrong: BaseException) -> str:
    """The reason why an address does not answer, in few words, for errors of any library.

    Example:
        >>> unavailable_reason(ConnectionRefusedError(111, "Connection refused"))
        'connection refused'
    """
    text = f"{type(wrong).__name__} {wrong}"
    for words, shown in (
        ("Connection refused", "connection refused"),
        ("Name or service not known", "no machine of that name"),
        ("nodename nor servname", "no machine of that name"),
        ("getaddrinfo", "no machine of that name"),
        ("NameResolutionError", "no machine of that name"),
        ("No route to host", "no route to that machine"),
        ("Network is unreachable", "the network is not reachable"),
        ("Timeout", "no answer in time"),
        ("timed out", "no answer in time"),
        ("RemoteDisconnected", "the connection was cut"),
        ("Connection reset", "the connection was cut"),
        ("Connection aborted", "the connection was cut"),
        ("500 error responses", "an error of the server, which its log explains"),
    ):
        if words in text:
            return shown
    return (str(wrong).strip().splitlines() or [type(wrong).__name__])[0][:200].rstrip(".")


def _why_no_server(tracking_uri: str, timeout_s: float) -> str:
    import requests

    try:
        requests.get(f"{without_user(tracking_uri).rstrip('/')}/health", timeout=timeout_s, stream=True).close()
    except requests.exceptions.SSLError:
        return ""  # every status is an answer; MLflow's client explains what is wrong with a certificate
    except (requests.ConnectionError, requests.Timeout) as wrong:
        return unavailable_reason(wrong)
    except requests.RequestException as wrong:
        return f"{unavailable_reason(wrong)}; set MLFLOW_TRACKING_URI to an address such as http://host:5000"
    return ""


def _why_no_database(tracking_uri: str, timeout_s: float) -> str:
    try:
        parts = urlsplit(tracking_uri)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    except ValueError as wrong:
        return unavailable_reason(wrong)
    if host is None or port is None:
        return ""  # no address of another machine: MLflow explains what is wrong with it
    try:
        with socket.create_connection((host, port), timeout_s):
            return ""
    except OSError as wrong:
        return unavailable_reason(wrong)


def _why_no_file(path: str) -> str:
    if not os.path.lexists(path):
        return ""  # MLflow creates it
    try:
        with open(path, "rb"):
            pass
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=_ANSWER_S)
        try:
            database.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()
        finally:
            database.close()
    except OSError as wrong:
        return fault(wrong).rstrip(".")
    except sqlite3.Error as wrong:
        return f"{path}: {wrong}"
    return ""
