"""How fast is a photograph straight from the camera answered over HTTP, beside the network's own time?

    python -m benchmarks.serving [--rounds N]

The twelve originals of IDRiD (4288 x 2848, 0.4 MB), a network of the default size, one client and four.
"""

import base64
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from mlflow import MlflowClient

from benchmarks.rounds import Ratio, Result, Table, idrid, in_turn, ratio_of, run
from drsearch.data.images import eye_image
from drsearch.data.synthetic import draw_eye
from drsearch.home import Home
from drsearch.measure.familiarity import fit_familiarity
from drsearch.model.fit import set_seeds
from drsearch.model.resnet_v2 import build_resnet
from drsearch.release.registry import Registry
from drsearch.serving.grader import Grader
from drsearch.serving.model_files import Serving, model_files
from drsearch.settings import Settings

TIMES = 8  # each photograph, a way and round
CLIENTS = 4
Ask = Callable[[int], None]


class Way:
    """Asks for every photograph, `TIMES` times, and keeps how long each answer took.

    Args:
        ask: Makes a function that gets the answer for a photograph by its number; one a client.
        n: Photographs.
        clients: At once.
    """

    def __init__(self, ask: Callable[[], Ask], n: int, clients: int) -> None:
        self.latencies: list[float] = []
        self._numbers = [number for _ in range(TIMES) for number in range(n)]
        self._ask, self._clients = ask, clients

    def __call__(self) -> float:
        """Seconds of all."""
        asks = [self._ask() for _ in range(self._clients)]
        for ask in asks:
            ask(0)  # a connection is opened, and a server that has slept wakes
        shares = [self._numbers[first :: self._clients] for first in range(self._clients)]
        started = time.perf_counter()
        with ThreadPoolExecutor(self._clients) as threads:
            found = list(threads.map(_timed, asks, shares))
        seconds = time.perf_counter() - started
        self.latencies += [latency for share in found for latency in share]
        return seconds

    @property
    def n(self) -> int:
        """Answers a round."""
        return len(self._numbers)


def _timed(ask: Ask, numbers: Sequence[int]) -> list[float]:
    found = []
    for number in numbers:
        started = time.perf_counter()
        ask(number)
        found.append(time.perf_counter() - started)
    return found


def main() -> None:
    """Run it."""
    run("serving", measure, rounds=5)


def measure(rounds: int) -> Result:
    """The network, the network with decoding, our service and MLflow's server, in turn."""
    originals = sorted((idrid("_original") / "images/train").glob("*.jpg"))
    photographs = [path.read_bytes() for path in originals]
    n = len(photographs)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        grader, home = register(folder), Home(folder / "home")
        images = [grader.image(data)[None] for data in photographs]
        with served(home, "drsearch") as ours, served(home, "mlflow") as theirs:
            ways = {
                "the network alone": Way(lambda: lambda number: _ignore(grader.probabilities(images[number])), n, 1),
                "in Python, decoding included": Way(
                    lambda: lambda number: _ignore(grader.grade([photographs[number]])), n, 1
                ),
                "drsearch serve, 1 client": Way(lambda: asking(ours, "/predict", photographs), n, 1),
                f"drsearch serve, {CLIENTS} clients": Way(lambda: asking(ours, "/predict", photographs), n, CLIENTS),
                "mlflow models serve, 1 client": Way(lambda: asking(theirs, "/invocations", photographs), n, 1),
                f"mlflow models serve, {CLIENTS} clients": Way(
                    lambda: asking(theirs, "/invocations", photographs), n, CLIENTS
                ),
            }
            seconds = in_turn(ways, rounds)
    many = f", {CLIENTS} clients"
    table = Table(
        f"{n} photographs of 4288 x 2848, each {TIMES} times, {rounds} rounds on {os.cpu_count()} cores",
        ("way", "p50, ms", "p95, ms", "photographs per second"),
        tuple(
            (
                name,
                round(1e3 * float(np.quantile(way.latencies, 0.5)), 1),
                round(1e3 * float(np.quantile(way.latencies, 0.95)), 1),
                round(way.n / statistics.median(seconds[name]), 1),
            )
            for name, way in ways.items()
        ),
    )
    return Result(
        "How fast is a photograph answered over HTTP, beside the network's own time?",
        (table,),
        (
            Ratio(
                "drsearch serve, 1 client / in Python, decoding included",
                ratio_of(seconds, "drsearch serve, 1 client", "in Python, decoding included"),
                "lower",
            ),
            Ratio(
                f"mlflow models serve / drsearch serve{many}",
                ratio_of(seconds, f"mlflow models serve{many}", f"drsearch serve{many}"),
            ),
        ),
        notes=(
            "the network alone: one prepared image of 256 px at a time, in this process. In Python: `Grader.grade` of"
            " the file's bytes, decoded at 1/8 scale, cropped, resized. drsearch serve: the file's bytes as body of"
            " POST /predict. mlflow models serve: MLflow's own server, one worker, the bytes in base64.",
            "Clients are threads of one process on the same machine, each with one connection; a client asks again when"
            " it has its answer.",
        ),
    )


