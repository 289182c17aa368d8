"""What an ablation trains: the best setting of a study, and that setting with each of its choices put back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from drsearch.errors import StudyError
from drsearch.settings import Settings, Value
from drsearch.space.build_model import PREFIX
from drsearch.space.search_space import SearchSpace
from drsearch.study.definition import StudyDefinition
from drsearch.study.warm_start import space_of
from drsearch.trials.trials import Trial

_JUDGED_BY_ALL_FOLDS: dict[str, Any] = {
    "study.sampler": "random", "study.pruner": "none", "study.second_objective": "none", "study.constraints": "",
    "study.hours": None, "study.epochs": None, "study.patience_trials": None, "search.outer_folds": 1,
    "search.outer_fold": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """A choice of the best trial that is not the default.

    Attributes:
        name: The setting, or what is drawn inside `build_model`.
        value: Of the best trial.
        default: Of the study's settings; of what is drawn inside `build_model`, KerasTuner's default.
    """

    name: str
    value: Value
    default: Value


@dataclass(frozen=True)
class AblationPlan:
    """An ablation, before it is run.

    Attributes:
        study: The study whose best trial it is about.
        trial: The number of that trial.
        choices: In the order in which the space draws them.
        source: The text of the ablation's space file.
        settings: Of its trials, before they draw.
        points: What its trials draw: the best setting, then with each choice put back.
    """

    study: str
    trial: int
    choices: tuple[Choice, ...]
    source: str
    settings: Settings
    points: tuple[Mapping[str, Value], ...]


def plan_ablation(study: str, definition: StudyDefinition, best: Trial, folds: int, repeats: int) -> AblationPlan:
    """The ablation of a study.

    Args:
        study: Its name.
        definition: Its definition.
        best: Its best trial.
        folds: Folds of the train and validation eyes that judge each setting.
        repeats: How often, each with another seed and other folds.

    Raises:
        StudyError: If the best trial has every choice at its default.
    """
    base = definition.settings.flat()
    with space_of(definition) as space:
        drawn = space.draw(best.last)
        inside = {name: value for name, value in drawn.items() if name.startswith(PREFIX) and name in best.last.params}
        backs: dict[str, dict[str, Value]] = {name: {name: base[name]} for name in drawn if not name.startswith(PREFIX)}
        backs |= {name: _inside_without(name, drawn, space) for name in inside}
    choices = tuple(
        Choice(name, drawn[name], back[name])
        for name, back in backs.items()
        if back.get(name, drawn[name]) != drawn[name]
    )
    if not choices:
        raise StudyError(
            f"study {study!r} has nothing to put back: the best trial, {best.number}, has every setting that the space "
            "draws at its default."
        )
    outside = {choice.name: choice for choice in choices if not choice.name.startswith(PREFIX)}
    whole = {name: choice.value for name, choice in outside.items()} | inside
    points = [whole, *({**whole, **backs[choice.name]} for choice in choices)]
    own = {**_JUDGED_BY_ALL_FOLDS, "search.folds": folds, "search.repeats": repeats, "study.trials": len(points)}
    network = f"{definition.space_source.rstrip()}\n\n\n" if space.has_hypermodel else ""
    return AblationPlan(
        study,
        best.number,
        choices,
        network + _source_of(outside.values()),
        definition.settings.replace(own),
        tuple(points),
    )


def _inside_without(name: str, drawn: Mapping[str, Value], space: SearchSpace) -> dict[str, Value]:
    """What `build_model` draws if one of its values is left at the default."""
    given = {key: value for key, value in drawn.items() if key != name}
    walked = space.walk(lambda key, hyperparameter: given.get(key, hyperparameter.default))
    return {key: value for key, value in walked.items() if key.startswith(PREFIX)}


def _source_of(choices: Iterable[Choice]) -> str:
    """A space file that draws each choice as it is or put back."""
    lines = [
        f"    hp.Boolean({each.name!r})"  # a Choice makes 1 and 0 of True and False
        if isinstance(each.value, bool)
        else f"    hp.Choice({each.name!r}, [{each.value!r}, {each.default!r}])"
        for each in choices
    ]
    return "\n".join(["def space(hp):", *(lines or ["    pass"])]) + "\n"
