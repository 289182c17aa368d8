"""How does a process say what it does? By log lines on standard error, which never stand in its way."""

import logging as python_logging
import sys

from absl import logging


def start_logging(verbose: bool = False) -> None:
    """Log to standard error. Where that cannot be written, on a full disk, a line is lost, and nothing else.

    Args:
        verbose: Say what only a search for a fault needs, too.
    """
    logging.use_absl_handler()
    logging.set_verbosity(logging.DEBUG if verbose else logging.INFO)
    logging._warn_preinit_stderr = False  # type: ignore[attr-defined]  # else the first line brings one about flags, which nobody has here
    handler = logging.get_absl_handler().python_handler

    def lose(record: python_logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            type(handler).handleError(handler, record)

    handler.handleError = lose  # type: ignore[method-assign]
