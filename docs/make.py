"""Makes the pictures and tables of these pages from studies that were really run; each page names its command.

python docs/make.py pages STUDY     MLflow's pages in a real browser, and a row of Grad-CAM overlays; the study's best
                                    version was registered, and one was decided on by `drsearch promote`
python docs/make.py grid STUDY      the table of a study's trials, their curves, and the best one's confusion matrix

Synthetic eyes only for `pages`: it shows photographs.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from drsearch.data.records import open_records, read_eyes
from drsearch.data.retina import retina_mask
from drsearch.grades import CLASS_NAMES
from drsearch.home import Home
from drsearch.measure.gradcam import GradCam
from drsearch.measure.heat_maps import heat_map_figure, heat_map_rows
from drsearch.measure.scores import TRIAL_THRESHOLD
from drsearch.release.registry import SEARCH_BEST, Registry
from drsearch.run_folder import trial_run
from drsearch.serving.grader import Grader
from drsearch.study.best_trial import best_trial
from drsearch.study.definition import StudyDefinition, load_study, study_folder
from drsearch.tracking.mlflow_server import UiServer, start_ui
from drsearch.tracking.mlflow_views import TABLE_KEY, VIEW_KEY, comparison_link
from drsearch.tracking.tags import MODEL_TAG, VERSION_NUMBER_TAG
from drsearch.training.best_network import fixed_eyes
from drsearch.training.outcome import Outcome, read_outcome
from drsearch.trials.storage import open_storage
from drsearch.trials.trials import Trial, read_trials

PICTURES = Path(__file__).parent / "pictures"


def pages(study: str, home: Home) -> None:
    """The link that `drsearch ui` gives, and where it leads on; and the registered model's explanations."""
    from playwright.sync_api import sync_playwright

    with start_ui(home, 0) as server, sync_playwright() as playwright:
        server.await_answer()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1400, "height": 1250})
        link = comparison_link(server.url, study)
        _photograph(context, link, "img[src^='blob:'], img[src*='get-artifact']", "chart_view", 1250)
        for name, (address, wait_for, height) in _addresses(server, study).items():
            _photograph(context, address, wait_for, name, height)
        browser.close()
    _row(study, home)


def _addresses(server: UiServer, study: str) -> dict[str, tuple[str, str, int]]:
    """Name of the picture: address, what to wait for, height in pixels."""
    from mlflow import MlflowClient

    client = MlflowClient(server.url)
    link = comparison_link(server.url, study)
    decided = client.get_experiment_by_name("drsearch-decisions")
    decision = client.search_runs([decided.experiment_id], max_results=1)[0]
    name, number = decision.data.tags[MODEL_TAG], decision.data.tags[VERSION_NUMBER_TAG]
    run = client.get_model_version(name, number).run_id
    experiment = client.get_run(run).info.experiment_id
    at = f"{server.url}/#"
    of_decision = f"{at}/experiments/{decided.experiment_id}/runs/{decision.info.run_id}"
    words = "workflowType=machine_learning"
    table = link.replace("compareRunsMode=CHART", "compareRunsMode=TABLE").replace(VIEW_KEY, TABLE_KEY)
    trial = f"{at}/experiments/{experiment}/runs/{run}"
    return {
        "trials_table": (table, "[role=columnheader]:has-text('best_val_auc')", 520),
        "run_page": (f"{trial}?{words}", "td:has-text('sensitivity')", 900),
        "registered_version": (f"{at}/models/{name}/versions/{number}?{words}", "td:has-text('specificity')", 900),
        "decision_page": (f"{of_decision}?{words}", "td:has-text('accuracy')", 1150),
    }


def _photograph(context: Any, address: str, wait_for: str, name: str, height: int) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": 1400, "height": height})
    page.goto(address)
    page.wait_for_selector(wait_for, timeout=60_000)
    if (assistant := page.locator("[data-component-id='mlflow.assistant.chat_panel.close']")).is_visible():
        assistant.click()  # MLflow opens it once, and remembers
    if (more := page.get_by_text("Show more").first).is_visible():
        more.click()
    page.wait_for_timeout(4_000)  # MLflow's page is never idle: it polls
    page.screenshot(path=PICTURES / f"{name}.png")
    page.close()
    _shrink(PICTURES / f"{name}.png")


def _shrink(picture: Path) -> None:
    """Keep 256 colours, a third of the bytes: pages load fast, and the repository stays small."""
    with Image.open(picture) as image:
        image.convert("RGB").quantize(256).save(picture, optimize=True)


