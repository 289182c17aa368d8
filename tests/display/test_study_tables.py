"""How studies and trials are listed."""

import csv
import io
from dataclasses import replace

import pytest

from drsearch.display.study_tables import trial_lines, trials_lines, write_csv
from drsearch.settings import Value
from drsearch.study.status import TrialRow

ROWS = [
    TrialRow(
        number=0,
        state="complete",
        value=0.91234,
        low=0.8,
        high=0.95,
        best_epoch=20,
        epochs=30,
        attempts=2,
        seconds=75.0,
        params={"training.learning_rate": 0.003, "model.width": 8},
        run_id="0123456789abcdef",
        worker="pacs-3:17",
    ),
    TrialRow(
        number=1,
        state="failed",
        epochs=3,
        attempts=1,
        seconds=9.0,
        params={"training.learning_rate": 0.1, "model.width": 16},
        worker="pacs-3:18",
        reason="the loss is nan, in epoch 3",
    ),
    TrialRow(number=2, state="waiting"),
]


def test_the_csv_has_every_column_by_its_full_name_and_nothing_rounded() -> None:
    out = io.StringIO()
    write_csv(ROWS, out)
    first, second, third = csv.DictReader(io.StringIO(out.getvalue()))
    assert first["training.learning_rate"] == "0.003"
    assert (first["value"], first["low"], first["high"]) == ("0.91234", "0.8", "0.95")
    assert first["run_id"] == "0123456789abcdef"
    assert second["reason"] == "the loss is nan, in epoch 3"
    assert (third["trial"], third["state"], third["value"], third["model.width"]) == ("2", "waiting", "", "")


def test_what_constraints_limit_has_its_columns_where_there_are_any() -> None:
    kept = replace(ROWS[0], constraints={"sensitivity >= 0.9": 0.95})
    broken = replace(ROWS[0], number=1, constraints={"sensitivity >= 0.9": 0.81}, violated="sensitivity 0.81 < 0.9")
    out = io.StringIO()
    write_csv([kept, broken], out)
    first, second = csv.DictReader(io.StringIO(out.getvalue()))
    assert (first["violated"], first["sensitivity >= 0.9"]) == ("", "0.95")
    assert (second["violated"], second["sensitivity >= 0.9"]) == ("sensitivity 0.81 < 0.9", "0.81")
    assert any("violates" in line for line in shown([kept, broken], 140))
    assert any("sensitivity 0.81 < 0.9" in line for line in shown([kept, broken], 140))
    assert not any("violates" in line for line in shown(ROWS, 140))
    facts = [line.plain.split("  ", 1) for line in trial_lines(broken, "val_auc", "mine")]
    assert {name: text.strip() for name, text in facts}["violates"] == "sensitivity 0.81 < 0.9"


def shown(rows: list[TrialRow], width: int | None) -> list[str]:
    return [line.plain for line in trials_lines(rows, "val_auc", "mine", width)]


def test_the_table_names_settings_by_their_last_word_and_shows_the_interval() -> None:
    upper, head, first, second, third, *below = shown(ROWS, 140)
    assert head.split() == ["trial", "state", "val_auc", "epoch", "rate", "width", "time", "tries", "run"]
    assert upper.split() == ["best", "learning_"]
    assert first.split()[:8] == ["0", "complete", "0.9123", "[0.800,", "0.950]", "20/30", "0.003", "8"]
    assert "1 min 15 s" in first and "01234567" in first
    assert second.split()[:5] == ["1", "failed", "-/3", "0.1", "16"]
    assert third.split() == ["2", "waiting"]
    assert below == ["", "trial 1 is failed: the loss is nan, in epoch 3"]


def test_settings_whose_last_words_are_alike_keep_their_whole_names() -> None:
    row = TrialRow(number=0, state="waiting", params={"a.size": 1, "b.size": 2})
    text = "\n".join(shown([row], 140))
    assert "a.size" in text and "b.size" in text


