"""The definition of a study: space, settings, data and code. A command with another definition is refused."""

import contextlib
import dataclasses
import json
import re
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from absl import logging

import drsearch
from drsearch.datasets.read import Dataset
from drsearch.errors import StudyError
from drsearch.home import Home
from drsearch.provenance import git_commit, library_versions, source_digest
from drsearch.run_folder import trial_run
from drsearch.settings import ImageSettings, Settings, Value
from drsearch.space.build_model import changed_choices, settings_in, to_setting
from drsearch.study.budget import BUDGETS, N_TRIALS
from drsearch.training.objective import objectives_of
from drsearch.trials.attributes import MAX_RETRIES
from drsearch.trials.retrying import Storage, with_retries
from drsearch.trials.storage import delete_trials, transaction

_DEFINITION = "drsearch.definition"
CODE = "drsearch.code"
"""Of a study: the code of the launcher that runs it now, which machines that join compare with theirs."""


@dataclass(frozen=True)
class StudyDefinition:
    """All that must be equal for a command to resume a study.

    Attributes:
        uid: Distinguishes studies of one name in different databases.
        space_file: The space file's name.
        space_source: Its text.
        settings: The settings that trials start from.
        data_name: The name of the data set.
        data_source: The folders of its photographs, as messages name them.
        data_given: What `--data` takes to read them again: folders or descriptions; empty before they are prepared.
        data_fingerprint: Digest of photographs, grades and split; empty before they are prepared.
        records: Fingerprint of the record set for each `images.*`, as JSON.
        code: Versions and commit; a difference is only logged.
    """

    uid: str
    space_file: str
    space_source: str
    settings: Settings
    data_name: str
    data_source: str
    data_fingerprint: str
    records: dict[str, str]
    code: dict[str, str]
    data_given: Sequence[str] = ()

    def trial_key(self, trial: int) -> str:
        """The key of a trial's run: unique among all runs."""
        return trial_key(self.uid, trial)

    def records_for(self, images: ImageSettings) -> str:
        """The fingerprint of the record set for these images."""
        return self.records[images_key(images)]

    def trial_settings(self, trial: int, drawn: dict[str, Value], threads: int | None = None) -> Settings:
        """The settings of one trial: the study's, with the values drawn, the trial's seed and the data's fingerprint.

        In a cross-validation, whose settings name no outer fold, each trial has the outer fold of its number.

        Args:
            trial: The trial's number.
            drawn: The values drawn, by name.
            threads: Threads per operation, where the study does not set them.
        """
        base = self.settings
        own: dict[str, Value] = {
            "training.seed": trial_seed(base.study.seed, trial),
            "training.threads": base.training.threads or threads,
            "data.fingerprint": self.data_fingerprint,
            "model.hypermodel": to_setting(drawn) if base.model.hypermodel else "",
        }
        if base.search.outer_folds > 1 and not base.search.outer_fold:
            own["search.outer_fold"] = trial + 1
        settings = settings_in(drawn)
        return base.replace({**settings, **own})


def trial_key(uid: str, trial: int) -> str:
    """The key of the run of a study's trial: unique among all runs."""
    return f"{uid}/{trial_run(trial)}"


def images_key(images: ImageSettings) -> str:
    """The key of `images.*` in `StudyDefinition.records`."""
    return json.dumps(dataclasses.asdict(images), sort_keys=True)


def trial_seed(study_seed: int, trial: int) -> int:
    """The seed of a trial and of its sampler: a function of the study's seed and the trial's number.

    Example:
        >>> trial_seed(0, 3) == trial_seed(0, 3), trial_seed(0, 3) == trial_seed(0, 4)
        (True, False)
    """
    return int(np.random.SeedSequence([study_seed, trial]).generate_state(1)[0]) >> 1


def study_folder(home: Home, name: str, uid: str) -> Path:
    """The folder of a study's journals and checkpoints.

    Args:
        home: The home of this machine.
        name: The study's name.
        uid: Its uid.
    """
    return home.runs / folder_name(name, uid)


def folder_name(name: str, uid: str) -> str:
    """The name of a study's folder.

    Example:
        >>> folder_name("resnet", "0123456789abcdef")
        'resnet-01234567'
    """
    return f"{name}-{uid[:8]}"


def code_now() -> dict[str, str]:
    """The versions and the commit of the running code, by name."""
    return {
        **library_versions(),
        "drsearch": drsearch.__version__,
        "commit": git_commit(),
        "source": source_digest(),
    }


def open_study(
    storage: Storage, name: str, wanted: StudyDefinition, n_trials: int | None
) -> tuple[optuna.Study, StudyDefinition]:
    """Begin a study, or open the one of this name if it has the same definition.

    Args:
        storage: The study database.
        name: The study's name.
        wanted: The definition that the command asks for; its `uid` counts only if the study begins now.
        n_trials: Trials in total; None where another budget ends the study, which keeps the number it has.

    Returns:
        The study, and the definition that it was begun with.

    Raises:
        StudyError: If a study of this name has another definition; the first difference is named.
    """
    check_name("--study", name)
    directions = [objective.direction for objective in objectives_of(wanted.settings)]

    def begin() -> tuple[optuna.Study, StudyDefinition]:
        study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
        begun = read_definition(study)
        if begun is None:
            study.set_user_attr(MAX_RETRIES, wanted.settings.study.max_retries)
            study.set_user_attr(_DEFINITION, _to_json(wanted))
        else:
            _check_same(name, begun, wanted)
            _note_other_code(name, begun, wanted)
        if n_trials is not None or begun is None:
            study.set_user_attr(N_TRIALS, n_trials or 0)
        study.set_user_attr(CODE, wanted.code)
        return study, begun or wanted

    return transaction(storage, name, begin)  # of two processes that begin it, one writes the definition


