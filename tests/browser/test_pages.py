"""What does a researcher see on MLflow's own pages of a study that was really run, registered and promoted?"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from services import HANG_S, free_port, when

from drsearch.home import Home
from drsearch.tracking.mlflow_server import UiServer, start_ui
from drsearch.tracking.mlflow_views import comparison_link

pytestmark = pytest.mark.browser

REASON = "four epochs know little"
BLANK = "about:blank"
N_EYES = 3
N_TRIALS = 2
# Pictures have no address of their own; eyes with the words below them are higher than wide, and no icon is so large.
EYES = """[...document.querySelectorAll('img')]
    .filter(image => image.complete && image.naturalHeight > 200 && image.naturalWidth < image.naturalHeight)"""
CURVES = """[...document.querySelectorAll('.js-plotly-plot')]
    .map(chart => chart.data.filter(curve => curve.mode && curve.mode.includes('markers')).length)"""

COLOURS = """new Set([...document.querySelector('.js-plotly-plot').querySelectorAll('.scatterlayer path.point')]
    .map(point => getComputedStyle(point).fill)).size"""


@dataclass(frozen=True)
class Pages:
    """A server on a study of two trials, its best version registered, fine-tuned and promoted.

    Attributes:
        tab: A page that has loaded MLflow's programs, which takes seconds; another address shows another of its pages.
    """

    ui: UiServer
    tab: Any
    screenshots: Path
    version: int

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.ui.url)

    def experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        return str(found.experiment_id)

    def runs(self, experiment: str, kind: str) -> list[Run]:
        wanted = f"tags.`drsearch.kind` = '{kind}'"
        return list(self.client.search_runs([self.experiment(experiment)], wanted))

    def open(self, address: str, wait_for: str) -> Any:
        """The page at an address of the server, once it shows something, and nothing of the page before."""
        if self.tab.url != BLANK:
            self.tab.goto(f"{self.ui.url}/#/nowhere")
            self.tab.wait_for_selector("text=Page Not Found")
        self.tab.goto(address if "://" in address else f"{self.ui.url}/#{address}")
        self.tab.wait_for_selector(wait_for)
        return self.tab

    def keep(self, page: Any, name: str) -> None:
        """Leave a picture of a page."""
        page.screenshot(path=self.screenshots / f"{name}.png")


def says(page: Any, *words: str) -> None:
    """Wait until a page has all these words."""
    when(lambda: all(each in " ".join(page.inner_text("body").split()) for each in words), f"{words} on the page")


@pytest.fixture(scope="module")
def served(
    desk: Any, told: Any, warm_children: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[UiServer, int]]:
    own = desk.copied(tmp_path_factory.mktemp("pages"))
    version = told["model"]["version"]
    own.json("promote", "retinopathy", "--version", str(version), "--yes", "--force", "--reason", REASON)
    with start_ui(Home(own.home), free_port()) as server:
        server.await_answer(HANG_S)
        yield server, version


@pytest.fixture(scope="module")
def tab(browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1600, "height": 1400})
    yield page
    page.context.close()


@pytest.fixture
def pages(tab: Any, served: tuple[UiServer, int], screenshots: Path) -> Pages:
    return Pages(served[0], tab, screenshots, served[1])


def test_the_link_shows_the_trials_curves_and_pictures_and_one_click_their_table(pages: Pages) -> None:
    page = pages.open(comparison_link(pages.ui.url, "two_rates"), "text=Image grid")
    page.wait_for_function(f"{EYES}.length >= {N_TRIALS * N_EYES}")
    page.wait_for_selector(".js-plotly-plot .scatterlayer .trace")
    # Charts are drawn one after another, each with curves of validation and training.
    when(lambda: page.evaluate(CURVES)[:3] == [2 * N_TRIALS] * 3, "the curves of all trials in three charts")
    assert page.evaluate(COLOURS) == N_TRIALS
    says(page, *(f"{number:02d}: " for number in range(N_TRIALS)))

    # MLflow's assistant takes a third of the page until it is closed; a table draws only columns it has room for.
    page.locator("[data-component-id='mlflow.assistant.chat_panel.close']").click()
    # The other view that the link saved stands beside it in MLflow's menu of views.
    page.get_by_role("button", name="Best trials").click()
    page.get_by_text("All trials", exact=True).click()
    page.wait_for_selector("[role=columnheader]:has-text('best_val_auc')")
    wanted = {"best_val_auc", "best_val_sensitivity", "training.learning_rate"}
    heads = page.locator("[role=columnheader]")
    when(lambda: wanted <= {head.strip() for head in heads.all_inner_texts()}, f"the columns {wanted}")
    names = page.locator("[role=gridcell] a", has_text=re.compile(r"^\d\d: "))
    when(lambda: len(names.all_inner_texts()) == N_TRIALS, "a row for each trial")
    best = max(pages.runs("two_rates", "trial"), key=lambda run: run.data.metrics["best_val_auc"])
    says(page, best.data.tags["best_val_auc"])  # three digits and the interval
    pages.keep(page, "table")


def test_chosen_runs_are_compared_by_setting_and_score(pages: Pages) -> None:
    trials = pages.runs("two_rates", "trial")
    experiment = pages.experiment("two_rates")
    page = pages.open(f"/experiments/{experiment}/runs?workflowType=machine_learning", "text=00: ")
    for trial in trials:
        row = page.locator("[role=row]", has_text=trial.info.run_name[:10])
        row.locator("input[type=checkbox]").first.check()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.wait_for_selector(f"text=Comparing {N_TRIALS} Runs")
    page.wait_for_selector("text=training.learning_rate")
    page.wait_for_selector("text=best_val_auc", state="attached")
    says(page, *(trial.info.run_name for trial in trials))
    pages.keep(page, "compare")


def test_a_runs_page_tells_its_scores_in_a_table_and_has_the_confusion_matrix(pages: Pages) -> None:
    trial = pages.runs("two_rates", "trial")[0]
    address = f"/experiments/{trial.info.experiment_id}/runs/{trial.info.run_id}"
    page = pages.open(address, "td:has-text('sensitivity')")
    shown = "[...document.querySelectorAll('.note-view-outer-container img')].filter(image => image.naturalWidth > 300)"
    when(lambda: page.evaluate(f"{shown}.length") == 2, "confusion matrix and ROC curve in its description")
    assert "validation (" in page.locator("table:has-text('sensitivity') th").all_inner_texts()[1]
    says(page, "drsearch train --data")
    pages.keep(page, "run")
    page = pages.open(f"{address}/artifacts/validation/confusion.png", "text=confusion.png")
    page.wait_for_function("[...document.querySelectorAll('img')].some(image => image.naturalWidth > 300)")
    pages.keep(page, "confusion")


def test_the_studys_own_run_lists_its_trials(pages: Pages) -> None:
    [study] = pages.runs("two_rates", "study")
    page = pages.open(f"/experiments/{study.info.experiment_id}/runs/{study.info.run_id}", "table:has-text('val_auc')")
    heads = page.locator("table:has-text('training.learning_rate') th").all_inner_texts()
    assert [head.strip() for head in heads] == ["trial", "val_auc", "training.learning_rate"]
    says(page, f"{N_TRIALS} trials: {N_TRIALS} complete")
    pages.keep(page, "study")


def test_the_registry_shows_aliases_tags_scores_and_the_way_back_to_the_run(pages: Pages) -> None:
    page = pages.open("/models/retinopathy", "text=champion")
    row = page.locator("[role=row]", has_text=f"Version {pages.version}")
    assert "champion" in row.inner_text()
    assert "drsearch.study" in row.inner_text()
    assert "version.keras" not in row.inner_text()
    pages.keep(page, "model")

    page = pages.open(f"/models/retinopathy/versions/{pages.version}", "td:has-text('specificity')")
    heads = page.locator("table:has-text('specificity') th").all_inner_texts()
    assert [head.partition(" (")[0].strip() for head in heads] == ["", "validation", "test"]
    says(page, "drsearch.study", "drsearch.run_id", "drsearch.data_fingerprint", "drsearch.threshold", "test_auc")
    pages.keep(page, "version")
    run = pages.client.get_run(pages.client.get_model_version("retinopathy", str(pages.version)).run_id)
    page.get_by_role("link", name=run.info.run_name).click()
    page.wait_for_selector(f"text={run.info.run_id}")


def test_a_decision_of_the_gate_reads_as_a_table_its_rule_and_its_figures(pages: Pages) -> None:
    experiment = pages.experiment("drsearch-decisions")
    name = f"version {pages.version}: forced (retinopathy)"
    page = pages.open(f"/experiments/{experiment}/runs?workflowType=machine_learning", f"text={name[:20]}")
    pages.keep(page, "decisions")
    decision = pages.runs("drsearch-decisions", "decision")[0]
    assert decision.info.run_name == name
    address = f"/experiments/{experiment}/runs/{decision.info.run_id}"
    page = pages.open(address, "td:has-text('calibration error')")
    heads = page.locator("table:has-text('calibration error') th").all_inner_texts()
    assert [head.strip() for head in heads] == ["", "challenger", "champion", "difference"]
    says(page, "The rule:", REASON)
    pages.keep(page, "decision")
    page = pages.open(f"{address}/artifacts/decision/reliability.png", "text=reliability.png")
    page.wait_for_function("[...document.querySelectorAll('img')].some(image => image.naturalWidth > 300)")
    pages.keep(page, "decision-figure")
