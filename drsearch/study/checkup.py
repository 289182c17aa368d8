"""Whether this machine has what a study needs: libraries, TensorFlow, cores, memory, disk, addresses, clocks."""

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import InvalidRequirement, Requirement

import drsearch
from drsearch.errors import DrsearchError
from drsearch.files import fault
from drsearch.home import Home
from drsearch.processes import cores, gpus
from drsearch.provenance import git_commit
from drsearch.settings import Settings
from drsearch.tracking.availability import check_available, is_served, server_facts

State = Literal["ok", "warning", "fails"]

TESTED = Path(drsearch.__file__).parents[1] / "constraints.txt"
"""The versions that are tested together; only a checkout has them."""

_TENSORFLOWS = ("tensorflow", "tensorflow-cpu")  # they overwrite each other's files
_WORKER_GB = 1.0  # docs/benchmarks.md, "Does a worker's memory grow": 0.9 GB with the default network
_TRIAL_MB = 10.0  # run folder and artifacts of a trial of the default network
_RECORD_BYTES_PER_PX = 0.6  # records of 256 px: 40 kB each
_LEAST_FREE_GB = 1.0
_CLOCK_S = 60.0
_LOADS_S = 180.0  # of TensorFlow, from a slow disk

_TENSORFLOW = """
import json, drsearch, tensorflow as tf, keras
gpus = tf.config.list_physical_devices("GPU")
print(json.dumps({
    "tensorflow": tf.__version__, "keras": keras.__version__, "backend": keras.backend.backend(),
    "gpus": [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus],
    "cuda": tf.sysconfig.get_build_info().get("is_cuda_build", False),
}))
"""


@dataclass(frozen=True)
class Check:
    """One thing that a study needs.

    Attributes:
        name: What was looked at.
        state: `ok`; `warning`: a study runs, but not as well as it could; `fails`: something will not work.
        text: What is there.
        remedy: What to do; empty if nothing is to be done.
    """

    name: str
    state: State
    text: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """Its fields."""
        return asdict(self)


def check_machine(home: Home, storage: str, settings: Settings, data: Sequence[Path] = ()) -> Iterator[Check]:
    """Look at everything, one after another; nothing is changed, and no check stops the others.

    Args:
        home: Where the study would lie.
        storage: The address of the study database.
        settings: Of the study: size of the images and number of trials.
        data: The photographs that it would use.

    Yields:
        The checks.
    """
    yield _own()
    yield from check_libraries()
    yield _tensorflow()
    yield _cores()
    yield _memory()
    yield check_home(home)
    n_photographs = 0
    if data:
        photographs, n_photographs = check_photographs(data)
        yield photographs
    yield check_disk(home, settings, n_photographs)
    servers = [*check_mlflow(home), *check_database(home, storage)]
    yield from servers
    if all(check.name != "clock" for check in servers):
        yield Check("clock", "ok", f"{_now()}; no server to compare it with")


def _own() -> Check:
    commit = f" at commit {git_commit()[:7]}" if git_commit() else ""
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return Check("drsearch", "ok", f"{drsearch.__version__}{commit}, {system}")


