"""The link of `drsearch ui` in a real browser, on a real MLflow server, with journals of made-up numbers."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from services import HANG_S, free_port, when

from drsearch.home import Home
from drsearch.settings import Settings
from drsearch.tracking.events import Event, Image, Metrics, RunEnd, RunStart
from drsearch.tracking.journal import Journal
from drsearch.tracking.mlflow_server import UiServer, start_ui
from drsearch.tracking.mlflow_tracker import MlflowTracker
from drsearch.tracking.mlflow_views import comparison_link
from drsearch.tracking.sender import JournalSender

pytestmark = pytest.mark.browser

N_TRIALS = 6
EYES = ("eye_1", "eye_2", "eye_3")
# Its trial has the largest value at the end: neither the first nor the last one made.
BEST_FIRST = [3, 1, 4, 0, 5, 2]


def trial(number: int, folder: Path) -> list[Event]:
    """A trial of 20 epochs; the earlier in BEST_FIRST, the better."""
    top = 0.9 - 0.05 * BEST_FIRST.index(number)
    events: list[Event] = [
        RunStart(
            key=f"study/{number}",
            experiment="study",
            name=f"trial {number}",
            tags={"drsearch.kind": "trial"},
            params=Settings().replace({"training.learning_rate": 10.0 ** -(2 + number)}).flat(),
            experiment_tags={"mlflow.experiment.primaryMetric.name": "best_val_auc"},
            started_ms=1_700_000_000_000 + number,
        )
    ]
    for epoch in range(1, 21):
        rise = 1 - math.exp(-epoch / 6)
        values = {"val_auc": 0.5 + (top - 0.5) * rise, "train_auc": 0.5 + 0.45 * rise}
        values |= {"val_accuracy": 0.5 + 0.3 * rise, "train_accuracy": 0.5 + 0.4 * rise}
        values |= {"val_loss": 0.7 - 0.2 * rise, "train_loss": 0.7 - 0.4 * rise, "epoch_seconds": 2.4}
        events.append(Metrics(epoch, values))
    # One picture per eye, of the best epoch: at step 0, the one that MLflow shows where nothing else is asked for.
    events += [picture(folder, number, eye, 0) for eye in EYES]
    return [*events, Metrics(20, {"best_val_auc": top}), RunEnd("FINISHED")]


def picture(folder: Path, number: int, eye: str, epoch: int) -> Image:
    image = np.full((128, 128, 3), (30, 80, 190), np.uint8)
    cv2.putText(image, f"{number} {eye} {epoch}", (6, 70), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255))
    folder.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(folder / f"{eye}-{epoch}.png"), image)
    return Image(f"gradcam/{eye}", epoch, f"{eye}-{epoch}.png")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("home"))
    for number in range(N_TRIALS):
        folder = home.runs / "study" / f"trial-{number}"
        Journal(folder).append(trial(number, folder))
    start = RunStart("study/study", "study", "study", {"drsearch.kind": "study"})
    Journal(home.runs / "study" / "study").append([start, RunEnd("FINISHED")])
    JournalSender(home, MlflowTracker(home.local_tracking_uri, home.artifacts)).send_new()
    return home


@pytest.fixture(scope="module")
def ui(home: Home, browser: Any, warm_children: None) -> Iterator[UiServer]:
    with start_ui(home, free_port()) as server:
        server.await_answer(HANG_S)
        yield server
    assert not server.running


@pytest.fixture(scope="module")
def tab(browser: Any) -> Iterator[Any]:
    """A page, tall enough that nothing needs scrolling; after the first test it has loaded MLflow's programs."""
    page = browser.new_page(viewport={"width": 1600, "height": 1700})
    yield page
    page.context.close()


def test_the_link_shows_curves_and_pictures_of_the_best_trials_without_a_click(
    home: Home, ui: UiServer, tab: Any, screenshots: Path
) -> None:
    tab.goto(comparison_link(ui.url, "study"))  # the address is all that is given to the page
    tab.wait_for_selector("text=Image grid")
    tab.wait_for_function(f"{LOADED_PICTURES}.length >= 12")
    tab.wait_for_selector(".js-plotly-plot .scatterlayer .trace")
    # Four trials, validation and training; charts are drawn one after another.
    when(lambda: tab.evaluate(CURVES_BY_CHART)[:3] == [8, 8, 8], "eight curves in each of three charts")
    tab.screenshot(path=screenshots / "chart-view.png")
    words = tab.inner_text("body")
    n_pictures = tab.evaluate(f"{LOADED_PICTURES}.length")
    assert n_pictures == 4 * len(EYES)
    assert "No image logged at this step" not in words
    for title in ("val_auc vs train_auc", "val_accuracy vs train_accuracy", "val_loss vs train_loss"):
        assert title in words
    columns = words[words.index("Image grid") :]
    places = [columns.index(f"trial {number}") for number in BEST_FIRST[:4]]
    assert places == sorted(places)
    assert "images.image_px" not in columns  # all settings of a run, above its pictures, would push them off the screen
    for number in BEST_FIRST[4:]:
        assert f"trial {number} (" not in words
    assert [eye for eye in EYES if f"gradcam/{eye}" in columns] == list(EYES)


# Every curve is drawn twice, once with its points. Pictures have no address of their own; ours are square.
CURVES_BY_CHART = """[...document.querySelectorAll('.js-plotly-plot')]
    .map(chart => chart.data.filter(curve => curve.mode.includes('markers')).length)"""
LOADED_PICTURES = """[...document.querySelectorAll('img')]
    .filter(image => image.complete && image.naturalWidth > 0 && image.naturalWidth == image.naturalHeight)"""


def test_the_view_of_a_study_without_a_finished_trial_opens_too(
    home: Home, ui: UiServer, tab: Any, screenshots: Path
) -> None:
    tracker = MlflowTracker(home.local_tracking_uri, home.artifacts)
    tracker.open(RunStart("young/0", "young", "trial 0", {"drsearch.kind": "trial"}))
    leave(ui, tab)
    tab.goto(comparison_link(ui.url, "young"))
    tab.wait_for_selector("text=trial 0", state="attached")
    tab.screenshot(path=screenshots / "young.png")
    assert "Error loading shared view state" not in tab.inner_text("body")


def leave(ui: UiServer, tab: Any) -> None:
    """Let a page show nothing of what it showed."""
    tab.goto(f"{ui.url}/#/nowhere")
    tab.wait_for_selector("text=Page Not Found")


def test_the_pictures_of_a_run_are_on_its_own_page_too(home: Home, ui: UiServer, tab: Any, screenshots: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(home.local_tracking_uri)
    experiment = client.get_experiment_by_name("study")
    [run] = client.search_runs([experiment.experiment_id], "attributes.run_name = 'trial 3'")
    leave(ui, tab)
    tab.goto(f"{ui.url}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}/model-metrics")
    tab.wait_for_function(f"{LOADED_PICTURES}.length >= {len(EYES)}")
    tab.screenshot(path=screenshots / "run.png")