def _row(study: str, home: Home) -> None:
    _, definition = load_study(open_storage(home.storage_url), study)
    registry = Registry(home.tracking_uri)
    model = registry.with_alias(definition.settings.registry.model_name, SEARCH_BEST)
    assert model is not None
    folder = home.path / "pictures"
    grader = Grader(registry.download(model.uri, folder))
    eyes = read_eyes(open_records(home.records / grader.serving.fingerprint), "validation")
    chosen = fixed_eyes(eyes, 6)
    images = eyes.images[chosen]
    inside = np.stack([retina_mask(image) for image in images])
    probabilities = grader.probabilities(images)
    called = np.array([CLASS_NAMES.index(grader.label(chance)) for chance in probabilities])
    of_class = [GradCam(grader.model).maps(images, inside, label)[0] for label in range(len(CLASS_NAMES))]
    maps = np.where(called[:, None, None] == 1, of_class[1], of_class[0])
    names = [f"{eyes.names[i]} grade {eyes.grades[i]}" for i in chosen]
    figures = [
        heat_map_figure(image, cam, chance, grader.serving.threshold)
        for image, cam, chance in zip(images, maps, probabilities, strict=True)
    ]
    row = heat_map_rows(images, figures, names)
    cv2.imwrite(str(PICTURES / "gradcam_row.png"), cv2.cvtColor(row, cv2.COLOR_RGB2BGR))
    _shrink(PICTURES / "gradcam_row.png")
    shutil.rmtree(folder)


def grid(study: str, home: Home) -> None:
    """A table on standard output, and two pictures without any photograph."""
    optuna_study, definition = load_study(open_storage(home.storage_url), study)
    folder = study_folder(home, study, definition.uid)
    trials = [trial for trial in read_trials(optuna_study) if trial.state in ("complete", "pruned")]
    outcomes = {trial.number: read_outcome(folder / trial_run(trial.number)) for trial in trials}
    found = {number: outcome for number, outcome in outcomes.items() if outcome is not None}
    _table(trials, found)
    _curves(study, trials, found)
    best = best_trial(trials, definition.settings)
    assert best is not None
    shutil.copy(folder / trial_run(best.number) / "confusion.png", PICTURES / f"{study}_confusion.png")
    print(f"\ndata {definition.data_fingerprint}, code {_commit(definition)}")


def _commit(definition: StudyDefinition) -> str:
    return definition.code.get("commit", "")[:12]


def _table(trials: Sequence[Trial], outcomes: dict[int, Outcome]) -> None:
    names = list(trials[0].last.params)
    scores = outcomes[trials[0].number].scores
    assert scores is not None
    head = [*(name.rpartition(".")[2] for name in names), "best epoch", *(name for name, _ in scores.labelled),
            f"train accuracy at {TRIAL_THRESHOLD:g}, last epoch", "s/epoch"]  # fmt: skip
    print("| trial | " + " | ".join(head) + " |\n|" + "-|" * (len(head) + 1))
    for trial in trials:
        outcome = outcomes[trial.number]
        assert outcome.scores is not None
        cells = [
            str(trial.number),
            *(f"{trial.last.params[name]:g}" for name in names),
            str(outcome.epoch),
            *(f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]" for _, score in outcome.scores.labelled),
            f"{outcome.history[-1].train.accuracy:.3f}",
            f"{np.median([epoch.seconds for epoch in outcome.history]):.2f}",
        ]
        print("| " + " | ".join(cells) + " |")


def _curves(study: str, trials: Sequence[Trial], outcomes: dict[int, Outcome]) -> None:
    figure = Figure(figsize=(14, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    columns = -(-len(trials) // 2)
    axes = figure.subplots(2, columns, sharex=True, sharey=True, squeeze=False)
    for trial, ax in zip(trials, axes.T.flat, strict=False):
        history = outcomes[trial.number].history
        epochs = [epoch.epoch for epoch in history]
        ax.plot(epochs, [epoch.train.auc for epoch in history], color="#0072B2", label="train AUC")
        ax.plot(epochs, [epoch.validation.auc for epoch in history], color="#D55E00", label="validation AUC")
        ax.axvline(outcomes[trial.number].epoch, color="0.6", linestyle=":", label="best epoch")
        ax.set_title(
            ", ".join(f"{name.rpartition('.')[2]} {value:g}" for name, value in trial.last.params.items()), size=9
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
    PICTURES.mkdir(exist_ok=True)
    {"pages": pages, "grid": grid}[options.what](options.study, Home.from_environment())


if __name__ == "__main__":
    sys.exit(main())