def _ignore(_: object) -> None:
    pass


def register(folder: Path) -> Grader:
    """A model that was never trained, registered in `folder/home`."""
    settings, home = Settings(), Home(folder / "home")
    set_seeds(1)
    (folder / "files").mkdir()
    build_resnet(settings.model, settings.images.image_px).save(folder / "files/model.keras")
    serving = Serving(settings.images, settings.data, settings.task, 0.5, 1.0, "none")
    drawn = (draw_eye(number % 5, np.random.default_rng(number)).image for number in range(20))
    eyes = np.stack([eye_image(eye, settings.images).image for eye in drawn])
    familiarity = fit_familiarity(eyes[:10], eyes[10:])
    files = model_files(folder / "files", folder / "files/model.keras", serving.to_json(), "[]", familiarity.to_json())
    home.path.mkdir()
    registry = Registry(home.local_tracking_uri)
    client = MlflowClient(home.local_tracking_uri, home.local_tracking_uri)
    experiment = client.create_experiment("serving", home.artifacts.as_uri())
    registry.register("retinopathy", client.create_run(experiment).info.run_id, files, {}, "never trained")
    return Grader(folder / "files")


@contextmanager
def served(home: Home, by: str) -> Iterator[str]:
    """A server's address, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    commands = {
        "drsearch": ("drsearch", "serve", "models:/retinopathy/1"),
        "mlflow": ("mlflow", "models", "serve", "--model-uri", "models:/retinopathy/1", "--env-manager", "local"),
    }
    environment = {
        **os.environ,
        "DRSEARCH_HOME": str(home.path),
        "MLFLOW_TRACKING_URI": home.local_tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # MLflow starts its web server by name.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", *commands[by], "--port", port],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        while not _answers(port):
            if process.poll() is not None:
                raise RuntimeError(f"{by} ended with status {process.returncode} and never answered")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: str) -> bool:
    connection = http.client.HTTPConnection(f"127.0.0.1:{port}", timeout=5)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def asking(url: str, path: str, photographs: Sequence[bytes]) -> Ask:
    """A client with a connection of its own, which asks for a photograph by its number."""
    connection = http.client.HTTPConnection(str(urlsplit(url).netloc), timeout=60)
    if path == "/invocations":
        texts = [base64.b64encode(data).decode() for data in photographs]
        bodies = [json.dumps({"dataframe_records": [{"photograph": text}]}).encode() for text in texts]
        kind = "application/json"
    else:
        bodies, kind = list(photographs), "image/jpeg"

    def ask(number: int) -> None:
        connection.request("POST", path, bodies[number], {"Content-Type": kind})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{url}{path} answered {answer.status}: {said.decode()}")

    return ask


if __name__ == "__main__":
    main()
