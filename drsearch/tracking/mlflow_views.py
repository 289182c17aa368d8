"""Saved views of a study's page in MLflow: all trials in a table, and the best side by side.

MLflow's chart view by itself shows all runs at once, every image at step 0, and one card per image key. The best
trials' curves and Grad-CAM images side by side are a saved view: a tag of the experiment,
`mlflow.sharedViewState.<key>`, that a link names (`viewStateShareKey=<key>`). MLflow documents neither;
`tests/browser` opens the link in a browser and fails if a new version of MLflow reads them differently.
"""

import json
import os
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote

from absl import logging
from mlflow.exceptions import MlflowException

from drsearch.masking import without_user
from drsearch.tracking.events import now_ms
from drsearch.tracking.metric_names import BEST_EPOCH, best_metric
from drsearch.tracking.mlflow_client import is_denied, open_client, search_runs
from drsearch.tracking.mlflow_server import MODEL_TRAINING, UiError, first_page
from drsearch.tracking.tags import (
    COLOUR_TAG,
    GREATER_IS_BETTER_TAG,
    KIND_TAG,
    PRIMARY_METRIC_TAG,
    VIEW_TAG_PREFIX,
    VIOLATED_TAG,
    has_tag,
)

VIEW_KEY = "drsearch-best"
"""The saved view's key, in the tag's name and in the link."""
VIEW_NAME = "Best trials"
TABLE_KEY, TABLE_NAME = "drsearch-trials", "All trials"
"""The saved view with one row per trial, best first; it is in MLflow's menu *Views*, too."""
CURVES = {
    "AUC": ("val_auc", "train_auc"),
    "Accuracy": ("val_accuracy", "train_accuracy"),
    "Loss": ("val_loss", "train_loss"),
}
"""The charts of the view: titles, and the metrics that each draws together."""
GRADCAM_PREFIX = "gradcam/"
"""The view shows the images whose key begins so."""
_IMAGE_CARD_PX = 620
_CURVE_CARD_PX = 260
_SCORE_PX, _COLUMN_PX = 160, 130  # a score has its interval
# Of Okabe and Ito, distinguishable by everybody: MLflow draws colours at random, and may give two runs the same.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_TABLE_ROWS = 100  # as many as MLflow's table loads at once
_TRIALS = has_tag(KIND_TAG, "trial")
_TABLE_SCORES = (
    *(best_metric(f"val_{score}") for score in ("auc", "sensitivity", "specificity", "accuracy")),
    BEST_EPOCH,
)


def comparison_link(url: str, study: str = "") -> str:
    """Save the views of a study as it is now.

    Args:
        url: Of an MLflow server.
        study: Name of the study; empty for the newest.

    Returns:
        The link to the best trials side by side, or to the list of experiments if there is no study yet.

    Raises:
        UiError: If there is no study of that name; the text names the studies.
    """
    names, workspace, page = study_names(url), _workspace(url), without_user(url)
    if not study and not names:
        return first_page(page) + (f"&workspace={workspace}" if workspace else "")
    experiment_id = save_comparison(url, study or names[0])
    if experiment_id is None:
        raise UiError(f"there is no study {study!r}; there is {', '.join(map(repr, names)) or 'none yet'}.")
    return chart_link(page, experiment_id) + (f"&workspace={workspace}" if workspace else "")


