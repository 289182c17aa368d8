"""The figures of a study, made with Plotly: history, parallel coordinates, importances, heat map, Pareto front."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import optuna
import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState, create_trial
from plotly.colors import sample_colorscale, sequential

from drsearch.settings import Settings, Value
from drsearch.study.best_trial import best_trial, front, pick_rule
from drsearch.study.chart_style import BLUE, BY_POINT, GREY, ORANGE, of_trial
from drsearch.training.objective import Objective, objectives_of
from drsearch.trials.attributes import TRIAL
from drsearch.trials.trials import Trial

_WORST_TO_BEST = sequential.Blues[3:]  # without its first three, which cannot be seen on white
_LEAST_FOR_IMPORTANCES = 4  # of fewer trials, the best differs from the others in too many settings at once
_BEST_COMPARED = 5
_RESAMPLES, _LEAST_RESAMPLES = 100, 20
_RESAMPLED = 20_000  # attempts at most, in all resamples together: seconds
_NUMBER = "~ number"  # sorts behind the names of settings


def figures(trials: Sequence[Trial], settings: Settings) -> dict[str, Callable[[], go.Figure]]:
    """The figures that the finished trials allow, by name, each to be made by a call.

    Args:
        trials: The trials.
        settings: The study's.
    """
    objective = objectives_of(settings)[0]
    complete = [trial.last for trial in trials if trial.state == "complete"]
    names = list({name: None for attempt in complete for name in attempt.params})
    makers: dict[str, Callable[[], go.Figure]] = {}
    if complete:
        makers["history"] = lambda: history(trials, objective)
    if varied(trials):
        makers["parallel_coordinates"] = lambda: parallel_coordinates(trials, objective)
        if len(complete) >= _LEAST_FOR_IMPORTANCES and len({attempt.values[0] for attempt in complete}) > 1:
            makers["importances"] = lambda: importances(trials, objective)
    if settings.study.sampler == "grid" and complete and len(names) >= 2:
        kept = [trial.last for trial in trials if trial.state == "complete" and not trial.violated]
        makers["heat_map"] = lambda: heat_map(kept or complete, names[0], names[1], objective)
    if settings.study.second_objective != "none" and complete:
        makers["pareto"] = lambda: pareto(trials, settings)
    return {name: _without_warnings(make) for name, make in makers.items()}


def drawn_trials(trials: Sequence[Trial], objective: Objective, most: int) -> list[Trial]:
    """Trials that stand for all in figures: every k-th, and each complete one that was the best when it came.

    Args:
        trials: All, by number.
        objective: The first of each trial's values.
        most: If there are no more trials than this, all are drawn.
    """
    if len(trials) <= most:
        return list(trials)
    every, best, drawn = -(-len(trials) // most), float("inf"), []
    for place, trial in enumerate(trials):
        loss = objective.loss(trial.values[0]) if trial.state == "complete" and not trial.violated else float("inf")
        if loss < best or place % every == 0:
            drawn.append(trial)
        best = min(best, loss)
    return drawn


def _without_warnings(make: Callable[[], go.Figure]) -> Callable[[], go.Figure]:
    """Optuna marks some of its plots as experimental."""

    def quiet() -> go.Figure:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()

    return quiet


def varied(trials: Sequence[Trial]) -> list[str]:
    """The settings in which complete trials differ; a setting that only some have is among them."""
    params = [trial.last.params for trial in trials if trial.state == "complete"]
    names = list({name: None for each in params for name in each})
    return [name for name in names if len({repr(each.get(name)) for each in params}) > 1]


def history(trials: Sequence[Trial], objective: Objective) -> go.Figure:
    """Every complete trial's value, and the best value so far of the trials that keep all constraints.

    Args:
        trials: The trials, one of them complete.
        objective: The first of each trial's values.
    """
    figure = optuna.visualization.plot_optimization_history(_study_of(trials, objective), target_name=objective.name)
    each, best, apart = figure.data
    for points, colour in ((each, BLUE), (apart, GREY)):
        points.update(customdata=list(points.x), meta=BY_POINT, marker={"color": colour, "size": 8})
    best.update(name="best so far", hoverinfo="skip", line={"color": ORANGE, "width": 2, "shape": "hv"})
    figure.update_layout(xaxis_title="trial", yaxis_title=objective.label)
    title = f"{objective.name} of every complete trial, and the best so far"
    return figure.update_layout(title=title if _any_kept(trials) else f"{title}; no trial keeps all constraints")


def parallel_coordinates(trials: Sequence[Trial], objective: Objective) -> go.Figure:
    """A line per complete trial through its value and its settings: the better, the darker; the best drawn last.

    Lines of trials that violate a constraint are dotted.

    Args:
        trials: The trials; complete ones differ in a setting.
        objective: The first of each trial's values.
    """
    names = sorted(varied(trials))
    figure = optuna.visualization.plot_parallel_coordinate(
        _study_of(trials, objective, _NUMBER), params=[*names, _NUMBER], target_name=objective.name
    )
    *others, colour_bar = figure.data
    lines = [trace for trace in others if not trace.showlegend]
    labels = [objective.name, *(name.rpartition(".")[2] for name in names)]
    for line in lines:  # their order is Optuna's own; the last axis says whose each is
        *values, (_, number) = line.customdata
        line.update(x=line.x[:-1], y=line.y[:-1], meta=of_trial(int(number)))
        line.customdata = [(label, value) for label, (_, value) in zip(labels, values, strict=True)]
    last = len(labels)
    figure.update_layout(
        shapes=[shape for shape in figure.layout.shapes if shape.x0 != last],
        annotations=[note for note in figure.layout.annotations if note.x != last],
        xaxis={"tickvals": list(range(last)), "ticktext": labels, "range": (-0.2, last - 0.8)},
    )
    legend = [trace for trace in others if trace.showlegend]
    worst = 1 if objective.less_is_better else 0  # on the first axis, from 0 to 1, where each line begins
    lines.sort(key=lambda line: abs(line.y[0] - worst))
    best = max((abs(line.y[0] - worst) for line in lines if line.line.dash != "dot"), default=1)
    for line in lines:
        goodness = abs(line.y[0] - worst)
        colour = sample_colorscale(_WORST_TO_BEST, goodness)[0]
        line.update(
            opacity=1, line={"color": colour, "width": 4 if goodness == best and line.line.dash != "dot" else 1.5}
        )
    colour_bar.marker.update(colorscale=_WORST_TO_BEST, reversescale=objective.less_is_better)
    figure.data = ()
    figure.add_traces([*lines, *legend, colour_bar])
    return figure.update_layout(title=f"Settings and {objective.name} of every complete trial; thick is the best")


def importances(trials: Sequence[Trial], objective: Objective) -> go.Figure:
    """How much each setting tells the best trials from the rest, by PED-ANOVA; the shares sum to 1.

    The best are a tenth of the trials, at least five, and at most half. Optuna's own default, a tenth, is one trial of
    a small study, whose settings all look equally important.

    Args:
        trials: The trials; complete ones differ in value and in a setting.
        objective: The first of each trial's values.

    Source:
        Watanabe et al. (2023), PED-ANOVA, IJCAI, arXiv:2304.10255.
    """
    study = _study_of(trials, objective)
    losses = sorted(objective.loss(attempt.value) for attempt in study.get_trials(states=[TrialState.COMPLETE]))
    n_best = _n_best(losses)
    figure = optuna.visualization.plot_param_importances(
        study, evaluator=_evaluator(n_best, len(losses)), params=varied(trials), target_name=objective.name
    )
    figure.data[0].marker.color = BLUE
    n_best = sum(loss <= losses[n_best - 1] for loss in losses)  # with those that are as good
    title = f"What tells the best {n_best} of {len(losses)} trials from the rest ({objective.name}, PED-ANOVA)"
    return figure.update_layout(title=title, xaxis_title="share of the importance", yaxis_title=None)


def _n_best(losses: Sequence[float]) -> int:
    """How many of some trials are compared with the rest as the best.

    Args:
        losses: Of all, rising.
    """
    n_best = max(len(losses) // 10, min(_BEST_COMPARED, len(losses) // 2))
    return min(n_best, losses.index(losses[-1]))  # with one of the worst among them, all trials would be the best


def _evaluator(n_best: int, n: int) -> PedAnovaImportanceEvaluator:
    return PedAnovaImportanceEvaluator(target_quantile=(n_best - 0.5) / n)  # Optuna rounds up


def importance_ranges(trials: Sequence[Trial], objective: Objective) -> dict[str, tuple[float, float]]:
    """How far the bars of `importances` would move with other trials: the middle 80 % over bootstrap samples.

    Args:
        trials: The trials; complete ones differ in value and in a setting.
        objective: The first of each trial's values.

    Returns:
        The low and the high share of each setting.
    """
    complete = [trial for trial in trials if trial.state == "complete"]
    names, random = varied(trials), np.random.default_rng(0)
    shares: list[list[float]] = []
    for _ in range(min(_RESAMPLES, max(_LEAST_RESAMPLES, _RESAMPLED // len(complete)))):
        some = [complete[i] for i in sorted(random.integers(0, len(complete), len(complete)))]
        losses = sorted(objective.loss(trial.values[0]) for trial in some)
        if losses[0] == losses[-1]:
            continue
        study = _study_of([replace(trial, number=number) for number, trial in enumerate(some)], objective)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a setting that few of these trials have
            known = _shares(study, varied(some), _evaluator(_n_best(losses), len(losses)))
        shares.append([known.get(name, 0.0) for name in names])
    low, high = np.percentile(shares, [10, 90], axis=0)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(names)}


def _shares(study: optuna.Study, names: Sequence[str], evaluator: PedAnovaImportanceEvaluator) -> dict[str, float]:
    return optuna.importance.get_param_importances(study, evaluator=evaluator, params=list(names)) if names else {}


def slices(trials: Sequence[Trial], objective: Objective) -> dict[str, go.Figure]:
    """The value of every complete trial against each setting in which they differ, a figure per setting.

    Args:
        trials: The trials; complete ones differ in a setting.
        objective: The first of each trial's values.

    Returns:
        By the setting's name.
    """
    complete = [trial for trial in trials if trial.state == "complete"]
    return {
        name: _slice([trial for trial in complete if name in trial.last.params], name, objective)
        for name in varied(trials)
    }


def _slice(trials: Sequence[Trial], name: str, objective: Objective) -> go.Figure:
    values = [trial.last.params[name] for trial in trials]
    distribution = trials[0].last.distributions[name]
    is_number = not isinstance(distribution, CategoricalDistribution)
    is_log = is_number and (distribution.log or _spans_decades(values))
    points = go.Scatter(
        x=values if is_number else [str(value) for value in values],
        y=[trial.values[0] for trial in trials],
        customdata=[trial.number for trial in trials],
        meta=BY_POINT,
        mode="markers",
        marker={"color": [GREY if trial.violated else BLUE for trial in trials], "size": 8, "opacity": 0.85},
        hovertemplate=f"trial %{{customdata}}<br>{name} = %{{x}}<br>{objective.name} %{{y:.4f}}<extra></extra>",
    )
    figure = go.Figure(points).update_layout(height=260, showlegend=False, yaxis_title=objective.label)
    kind = "log" if is_log else "linear" if is_number else "category"
    if not is_number:
        figure.update_xaxes(categoryarray=[str(value) for value in _values([trial.last for trial in trials], name)])
    return figure.update_xaxes(title=name, type=kind, dtick=1 if is_log else None)


def _spans_decades(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) >= 30


def _study_of(trials: Sequence[Trial], objective: Objective, numbered: str = "") -> optuna.Study:
    """The complete trials under their numbers, as an Optuna study of the first objective alone.

    Its plots need no `target`: with one, Optuna takes lower values for better, whatever the study's direction. Where no
    trial keeps all constraints, it has none, and all trials are drawn alike. With a name in `numbered`, the number of
    each trial is a setting of this name.
    """
    complete = {trial.number: trial.last for trial in trials if trial.state == "complete"}
    study, any_kept = optuna.create_study(direction=objective.direction), _any_kept(trials)
    extra = {numbered: CategoricalDistribution([str(number) for number in complete])} if numbered else {}
    for number in range(max(complete, default=-1) + 1):
        if attempt := complete.get(number):
            study.add_trial(
                create_trial(
                    value=attempt.values[0],
                    params={**attempt.params, **dict.fromkeys(extra, str(number))},
                    distributions={**attempt.distributions, **extra},
                    constraints=attempt.constraints if any_kept else None,
                )
            )
        else:  # Optuna numbers trials as they are added
            study.add_trial(create_trial(state=TrialState.FAIL))
    return study


def _any_kept(trials: Sequence[Trial]) -> bool:
    """Whether some complete trial keeps all constraints, or there are none."""
    return any(trial.state == "complete" and not trial.violated for trial in trials)


def heat_map(trials: Sequence[FrozenTrial], across: str, down: str, objective: Objective) -> go.Figure:
    """The best value of every cell of two axes, best over any further axes.

    Args:
        trials: Finished ones, with `across` and `down` among their params.
        across: The axis along x.
        down: The axis along y.
        objective: What the values are.
    """
    columns, rows = _values(trials, across), _values(trials, down)
    cells = [
        [
            objective.best(t.values[0] for t in trials if t.params.get(across) == x and t.params.get(down) == y)
            for x in columns
        ]
        for y in rows
    ]
    numbers = [[_number_of_best(trials, {across: x, down: y}, objective) for x in columns] for y in rows]
    figure = go.Figure(
        go.Heatmap(
            x=[str(x) for x in columns],
            y=[str(y) for y in rows],
            z=cells,
            customdata=numbers,
            meta=BY_POINT,
            colorscale="Viridis",
            reversescale=objective.less_is_better,  # the best cell is the brightest
            colorbar_title=objective.name,
            text=[["" if cell is None else f"{cell:.3f}" for cell in row] for row in cells],
            texttemplate="%{text}",
        )
    )
    figure.update_layout(title=f"{objective.name} of every cell", xaxis_type="category", yaxis_type="category")
    return figure.update_layout(xaxis_title=across, yaxis_title=down)


def _number_of_best(trials: Sequence[FrozenTrial], params: Mapping[str, Value], objective: Objective) -> int | None:
    """The number of the best trial in a cell of the heat map; None without one."""
    some = [trial for trial in trials if all(trial.params.get(name) == value for name, value in params.items())]
    if not some:
        return None
    best = min(some, key=lambda trial: objective.loss(trial.values[0]))
    return int(best.user_attrs.get(TRIAL, best.number))


def pareto(trials: Sequence[Trial], settings: Settings) -> go.Figure:
    """A chart of both objectives of every complete trial, with the Pareto front and its picked member.

    Args:
        trials: The trials, one of them complete.
        settings: The study's; its title says by which rule the member is picked.
    """
    first, second = objectives_of(settings)
    members, picked = front(trials, settings), best_trial(trials, settings)
    numbers = {trial.number for trial in members}
    others = [trial for trial in trials if trial.state == "complete" and trial.number not in numbers]
    groups = (
        ("other trials", [trial for trial in others if not trial.violated], "markers", BLUE),
        ("violate a constraint", [trial for trial in others if trial.violated], "markers", GREY),
        ("Pareto front", members, "lines+markers", ORANGE),
    )
    figure = go.Figure()
    for name, some, mode, colour in groups:
        if not some:
            continue
        figure.add_trace(
            go.Scatter(
                name=name,
                mode=mode,
                x=[trial.values[1] for trial in some],
                y=[trial.values[0] for trial in some],
                customdata=[trial.number for trial in some],
                meta=BY_POINT,
                marker={"color": colour, "size": 9},
                text=[
                    f"trial {trial.number}<br>{trial.violated}{'<br>' if trial.violated else ''}{_drawn(trial)}"
                    for trial in some
                ],
            )
        )
    if picked is not None:
        figure.add_trace(
            go.Scatter(
                name=f"registered: trial {picked.number}",
                mode="markers",
                x=[picked.values[1]],
                y=[picked.values[0]],
                marker={"symbol": "star", "size": 16, "color": ORANGE},
                text=[_drawn(picked)],
            )
        )
    figure.update_layout(title=f"{first.name} against {second.name}; registered is {pick_rule(settings)}")
    return figure.update_layout(xaxis_title=second.label, yaxis_title=first.name)


def _drawn(trial: Trial) -> str:
    return "<br>".join(f"{name} = {value}" for name, value in trial.last.params.items())


def _values(trials: Sequence[FrozenTrial], name: str) -> list[Value]:
    values = {trial.params[name] for trial in trials if name in trial.params}
    numbers = sorted(value for value in values if isinstance(value, (int, float)))
    return [*numbers, *sorted(str(value) for value in values if not isinstance(value, (int, float)))]
