"""What does TensorFlow write while it is imported? Its start-up lines are dropped; warnings and errors are shown.

TensorFlow's log level does not reach these lines: they are written before it is read. Every process of drsearch imports
TensorFlow at another place, so the import itself is hooked: `drop_start_up_lines` is called when drsearch is imported.
"""

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
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


def drop_start_up_lines() -> None:
    """From now on, the first import of TensorFlow in this process writes no start-up lines.

    TensorFlow's log level becomes 1, warnings and errors, unless TF_CPP_MIN_LOG_LEVEL says otherwise.
    """
    if "tensorflow" not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds TensorFlow where Python does, and filters standard error while its module runs."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_quietly(module: ModuleType) -> None:
                os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
                with _filtered():
                    run(module)

            spec.loader.exec_module = run_quietly  # type: ignore[method-assign]
        return spec


@contextlib.contextmanager
def _filtered() -> Iterator[None]:
    """Pass standard error through `_FILTER`.

    In a process of its own: if TensorFlow aborts while it is imported, on a processor that it was not built for, its
    reason is still shown.
    """
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
