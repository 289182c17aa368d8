"""Cross-validation: what a setting, or a search for one, is worth on eyes that chose nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from drsearch.api.access import (
    Configs,
    GivenSettings,
    console_of,
    merged_settings,
    open_home,
    open_studies,
    storage_url,
    warn_if_away,
)
from drsearch.api.data import Data, GivenData, dataset_and_settings
from drsearch.api.space import Space, space_file
from drsearch.errors import Interrupted, SearchSpaceError, SettingsError, StudyError
from drsearch.grades import CLASS_NAMES
from drsearch.settings import Settings, Value

if TYPE_CHECKING:
    import pandas as pd

    from drsearch.home import Home
    from drsearch.measure.out_of_fold import OutOfFoldScores
    from drsearch.release.out_of_fold_difference import Answers, OutOfFoldDifference
    from drsearch.release.out_of_fold_report import OutOfFoldReport
    from drsearch.space.search_space import SearchSpace
    from drsearch.study.result import StudyResult
    from drsearch.trials.trials import Trial

_ONE_SETTING: Mapping[str, Value] = {
    "study.sampler": "random",
    "study.pruner": "none",
    "study.second_objective": "none",
    "study.hours": None,
    "study.epochs": None,
    "study.patience_trials": None,
}
"""Settings of a cross-validation that searches nothing: its trials are the outer folds."""


def one_setting(hp: Any) -> None:
    """Draw nothing: every trial trains the same setting, each on the eyes of its own outer fold."""


@dataclass(frozen=True, repr=False)
class CrossValidation:
    """A finished cross-validation, from `drsearch.cross_validate`.

    Attributes:
        report: All figures.
        run_id: Its MLflow run; None if MLflow has not answered yet.
        page: The photographs whose label every repeat contradicts; None if there are none.
        difference: From the cross-validation that it was compared with; None without one.
    """

    report: OutOfFoldReport
    run_id: str | None
    page: Path | None = None
    difference: OutOfFoldDifference | None = None

    @property
    def scores(self) -> OutOfFoldScores:
        """Out-of-fold AUC, accuracy, sensitivity and specificity, with 95 % intervals."""
        return self.report.scores

    @property
    def folds(self) -> pd.DataFrame:
        """One row per outer fold: best epoch, threshold, its scores, and the inner scores beside."""
        import pandas as pd

        return pd.DataFrame(self.report.fold_rows()).set_index("fold")

    @property
    def doubtful(self) -> pd.DataFrame:
        """The eyes whose label every repeat contradicts with confidence: name, source, grade, label, probability."""
        import pandas as pd

        from drsearch.release.out_of_fold_report import DoubtfulLabel

        return pd.DataFrame(self.report.doubtful, columns=list(DoubtfulLabel.__dataclass_fields__))

    @property
    def predictions(self) -> pd.DataFrame:
        """One row per eye and repeat: name, grade, label, patient, repeat, fold, probability, called (RDR or not)."""
        import pandas as pd

        return pd.DataFrame(self.report.predictions())

    @property
    def differences(self) -> pd.DataFrame:
        """One row per score: of this one (`value`), of the `other`, and this minus the other, paired.

        `over_folds` has a 95 % interval over folds and seeds, `over_eyes` one over eyes; their ends are `_low` and
        `_high`. Empty without `against`.
        """
        import pandas as pd

        return pd.DataFrame(self.difference.rows() if self.difference else [])

    def __repr__(self) -> str:
        return f"<CrossValidation {self.report.name}: AUC {self.scores.auc}, accuracy {self.scores.accuracy}>"

    def _repr_html_(self) -> str:
        from drsearch.display.html import described_table

        return described_table(repr(self).strip("<>"), self.folds.round(4), f"MLflow run {self.run_id}")


def cross_validate(
    data: GivenData,
    settings: GivenSettings = None,
    *,
    config: Configs = (),
    folds: int = 5,
    repeats: int = 3,
    space: Space | None = None,
    trials: int | None = None,
    workers: int = 1,
    study: str = "",
    against: str = "",
    storage: str = "",
    skip_bad: bool = False,
    progress: bool | Console = True,
) -> CrossValidation:
    """Judge a setting, or a search for one, on eyes that chose nothing: no epoch, threshold, temperature or setting.

    All eyes are dealt into outer folds, those of a published test split excepted. One network per fold and repeat is
    trained on the other eyes, some of which validate; with `registry.networks = "folds"` it is the mean of the networks
    of `search.folds` inner folds of these eyes. The folds are trials of a study: the same call resumes them, and with
    more `repeats` it adds some. With a `space` each outer fold has a study of its own, whose best trial is judged.

    Args:
        data: The folder of photographs, or a prepared data set.
        settings: Settings by name.
        config: Gin files.
        folds: Outer folds, at least 2.
        repeats: How often all eyes are dealt.
        space: A search space: each outer fold searches it anew. A space of one point is a setting.
        trials: Trials per outer fold. Default: as `run_study`.
        workers: Worker processes on this machine; the fastest is one per core.
        study: Its name, and that of its MLflow experiment; searches are called `NAME-fold1`, ... Default:
            `cross-validation-` and the name of the space's file, or of the last gin file.
        against: The name of another cross-validation, finished on this machine with the same eyes and folds: the scores
            are compared with its, paired, in the repeats that both have.
        storage: Address of the study database. Default: DRSEARCH_STORAGE, or SQLite in DRSEARCH_HOME.
        skip_bad: Leave out photographs and labels that cannot be used.
        progress: Show a live view; or the Rich console that shows it.

    Returns:
        Out-of-fold scores, the folds, and the predictions.

    Raises:
        Interrupted: If it was stopped or cancelled; the same call resumes it.
        SettingsError: If a setting is unknown, out of range, or none of a cross-validation.
        DataError: If the folder cannot be used, or has too few eyes of a class for so many folds.
        StudyError: If a study of this name was begun with other settings or data, the training of a fold failed, or
            `against` names no finished cross-validation of the same eyes and folds.

    Example:
        >>> import drsearch
        >>> small = {"training.epochs": 2, "images.image_px": 64}
        >>> judged = drsearch.cross_validate("eyes", small, folds=2, repeats=1, study="judged", progress=False)
        >>> judged.predictions.groupby("name").size().unique().tolist()
        [1]
    """
    home, out = open_home(), console_of(progress)
    skip_bad = skip_bad or (isinstance(data, Data) and data.skip_bad)
    dataset, settings = dataset_and_settings(data, settings, home)
    given: dict[str, Value] = dict(settings.flat() if isinstance(settings, Settings) else settings or {})
    _check_numbers(folds, repeats, trials, space)
    merged_settings(given, config)  # refuses before TensorFlow is loaded
    path, url = space_file(one_setting if space is None else space, home), storage_url(storage, home)
    name = study or _name(config if space is None else [path])

    from drsearch.space.source import read_source
    from drsearch.study.definition import check_name
    from drsearch.tracking.remote_runs import check_experiments

    check_name("--study", f"{name}-fold{folds * repeats}")
    read_source(path)
    other = _other(against, name, storage, home) if against else None
    if warn_if_away(home, out):
        check_experiments(home, name)

    from drsearch.data.records import count_test_evaluation
    from drsearch.display.contact_sheet import SheetPhotograph, write_doubtful_sheet
    from drsearch.display.data_tables import print_audit, print_counts, print_reading
    from drsearch.display.output import counting, liner
    from drsearch.display.progress import study_view
    from drsearch.release.candidate import Candidate
    from drsearch.release.out_of_fold_difference import check_same_folds, difference
    from drsearch.release.out_of_fold_report import log_report, out_of_fold_report
    from drsearch.study.preparation import prepare_all
    from drsearch.study.reconcile import launching
    from drsearch.training.outer_folds import deal_outer_folds
    from drsearch.workers.launcher import check_begins, launch_study

    studies = _studies(name, _read(path, given, config, space is None), folds, repeats, trials)
    for own_name, own in studies:
        check_begins(own_name, own, dataset, url)
    print_reading(out, dataset)
    with counting(out, "photographs") as count:
        prepared = prepare_all(dataset, studies[0][1], home, skip_bad=skip_bad, on_photograph=count)
    print_audit(out, prepared[0].audit, skip_bad)
    print_counts(out, prepared[0])
    records, judges = prepared[0].records, list[Candidate]()
    dealt = deal_outer_folds(records, studies[0][1].settings.search, repeats)
    if other is not None:
        check_same_folds(other, [(eye.name, eye.label) for eye in records.eyes(*records.outer_splits)], dealt)
    for number, (own_name, own) in enumerate(studies, start=1):
        if len(studies) > 1:
            liner(out)(f"outer fold {number} of {len(studies)}: a search on the eyes that it leaves, study {own_name}")
        supervisor = launch_study(own_name, own, dataset, prepared, home, url)
        has_begun = any(supervisor.folder.glob("trial-*"))
        if "test" in records.outer_splits and number == 1 and not has_begun:
            count_test_evaluation(records, home, f"cross-validation {name}")
        with launching(supervisor.folder), study_view(out) as show:
            result = supervisor.run(workers, show, say_stopping=show.stopping)
        judges += [Candidate(result, trial, own, home) for trial in _judging(name, result)]
    report = out_of_fold_report(name, judges)
    paths = {photograph.name: photograph for photograph in dataset.photographs}
    photographs = [
        SheetPhotograph(
            paths[each.name].file,
            paths[each.name].path,
            f"labelled grade {each.grade} ({CLASS_NAMES[each.label]}); probability of RDR {each.probability:.2f}",
        )
        for each in report.doubtful
    ]
    write_page = lambda page: write_doubtful_sheet(page, name, photographs)  # noqa: E731
    run_id, sheet = log_report(report, judges[0], write_page)
    return CrossValidation(report, run_id, sheet, None if other is None else difference(report, other))


def _check_numbers(folds: int, repeats: int, trials: int | None, space: Space | None) -> None:
    """Refuse numbers that go with no cross-validation.

    Raises:
        SettingsError: With what to give.
    """
    if folds < 2 or repeats < 1:
        raise SettingsError(f"--folds {folds} --repeats {repeats}: give at least 2 folds and 1 repeat.")
    if trials is not None and space is None:
        raise SettingsError(f"--trials {trials}: without --space there is nothing to search; leave it out.")


def _read(path: Path, given: Mapping[str, Value], config: Configs, is_own: bool) -> SearchSpace:
    """The space, checked, on the settings that every fold starts from.

    Raises:
        SettingsError: If they ask for inner folds without the mean of their networks, or are those of one trial of a
            space that builds its networks.
    """
    from drsearch.space.check import load_space
    from drsearch.space.search_space import read_space
    from drsearch.study.validation import check_study
    from drsearch.training.single import check_network

    def chosen(own: Settings) -> Settings:
        settings = merged_settings(given, config, own)
        search, networks = settings.search, settings.registry.networks
        if (search.folds > 1 or search.repeats > 1) and networks != "folds":
            raise SettingsError(
                f"search.folds = {search.folds} and search.repeats = {search.repeats} with registry.networks = "
                f"{networks!r}: an outer fold is judged by one network, or by the mean of the networks of its inner "
                "folds and repeats; leave both at 1, or write registry.networks = 'folds'."
            )
        if settings.model.hypermodel:
            raise SettingsError(
                "model.hypermodel is set: these are the settings of a trial whose network was made by build_model of "
                "a space; write its values into a copy of that file with hp.Fixed, and give it with --space."
            )
        return settings.replace({"search.outer_folds": 1, "search.outer_fold": 0})

    read = read_space(path, chosen) if is_own else load_space(path, chosen)
    if is_own:
        check_network(read.settings, None)
    check_study(read.settings)
    return read


def _studies(
    name: str, space: SearchSpace, folds: int, repeats: int, trials: int | None
) -> list[tuple[str, SearchSpace]]:
    """The studies of a cross-validation, with their spaces.

    One, whose trials are the outer folds, where the space draws nothing; else a search per outer fold.
    """
    outer = space.settings.replace({"search.outer_folds": folds})
    if not _searches(space):
        return [(name, space.on(outer.replace({**_ONE_SETTING, "study.trials": folds * repeats})))]
    budget = {} if trials is None else {"study.trials": trials}
    return [
        (f"{name}-fold{number}", space.on(outer.replace({**budget, "search.outer_fold": number})))
        for number in range(1, folds * repeats + 1)
    ]


def _searches(space: SearchSpace) -> bool:
    """Whether a space has more than one point."""
    try:
        return len(space.grid(at_most=2)) > 1
    except SearchSpaceError:  # an axis is continuous
        return True


def _name(files: Configs) -> str:
    """The name of a cross-validation that was given none."""
    paths = [files] if isinstance(files, str | Path) else list(files)
    return "-".join(["cross-validation", *(Path(path).stem for path in paths[-1:])])


def _other(against: str, name: str, storage: str, home: Home) -> Answers:
    """The answers of the cross-validation that this one is compared with.

    Raises:
        StudyError: If there is none of that name, it is this one, or it has no predictions here.
    """
    from drsearch.release.out_of_fold_difference import read_answers
    from drsearch.study.definition import load_study, study_folder

    if against == name:
        raise StudyError(f"--against {against}: that is this cross-validation; name another one.")
    opened = open_studies(storage, home)
    names = {study.study_name for study in opened.get_all_studies()}
    searched = f"{against}-fold1"
    study = searched if against not in names and searched in names else against
    _, definition = load_study(opened, study)
    if definition.settings.search.outer_folds == 1:
        raise StudyError(f"--against {against}: study {against!r} is no cross-validation, so nothing can be paired.")
    return read_answers(against, study_folder(home, study, definition.uid))


def _judging(name: str, result: StudyResult) -> list[Trial]:
    """The trials of a finished study whose networks are judged: all of them, or the best one of a search.

    Raises:
        Interrupted: If the study is not finished.
        StudyError: If a fold has no network.
    """
    from drsearch.trials.trials import all_over

    failed = [trial for trial in result.trials if trial.state == "failed"]
    searched = bool(result.definition.settings.search.outer_fold)
    if result.stopped or not (searched or all_over(result.trials, result.n_trials)):
        why = result.stopped or result.spent
        raise Interrupted(f"cross-validation {name!r} is not finished ({why}); the same command resumes it.")
    if searched and result.best is not None:
        return [result.best]
    if failed:
        fold = "of " + result.name if searched else f"{failed[0].number + 1}"
        raise StudyError(
            f"cross-validation {name!r} has no scores, because the training of fold {fold} failed: "
            f"{failed[0].reason.rstrip('.')}; mend that setting, and give another --study."
        )
    return list(result.trials)
