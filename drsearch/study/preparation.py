"""Prepares the record sets and the definition of a study."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from drsearch.data.prepare import Prepared, prepare
from drsearch.datasets.read import Dataset
from drsearch.home import Home
from drsearch.settings import Value
from drsearch.space.search_space import SearchSpace
from drsearch.study.definition import StudyDefinition, images_key, wanted_study
from drsearch.training.cross_validation import assign_folds
from drsearch.training.single import check_targets


def define(space: SearchSpace, data: Dataset, prepared: Sequence[Prepared]) -> StudyDefinition:
    """The definition of a study: its space, settings, data and code as they are now.

    Args:
        space: The study's space, on its settings.
        data: The photographs and their labels.
        prepared: The record set of every `images.*` that the space may ask for.
    """
    return dataclasses.replace(
        wanted_study(space.path, space.source, space.settings, data),
        data_fingerprint=prepared[0].records.data_fingerprint,
        data_given=[str(path) for path in data.given or [prepared[0].records.description_path]],
        records={images_key(each.records.images): each.records.fingerprint for each in prepared},
    )


def prepare_all(
    data: Dataset,
    space: SearchSpace,
    home: Home,
    *,
    skip_bad: bool,
    on_photograph: Callable[[int, int], None] | None = None,
    points: Sequence[Mapping[str, Value]] = (),
) -> list[Prepared]:
    """The record sets that a study may need, made or reused; first the one of its own settings.

    Args:
        data: The photographs and their labels.
        space: The study's space, on its settings.
        home: The home that keeps the records.
        skip_bad: Whether to leave out photographs that cannot be used.
        on_photograph: Called with the number of photographs done and their total.
        points: All that the study will draw, if that is known; then only their record sets are made.

    Raises:
        DataError: As `prepare`, and if there are too few eyes for `search.folds`.
        SettingsError: If the eyes lack a second target that all trials have.
    """
    own = [{name: value for name, value in point.items() if name.startswith("images.")} for point in points]
    known = {images_key(each.images): each for each in (space.settings.replace(point) for point in own)}
    variants = list(known.values()) or space.image_variants()
    prepared = [prepare(data, each, home, skip_bad=skip_bad, on_photograph=on_photograph) for each in variants]
    check_targets(space.settings, prepared[0].records)
    assign_folds(prepared[0].records.eyes("train", "validation"), space.settings.data, space.settings.search)
    return prepared