def chart_link(base_url: str, experiment_id: str) -> str:
    """The link to the view that `save_comparison` saved, on the server at `base_url`."""
    query = f"compareRunsMode=CHART&viewStateShareKey={VIEW_KEY}&{MODEL_TRAINING}"
    return f"{base_url.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def save_comparison(tracking_uri: str, experiment: str, n_best: int = 4) -> str | None:
    """Save, or renew, two views of an experiment: its best trials side by side, and a table of all.

    The experiment's primary metric ranks the trials, as on MLflow's own pages (`mlflow.experiment.primaryMetric.*`, or
    `val_auc` without these tags). Shows the images whose key begins with `gradcam/`, at the step at which most trials
    have any, the later of two: a view shows one step. Images of the best epoch are at step 0, which MLflow's other
    pages show, too.

    Args:
        tracking_uri: Of the local store or a server.
        experiment: Name of the experiment.
        n_best: How many trials to show; more than four do not fit side by side on a usual screen.

    Returns:
        The experiment's id, for `chart_link`; None if there is no such experiment.
    """
    client = open_client(tracking_uri)
    if (existing := client.get_experiment_by_name(experiment)) is None:
        return None
    order_by = existing.tags.get(PRIMARY_METRIC_TAG, "val_auc")
    ascending = existing.tags.get(GREATER_IS_BETTER_TAG, "True").lower() == "false"
    direction = "ASC" if ascending else "DESC"
    runs = client.search_runs(
        [existing.experiment_id],
        _TRIALS,
        max_results=_TABLE_ROWS,
        order_by=[f"metrics.`{order_by}` {direction}", "attributes.start_time ASC"],
    )
    columns = _columns(runs, order_by)
    ranked = [run for run in runs if order_by in run.data.metrics]
    best = [run for run in ranked if VIOLATED_TAG not in run.data.tags] or ranked or list(runs)
    run_ids = [str(run.info.run_id) for run in best[:n_best]]
    keys, step = _pictures([_picture_names(client, run_id) for run_id in run_ids])
    now = now_ms()
    try:
        for run_id, colour in zip(run_ids, cycle(_COLOURS), strict=False):
            client.set_tag(run_id, COLOUR_TAG, colour)
        for key, name, state in (
            (VIEW_KEY, VIEW_NAME, _view_state(run_ids, order_by, ascending, keys, step)),
            (TABLE_KEY, TABLE_NAME, _table_state(columns, order_by, ascending)),
        ):
            view = {"name": name, "createdAt": now, "updatedAt": now, "state": json.dumps(state)}
            client.set_experiment_tag(existing.experiment_id, f"{VIEW_TAG_PREFIX}{key}", json.dumps(view))
    except MlflowException as wrong:
        if not is_denied(wrong):
            raise
        # A user who may only read follows the link to the view that the study's owner saved last.
        logging.warning("this user may not renew the view of %s: it is the one saved last, if any.", experiment)
    return str(existing.experiment_id)


def _workspace(url: str) -> str:
    """The workspace of a server that has workspaces: without it, its pages ask for one and lose the link."""
    try:
        with urllib.request.urlopen(
            f"{without_user(url)}/api/3.0/mlflow/server-info", timeout=10
        ) as answer:  # needs no password
            info = json.load(answer)
    except (urllib.error.HTTPError, ValueError):  # an MLflow before 3.10 has neither
        return ""
    return quote(os.environ.get("MLFLOW_WORKSPACE") or "default") if info.get("workspaces_enabled") else ""


def study_names(tracking_uri: str) -> list[str]:
    """The names of the studies, the newest first."""
    client = open_client(tracking_uri)
    names = {str(experiment.experiment_id): str(experiment.name) for experiment in client.search_experiments()}
    runs = search_runs(client, list(names), has_tag(KIND_TAG, "study"), ["attributes.start_time DESC"])
    return list(dict.fromkeys(names[run.info.experiment_id] for run in runs))


def _picture_names(client: Any, run_id: str) -> set[tuple[str, int]]:
    """Key and step of a run's Grad-CAM images."""
    names = [Path(file.path).name.split("+") for file in client.list_artifacts(run_id, "images")]
    pictures = {(parts[0].replace("~", "/"), int(parts[2])) for parts in names if len(parts) > 5 and parts[1] == "step"}
    return {(key, step) for key, step in pictures if key.startswith(GRADCAM_PREFIX)}


def _pictures(runs: Sequence[set[tuple[str, int]]]) -> tuple[list[str], int]:
    """The keys to show, and the latest of the steps at which most runs have images."""
    n_runs = Counter(step for pictures in runs for step in {step for _, step in pictures})
    step = max(n_runs, key=lambda step: (n_runs[step], step), default=0)
    return sorted({key for pictures in runs for key, at in pictures if at == step}), step


