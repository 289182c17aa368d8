"""The section of a report about the search."""

from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from drsearch.measure.scores import Interval
from drsearch.reports import figures
from drsearch.reports.page import (
    Section,
    beside,
    figure,
    folded,
    heading,
    table,
    text,
    tiles,
)
from drsearch.reports.study_facts import StudyFacts
from drsearch.reports.words import duration, short
from drsearch.settings import Settings
from drsearch.study import plots
from drsearch.study.best_trial import pick_rule
from drsearch.study.budget import epochs_of
from drsearch.study.chart_style import BLUE, GREY, ORANGE
from drsearch.study.status import TrialRow
from drsearch.training.cross_validation import n_trainings
from drsearch.training.objective import Objective, objectives_of
from drsearch.trials.trials import Trial

_SHOWN_TRIALS = 20
_DRAWN_TRIALS, _LISTED_TRIALS = 300, 1000  # at most: more lines cannot be told apart, and a larger page opens slowly
_ENOUGH_FOR_DOUBT = 8  # complete trials: of fewer, a bootstrap says nothing


def search_section(facts: StudyFacts) -> Section:
    """What was searched, what it cost, which settings matter, and all trials."""
    status, settings = facts.status, facts.settings
    objective = objectives_of(settings)[0]
    drawn = plots.drawn_trials(facts.trials, objective, _DRAWN_TRIALS)
    counts, hours = status.counts(), sum(row.seconds for row in facts.rows) / 3600
    saved = _saved_hours(facts)
    parts = [
        text(
            f"{status.progress.n_trials} trial{'s' if status.progress.n_trials > 1 else ''}, drawn by the sampler "
            f"{settings.study.sampler} with the pruner {settings.study.pruner}. A trial is judged by {objective.name}"
            f"{_judged_at(settings)}. A click on a trial marks it in every figure and table of this page; a second "
            "click, or Escape, clears it."
        ),
        *_of_all(len(drawn), len(facts.trials), facts.name),
        tiles(
            [
                (
                    "Trials",
                    str(status.progress.n_trials),
                    ", ".join(f"{n} {state}" for state, n in counts.items() if n),
                ),
                ("Time of training", duration(hours), "of all trials, added up"),
                *([("Saved by pruning", duration(saved), f"{counts['pruned']} trials ended early")] if saved else []),
            ]
        ),
    ]
    charts, of_drawn = plots.figures(facts.trials, settings), plots.figures(drawn, settings)
    best = status.best.number if status.best else None
    if "history" in of_drawn:
        value = status.best.value if status.best else None
        said = (
            f"Best: trial {best}, {objective.name} {value:.4f}"
            if value is not None
            else "No trial keeps the constraints"
        )
        parts.append(figure(of_drawn["history"](), said, f"Complete trials, and the best so far. {said}.", "history"))
    if "pareto" in charts:
        caption = f"Both objectives, and their front. The model is its trial with {pick_rule(settings)}."
        parts.append(figure(charts["pareto"](), "Both objectives of every trial", caption))
    if facts.curves:
        pruned = {row.number for row in facts.rows if row.state == "pruned"}
        parts.append(
            figure(
                figures.learning_curves(facts.curves, pruned, best, objective),
                f"{objective.name} in each epoch of {len(facts.curves)} trials",
                "Learning curves of the best trials and of the pruned ones.",
                "curves",
            )
        )
    if "importances" in of_drawn:
        parts += [heading("Which settings matter"), *_importances(drawn, objective, of_drawn["importances"])]
    if "parallel_coordinates" in of_drawn:
        chart = _best_stands_out(of_drawn["parallel_coordinates"](), best)
        parts += [
            heading("Settings and results"),
            figure(
                chart,
                f"A line per trial through {objective.name} and its settings; trial {best} is best",
                "A line per trial through its value and its settings: the better, the stronger; orange is the best.",
                "parallel",
            ),
            beside(
                *(
                    figure(chart, f"{objective.name} of every complete trial against {name}", name=f"slice-{place}")
                    for place, (name, chart) in enumerate(plots.slices(drawn, objective).items())
                )
            ),
        ]
    if "heat_map" in charts:
        parts.append(figure(charts["heat_map"](), f"{objective.name} of every cell of the grid", "The grid.", "grid"))
    parts += [heading("Trials"), *_trial_tables(facts, objective)]
    return Section("The search", parts)


def _judged_at(settings: Settings) -> str:
    folds = f", the mean of {n} trainings" if (n := n_trainings(settings.search)) > 1 else ""
    return f"{folds}, at its {settings.training.judged_epoch} epoch"


def _of_all(drawn: int, n: int, study: str) -> list[Markup]:
    """How many of the trials are in the figures, where not all are."""
    if drawn == n:
        return []
    return [
        text(
            f"History, importances, parallel coordinates and slices are of {drawn} of the {n} trials: evenly, and each "
            f"that was the best when it came; the table has the best {min(n, _LISTED_TRIALS)}. "
            f"drsearch trials {study} lists all."
        )
    ]


