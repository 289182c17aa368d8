"""How studies and trials are listed."""

import csv
import io

from rich.console import Console

from drsearch.listing import trials_table, write_csv
from drsearch.search.standing import TrialRow

ROWS = [
    TrialRow(0, "complete", 0.91234, 0.8, 0.95, 20, 30, 2, 75.0, {"training.learning_rate": 0.003, "model.width": 8},
             "0123456789abcdef", "pacs-3:17", ""),
    TrialRow(1, "failed", None, None, None, None, 3, 1, 9.0, {"training.learning_rate": 0.1, "model.width": 16},
             "", "pacs-3:18", "the loss is nan, in epoch 3"),
    TrialRow(2, "waiting", None, None, None, None, 0, 0, 0.0, {}, "", "", ""),
]  # fmt: skip


def test_the_csv_has_every_column_by_its_full_name_and_nothing_rounded() -> None:
    out = io.StringIO()
    write_csv(ROWS, out)
    first, second, third = csv.DictReader(io.StringIO(out.getvalue()))
    assert first["training.learning_rate"] == "0.003"
    assert (first["value"], first["low"], first["high"]) == ("0.91234", "0.8", "0.95")
    assert first["run_id"] == "0123456789abcdef"
    assert second["reason"] == "the loss is nan, in epoch 3"
    assert (third["trial"], third["state"], third["value"], third["model.width"]) == ("2", "waiting", "", "")


def test_the_table_names_parameters_by_their_last_word_and_shows_the_interval() -> None:
    out = io.StringIO()
    Console(file=out, width=140).print(trials_table(ROWS, "val_auc"))
    head, first, second, third = out.getvalue().splitlines()
    assert "learning_rate" in head and "training." not in head
    assert "0.9123 [0.800, 0.950]" in first and "1 min 15 s" in first and "01234567" in first
    assert "the loss is nan, in epoch 3" in second
    assert third.split() == ["2", "waiting"]


def test_parameters_whose_last_words_are_alike_keep_their_whole_names() -> None:
    row = TrialRow(0, "waiting", None, None, None, None, 0, 0, 0.0, {"a.size": 1, "b.size": 2}, "", "", "")
    out = io.StringIO()
    Console(file=out, width=140).print(trials_table([row], "val_auc"))
    assert "a.size" in out.getvalue() and "b.size" in out.getvalue()