NAMES = ("images.normalisation", "images.image_px", "augmentation.strength", "model.width", "model.stages",
         "model.blocks_per_stage", "model.dropout", "training.batch_size", "training.learning_rate",
         "training.schedule", "training.optimizer", "training.weight_decay")  # fmt: skip


def study_of_twelve_axes() -> list[TrialRow]:
    rows, params = [], dict[str, Value]()
    for i in range(40):
        values: tuple[Value, ...] = (
            "local_mean",
            256,
            i / 20,
            8 + i,
            3,
            1,
            i / 80,
            16,
            10 ** -(1 + i / 10),
            "cosine",
            "adamw",
            0.01,
        )
        params = {
            name: value for name, value in zip(NAMES, values, strict=True) if name != "training.weight_decay" or i % 2
        }
        rows.append(
            TrialRow(
                number=i,
                state="complete",
                value=0.9,
                low=0.8,
                high=0.95,
                best_epoch=20,
                epochs=30,
                attempts=1,
                seconds=7500.0,
                params=params,
                run_id="0123456789abcdef",
                worker="pc:17",
            )
        )
    return rows


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_a_row_is_one_line_in_any_width_and_no_cell_is_cut(width: int) -> None:
    rows = study_of_twelve_axes()
    lines = shown(rows, width)
    table = lines[: lines.index("")]
    n_head = len(table) - len(rows)
    assert n_head <= 3
    assert max(map(len, table)) <= width
    assert all(row.split()[1:4] == ["0.9000", "[0.800,", "0.950]"] for row in table[n_head:])
    assert not any("…" in line for line in lines)


def test_what_the_table_leaves_out_is_named_below_it() -> None:
    lines = shown(study_of_twelve_axes(), 80)
    below = lines[lines.index("") + 1 :]
    assert below[0] == (
        "the same in all: state complete, normalisation local_mean, image_px 256, stages 3, blocks_per_stage 1, "
        "batch_size 16, schedule cosine, optimizer adamw"
    )
    assert below[1] == "no room for: weight_decay, time, run"
    assert below[2] == "all columns: --wide; one trial in full: drsearch trials mine N"


def test_the_setting_that_sorts_comes_first() -> None:
    lines = [line.plain for line in trials_lines(study_of_twelve_axes(), "val_auc", "mine", 60, "learning_rate")]
    assert lines[0].split() == ["best", "learning_"]
    assert lines[1].split() == ["trial", "val_auc", "epoch", "rate", "strength"]


def test_a_wide_table_has_every_column() -> None:
    lines = shown(study_of_twelve_axes(), None)
    head = " ".join(lines[0].split() + lines[1].split() + lines[2].split())
    assert len(lines) == 40 + 3
    assert all(word in head for word in ("normalisation", "weight_", "learning_", "time", "tries", "run", "reason"))


def test_decimal_points_stand_under_each_other() -> None:
    lines = shown(study_of_twelve_axes(), None)
    head = next(line for line in lines if "strength" in line)
    at = head.index("strength")
    column = [line[at : at + len("strength")] for line in lines[3:]]
    points = {cell.index(".") for cell in column if "." in cell}
    assert len(points) == 1


def test_one_trial_is_shown_in_full_with_nothing_rounded() -> None:
    lines = [line.plain for line in trial_lines(ROWS[0], "val_auc", "mine")]
    assert [line.split(maxsplit=1) for line in lines] == [
        ["trial", "0 of study mine"],
        ["state", "complete"],
        ["val_auc", "0.9123 [0.800, 0.950] (95 % interval)"],
        ["best", "epoch              20 of 30"],
        ["tries", "2"],
        ["time", "1 min 15 s"],
        ["worker", "pacs-3:17"],
        ["run", "0123456789abcdef"],
        ["training.learning_rate", "0.003"],
        ["model.width", "8"],
    ]