def _installed(name: str) -> str:
    """The version of a distribution; empty if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _pip(command: str) -> str:
    return f"{sys.executable} -m pip {command}"


def _install(extra: str) -> str:
    """The command that installs drsearch as it is installed here: from a checkout, or from a wheel."""
    return _pip(
        f"install -c {TESTED} -e '{TESTED.parent}[{extra}]'" if TESTED.is_file() else f"install 'drsearch[{extra}]'"
    )


def check_libraries(tested: Path = TESTED) -> Iterator[Check]:
    """Whether all that drsearch needs is installed, in versions that fit; and which differ from those tested together.

    Args:
        tested: A file of constraints.
    """
    try:
        requirements = [Requirement(text) for text in distribution("drsearch").requires or ()]
    except PackageNotFoundError:
        yield Check("libraries", "fails", "drsearch is not installed in this Python", _install("cpu"))
        return
    needed = [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    missing = [each.name for each in needed if not _installed(each.name)]
    unfit = [
        f"{each.name} {_installed(each.name)} (needs {each.specifier})"
        for each in needed
        if each.name not in missing and not each.specifier.contains(_installed(each.name), prereleases=True)
    ]
    if missing or unfit:
        text = "; ".join(([f"not installed: {', '.join(missing)}"] if missing else []) + unfit)
        yield Check("libraries", "fails", text, _install("cpu"))
    else:
        yield Check("libraries", "ok", f"{len(needed)} needed, {len(needed)} installed{_extras(requirements)}")
    if others := _differing(tested):
        text = f"not the versions that are tested together: {', '.join(others[:4])}"
        text += f" and {len(others) - 4} more" if len(others) > 4 else ""
        yield Check("versions", "warning", text, f"{_install('cpu')}, if something does not work")


def _extras(requirements: Sequence[Requirement]) -> str:
    """Which extras are installed whole, in words; those for developers are not named."""
    names = distribution("drsearch").metadata.get_all("Provides-Extra") or []
    whole = [
        name
        for name in names
        if name not in ("bench", "docs", "test")
        and all(
            _installed(each.name)
            for each in requirements
            if each.marker is not None and each.marker.evaluate({"extra": name})
        )
    ]
    return f"; extras {', '.join(whole)}" if whole else ""


def _differing(tested: Path) -> list[str]:
    """Installed distributions of another version than the file of constraints has; none without the file."""
    differing = []
    for line in tested.read_text().splitlines() if tested.is_file() else ():
        with contextlib.suppress(InvalidRequirement):  # a comment
            wanted = Requirement(line)
            here = _installed(wanted.name)
            if here and not wanted.specifier.contains(here, prereleases=True):
                differing.append(f"{wanted.name} {here} (tested {str(wanted.specifier).lstrip('=')})")
    return differing


def _tensorflow() -> Check:
    """Import TensorFlow in a process of its own, which it may abort, and ask which devices it sees."""
    here = [name for name in _TENSORFLOWS if _installed(name)]
    if len(here) > 1:
        remedy = f"{_pip('uninstall')} {' '.join(here)}, then {_install('cpu')}, or [gpu] with an NVIDIA GPU"
        return _tensorflow_fails(f"{' and '.join(here)} are installed, and overwrite each other's files", remedy)
    try:
        done = subprocess.run([sys.executable, "-c", _TENSORFLOW], capture_output=True, text=True, timeout=_LOADS_S)
    except subprocess.TimeoutExpired:
        return _tensorflow_fails(f"its import takes more than {_LOADS_S:.0f} s", "is Python on a network disk?")
    if done.returncode < 0:
        return _tensorflow_fails(f"its import ends with signal {-done.returncode}", "this processor may lack AVX")
    if done.returncode:
        return _tensorflow_fails(f"its import: {done.stderr.strip().splitlines()[-1][:200]}", _install("cpu"))
    seen = json.loads(done.stdout.splitlines()[-1])
    text = f"TensorFlow {seen['tensorflow']}, Keras {seen['keras']}"
    if seen["backend"] != "tensorflow":
        return _tensorflow_fails(f"{text} on {seen['backend']}", "unset KERAS_BACKEND, or edit ~/.keras/keras.json")
    if seen["gpus"]:
        return Check("tensorflow", "ok", f"{text}; it sees {len(seen['gpus'])} GPU: {', '.join(seen['gpus'])}")
    cards = len(list(Path("/proc/driver/nvidia/gpus").glob("*"))) or len(gpus(os.environ))
    if not cards:
        return Check("tensorflow", "ok", f"{text}; no GPU in this machine, it computes on the CPU")
    other = f"{_pip('uninstall')} {' '.join(here)}, then {_install('gpu')}"
    remedy = "look at CUDA_VISIBLE_DEVICES and nvidia-smi" if seen["cuda"] else other
    return Check("tensorflow", "warning", f"{text}; the driver has {cards} GPU, TensorFlow sees none of them", remedy)


def _tensorflow_fails(text: str, remedy: str) -> Check:
    return Check("tensorflow", "fails", text, remedy)


def _cores() -> Check:
    n, load = cores(), os.getloadavg()[0]
    text = f"{n} cores for this process, {os.cpu_count()} in the machine; load {load:.1f}"
    limits = [name for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS") if name in os.environ]
    text += "".join(f"; {name} is {os.environ[name]}" for name in limits)
    if load > 1.5 * (os.cpu_count() or 1):
        return Check("cores", "warning", text, "other programs use the cores: trials take longer than they say")
    return Check("cores", "ok", f"{text}; fastest is --workers {n}")


def _memory() -> Check:
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max": a container without a limit
        group = Path("/sys/fs/cgroup")
        free = min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    fits = int(free / 1e9 / _WORKER_GB)
    text = f"{free / 1e9:.1f} GB free; a worker takes about {_WORKER_GB:g} GB"
    if fits < min(2, cores()):
        return Check("memory", "warning" if fits else "fails", text, "close other programs, or take fewer --workers")
    return Check("memory", "ok", text)


def check_home(home: Home) -> Check:
    """Whether the home can be written, or created where it is not there; nothing stays."""
    place, remedy = _existing(home.path), "set DRSEARCH_HOME to a folder of your own"
    if place.is_file():
        return Check("home", "fails", f"{place} is a file", f"remove it, or {remedy}")
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"drsearch")
    except OSError as wrong:
        return Check("home", "fails", fault(wrong, place).rstrip(".") or str(wrong), remedy)
    new = "" if place == home.path else " (created by the first command that writes)"
    return Check("home", "ok", f"{home.path} can be written{new}")


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return path if path.exists() else _existing(path.parent)


def check_photographs(data: Sequence[Path]) -> tuple[Check, int]:
    """Whether folders are recognised as a data set, and how many photographs they have; none is opened."""
    from drsearch.datasets.given import open_dataset

    where = ", ".join(map(str, data))
    try:
        dataset = open_dataset(data)
    except DrsearchError as wrong:
        return Check(
            "data", "fails", str(wrong), "docs/data.md has the layouts; `drsearch describe` names columns by hand"
        ), 0
    n = len(dataset.photographs)
    return Check("data", "ok", f"{where}: {n} photographs, as {dataset.source.name}; `drsearch prepare` audits them"), n


def check_disk(home: Home, settings: Settings, n_photographs: int) -> Check:
    """Whether there is space for a study: its records and its trials.

    Args:
        home: Where it would lie.
        settings: Of the study: size of the images and number of trials.
        n_photographs: That it would use.
    """
    free = shutil.disk_usage(_existing(home.path)).free / 1e9
    px, trials = settings.images.image_px, settings.study.trials or 20
    records = n_photographs * px * px * _RECORD_BYTES_PER_PX / 1e9
    needed = records + trials * _TRIAL_MB / 1e3
    text = f"{free:.1f} GB free in {home.path}; about {needed:.1f} GB needed for {trials} trials"
    text += f" and the records of {n_photographs} photographs at {px} px" if n_photographs else ""
    if free < needed:
        return Check("disk", "fails", text, "make space, or set DRSEARCH_HOME to another disk")
    if free < needed + _LEAST_FREE_GB:
        return Check("disk", "warning", text, "make space: a study waits where the disk is full")
    return Check("disk", "ok", text)


def check_mlflow(home: Home) -> Iterator[Check]:
    """Whether MLflow answers this user, in a version that fits, with a clock that agrees; no local store is created."""
    uri = home.tracking_uri
    if uri == home.local_tracking_uri and not Path(uri.removeprefix("sqlite:///")).exists():
        yield Check("mlflow", "ok", f"{uri}: created by the first command that writes")
        return
    try:
        check_available(uri)
        facts = server_facts(uri) if is_served(uri) else None
        from drsearch.tracking.mlflow_client import open_client

        n = len(open_client(uri).search_registered_models(max_results=100))
    except Exception as wrong:  # whatever MLflow, its database or the network raises is what the check reports
        why = str(wrong).strip().splitlines()[0][:300]
        yield Check("mlflow", "fails", why, _mlflow_remedy(str(wrong)))
        return
    served = f", MLflow {facts.version}, answers in {facts.seconds:.1f} s" if facts else ""
    models = f"{n} registered model{'' if n == 1 else 's'}"
    yield Check("mlflow", "ok", f"{uri}{served}; {models}")
    if facts is not None:
        if facts.version.split(".")[0] != _installed("mlflow").split(".")[0]:
            text = f"the server has MLflow {facts.version}, this machine {_installed('mlflow')}"
            yield Check("mlflow version", "warning", text, "install the same major version on both")
        if facts.ahead_s is not None:
            yield check_clock("MLflow's server", facts.ahead_s)


def _mlflow_remedy(wrong: str) -> str:
    if re.search(r"\berror code 40[13]\b", wrong):  # not in an address or a port
        return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if "schema" in wrong:
        return "install the MLflow of constraints.txt, or back the database up and run `mlflow db upgrade`"
    return "start it, or set MLFLOW_TRACKING_URI to the address of another"


def check_database(home: Home, storage: str) -> Iterator[Check]:
    """Whether the study database answers, with a clock that agrees; nothing is created.

    Args:
        home: Whose own database may be created later.
        storage: The address.
    """
    if storage == home.storage_url and not (home.path / "studies.db").exists():
        yield Check("study database", "ok", f"{storage}: created by the first study")
        return
    from drsearch.trials.storage import database_time

    try:
        before = time.time()
        server_s = database_time(storage)
    except DrsearchError as wrong:
        yield Check("study database", "fails", str(wrong), "start it, or give another address by --storage")
        return
    yield Check("study database", "ok", f"{storage} answers in {time.time() - before:.1f} s")
    if server_s is not None:
        yield check_clock("the database's server", server_s - (before + time.time()) / 2)


def _now() -> str:
    return f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %Z}"


def check_clock(server: str, ahead_s: float) -> Check:
    """This machine's clock beside a server's. drsearch compares no clocks; people and certificates do.

    Args:
        server: Whose clock it is, as a sentence begins.
        ahead_s: How far it is ahead of this machine's, seconds.
    """
    when = _now()
    if abs(ahead_s) < _CLOCK_S:
        return Check("clock", "ok", f"{when}; {server} agrees within {max(1, round(abs(ahead_s)))} s")
    text = f"{when}; {server} is {abs(ahead_s):.0f} s {'ahead' if ahead_s > 0 else 'behind'}"
    return Check(
        "clock", "warning", text, "set both by NTP (timedatectl set-ntp true): times in tables and certificates differ"
    )
