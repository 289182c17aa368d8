"""The pages of a study, made with Plotly: history, parallel coordinates, importances, heat map, Pareto front."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
import plotly.graph_objects as go
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState, create_trial
from plotly.colors import sample_colorscale, sequential

from drsearch.settings import Settings, Value
from drsearch.study.best_trial import best_trial, front, pick_rule
from drsearch.training.objective import Objective, objectives_of
from drsearch.trials.trials import Trial

_WORST_TO_BEST = sequential.Blues[3:]  # without its first three, which cannot be seen on white
_LEAST_FOR_IMPORTANCES = 4  # of fewer trials, the best differs from the others in too many settings at once
_BEST_COMPARED = 5


def write_pages(trials: Sequence[Trial], settings: Settings, folder: Path) -> list[str]:
    """Write the pages that the finished trials allow.

    Args:
        trials: The trials.
        settings: The study's.
        folder: The folder to write them to.

    Returns:
        The files' names. Each holds Plotly itself (5 MB): MLflow shows a page on its own, without its neighbours.
    """
    makers = figures(trials, settings)
    for name, make in makers.items():
        make().write_html(folder / f"{name}.html", include_plotlyjs=True)
    return [f"{name}.html" for name in makers]


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
    title = f"{objective.name} of every complete trial, and the best so far"
    return figure.update_layout(title=title if _any_kept(trials) else f"{title}; no trial keeps all constraints")


def parallel_coordinates(trials: Sequence[Trial], objective: Objective) -> go.Figure:
    """A line per complete trial through its value and its settings: the better, the darker; the best drawn last.

    Lines of trials that violate a constraint are dotted.

    Args:
        trials: The trials; complete ones differ in a setting.
        objective: The first of each trial's values.
    """
    figure = optuna.visualization.plot_parallel_coordinate(
        _study_of(trials, objective), params=varied(trials), target_name=objective.name
    )
    *others, colour_bar = figure.data
    lines = [trace for trace in others if not trace.showlegend]
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
    n_best = max(len(losses) // 10, min(_BEST_COMPARED, len(losses) // 2))
    n_best = min(n_best, losses.index(losses[-1]))  # with one of the worst among them, all trials would be the best
    figure = optuna.visualization.plot_param_importances(
        study,
        evaluator=PedAnovaImportanceEvaluator(target_quantile=(n_best - 0.5) / len(losses)),  # Optuna rounds up
        params=varied(trials),
        target_name=objective.name,
    )
    n_best = sum(loss <= losses[n_best - 1] for loss in losses)  # with those that are as good
    title = f"What tells the best {n_best} of {len(losses)} trials from the rest ({objective.name}, PED-ANOVA)"
    return figure.update_layout(title=title)


def _study_of(trials: Sequence[Trial], objective: Objective) -> optuna.Study:
    """The complete trials under their numbers, as an Optuna study of the first objective alone.

    Its plots need no `target`: with one, Optuna takes lower values for better, whatever the study's direction. Where no
    trial keeps all constraints, it has none, and all trials are drawn alike.
    """
    complete = {trial.number: trial.last for trial in trials if trial.state == "complete"}
    study, any_kept = optuna.create_study(direction=objective.direction), _any_kept(trials)
    for number in range(max(complete, default=-1) + 1):
        if attempt := complete.get(number):
            study.add_trial(
                create_trial(
                    value=attempt.values[0],
                    params=attempt.params,
                    distributions=attempt.distributions,
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
    figure = go.Figure(
        go.Heatmap(
            x=[str(x) for x in columns],
            y=[str(y) for y in rows],
            z=cells,
            colorscale="Viridis",
            reversescale=objective.less_is_better,  # the best cell is the brightest
            colorbar_title=objective.name,
            text=[["" if cell is None else f"{cell:.3f}" for cell in row] for row in cells],
            texttemplate="%{text}",
        )
    )
    figure.update_layout(title=f"{objective.name} of every cell", xaxis_type="category", yaxis_type="category")
    return figure.update_layout(xaxis_title=across, yaxis_title=down)


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
        ("other trials", [trial for trial in others if not trial.violated], "markers"),
        ("violate a constraint", [trial for trial in others if trial.violated], "markers"),
        ("Pareto front", members, "lines+markers"),
    )
    figure = go.Figure()
    for name, some, mode in groups:
        if not some:
            continue
        figure.add_trace(
            go.Scatter(
                name=name,
                mode=mode,
                x=[trial.values[1] for trial in some],
                y=[trial.values[0] for trial in some],
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
                marker={"symbol": "star", "size": 16},
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
