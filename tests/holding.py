"""Let trainings wait at an epoch until a test lets them go on: what is to happen then happens then, at any load.

The space file of the study says `import holding`; `Holds` is the test's side.
"""

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

VARIABLE = "HELD_EPOCHS"
"""The environment variable that tells a worker the folder of `Holds`."""


class Holds:
    """Epochs at which trials wait, and which of them are reached. A worker that is asked to stop waits no longer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def environment(self) -> dict[str, str]:
        """What the command that starts the study needs: where the holds are, and the way to this module."""
        path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {VARIABLE: str(self._folder), "PYTHONPATH": os.pathsep.join(path)}

    def hold(self, *epochs: tuple[int, int]) -> None:
        """Let trials wait at the end of epochs, (trial, epoch); epochs count through all folds."""
        self._folder.mkdir(exist_ok=True)
        for trial, epoch in epochs:
            (self._folder / f"{trial}-{epoch}").touch()

    def reached(self, *epochs: tuple[int, int]) -> bool:
        """Whether all these trials wait now."""
        return all((self._folder / f"{trial}-{epoch}.reached").exists() for trial, epoch in epochs)

    def release(self, *epochs: tuple[int, int]) -> None:
        """Let trials go on that wait at these epochs; without any, all, and nobody waits any more."""
        for trial, epoch in epochs:
            (self._folder / f"{trial}-{epoch}").unlink()
        if not epochs:
            shutil.rmtree(self._folder, ignore_errors=True)


def _wait(folder: Path, worker: Any, status: dict[str, Any]) -> None:
    mark = folder / f"{status['trial']}-{status['epoch']}"
    if mark.exists():
        with contextlib.suppress(FileNotFoundError):  # released meanwhile
            mark.with_name(f"{mark.name}.reached").touch()
    while mark.exists() and not worker.stop_asked():
        time.sleep(0.02)


def _hold_worker(folder: Path) -> None:
    """Wait where a worker tells its launcher of an epoch: its checkpoint is written then, and it holds no lock."""
    worker_class = getattr(sys.modules["__main__"], "Worker", None)
    if worker_class is None:  # a launcher reads the space too
        return
    show = worker_class.show

    def show_and_wait(self: Any, **status: Any) -> None:
        show(self, **status)
        _wait(folder, self, status)

    worker_class.show = show_and_wait


if VARIABLE in os.environ:
    _hold_worker(Path(os.environ[VARIABLE]))
