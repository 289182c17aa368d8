"""Imports TensorFlow and Keras without their start-up lines and without garbage collection.

TensorFlow's log level does not reach its start-up lines: they are written before it is read. The collector would walk
through the million objects of these libraries again and again, for a third of the time that a command takes to start.
Every process of drsearch imports TensorFlow at another place, so the import itself is hooked: `hook_imports` is called
when drsearch is imported.
"""

import contextlib
import gc
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_ENDS_S = 1.0

_FILTER = """
import re, sys
dropped = re.compile(
    rb"I\\d{4} "
    rb"|WARNING: All log messages before absl::InitializeLog"
    rb"|To enable the following instructions:"
    rb"|[EW]\\d{4} .*(Attempting to register factory for plugin|computation placer already registered)"
)
for line in sys.stdin.buffer:
    if not dropped.match(line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Pause the garbage collector, and let it never look again at what exists at the end."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.freeze()
            gc.enable()


def is_news(record: logging.LogRecord) -> bool:
    """Whether a warning of TensorFlow says something about drsearch.

    Every network that predicts is traced once. TensorFlow counts the networks of a process together, and from the
    fifth on it warns of a loop that traces one again and again.
    """
    return "triggered tf.function retracing" not in record.getMessage()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Import TensorFlow with warnings and errors alone."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    logging.getLogger("tensorflow").addFilter(is_news)
    with _uncollected(), _filtered():
        yield


@contextlib.contextmanager
def _filtered() -> Iterator[None]:
    """Pass standard error through `_FILTER`.

    In a process of its own: if TensorFlow aborts while it is imported, on a processor that it was not built for, its
    reason is still shown.
    """
    import subprocess

    try:
        child = subprocess.Popen(
            [sys.executable, "-IS", "-c", _FILTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not meant for it
        )
    except OSError:  # no Python to start, no memory: then the lines are shown
        yield
        return
    assert child.stdin is not None
    kept = os.dup(2)
    os.dup2(child.stdin.fileno(), 2)
    child.stdin.close()
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        with contextlib.suppress(subprocess.TimeoutExpired):  # a process that was started meanwhile holds the pipe
            child.wait(_ENDS_S)


class _Finder(MetaPathFinder):
    """Finds TensorFlow and Keras where Python does, and surrounds the run of their modules."""

    _AROUND = {"keras": _uncollected, "mlflow": _uncollected, "tensorflow": _quiet}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        around = self._AROUND.get(fullname)
        spec = PathFinder.find_spec(fullname, path, target) if around else None
        if around and spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_within(module: ModuleType) -> None:
                with around():
                    run(module)

            spec.loader.exec_module = run_within  # type: ignore[method-assign]
        return spec


def hook_imports() -> None:
    """From now on, the first import of TensorFlow or Keras in this process is quiet and quick.

    No start-up lines are written; warnings and errors are. TensorFlow's log level becomes 1, warnings and errors,
    unless TF_CPP_MIN_LOG_LEVEL says otherwise. The garbage collector pauses meanwhile, and leaves alone what was
    imported.
    """
    if "tensorflow" not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
