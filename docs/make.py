"""Makes the pictures and tables of these pages from studies that were really run; each page names its command.

python docs/make.py pages STUDY     MLflow's chart view in a real browser, and a row of Grad-CAM overlays
python docs/make.py grid STUDY      the table of a study's trials, their curves, and the best one's confusion matrix

Synthetic eyes only for `pages`: it shows photographs.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from drsearch.data.records import open_records, read_eyes
from drsearch.home import Home
from drsearch.measure.figures import gradcam_row
from drsearch.measure.gradcam import GradCam
from drsearch.release.grader import Grader
from drsearch.release.registry import SEARCH_BEST, Registry
from drsearch.search.definition import StudyDefinition, load_study, study_folder
from drsearch.search.recorded import Outcome, fixed_eyes, read_outcome
from drsearch.search.slots import Slot, read_slots
from drsearch.search.storage import open_storage
from drsearch.tracking.ui import serve_ui

PICTURES = Path(__file__).parent / "pictures"


def pages(study: str, home: Home) -> None:
    """The link that `drsearch ui` gives, as a browser shows it; and the registered model's explanations."""
    from playwright.sync_api import sync_playwright

    with serve_ui(home, 0) as server, sync_playwright() as playwright:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 1250})
        page.goto(server.chart_link(study))
        page.wait_for_selector("img[src*='gradcam'], img[src*='get-artifact'], img[src^='blob:']", timeout=60_000)
        page.wait_for_timeout(4_000)  # MLflow's page is never idle: it polls
        page.screenshot(path=PICTURES / "chart_view.png")
        browser.close()
    _row(study, home)


def _row(study: str, home: Home) -> None:
    _, definition = load_study(open_storage(home.storage_url), study)
    registry = Registry(home.tracking_uri)
    model = registry.with_alias(definition.base().registry.model_name, SEARCH_BEST)
    assert model is not None
    folder = home.path / "pictures"
    grader = Grader(registry.download(model.uri, folder))
    eyes = read_eyes(open_records(home.records / grader.serving.fingerprint), "validation")
    chosen = fixed_eyes(eyes, 6)
    images = eyes.images[chosen]
    maps, probabilities = GradCam(grader.model).maps(images)
    names = [f"{eyes.names[i]} grade {eyes.grades[i]}" for i in chosen]
    row = gradcam_row(images, maps, names, probabilities)
    cv2.imwrite(str(PICTURES / "gradcam_row.png"), cv2.cvtColor(row, cv2.COLOR_RGB2BGR))
    shutil.rmtree(folder)


def grid(study: str, home: Home) -> None:
    """A table on standard output, and two pictures without any photograph."""
    optuna_study, definition = load_study(open_storage(home.storage_url), study)
    folder = study_folder(home, study, definition.uid)
    slots = [slot for slot in read_slots(optuna_study) if slot.state in ("complete", "pruned")]
    outcomes = {slot.number: read_outcome(folder / f"trial-{slot.number:04d}") for slot in slots}
    found = {number: outcome for number, outcome in outcomes.items() if outcome is not None}
    _table(slots, found)
    _curves(study, slots, found)
    best = max(slots, key=lambda slot: slot.last.value or 0.0)
    shutil.copy(folder / f"trial-{best.number:04d}" / "confusion.png", PICTURES / f"{study}_confusion.png")
    test = folder / "test" / "confusion.png"
    if test.exists():
        shutil.copy(test, PICTURES / f"{study}_confusion_test.png")
    print(f"\ndata {definition.data_fingerprint}, code {_commit(definition)}")


def _commit(definition: StudyDefinition) -> str:
    return definition.code.get("commit", "")[:12]


def _table(slots: Sequence[Slot], outcomes: dict[int, Outcome]) -> None:
    names = list(slots[0].last.params)
    head = [*(name.rpartition(".")[2] for name in names), "kept epoch", "AUC", "accuracy", "sensitivity", "specificity",
            "train accuracy, last epoch", "s/epoch"]  # fmt: skip
    print("| trial | " + " | ".join(head) + " |\n|" + "-|" * (len(head) + 1))
    for slot in slots:
        outcome = outcomes[slot.number]
        assert outcome.scores is not None
        scores = (outcome.scores.auc, outcome.scores.accuracy, outcome.scores.sensitivity, outcome.scores.specificity)
        cells = [
            str(slot.number),
            *(f"{slot.last.params[name]:g}" for name in names),
            str(outcome.epoch),
            *(f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]" for score in scores),
            f"{outcome.history[-1].train.accuracy:.3f}",
            f"{np.median([epoch.seconds for epoch in outcome.history]):.2f}",
        ]
        print("| " + " | ".join(cells) + " |")


def _curves(study: str, slots: Sequence[Slot], outcomes: dict[int, Outcome]) -> None:
    figure = Figure(figsize=(14, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    columns = -(-len(slots) // 2)
    axes = figure.subplots(2, columns, sharex=True, sharey=True, squeeze=False)
    for slot, ax in zip(slots, axes.T.flat, strict=False):
        history = outcomes[slot.number].history
        epochs = [epoch.epoch for epoch in history]
        ax.plot(epochs, [epoch.train.auc for epoch in history], color="#0072B2", label="train AUC")
        ax.plot(epochs, [epoch.validation.auc for epoch in history], color="#D55E00", label="validation AUC")
        ax.axvline(outcomes[slot.number].epoch, color="0.6", linestyle=":", label="kept epoch")
        ax.set_title(
            ", ".join(f"{name.rpartition('.')[2]} {value:g}" for name, value in slot.last.params.items()), size=9
        )
        ax.set_ylim(0.3, 1.0)
    axes[0, 0].legend(fontsize=8, loc="lower right")
    figure.supxlabel("epoch")
    figure.savefig(PICTURES / f"{study}_curves.png", dpi=90)


def main() -> None:
    """Make what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pages", "grid"])
    parser.add_argument("study")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    PICTURES.mkdir(exist_ok=True)
    {"pages": pages, "grid": grid}[options.what](options.study, Home.from_environment())


if __name__ == "__main__":
    sys.exit(main())
