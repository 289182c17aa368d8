"""Does the service hold a load for minutes, without a lost or a wrong answer? `make faults` asks.

`drsearch serve` runs in a process of its own. Clients ask at once, as fast as they are answered: one photograph,
several, explanations, and among them what a service gets on a bad day: photographs cut short, bombs, bodies that are
too large, clients that hang up. Every answer must be the one that the model gave alone, and memory must not grow.
"""

import argparse
import base64
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
from mlflow import MlflowClient

from drsearch.data.images import eye_image
from drsearch.data.synthetic import draw_eye, synthesize
from drsearch.home import Home
from drsearch.measure.familiarity import fit_familiarity
from drsearch.model.fit import set_seeds
from drsearch.model.resnet_v2 import build_resnet
from drsearch.release.registry import Registry
from drsearch.serving.answers import Answerer
from drsearch.serving.grader import Grader
from drsearch.serving.model_files import Serving, model_files
from drsearch.settings import Settings

TOLERANCE = 1e-6  # batches of other lengths are summed in another order


class Clients:
    """Ask until the time is up; what was answered is counted, and what was wrong is kept."""

    def __init__(self, url: str, photographs: list[bytes], wanted: list[float], pngs: list[bytes]) -> None:
        self._at = str(urlsplit(url).netloc)
        self._photographs, self._wanted, self._pngs = photographs, wanted, pngs
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.seconds: list[float] = []
        self._lock = threading.Lock()

    def run(self, n: int, until: float) -> None:
        threads = [threading.Thread(target=self._client, args=(seed, until)) for seed in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, seed: int, until: float) -> None:
        draw = np.random.default_rng(seed)
        kinds: dict[str, tuple[float, Callable[[np.random.Generator], bool]]] = {
            "a photograph": (0.6, self._one),
            "several photographs": (0.12, self._several),
            "an explanation": (0.08, self._explanation),
            "a photograph cut short": (0.08, self._cut_short),
            "a bomb": (0.06, self._bomb),
            "a client that hangs up": (0.055, self._hang_up),
            "a body that is too large": (0.005, self._too_large),
        }
        names, shares = list(kinds), [share for share, _ in kinds.values()]
        while time.monotonic() < until:
            name = str(draw.choice(names, p=shares))
            try:
                right, said = kinds[name][1](draw), "another answer"
            except Exception as wrong:  # whatever it is: an answer was lost
                right, said = False, repr(wrong)
            with self._lock:
                self.counts[name] += 1
                if not right:
                    self.wrong.append(f"{name}: {said}")

    def _ask(self, path: str, body: bytes, kind: str = "image/jpeg") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._at, timeout=120)
        started = time.perf_counter()
        try:
            connection.request("POST", path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        with self._lock:
            self.seconds.append(time.perf_counter() - started)
        return answer.status, said

    def _one(self, draw: np.random.Generator) -> bool:
        i = int(draw.integers(len(self._photographs)))
        status, said = self._ask("/predict", self._photographs[i])
        return status == 200 and abs(json.loads(said)["probability"] - self._wanted[i]) < TOLERANCE

    def _several(self, draw: np.random.Generator) -> bool:
        chosen = draw.integers(len(self._photographs), size=int(draw.integers(2, 7)))
        table = [{"photograph": base64.b64encode(self._photographs[i]).decode()} for i in chosen]
        status, said = self._ask("/invocations", json.dumps({"dataframe_records": table}).encode(), "application/json")
        found = [row["probability"] for row in json.loads(said)["predictions"]] if status == 200 else []
        return len(found) == len(chosen) and bool(np.allclose(found, [self._wanted[i] for i in chosen], atol=TOLERANCE))

    def _explanation(self, draw: np.random.Generator) -> bool:
        i = int(draw.integers(len(self._pngs)))
        return self._ask("/explain", self._photographs[i]) == (200, self._pngs[i])

    def _cut_short(self, draw: np.random.Generator) -> bool:
        data = self._photographs[int(draw.integers(len(self._photographs)))]
        return self._ask("/predict", data[: int(draw.integers(1, len(data) - 100))])[0] == 400

    def _bomb(self, draw: np.random.Generator) -> bool:
        side = int(draw.integers(8_001, 100_000))
        header = struct.pack(">I", 13) + b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        png = b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", zlib.crc32(header[4:]))
        return self._ask("/predict", png)[0] == 400

    def _too_large(self, draw: np.random.Generator) -> bool:
        return self._ask("/predict", bytes(65 * 2**20))[0] == 413

    def _hang_up(self, draw: np.random.Generator) -> bool:
        data = self._photographs[int(draw.integers(len(self._photographs)))]
        host, _, port = self._at.partition(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            head = f"POST /predict HTTP/1.1\r\nHost: {self._at}\r\nContent-Length: {len(data)}\r\n\r\n"
            connection.sendall(head.encode() + data[: int(draw.integers(0, len(data)))])
        return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drsearch-load-") as folder:
        return run(Path(folder), options)


def register(folder: Path, home: Home) -> Grader:
    """A model that was never trained, at the size that is the default, in a registry of its own."""
    chosen = Settings()
    set_seeds(1)
    (folder / "files").mkdir()
    build_resnet(chosen.model, chosen.images.image_px).save(folder / "files/model.keras")
    serving = Serving(chosen.images, chosen.data, chosen.task, 0.5, 1.0, "none")
    drawn = (draw_eye(number % 5, np.random.default_rng(number)).image for number in range(20))
    eyes = np.stack([eye_image(eye, chosen.images).image for eye in drawn])
    familiarity = fit_familiarity(eyes[:10], eyes[10:])
    files = model_files(folder / "files", folder / "files/model.keras", serving.to_json(), "[]", familiarity.to_json())
    home.path.mkdir()
    registry, client = Registry(home.tracking_uri), MlflowClient(home.tracking_uri, home.tracking_uri)
    experiment = client.create_experiment("load", home.artifacts.as_uri())
    registry.register("retinopathy", client.create_run(experiment).info.run_id, files, {}, "never trained")
    return Grader(folder / "files")


def run(folder: Path, options: Any) -> int:
    synthesize(folder / "eyes", 12, seed=1, image_px=(1072, 712))
    photographs = [path.read_bytes() for path in sorted((folder / "eyes/images/train").glob("*.jpg"))]
    home = Home(folder / "home")
    os.environ["MLFLOW_TRACKING_URI"] = home.local_tracking_uri
    grader = register(folder, home)
    wanted = [verdict.probability for verdict in grader.grade(photographs)]
    pngs = [Answerer(grader, "").explanation(data)[0] for data in photographs[:4]]
    command = [sys.executable, "-m", "drsearch", "serve", "retinopathy/1", "--port", "0", "--json"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        clients, began = Clients(url, photographs, wanted, pngs), time.monotonic()
        memory: list[int] = []
        for share in np.linspace(0.2, 1.0, 5):
            clients.run(options.clients, began + share * 60 * options.minutes)
            memory.append(psutil.Process(process.pid).memory_info().rss)
            print(f"  {sum(clients.counts.values())} requests, {memory[-1] / 1e6:.0f} MB", file=sys.stderr, flush=True)
        lives = process.poll() is None
        process.send_signal(signal.SIGINT)
        status = process.wait(60)
    finally:
        process.kill()
    return report(options, clients, memory, lives, status, (folder / "log").read_text())


def report(options: Any, clients: Clients, memory: list[int], lives: bool, status: int, log: str) -> int:
    n = sum(clients.counts.values())
    p50, p95 = np.quantile(clients.seconds, [0.5, 0.95])
    seconds = 60 * options.minutes
    print(f"{options.minutes:g} minutes, {options.clients} clients: {n} requests, {n / seconds:.0f} a second, ", end="")
    print(f"p50 {1e3 * p50:.0f} ms, p95 {1e3 * p95:.0f} ms\n")
    print("| request | times |\n|-|-|")
    for name, times in clients.counts.most_common():
        print(f"| {name} | {times} |")
    print()
    results = [
        ("no answer was lost or wrong", not clients.wrong, clients.wrong[:5]),
        ("the service lives, and ends with Ctrl-C", lives and status == 0, status),
        ("its memory did not grow after the first fifth", memory[-1] < 1.15 * memory[0] + 50e6, memory),
        ("it has logged no error", "Traceback" not in log and "ERROR" not in log, log[-1000:]),
    ]
    for name, holds, found in results:
        print(f"{'yes' if holds else 'NO '}  {name}{'' if holds else f': {found}'}", flush=True)
    return 0 if all(holds for _, holds, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
