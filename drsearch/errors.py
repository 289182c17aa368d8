"""The errors that drsearch foresees: each is one sentence for the person at the terminal.

Kinds follow consequence: `TrialFailed` ends one trial and the study goes on; every other
`DrsearchError` ends the command with status 2. A bug is neither and keeps its traceback.
"""

from drsearch.masking import masked


class DrsearchError(Exception):
    """An error that was foreseen: its text says what was found, where, and what to do; it shows no password."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(masked(each) if isinstance(each, str) else each for each in args))


class SettingsError(DrsearchError, ValueError):
    """A setting, by gin file, `--set` or Python, that is unknown or out of its range."""


class DataError(DrsearchError, ValueError):
    """A data set that cannot be used as it is: photographs, labels, splits."""


class RecordsError(DrsearchError, ValueError):
    """Records on disk that are not what their manifest says."""


class SearchSpaceError(DrsearchError, ValueError):
    """A search space that cannot be drawn, or that names no setting."""


class StudyError(DrsearchError, RuntimeError):
    """A study that cannot be started or continued as asked."""


class RegistryError(DrsearchError, LookupError):
    """A model, version or alias that is not there, or not what drsearch registered."""


class PhotographError(DrsearchError, ValueError):
    """One photograph that cannot be read whole or shows no retina that can be graded."""


class TrialFailed(DrsearchError, RuntimeError):
    """One trial cannot go on (its loss is not finite, its model cannot be built); the study can."""


class MetricError(DrsearchError, ValueError):
    """A score or an explanation that these labels, predictions or this model leave undefined."""


class Interrupted(DrsearchError):
    """The person at the terminal stopped the command; nothing is lost, and the same command resumes it."""