def _columns(runs: Sequence[Any], order_by: str) -> list[str]:
    """The columns of the table: the ranking metric, scores, settings that differ.

    Scores are tags, which have three digits and the interval: MLflow prints all digits of a metric.
    """
    metrics = {name for run in runs for name in run.data.metrics}
    tags = {name for run in runs for name in run.data.tags}
    drawn: dict[str, set[str]] = {}
    for run in runs:
        for name, value in run.data.params.items():
            drawn.setdefault(name, set()).add(value)
    # Not the seed, which every trial has of its own.
    differ = [name for name, values in drawn.items() if len(values) > 1 and name != "training.seed"]
    ranked = [name for name in dict.fromkeys((order_by, *_TABLE_SCORES)) if name in metrics]
    scores = [f"tags.`{name}`" if name in tags else f"metrics.`{name}`" for name in ranked]
    return scores + [f"params.`{name}`" for name in sorted(differ)]


def _table_state(columns: Sequence[str], order_by: str, ascending: bool) -> dict[str, object]:
    return {
        "searchFilter": _TRIALS,
        "orderByKey": f"metrics.`{order_by}`",
        "orderByAsc": ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "runsHiddenMode": "FIRST_10_RUNS",
        "selectedColumns": ["attributes.`Duration`", *columns],
        "columnOrder": list(columns),  # otherwise MLflow shows metrics, settings and tags in this order
        "columnWidths": {column: _SCORE_PX if column.startswith("tags.") else _COLUMN_PX for column in columns},
    }


def _view_state(
    run_ids: Sequence[str], order_by: str, ascending: bool, keys: Sequence[str], step: int
) -> dict[str, object]:
    """The state of MLflow's page: the runs in their order, and the charts in their sections.

    Charts of other metrics follow in MLflow's own sections.
    """
    sections = [_section("curves", "Curves", len(CURVES), _CURVE_CARD_PX)]
    charts = [_line_chart(name, metrics) for name, metrics in CURVES.items()]
    if keys:
        sections.append(_section("gradcam", "Grad-CAM", 1, _IMAGE_CARD_PX))
        charts.append(_image_chart(keys, step))
    ids = ", ".join(f"'{run_id}'" for run_id in run_ids)
    return {
        "searchFilter": f"attributes.run_id IN ({ids})" if run_ids else _TRIALS,
        "orderByKey": f"metrics.`{order_by}`",
        "orderByAsc": not ascending,  # MLflow shows the images of the last run first: the best is on the left
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "runsHiddenMode": "FIRST_10_RUNS",
        "runListHidden": True,  # the charts name their runs, and need the space
        "viewMaximized": True,
        "hideEmptyCharts": True,
        "isAccordionReordered": True,  # otherwise these sections are sorted among MLflow's
        "compareRunSections": sections,
        "compareRunCharts": charts,
    }


def _section(name: str, title: str, n_columns: int, card_px: int) -> dict[str, object]:
    return {
        "uuid": f"drsearch-{name}",
        "name": title,
        "display": True,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
        "columns": n_columns,
        "cardHeight": card_px,
    }


def _line_chart(name: str, metrics: Sequence[str]) -> dict[str, object]:
    return {
        "type": "LINE",
        "uuid": f"drsearch-{quote(name)}",
        "metricSectionId": "drsearch-curves",
        "displayName": name,
        "metricKey": metrics[0],
        "selectedMetricKeys": list(metrics),
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": 10,
        "lineSmoothness": 0,
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _image_chart(keys: Sequence[str], step: int) -> dict[str, object]:
    return {
        "type": "IMAGE",
        "uuid": "drsearch-images",
        "metricSectionId": "drsearch-gradcam",
        "imageKeys": list(keys),
        "step": step,
        "showRunParams": False,  # all settings would be above every column; the name of a run has the drawn ones
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": 10,
    }
