"""Does `docs/tags_and_metrics.md` list what drsearch writes?"""

import re
from pathlib import Path

from tags_page import page_names, undocumented_metrics

from drsearch.measure.scores import scores
from drsearch.tracking import tags
from drsearch.tracking.system_metrics import SystemMetrics

ROOT = Path(tags.__file__).parents[1]


def test_the_page_lists_every_tag_and_no_other() -> None:
    names = {value for name, value in vars(tags).items() if name.isupper()}
    listed = [re.sub("<.*>", "", name) for name in page_names("Tags")]
    assert sorted(listed) == sorted(names)


def test_no_other_file_spells_an_mlflow_tag() -> None:
    names = {value for name, value in vars(tags).items() if name.isupper()}
    optuna = {ROOT / "trials" / "attributes.py"}
    for path in sorted(ROOT.rglob("*.py")):
        if path not in optuna | {Path(tags.__file__)}:
            spelled = {text for text in re.findall(r"""["']([\w.]+)["']""", path.read_text()) if text in names}
            assert not spelled, path


def test_the_page_lists_the_metrics_of_machine_and_scores() -> None:
    measured = scores([0, 1, 0, 1], [0.1, 0.9, 0.4, 0.6])
    metrics = measured.metrics("best_", "best_val_") | measured.metrics("test_", "test_")
    assert undocumented_metrics({*SystemMetrics().sample(), *metrics}) == set()
    assert undocumented_metrics({"fold2/val_auc", "repeat1/fold2/best_val_auc", "val_f1"}) == {"val_f1"}