def _importances(trials: Sequence[Trial], objective: Objective, chart: Callable[[], go.Figure]) -> list[Markup]:
    bars = chart()
    title = str(bars.layout.title.text)
    shares = dict(zip(bars.data[0].y, bars.data[0].x, strict=True))
    caption = f"{title}. The shares add up to 1."
    n = sum(trial.state == "complete" for trial in trials)
    if n >= _ENOUGH_FOR_DOUBT:
        ranges = plots.importance_ranges(trials, objective)
        names = list(bars.data[0].y)
        low = [max(0.0, shares[name] - ranges[name][0]) for name in names]
        high = [max(0.0, ranges[name][1] - shares[name]) for name in names]
        bars.data[0].error_x = {
            "type": "data",
            "symmetric": False,
            "array": high,
            "arrayminus": low,
            "color": GREY,
            "thickness": 2,
        }
        caption += " The lines show how far a share moves with other trials: the middle 80 % of bootstrap samples."
    else:
        caption += f" With {n} complete trials this is a hint at most."
    bars.update_traces(text=None, texttemplate="")
    names = [f"{name}  {shares[name]:.2f}" for name in shares]
    bars.update_yaxes(tickvals=list(shares), ticktext=names)
    bars.update_layout(height=80 + 44 * len(shares), showlegend=False)
    alt = "; ".join(f"{name}: {share:.2f}" for name, share in sorted(shares.items(), key=lambda item: -item[1]))
    return [figure(bars, alt, caption, "importances")]


def _best_stands_out(chart: go.Figure, best: int | None) -> go.Figure:
    """Parallel coordinates in colours that are clear on white and on black, the best trial in one of its own."""
    lines = [trace for trace in chart.data if trace.meta]
    for place, line in enumerate(lines):
        is_best = line.meta["trial"] == best
        goodness = (place + 1) / len(lines)  # the figure draws the best last
        line.update(opacity=1 if is_best else 0.2 + 0.6 * goodness)
        line.update(line={"color": ORANGE if is_best else BLUE, "width": 4 if is_best else 1.5})
    return chart.update_layout(height=420, plot_bgcolor=None).update_traces(
        marker_showscale=False, selector={"mode": "markers"}
    )


def _saved_hours(facts: StudyFacts) -> float:
    """Hours that the pruned trials would have gone on, each at its own pace."""
    seconds, trained = 0.0, {trial.number: epochs_of(trial) for trial in facts.trials}
    for row in facts.rows:
        if row.state == "pruned" and (done := trained[row.number]):
            epochs = row.params.get("training.epochs", facts.settings.training.epochs)
            whole = epochs if isinstance(epochs, int) else facts.settings.training.epochs
            seconds += max(0, whole * n_trainings(facts.settings.search) - done) * row.seconds / done
    return seconds / 3600


def _trial_tables(facts: StudyFacts, objective: Any) -> list[Markup]:
    names = list(dict.fromkeys(name for row in facts.rows for name in row.params))
    columns = ["trial", "state", objective.name, "epochs", "time", *(name.rpartition(".")[2] for name in names)]

    def listed(rows: Sequence[TrialRow]) -> Markup:
        cells = [
            [
                str(row.number),
                row.state,
                _value_of(row),
                str(row.epochs),
                duration(row.seconds / 3600),
                *(short(row.params.get(name, "")) for name in names),
            ]
            for row in rows
        ]
        return table(columns, cells, trials=[row.number for row in rows])

    rows = _listed(facts, objective)
    if not rows:
        return [text("No trial has begun.")]
    rest = rows[_SHOWN_TRIALS:]
    return [listed(rows[:_SHOWN_TRIALS]), *([folded(f"{len(rest)} more trials", listed(rest))] if rest else [])]


def _listed(facts: StudyFacts, objective: Objective) -> list[TrialRow]:
    """The rows of the tables of trials: the best first."""
    done = [row for row in facts.rows if row.value is not None and row.state == "complete"]
    begun = [row for row in facts.rows if row.state != "waiting"]
    others = [row for row in begun if row.value is None or row.state != "complete"]
    done.sort(key=lambda row: (bool(row.violated), objective.loss(row.value or 0.0)))
    return [*done, *others][:_LISTED_TRIALS]


def _value_of(row: TrialRow) -> str:
    if row.value is None:
        return ""
    if row.low is None or row.high is None:
        return f"{row.value:.4f}"
    return str(Interval(row.value, row.low, row.high))


def trial_texts(facts: StudyFacts) -> dict[int, str]:
    """What the page says of each trial of its figures and tables when it is chosen, by number."""
    objective = objectives_of(facts.settings)[0]
    shown = {trial.number for trial in plots.drawn_trials(facts.trials, objective, _DRAWN_TRIALS)} | set(facts.curves)
    shown |= {row.number for row in _listed(facts, objective)}
    return {row.number: _trial_text(row, objective.name) for row in facts.rows if row.number in shown}


def _trial_text(row: TrialRow, objective: str) -> str:
    drawn = ", ".join(f"{name.rpartition('.')[2]} {short(value)}" for name, value in row.params.items())
    value = f", {objective} {row.value:.4f}" if row.value is not None else f", {row.state}"
    return f"Trial {row.number}{value}: {drawn}"
