"""Does the report of a study that was really run hold the numbers that MLflow and the study database hold?"""

import base64
import csv
import html
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from sklearn.metrics import roc_auc_score

from drsearch.measure.predictive_values import predictive_values
from drsearch.measure.scores import Interval
from drsearch.release.model_card import read_card
from drsearch.release.registry import Registry

Figures = dict[str, Any]
SECTION_NAMES = ("how-to-get-it", "what-it-may-not-be-used-for", "model-card")


@pytest.fixture(scope="module")
def client(desk: Any, told: Any) -> MlflowClient:
    return MlflowClient(desk.tracking_uri)


@pytest.fixture(scope="module")
def study_run(client: MlflowClient) -> Run:
    experiment = client.get_experiment_by_name("two_rates")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`drsearch.kind` = 'study'")
    return run


@pytest.fixture(scope="module")
def page(client: MlflowClient, study_run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report that the end of the study logged."""
    file = client.download_artifacts(study_run.info.run_id, "report.html", str(tmp_path_factory.mktemp("report")))
    return Path(file).read_text()


@pytest.fixture(scope="module")
def figures(page: str) -> Figures:
    """The figures that have names, by name."""
    plot = r'<div class="plot"[^>]* id="([\w-]+)"></div>\s*<script type="application/json">(.*?)</script>'
    found = re.findall(plot, page)
    return {name: json.loads(data)["data"] for name, data in found}


@pytest.fixture(scope="module")
def model_run(client: MlflowClient, told: Any) -> Run:
    version = client.get_model_version("retinopathy", str(told["model"]["version"]))
    return client.get_run(version.run_id)


def tile(page: str, name: str) -> str:
    match = re.search(rf"<dt>{name}</dt><dd><strong>(.*?)</strong><span>(.*?)</span>", page)
    assert match
    return f"{match[1]}: {match[2]}"


@pytest.mark.parametrize("score", ["auc", "sensitivity", "specificity", "accuracy"])
def test_the_answer_is_the_test_scores_of_the_version(page: str, model_run: Run, score: str) -> None:
    value, low, high = (model_run.data.metrics[f"test_{score}{end}"] for end in ("", "_low", "_high"))
    name = "AUC" if score == "auc" else score.capitalize()
    assert tile(page, name) == f"{value:.3f}: {low:.3f} to {high:.3f}"


def test_the_champion_is_beside_it_with_the_paired_difference(
    desk: Any, told: Any, model_run: Run, eyes: list[dict[str, str]], tmp_path: Path
) -> None:
    other = desk.copied(tmp_path)
    client = MlflowClient(other.tracking_uri)
    mine = client.get_model_version("retinopathy", str(told["model"]["version"]))
    table = [
        row | {"probability": f"{abs(float(row['probability']) - place % 5 / 10):.4f}"}
        for place, row in enumerate(eyes)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]))
    writer.writeheader()
    writer.writerows(table)
    run = client.create_run(model_run.info.experiment_id)
    client.log_text(run.info.run_id, text.getvalue(), "test/predictions.csv")
    tags = mine.tags | {"drsearch.study_id": "of another study", "test_auc": "0.6", "test_auc_low": "0.4"}
    version = client.create_model_version(
        "retinopathy", f"{run.info.artifact_uri}/test", run.info.run_id, tags=tags
    ).version
    client.set_registered_model_alias("retinopathy", "champion", version)
    other.json("report", "two_rates", "--out", str(tmp_path / "two.html"))
    said = html.unescape((tmp_path / "two.html").read_text())
    found = re.search(rf"the champion, version {version}, has AUC 0.600, and the difference is ([+-]\S+) \[", said)
    assert found
    labels = [int(row["label"]) for row in eyes]
    mine_auc, other_auc = (roc_auc_score(labels, [float(row["probability"]) for row in rows]) for rows in (eyes, table))
    assert float(found[1]) == pytest.approx(mine_auc - other_auc, abs=5.1e-4)


def test_history_and_curves_are_those_of_the_trials(
    client: MlflowClient, desk: Any, figures: Figures, told: Any
) -> None:
    rows = desk.json("trials", "two_rates")["trials"]
    assert figures["history"][0]["y"] == [row["value"] for row in rows]
    assert figures["history"][0]["customdata"] == [row["trial"] for row in rows]
    drawn = {trace["meta"]["trial"]: trace for trace in figures["curves"]}
    for row in rows:
        logged = {point.step: point.value for point in client.get_metric_history(row["run_id"], "val_auc")}
        assert dict(zip(drawn[row["trial"]]["x"], drawn[row["trial"]]["y"], strict=True)) == logged


def test_what_the_model_card_says_is_in_it_once(page: str, desk: Any, told: Any, model_run: Run) -> None:
    registry = Registry(desk.tracking_uri)
    card = read_card(registry, registry.version("retinopathy", told["model"]["version"]))
    plain = html.unescape(re.sub("</?(code|strong)>", "", page))
    facts = {
        name: [re.sub(r"`|\*\*", "", block) for block in fact.blocks if isinstance(block, str)]
        for name, fact in card.facts().items()
    }
    assert all(plain.count(sentence) <= 1 for sentences in facts.values() for sentence in sentences)
    sections = [plain.partition(f'id="{name}"')[2].partition("</section>")[0] for name in SECTION_NAMES]
    assert all(value in sections[0] for value in (card.name, *card.lineage.values()))
    assert f"<li>{facts['not_for'][0]}</li>" in sections[1] and facts["threshold"][0] in sections[2]
    for split, column in (("best_val", "validation"), ("test", "test")):
        assert re.search(rf">{column} \(\d+\)</th>", sections[2])
        auc = Interval.from_metrics(model_run.data.metrics, f"{split}_auc")
        assert auc is not None and str(auc) in sections[2]


@pytest.fixture(scope="module")
def eyes(client: MlflowClient, model_run: Run, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The rows about the test eyes."""
    folder = str(tmp_path_factory.mktemp("test"))
    text = Path(client.download_artifacts(model_run.info.run_id, "test/predictions.csv", folder)).read_text()
    return list(csv.DictReader(io.StringIO(text)))


def values(drawn: Any) -> list[Any]:
    """The numbers of an axis, which Plotly may have packed."""
    packed = isinstance(drawn, dict)
    return np.frombuffer(base64.b64decode(drawn["bdata"]), drawn["dtype"]).tolist() if packed else drawn


def traces(figures: Figures, name: str) -> dict[str, dict[str, list[Any]]]:
    """Places and texts of the traces of a figure that have a name, by name; of equal names the last."""
    return {
        trace["name"]: {key: values(trace[key]) for key in ("x", "y", "text", "customdata") if key in trace}
        for trace in figures[name]
        if "name" in trace
    }


def test_the_figures_of_the_test_eyes_are_those_of_their_answers(
    figures: Figures, eyes: list[dict[str, str]], model_run: Run
) -> None:
    metrics = model_run.data.metrics
    tn, fp, fn, tp = (int(metrics[f"test_{name}"]) for name in ("true_nrdr", "false_rdr", "false_nrdr", "true_rdr"))
    counts = [int(cell.partition("<")[0]) for row in figures["confusion"][0]["text"] for cell in row]
    assert counts == [tn, fp, fn, tp]
    ends = (figures["auc"][0]["error_x"][end][0] for end in ("array", "arrayminus"))
    assert [figures["auc"][0]["x"][0], *ends] == pytest.approx(
        [
            metrics["test_auc"],
            metrics["test_auc_high"] - metrics["test_auc"],
            metrics["test_auc"] - metrics["test_auc_low"],
        ]
    )
    labels, chances = (np.array([float(row[name]) for row in eyes]) for name in ("label", "probability"))
    shown = traces(figures, "probabilities")
    for name, is_right in (("right", True), ("wrong", False)):
        wanted = {
            (row["eye"], float(row["probability"])) for row in eyes if (row["called"] == row["label"]) == is_right
        }
        assert set(zip(shown[name]["text"], shown[name]["y"], strict=True)) == wanted
    point = f"threshold {metrics['test_threshold']:.3f}"
    roc, recall = traces(figures, "roc"), traces(figures, "precision-recall")
    sensitivity, specificity = metrics["test_sensitivity"], metrics["test_specificity"]
    assert (roc[point]["x"][0], roc[point]["y"][0]) == pytest.approx((1 - specificity, sensitivity))
    assert (point in recall) == (tp + fp > 0)
    if tp + fp:
        assert (recall[point]["x"][0], recall[point]["y"][0]) == pytest.approx((sensitivity, tp / (tp + fp)))
    rates = [((chances >= each)[labels == 0].mean(), (chances >= each)[labels == 1].mean()) for each in chances]
    for cost, height in zip(roc["model"]["x"], roc["model"]["y"], strict=True):
        assert height == max([found for false, found in rates if false <= cost + 1e-9], default=0.0)
    falling = sorted(set(chances), reverse=True)
    for share, height in zip(recall["model"]["x"], recall["model"]["y"], strict=True):
        highest = next(each for each in falling if (chances >= each)[labels == 1].mean() >= share - 1e-9)
        assert height == pytest.approx(labels[chances >= highest].mean())
    for name, of_class, is_called in (("sensitivity", 1, True), ("specificity", 0, False)):
        at = traces(figures, "thresholds")[name]
        shares = [((chances >= each)[labels == of_class] == is_called).mean() for each in at["x"]]
        assert at["y"] == pytest.approx(shares)
    bins = traces(figures, "calibration")["model"]
    assert sum(bins["customdata"]) == len(eyes)
    assert np.dot(bins["customdata"], bins["y"]) == pytest.approx(labels.sum())
    assert np.dot(bins["customdata"], bins["x"]) == pytest.approx(chances.sum())
    right: dict[str, list[bool]] = {}
    for row in eyes:
        right.setdefault(f"grade {row['grade']}", []).append(row["called"] == row["label"])
    drawn = {trace["y"][0]: trace["x"][0] for trace in figures["right-by-grade"]}
    assert drawn == pytest.approx({grade: np.mean(each) for grade, each in right.items()})
    at = traces(figures, "predictive-values")
    expected = [predictive_values(((tn, fp), (fn, tp)), prevalence) for prevalence in at["PPV"]["x"]]
    assert at["PPV"]["y"] == [each.positive.value for each in expected]
    assert at["NPV"]["y"] == [each.negative.value for each in expected]


def test_the_figures_of_data_and_training_are_those_of_the_runs(
    client: MlflowClient, figures: Figures, study_run: Run, model_run: Run, tmp_path: Path
) -> None:
    data = Path(client.download_artifacts(study_run.info.run_id, "data", str(tmp_path)))
    manifest, audit = (json.loads((data / name).read_text()) for name in ("manifest.json", "audit.json"))
    for grade, trace in enumerate(figures["grades"]):
        counts = [manifest["counts"][split]["grades"][str(grade)] for split in trace["y"]]
        assert values(trace["x"]) == counts
    assert values(figures["quality"][0]["y"]) == audit["quality"]
    for metric in ("auc", "loss"):
        drawn = traces(figures, f"training-{metric}")
        for name, split in (("train eyes", "train"), ("validation eyes", "val")):
            history = client.get_metric_history(model_run.info.run_id, f"{split}_{metric}")
            logged = {point.step: point.value for point in history}
            assert dict(zip(drawn[name]["x"], drawn[name]["y"], strict=True)) == logged


def test_parallel_coordinates_and_slices_are_those_of_the_trials(desk: Any, figures: Figures, told: Any) -> None:
    rows = {row["trial"]: row for row in desk.json("trials", "two_rates")["trials"]}
    lines = {trace["meta"]["trial"] for trace in figures["parallel"] if trace.get("meta", {}).get("trial") is not None}
    assert lines == set(rows)
    (points,) = figures["slice-0"]
    assert dict(zip(points["customdata"], values(points["y"]), strict=True)) == {
        number: row["value"] for number, row in rows.items()
    }


def test_every_test_eye_is_in_the_table_and_the_wrong_ones_are_shown_missed_first(
    page: str, eyes: list[dict[str, str]], model_run: Run
) -> None:
    rows, metrics = eyes, model_run.data.metrics
    for name, label, called in (("true_nrdr", "0", "0"), ("false_rdr", "0", "1"), ("false_nrdr", "1", "0"),
                                ("true_rdr", "1", "1")):  # fmt: skip
        assert sum((row["label"], row["called"]) == (label, called) for row in rows) == metrics[f"test_{name}"]
    assert all((float(row["probability"]) >= metrics["test_threshold"]) == (row["called"] == "1") for row in rows)
    wrong = page.partition('id="misclassified-eyes"')[2].partition("</section>")[0]
    shown = re.findall(r"<figcaption>(\w+): grade", wrong)
    missed, alarms = (
        [row["eye"] for row in rows if (row["label"], row["called"]) == pair] for pair in (("1", "0"), ("0", "1"))
    )
    assert set(shown[: len(missed)]) == set(missed) and set(shown[len(missed) :]) == set(alarms)


def test_the_slider_has_the_predictive_values_of_the_test_eyes(page: str, model_run: Run) -> None:
    data = re.search(r'id="prevalence-input".*?<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    names = ("true_nrdr", "false_rdr", "false_nrdr", "true_rdr")
    tn, fp, fn, tp = (int(model_run.data.metrics[f"test_{name}"]) for name in names)
    at = predictive_values(((tn, fp), (fn, tp)), 0.25)
    row = next(row for row in json.loads(data[1]) if row["position"] == "25 %")
    assert row["ppv"] == (f"{100 * at.positive.value:.0f} %" if tp + fp else "–")
    assert row["npv"] == (f"{100 * at.negative.value:.1f} %" if tn + fn else "–")


def test_mlflow_and_the_database_alone_make_the_same_report(desk: Any, page: str, tmp_path: Path) -> None:
    shutil.copytree(desk.home, tmp_path / "home", ignore=shutil.ignore_patterns("runs", "records"))
    elsewhere = type(desk)(tmp_path)
    said = elsewhere.json("report", "two_rates", "--out", str(tmp_path / "two.html"))
    assert said == {"study": "two_rates", "report": str(tmp_path / "two.html")}
    # Tests that ran before may have evaluated the model again, which its card counts.
    evaluated = r"The test split was evaluated (once|\d+ times);"
    logged, made = (re.subn(evaluated, "", text) for text in (page, (tmp_path / "two.html").read_text()))
    assert made == logged and made[1] == 1
    refused = elsewhere.run("report", "two_rates", "--out", str(tmp_path / "eye.jpg"))
    assert refused.returncode == 2 and "write a name that ends in .html" in refused.stderr


def test_it_loads_nothing_and_is_small(page: str) -> None:
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    without_pictures = re.sub(r"data:image/\w+;base64,[\w+/=]+", "", page)
    assert len(without_pictures) < 3_000_000


def test_it_is_linked_from_experiment_and_run(client: MlflowClient, study_run: Run) -> None:
    link = f"#/experiments/{study_run.info.experiment_id}/runs/{study_run.info.run_id}/artifacts/report.html"
    assert link in client.get_experiment(study_run.info.experiment_id).tags["mlflow.note.content"]
    assert link in study_run.data.tags["mlflow.note.content"]
