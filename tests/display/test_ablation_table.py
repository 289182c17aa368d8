"""What an ablation came to, on consoles of any width."""

import io

import pytest
from rich.console import Console

from drsearch.display.ablation_table import print_ablation
from drsearch.measure.scores import Interval
from drsearch.release.ablation import AblationReport, Worth
from drsearch.study.ablation import Choice


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_digit_is_cut_off_however_narrow_the_console(width: int) -> None:
    gain, auc = Interval(0.0841, -0.0762, 0.2443), Interval(0.0842, 0.0273, 0.1424)
    choice = Choice("augmentation.contrast_fraction", "cross_entropy", "squared_error")
    report = AblationReport("a", "s", 0, "val_auc", 5, 1, 0.9146, (Worth(choice, 1, 0.8305, gain, auc),))
    out = Console(file=io.StringIO(), width=width)
    print_ablation(out, report)
    columns = zip(
        *(line.split("│")[1:-1] for line in out.file.getvalue().splitlines() if line.startswith("│")),  # type: ignore[attr-defined]
        strict=True,
    )
    assert ["".join(column).replace(" ", "") for column in columns] == [
        "augmentation.contrast_fraction",
        "cross_entropy",
        "squared_error",
        "0.8305",
        "+0.084[-0.076,+0.244]",
        "+0.084[+0.027,+0.142]",
    ]