def load_study(storage: Storage, name: str) -> tuple[optuna.Study, StudyDefinition]:
    """A study that was begun, and its definition.

    Raises:
        StudyError: If there is none of this name.
    """
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        study = None
    definition = read_definition(study) if study is not None else None
    if study is None or definition is None:
        names = ", ".join(sorted(each.study_name for each in storage.get_all_studies())) or "none"
        raise StudyError(f"no study {name!r} in this database; there are: {names}.")
    return study, definition


def delete_study(storage: Storage, name: str) -> None:
    """Delete a study and its trials from their database."""

    def delete() -> None:
        study_id = storage.get_study_id_from_name(name)
        delete_trials(storage, study_id)
        storage.delete_study(study_id)

    with contextlib.suppress(KeyError):  # an earlier try has deleted it, and the answer was lost
        with_retries(delete)


def read_definition(study: optuna.Study) -> StudyDefinition | None:
    """The definition kept with a study; None if there is none."""
    values = study.user_attrs.get(_DEFINITION)
    if values is None:
        return None
    # a study that was begun before a setting of images existed has keys without it
    records = {images_key(ImageSettings(**json.loads(key))): name for key, name in values["records"].items()}
    return StudyDefinition(**values | {"settings": Settings().replace(values["settings"]), "records": records})


def _to_json(definition: StudyDefinition) -> dict[str, Any]:
    return dataclasses.asdict(definition) | {"settings": definition.settings.flat()}


def check_name(option: str, name: str) -> None:
    """Refuse a name that cannot name a folder and an MLflow experiment.

    Args:
        option: The option that gave the name.
        name: The name of a study or a training.

    Raises:
        StudyError: With the characters that are allowed.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise StudyError(
            f"{option} {name!r} cannot name a folder and an experiment; use up to 100 letters, digits, '.', '_' and "
            "'-', the first a letter or a digit."
        )


def wanted_study(space: Path, source: str, settings: Settings, data: Dataset) -> StudyDefinition:
    """The definition that a command asks for, as far as it is known before the photographs are prepared.

    Args:
        space: The space file.
        source: Its text.
        settings: The settings that trials start from.
        data: The photographs and their labels.
    """
    return StudyDefinition(
        uid=uuid.uuid4().hex,
        space_file=space.name,
        space_source=source,
        settings=settings,
        data_name=data.name,
        data_source=data.place,
        data_fingerprint="",
        records={},
        code=code_now(),
    )


def check_goes_on(storage: Storage, name: str, wanted: StudyDefinition, unknown: Collection[str] = ()) -> None:
    """Refuse, before anything is prepared, what `open_study` would refuse.

    Args:
        storage: The study database.
        name: The study's name; it need not have begun.
        wanted: The definition that the command asks for; its data are compared if they are prepared.
        unknown: Settings that are not known yet, and not compared.

    Raises:
        StudyError: If a study of this name has another definition; the first difference is named.
    """
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return
    if (begun := read_definition(study)) is not None:
        _check_same(name, begun, wanted, unknown)


def _check_same(name: str, begun: StudyDefinition, wanted: StudyDefinition, unknown: Collection[str] = ()) -> None:
    other = "give it as it was, or --study OTHER to begin a new one."
    if begun.space_source != wanted.space_source:
        raise StudyError(
            f"study {name!r} was begun with another text of {begun.space_file}"
            f"{changed_choices(begun.space_source, wanted.space_source)}; give it as it was, --study OTHER to begin a "
            f"new one, or --warm-start {name} --study OTHER to begin one that has its finished trials already."
        )
    before = begun.settings.flat()
    for key, value in wanted.settings.flat().items():
        if key not in (*BUDGETS, *unknown) and before[key] != value:
            raise StudyError(
                f"study {name!r} was begun with {key} = {before[key]!r}, and this command has {value!r}; {other}"
            )
    if wanted.data_fingerprint and begun.data_fingerprint != wanted.data_fingerprint:
        raise StudyError(
            f"study {name!r} was begun on data {begun.data_fingerprint[:12]} ({begun.data_source}), "
            f"and {wanted.data_source} is {wanted.data_fingerprint[:12]}; {other}"
        )


def _note_other_code(name: str, begun: StudyDefinition, wanted: StudyDefinition) -> None:
    changed = sorted(key for key in {*begun.code, *wanted.code} if begun.code.get(key) != wanted.code.get(key))
    if changed:
        logging.warning("study %s goes on with other code than it was begun with: %s", name, ", ".join(changed))
