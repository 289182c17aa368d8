"""How does a process say what it does? By log lines on standard error, which never stand in its way."""

import logging as python_logging
import sys

from absl import logging

from drsearch.masking import mask_output


def start_logging(verbose: bool = False) -> None:
    """Log to standard error, without passwords. On a full disk, lines are lost, and nothing else.

    Args:
        verbose: Say what only a search for a fault needs, too.
    """
    mask_output()
    logging.use_absl_handler()
    logging.set_verbosity(logging.DEBUG if verbose else logging.INFO)
    logging._warn_preinit_stderr = False  # type: ignore[attr-defined]  # else the first line brings one about flags, which nobody has here
    # MLflow's client warns of every try; what an outage means is said once, by who waits for its end.
    python_logging.getLogger("urllib3").setLevel(python_logging.ERROR)
    handler = logging.get_absl_handler().python_handler

    def lose(record: python_logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            type(handler).handleError(handler, record)

    handler.handleError = lose  # type: ignore[method-assign]
