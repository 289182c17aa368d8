"""What does a study look like? Plotly pages: history, parallel coordinates, importances, heat map, Pareto front."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from drsearch.search.objectives import COST_UNITS, best_slot, front, pick_rule
from drsearch.search.slots import Slot
from drsearch.settings import Settings, Value


def write_pages(study: optuna.Study, slots: Sequence[Slot], settings: Settings, folder: Path) -> list[str]:
    """Write the pages that the finished trials allow.

    Args:
        study: For its direction.
        slots: The trials.
        settings: The study's.
        folder: Where to.

    Returns:
        The files' names. Each holds Plotly itself (5 MB): MLflow shows a page on its own, without its neighbours.
    """
    trials = [slot.last for slot in slots if slot.state in ("complete", "pruned")]
    shown = _study_of(study, trials)
    objective = settings.study.objective
    named = [name for name in {name: None for trial in trials for name in trial.params}]
    target = lambda trial: trial.values[0]  # noqa: E731  # Optuna wants a target where it is to be named
    varied = [name for name in named if len({repr(trial.params.get(name)) for trial in trials}) > 1]
    complete = [slot.last for slot in slots if slot.state == "complete"]
    makers: dict[str, Callable[[], go.Figure]] = {}
    if complete:
        makers["history.html"] = lambda: optuna.visualization.plot_optimization_history(
            shown, target=target, target_name=objective
        )
    if len(complete) > 1 and varied:
        makers["parallel_coordinates.html"] = lambda: optuna.visualization.plot_parallel_coordinate(
            shown, params=varied, target=target, target_name=objective
        )
        if len({trial.values[0] for trial in complete}) > 1:
            makers["importances.html"] = lambda: optuna.visualization.plot_param_importances(
                shown, params=varied, target=target, target_name=objective
            )
    if settings.study.sampler == "grid" and complete and len(named) >= 2:
        makers["heat_map.html"] = lambda: heat_map(complete, named[0], named[1], objective)
    if settings.study.cost != "none" and complete:
        makers["pareto.html"] = lambda: pareto(slots, settings)
    for name, make in makers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna marks some of its plots as experimental
            make().write_html(folder / name, include_plotlyjs=True)
    return list(makers)


def _study_of(study: optuna.Study, trials: Sequence[FrozenTrial]) -> optuna.Study:
    """The trials that count, one a slot, as a study of its own: Optuna's plots would show every attempt."""
    shown = optuna.create_study(directions=study.directions)
    shown.add_trials(trials)
    return shown


def heat_map(trials: Sequence[FrozenTrial], across: str, down: str, objective: str) -> go.Figure:
    """The best value of every cell of two axes, best over any further axes.

    Args:
        trials: Finished ones, with `across` and `down` among their params.
        across: The axis along x.
        down: The axis along y.
        objective: What the values are.
    """
    columns, rows = _values(trials, across), _values(trials, down)
    pick = min if objective == "val_loss" else max
    cells = [
        [
            pick(
                (
                    t.values[0]
                    for t in trials
                    if t.params.get(across) == x and t.params.get(down) == y and t.values is not None
                ),
                default=None,
            )
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
            colorbar_title=objective,
            text=[["" if cell is None else f"{cell:.3f}" for cell in row] for row in cells],
            texttemplate="%{text}",
        )
    )
    figure.update_layout(title=f"{objective} of every cell", xaxis_type="category", yaxis_type="category")
    return figure.update_layout(xaxis_title=across, yaxis_title=down)


def pareto(slots: Sequence[Slot], settings: Settings) -> go.Figure:
    """Both objectives of every complete trial, the Pareto front among them, and the member that is picked.

    Args:
        slots: The trials, one of them complete.
        settings: The study's; its title says by which rule the member is picked.
    """
    objective, unit = settings.study.objective, COST_UNITS[settings.study.cost]
    members, picked = front(slots, settings), best_slot(slots, settings)
    numbers = {slot.number for slot in members}
    others = [slot for slot in slots if slot.state == "complete" and slot.number not in numbers]
    figure = go.Figure()
    for name, some, mode in (("other trials", others, "markers"), ("Pareto front", members, "lines+markers")):
        figure.add_trace(
            go.Scatter(
                name=name,
                mode=mode,
                x=[slot.values[1] for slot in some],
                y=[slot.values[0] for slot in some],
                text=[f"trial {slot.number}<br>{_drawn(slot)}" for slot in some],
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
    figure.update_layout(title=f"{objective} against {settings.study.cost}; registered is {pick_rule(settings)}")
    return figure.update_layout(xaxis_title=f"{settings.study.cost} ({unit})", yaxis_title=objective)


def _drawn(slot: Slot) -> str:
    return "<br>".join(f"{name} = {value}" for name, value in slot.last.params.items())


def _values(trials: Sequence[FrozenTrial], name: str) -> list[Value]:
    found = {trial.params[name] for trial in trials if name in trial.params}
    numbers = sorted(value for value in found if isinstance(value, (int, float)))
    return [*numbers, *sorted(str(value) for value in found if not isinstance(value, (int, float)))]
