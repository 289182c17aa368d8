"""The guard against growing slow compares ratios with the accepted ones, and counts exactly."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.rounds import Ratio, Result, Table, in_turn, ratio_of

ACCEPTED = Result(
    "How long does it take?",
    (Table("Seconds", ("way", "median"), (("usual", "2.00"), ("ours", "1.00"))),),
    (
        Ratio("usual / ours", (1.9, 2.0, 2.4), "higher", 1.9, 0.15),
        Ratio("ours / floor", (1.1, 1.2, 1.6), "lower", 1.0, 0.1),
    ),
    {"operations": 600},
)


def _keep(folder: Path, result: Result) -> Path:
    machine = {"processor": "any", "cores": 2, "libraries": {}, "commit": "abc", "date": "2026-11-24"}
    kept = {"benchmark": "epoch", "command": "python -m benchmarks.epoch", "seconds": 90, "machine": machine}
    folder.mkdir(exist_ok=True)
    (folder / "epoch.json").write_text(json.dumps(kept | dataclasses.asdict(result)))
    return folder


@pytest.fixture
def accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = _keep(tmp_path / "accepted", ACCEPTED)
    monkeypatch.setattr(report, "RESULTS", folder)
    return folder


def _with(ratios: tuple[tuple[float, ...], tuple[float, ...]], operations: int = 600) -> Result:
    changed = tuple(dataclasses.replace(old, rounds=new) for old, new in zip(ACCEPTED.ratios, ratios, strict=True))
    return dataclasses.replace(ACCEPTED, ratios=changed, counts={"operations": operations})


def test_what_is_within_the_tolerance_or_better_passes(accepted: Path, tmp_path: Path) -> None:
    assert report.check(_keep(tmp_path / "fresh", _with(((1.75,), (1.31,))))) == []
    assert report.check(_keep(tmp_path / "fresh", _with(((9.0,), (0.1,)), 10))) == []


def test_what_is_worse_is_named_with_both_figures(accepted: Path, tmp_path: Path) -> None:
    assert report.check(_keep(tmp_path / "fresh", _with(((1.7,), (1.4,)), 601))) == [
        "epoch: usual / ours is 1.70, accepted 2.00 with a tolerance of 15 %",
        "epoch: ours / floor is 1.40, accepted 1.20 with a tolerance of 10 %",
        "epoch: operations is 601, accepted 600",
    ]


def test_the_page_says_what_was_reached_and_what_was_not(
    accepted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(report, "CHART", tmp_path / "benchmarks.png")
    report.write()
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| usual / ours | 2.00 | 1.90 to 2.40 | at least 1.9, reached |" in page
    assert "| ours / floor | 1.20 | 1.10 to 1.60 | at most 1, **not reached** |" in page
    assert (tmp_path / "benchmarks.png").stat().st_size > 1000


def test_ways_are_timed_in_turn_and_compared_round_by_round() -> None:
    asked: list[str] = []

    def way(name: str, seconds: list[float]) -> Any:
        def once() -> float:
            asked.append(name)
            return seconds.pop(0)

        return once

    found = in_turn({"a": way("a", [2.0, 9.0]), "b": way("b", [1.0, 3.0])}, 2)
    assert asked == ["a", "b", "a", "b"]
    assert ratio_of(found, "a", "b") == (2.0, 3.0)
