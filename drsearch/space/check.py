"""Checks what a space may draw, and its networks, before the first trial."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras
from keras_tuner.engine import hyperparameters as kinds

from drsearch.errors import SearchSpaceError, SettingsError, TrialFailed
from drsearch.metrics import OWN
from drsearch.model.backbones import check_backbone, check_weights
from drsearch.model.own import missing_function
from drsearch.model.second_targets import misfit_of_network, misfit_of_settings
from drsearch.settings import (
    RESNET,
    SEARCHED_SECTIONS,
    Settings,
    Value,
    name_to_write,
    near_names,
    searchable_names,
    setting_names,
)
from drsearch.space.build_model import PREFIX, settings_in, what_is_wrong_with
from drsearch.space.explorer import Explorer
from drsearch.space.hyperparameters import Hyperparameter, choice_of, discrete_values, is_log
from drsearch.space.own import what_is_wrong_with_augment, what_is_wrong_with_loss, what_is_wrong_with_objective
from drsearch.space.search_space import SearchSpace, read_space
from drsearch.space.source_line import running_call

_WALKS = 200
"""Random walks through a space that may show nothing new, in a row, before it counts as explored."""

_BUILDS = 3
"""The same where every walk builds a network, which takes up to a second."""

_NAME = re.compile(r"[\w.\- /:]{1,200}")
"""What MLflow takes as the name of a parameter."""


def load_space(path: str | Path, over: Callable[[Settings], Settings] = lambda own: own) -> SearchSpace:
    """Read a space file and refuse what cannot be drawn, before anything is trained.

    Args:
        path: The file.
        over: Makes the settings that trials start from, of those in the file.

    Returns:
        The space on these settings.

    Raises:
        SearchSpaceError: Naming the file, the line as written, and the line to write instead.
    """
    space = read_space(path, over)
    _check(space)
    return space


def _check(space: SearchSpace) -> None:
    """Walk through the space until nothing new shows, checking what it draws and its networks."""
    forms: dict[str, str] = {}
    checked: set[tuple[str, str]] = set()
    failures: list[TrialFailed] = []
    n_built = 0
    explorer = Explorer()

    def mention(name: str, hyperparameter: Hyperparameter) -> None:
        if (mentioned := (name, repr(hyperparameter))) in checked:
            return
        _check_searchable(space, name)
        _check_drawable(space, name, hyperparameter, forms)
        _check_values(space, name, hyperparameter)
        checked.add(mentioned)

    def draw(name: str, hyperparameter: Hyperparameter) -> Value:
        if name.startswith(PREFIX):
            _check_hypermodel_name(space, name)
            _check_drawable(space, name, hyperparameter, forms)
        return explorer.draw(name, hyperparameter)

    def fix(name: str, hyperparameter: Hyperparameter) -> Value:
        if name.startswith(PREFIX):
            _check_hypermodel_name(space, name)
        return explorer.fix(name, hyperparameter)

    def built(model: keras.Model | TrialFailed, image_px: int) -> None:
        nonlocal n_built
        if isinstance(model, TrialFailed):
            failures.append(model)
            return
        n_built += 1
        if fault := what_is_wrong_with(model, image_px):
            raise SearchSpaceError(f"{space.path}: build_model {fault}.")
        if misfit := misfit_of_network(space.settings.training, model):
            raise SearchSpaceError(f"{space.path}: build_model: {misfit}.")

    while explorer.n_idle < (_BUILDS if space.has_hypermodel else _WALKS):
        explorer.walk(lambda _draw, _fix: space.walk(draw, fix, mention, built))
    if not any(explorer.walks):
        raise SearchSpaceError(
            f"{space.path}: space(hp) draws nothing; write for example "
            "hp.Choice('training.learning_rate', [0.001, 0.0001])."
        )
    walks = list({repr(walk): walk for walk in explorer.walks}.values())
    _check_backbones(space, walks)
    _check_own(space, walks)
    if failures and not n_built:
        raise SearchSpaceError(
            f"{space.path}: build_model built no network in {len(failures)} tries at "
            f"images.image_px = {space.settings.images.image_px}; {failures[0]}."
        )


def _check_backbones(space: SearchSpace, walks: Sequence[Mapping[str, Value]]) -> None:
    if not space.has_hypermodel:
        with _naming_the_file(space):
            for walk in walks:
                check_backbone(space.settings.replace(walk))
        return
    for name, default in (("backbone", RESNET), ("trainable", "all")):
        if (value := getattr(space.settings.model, name)) != default:
            raise SearchSpaceError(
                f"{space.path}: model.{name} = {value!r} has no effect, since build_model makes the network here; "
                "leave one of them out."
            )


def _check_own(space: SearchSpace, walks: Sequence[Mapping[str, Value]]) -> None:
    """Refuse a loss, an augmentation or a metric that cannot work, that is missing, or that no trial uses."""
    drawn = [space.settings.replace(settings_in(walk)) for walk in walks]
    for settings in drawn:
        if missing := missing_function(settings, space.own):
            raise SearchSpaceError(f"{space.path}: {missing}; define it, or leave the setting out.")
        if misfit := misfit_of_settings(settings):
            raise SearchSpaceError(f"{space.path}: {misfit}.")
    with_loss = next((settings for settings in drawn if settings.training.loss == "own"), None)
    with_augment = next((settings for settings in drawn if settings.augmentation.own), None)
    if space.own.build_loss is not None:
        if with_loss is None:
            raise SearchSpaceError(
                f"{space.path}: defines build_loss, which no trial uses; write 'training.loss': 'own' into SETTINGS, "
                "or draw it in space(hp)."
            )
        if fault := what_is_wrong_with_loss(space.own.build_loss(with_loss)):
            raise SearchSpaceError(f"{space.path}: build_loss {fault}.")
    if space.own.augment is not None:
        if with_augment is None:
            raise SearchSpaceError(
                f"{space.path}: defines augment, which no trial uses; write 'augmentation.own': True into SETTINGS, or "
                "draw it in space(hp)."
            )
        if fault := what_is_wrong_with_augment(space.own.augment, with_augment.images.image_px):
            raise SearchSpaceError(f"{space.path}: augment {fault}.")
    if space.own.objective is not None:
        if OWN not in space.settings.study.judged_by:
            raise SearchSpaceError(
                f"{space.path}: defines objective, which judges no trial; write 'study.objective': '{OWN}' into "
                "SETTINGS."
            )
        if fault := what_is_wrong_with_objective(space.own.objective):
            raise SearchSpaceError(f"{space.path}: objective {fault}.")


def check_backbone_weights(space: SearchSpace) -> None:
    """Load the weights of every backbone of keras.applications that a trial may draw; Keras downloads ImageNet's once.

    Args:
        space: The space, checked.

    Raises:
        SearchSpaceError: If weights cannot be downloaded, or do not fit.
    """
    if space.has_hypermodel:
        return
    explorer = Explorer()
    while explorer.n_idle < _WALKS:
        explorer.walk(space.walk)
    drawn = [space.settings.replace(walk) for walk in explorer.walks]
    with _naming_the_file(space):
        for settings in {(each.model.backbone, each.model.weights): each for each in drawn}.values():
            check_weights(settings)


@contextmanager
def _naming_the_file(space: SearchSpace) -> Iterator[None]:
    try:
        yield
    except SettingsError as wrong:
        raise SearchSpaceError(f"{space.path}: {wrong}") from wrong


def _refusal(space: SearchSpace, why: str) -> SearchSpaceError:
    return SearchSpaceError(f"{running_call(space.path)}{why}")


def _check_drawable(space: SearchSpace, name: str, hyperparameter: Hyperparameter, forms: dict[str, str]) -> None:
    if isinstance(hyperparameter, kinds.Fixed):
        return
    sampling = getattr(hyperparameter, "sampling", None)
    if sampling == "reverse_log":
        raise _refusal(
            space,
            f' asks for sampling="reverse_log", which Optuna cannot draw. '
            f'Write {choice_of(hyperparameter)}, or sampling="log".',
        )
    if sampling == "log" and _multiplies(hyperparameter):
        raise _refusal(
            space,
            f" asks for steps on a log scale, which Optuna cannot draw. "
            f"Write {choice_of(hyperparameter)}, or drop `step`.",
        )
    form = _form(hyperparameter)
    if (before := forms.setdefault(name, form)) != form:
        shown = name.removeprefix(PREFIX)
        raise _refusal(
            space,
            f" draws {shown!r} from {form}, and another branch from {before}; Optuna keeps one of them "
            f"a name. Write one hp.Choice({shown!r}, ...) with all values before the branches.",
        )


def _form(hyperparameter: Hyperparameter) -> str:
    """The part of a hyperparameter that Optuna requires to be equal wherever its name is drawn (ends may differ)."""
    match hyperparameter:
        case kinds.Choice():
            return f"the choices {list(hyperparameter.values)}"
        case kinds.Boolean():
            return "the choices [False, True]"
        case kinds.Int():
            return "whole numbers" + (" on a log scale" if is_log(hyperparameter) else "")
    return "numbers" + (" on a log scale" if is_log(hyperparameter) else "")


def _multiplies(hyperparameter: Hyperparameter) -> bool:
    """Whether a log axis has a step of its own: KerasTuner multiplies by it (an Int's default step of 1 is none)."""
    return bool(hyperparameter.step) and not (isinstance(hyperparameter, kinds.Int) and hyperparameter.step == 1)


def _check_searchable(space: SearchSpace, name: str) -> None:
    if name.startswith("model.") and space.has_hypermodel and name != "model.weights":
        raise _refusal(
            space,
            f" draws {name!r}, which is a setting of the ResNet, and build_model makes the network "
            "here. Draw the network's own in build_model.",
        )
    if name in searchable_names():
        return
    if name in setting_names():
        raise _refusal(
            space,
            f" draws {name!r}, which is a setting of the whole study and is not searched. "
            f"Put it into SETTINGS, or give it with --set {name}=...",
        )
    if name in running_call(space.path):
        raise _refusal(space, f" names no setting; {name_to_write(name, searchable_names())}")
    near = near_names(name, searchable_names())
    section, _, key = near[0].partition(".") if near else (SEARCHED_SECTIONS[0], "", "...")
    outside = f", or {near[0]!r} outside of any" if near else ""
    raise _refusal(
        space,
        f" is {name!r} within its hp.name_scope, which is no setting. A name scope is the section of a "
        f"setting: write hp.name_scope({section!r}) and in it {key!r}{outside}.",
    )


def _check_hypermodel_name(space: SearchSpace, name: str) -> None:
    shown = name.removeprefix(PREFIX)
    if shown in setting_names():
        raise _refusal(
            space,
            f" draws the setting {shown!r} in build_model. Draw it in space(hp); "
            f"build_model reads it with hp.get({shown!r}).",
        )
    if not _NAME.fullmatch(name):
        raise _refusal(
            space,
            f" draws {shown!r}, which MLflow does not take as a name; "
            "use up to 180 letters, digits, '_', '-', '.', ':', '/' and blanks.",
        )


def _check_values(space: SearchSpace, name: str, hyperparameter: Hyperparameter) -> None:
    if isinstance(hyperparameter, kinds.Fixed):
        values = [hyperparameter.value]
    elif isinstance(hyperparameter, (kinds.Int, kinds.Float)):
        values = [hyperparameter.min_value, hyperparameter.max_value]  # ranges have no holes
    else:
        values = discrete_values(hyperparameter) or []
    for value in values:
        try:
            Settings().replace({name: value})
        except SettingsError as wrong:
            if set(values) == {0, 1} and isinstance(hyperparameter, kinds.Choice):  # KerasTuner makes numbers of them
                raise _refusal(
                    space, f": KerasTuner's Choice makes 1 and 0 of True and False. Write hp.Boolean({name!r})."
                ) from wrong
            raise _refusal(space, f": {wrong}") from wrong
