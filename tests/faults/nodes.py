"""A real Ray cluster of several nodes on this machine, each with room for one worker and a home of its own."""

import contextlib
import os
import signal
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
from services import free_port

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # else clients of the head fail by chance: docs/many_machines.md
from ray.cluster_utils import Cluster  # noqa: E402

_SMALL = {"object_store_memory": 80 * 2**20}
_TRIES = 5


class Nodes:
    """The cluster. Its head has room for no worker.

    Args:
        folder: Where the homes of its nodes lie.
        environment: Of workers on them.

    Attributes:
        address: What `--on` takes.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment, self._port = folder, dict(environment), free_port()
        self._nodes: dict[str, Any] = {}
        self._n = 0
        self.address = f"ray://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start the head."""
        head = {"num_cpus": 0, "ray_client_server_port": self._port, "include_dashboard": False, **_SMALL}
        self._cluster = _patiently(lambda: Cluster(initialize_head=True, head_node_args=head))

    def stop(self) -> None:
        """Kill all nodes and the head."""
        for name in self.names:
            self.kill(name)
        self._cluster.shutdown()

    @property
    def names(self) -> list[str]:
        """Of the nodes that live."""
        return list(self._nodes)

    def add(self, n: int = 1) -> list[str]:
        """Add nodes, each with one CPU and, so Ray believes, one GPU; their names."""
        added = []
        for _ in range(n):
            self._n += 1
            added.append(f"node-{self._n}")
            environment = {**self._environment, "DRSEARCH_HOME": str(self._folder / added[-1])}
            more = {"num_cpus": 1, "num_gpus": 1, "env_vars": environment, **_SMALL}
            self._nodes[added[-1]] = _patiently(lambda more=more: self._cluster.add_node(wait=False, **more))
        return added

    def kill(self, name: str) -> None:
        """Let a node lose its power: no process of it says a word more."""
        node = self._nodes.pop(name)
        processes = [psutil.Process(self._raylet(node))]
        processes += processes[0].children(recursive=True)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                os.kill(process.pid, signal.SIGKILL)
        self._cluster.remove_node(node, allow_graceful=False)

    def of(self, pid: int) -> str:
        """The name of the node on which a process runs; empty if that is gone."""
        try:
            above = {process.pid for process in psutil.Process(pid).parents()}
        except psutil.NoSuchProcess:
            return ""
        return next((name for name, node in self._nodes.items() if self._raylet(node) in above), "")

    @staticmethod
    def _raylet(node: Any) -> int:
        return int(node.all_processes["raylet"][0].process.pid)


def _patiently(start: Callable[[], Any]) -> Any:
    """What `start` returns, tried again: Ray gives a node half a minute to start, whatever the machine is busy with."""
    for left in reversed(range(_TRIES)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves the closing of its log files to Python
            try:
                return start()
            except Exception as wrong:
                if not left or "timed out during startup" not in str(wrong):
                    raise
