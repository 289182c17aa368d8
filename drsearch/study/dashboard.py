"""Serves optuna-dashboard over the study database."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from drsearch.errors import StudyError
from drsearch.study.definition import load_study
from drsearch.trials.retrying import Storage

_HOST = "127.0.0.1"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log no requests: the page makes one every few seconds."""


@contextmanager
def dashboard(storage: Storage, study: str = "", port: int = 0) -> Iterator[tuple[str, Callable[[], None]]]:
    """Serve optuna-dashboard for this machine only, in this process: the database's password stands on no command line.

    Args:
        storage: The study database.
        study: Whose page the link leads to; without one, the list of studies.
        port: On 127.0.0.1; 0 takes any that is free.

    Yields:
        The link, and a call that returns when the server ends.

    Raises:
        StudyError: If optuna-dashboard is not installed, there is no such study, or the port is taken.
    """
    try:
        from optuna_dashboard import wsgi
    except ModuleNotFoundError as wrong:
        raise StudyError(
            f"optuna-dashboard cannot be opened, {wrong.name} is not installed: pip install 'drsearch[dashboard]'."
        ) from wrong
    page = f"/studies/{load_study(storage, study)[0]._study_id}" if study else ""
    try:
        server = make_server(_HOST, port, wsgi(storage.optuna), server_class=_Server, handler_class=_Quiet)
    except OSError as wrong:
        raise StudyError(f"port {port} cannot be had on {_HOST} ({wrong}); choose another one.") from wrong
    thread = threading.Thread(target=server.serve_forever, name="dashboard", daemon=True)
    thread.start()
    try:
        yield f"http://{_HOST}:{server.server_port}/dashboard{page}", thread.join
    finally:
        server.shutdown()
        server.server_close()
