"""Which Ray clusters are refused before a study begins? What runs on a real one: tests/faults/test_ray.py."""

from typing import Any

import pytest
from services import free_port

from drsearch.errors import DrsearchError, StudyError
from drsearch.workers.ray_pool import RayPlace

pytest.importorskip("ray", reason="pip install 'drsearch[ray]'")


@pytest.mark.parametrize(
    ("on", "more", "said"),
    [
        ("ray", {"gpus": 2.0}, "--gpus-per-worker 2: a worker computes on one GPU; write at most 1."),
        ("ray://127.0.0.1:{port}", {}, "--on ray://127.0.0.1:{port}: no Ray cluster answers there ("),
    ],
)
def test_a_place_that_cannot_be_is_refused(on: str, more: Any, said: str) -> None:
    port = free_port()
    with pytest.raises(DrsearchError) as refused:
        RayPlace.read(on.format(port=port), None, more.get("gpus"), None)
    assert str(refused.value).startswith(said.format(port=port))


def test_a_cluster_elsewhere_needs_addresses_that_it_reaches() -> None:
    with pytest.raises(StudyError, match="a file of one machine, which others cannot join"):
        RayPlace("ray://head:10001").check("sqlite:///studies.db", "http://mlflow:5000")
