"""Log lines on standard error, which never stop a process."""

import logging as python_logging
import sys

from absl import logging

from drsearch.masking import mask_output


def start_logging(verbose: bool = False) -> None:
    """Log to standard error, without passwords. On a full disk lines are lost, and the process goes on.

    Args:
        verbose: Log debug messages, too.
    """
    mask_output()
    logging.use_absl_handler()
    logging.set_verbosity(logging.DEBUG if verbose else logging.INFO)
    logging._warn_preinit_stderr = False  # type: ignore[attr-defined]  # no line about absl flags before the first line
    # MLflow's client warns of every try; drsearch warns once per outage.
    python_logging.getLogger("urllib3").setLevel(python_logging.ERROR)
    handler = logging.get_absl_handler().python_handler

    def lose(record: python_logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            type(handler).handleError(handler, record)

    handler.handleError = lose  # type: ignore[method-assign]
