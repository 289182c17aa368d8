"""Log lines on standard error, which never stop a process."""

import logging as python_logging
import sys

from absl import logging

from drsearch.masking import mask_output


class _Sentence(python_logging.Formatter):
    """The message alone; a warning or an error says that it is one."""

    def format(self, record: python_logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno <= python_logging.INFO else f"{record.levelname.lower()}: {text}"


def start_logging(verbose: bool = False, quiet: bool = False) -> None:
    """Log to standard error, without passwords, on a terminal as plain sentences.

    On a full disk lines are lost, and the process goes on.

    Args:
        verbose: Log debug messages, too.
        quiet: Log warnings and errors only.
    """
    mask_output()
    logging.use_absl_handler()
    logging.set_verbosity(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    logging._warn_preinit_stderr = False  # type: ignore[attr-defined]  # no line about absl flags before the first line
    # MLflow's client warns of every try; drsearch warns once per outage.
    python_logging.getLogger("urllib3").setLevel(python_logging.ERROR)
    handler = logging.get_absl_handler().python_handler
    if sys.stderr.isatty() and not verbose:  # a file has times and places, a person reads sentences
        logging.get_absl_handler().setFormatter(_Sentence())

    def lose(record: python_logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            type(handler).handleError(handler, record)

    handler.handleError = lose  # type: ignore[method-assign]
