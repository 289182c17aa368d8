"""How are several ways of doing one thing compared on a noisy machine? In turn, in rounds, by medians of ratios.

A benchmark returns a `Result`; `run` parses its command line and keeps the result as JSON in `benchmarks/results`,
where `benchmarks/report.py` finds it. Seconds are shown to the reader; only ratios of one round are ever compared.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

RESULTS = Path(__file__).parent / "results"
"""Where results are kept: those in the repository are the last accepted ones."""

DEFAULT_IDRID = Path(__file__).resolve().parents[2] / "shared" / "idrid"
LIBRARIES = (
    "tensorflow-cpu",
    "tensorflow",
    "keras",
    "opencv-python-headless",
    "optuna",
    "mlflow",
    "keras-tuner",
    "torch",
)


@dataclass(frozen=True)
class Ratio:
    """One figure that is claimed, and compared with the accepted one.

    Attributes:
        name: What over what.
        rounds: The ratio in every round.
        better: Whether a higher or a lower ratio is better.
        wanted: What is aimed at; None where nothing is.
        tolerance: By how much, relatively, `make bench-check` lets it be worse than the accepted one.
    """

    name: str
    rounds: tuple[float, ...]
    better: Literal["higher", "lower"] = "higher"
    wanted: float | None = None
    tolerance: float = 0.15

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.rounds)


@dataclass(frozen=True)
class Table:
    """Rows to be read: texts or numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Result:
    """What a benchmark found.

    Attributes:
        question: What it answers, in a sentence.
        tables: What was measured.
        ratios: What is claimed of it.
        counts: Numbers that do not depend on the machine's mood (operations, requests), compared exactly.
        notes: What a reader must know to read the tables.
    """

    question: str
    tables: tuple[Table, ...]
    ratios: tuple[Ratio, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def in_turn(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every way in every round: A B C, A B C, ... so that a slow minute slows all alike.

    Args:
        ways: Each does its work once and returns the seconds that count.
        rounds: How often.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            seconds[name].append(way())
            say(f"round {number + 1}/{rounds}  {name}: {seconds[name][-1]:.3f} s")
    return seconds


def ratio_of(seconds: Mapping[str, Sequence[float]], slow: str, fast: str) -> tuple[float, ...]:
    """Round by round, the seconds of one way over those of another."""
    return tuple(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))


def timed(work: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_process(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What `python -m module arguments` prints as JSON on its last line, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **(environment or {})},
        cwd=Path(__file__).resolve().parents[1],
    )
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


class Standing:
    """A process that does its work once for every line it is given, and answers with the seconds of its parts.

    Start-up, imports and tracing are over when it is made. Use it in a `with` block.
    """

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **(environment or {})},
            cwd=Path(__file__).resolve().parents[1],
        )
        self._called = " ".join((module, *arguments))
        self._answer()

    def __enter__(self) -> "Standing":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()

    @property
    def pid(self) -> int:
        """That of the process."""
        return self._process.pid

    def __call__(self, line: str = "again") -> dict[str, float]:
        """What once more took, in seconds by name; the line tells a process that can do several things which."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return dict(self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip().startswith(('"', "{")):
                return json.loads(line)
        raise RuntimeError(f"python -m {self._called} ended with status {self._process.wait()} without an answer")


def idrid(folder: str = "") -> Path:
    """The photographs that benchmarks measure on: `DRSEARCH_IDRID`, or `../shared/idrid`; a missing one ends it."""
    path = Path(os.environ.get("DRSEARCH_IDRID") or DEFAULT_IDRID)
    path = path.with_name(f"{path.name}{folder}")
    if not path.is_dir():
        sys.exit(f"{path} is not there: set DRSEARCH_IDRID to the photographs of IDRiD; nothing was measured.")
    return path


def say(text: str) -> None:
    """Progress, to standard error."""
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _read("/proc/cpuinfo").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def run(name: str, measure: Callable[[int], Result], rounds: int) -> None:
    """The command line of a benchmark: measure, print, keep.

    Args:
        name: Of the benchmark and its file of results.
        measure: Given the number of rounds.
        rounds: Where the command does not say.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"default {rounds}")
    parser.add_argument(
        "--into", type=Path, default=RESULTS, help="folder for the result (default: benchmarks/results)"
    )
    options = parser.parse_args()
    started = time.perf_counter()
    result = measure(options.rounds)
    kept = {
        "benchmark": name,
        "command": f"python -m benchmarks.{name} --rounds {options.rounds}",
        "seconds": round(time.perf_counter() - started),
        **asdict(result),
        "machine": machine(),
    }
    options.into.mkdir(parents=True, exist_ok=True)
    file = options.into / f"{name}.json"
    file.write_text(json.dumps(kept, indent=1) + "\n")
    for ratio in result.ratios:
        aim = (
            f" (aim: {'at least' if ratio.better == 'higher' else 'at most'} {ratio.wanted:g})" if ratio.wanted else ""
        )
        say(f"{ratio.name}: {ratio.median:.2f} [{min(ratio.rounds):.2f}, {max(ratio.rounds):.2f}]{aim}")
    say(f"kept in {file}")


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return done.stdout.strip() or "unknown"
