import math

import pytest

from drsearch.tracking.events import (
    Artifact,
    DatasetInput,
    Event,
    Image,
    Metrics,
    Resumed,
    RunEnd,
    RunStart,
    Tags,
    from_line,
    to_line,
)

EVERY_KIND: list[Event] = [
    RunStart(
        key="study/3",
        experiment="study",
        name="trial 3",
        tags={"drsearch.kind": "trial"},
        params={"training.learning_rate": 0.01, "training.seed": 3, "model.note": None, "augmentation.flip": True},
        started_ms=1,
        dataset=DatasetInput("idrid", "f" * 64, "/data/idrid", "training"),
        experiment_tags={"mlflow.note.content": "two\nlines \u2028 and é"},
    ),
    RunStart(key="a", experiment="b", name="c"),
    Resumed(2),
    Metrics(4, {"loss": 0.25, "val_auc": 1.0}, 5),
    Image("gradcam/eye 1", 4, "images/eye-1.png", 6),
    Artifact("confusion.png", "figures"),
    Tags({"drsearch.pruned": "median"}),
    RunEnd("FAILED", 9, {"drsearch.reason": "the loss is nan"}),
]


@pytest.mark.parametrize("event", EVERY_KIND, ids=lambda event: type(event).__name__)
def test_an_entry_reads_back_from_its_one_line(event: Event) -> None:
    line = to_line(event)
    assert "\n" not in line
    assert from_line(line) == event


def test_nan_and_infinities_survive() -> None:
    back = from_line(to_line(Metrics(1, {"loss": math.nan, "a": math.inf, "b": -math.inf}, 1)))
    assert isinstance(back, Metrics)
    assert math.isnan(back.values["loss"])
    assert (back.values["a"], back.values["b"]) == (math.inf, -math.inf)


@pytest.mark.parametrize("line", ["", "7", '{"event": "Party"}', '{"event": "Tags"}', '{"event": "Resumed", "x": 1}'])
def test_a_line_that_is_no_entry_is_refused_with_its_beginning(line: str) -> None:
    with pytest.raises(ValueError) as wrong:
        from_line(line)
    assert str(wrong.value) == f"not a line of a run's journal: {line!r}"
