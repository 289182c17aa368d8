"""Registered models and single trainings: load, predict, evaluate, compare, explain, stress, train."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rich.console import Console

from drsearch.api.access import (
    Configs,
    GivenSettings,
    console_of,
    merged_settings,
    open_home,
    reach_runs,
    warn_if_away,
)
from drsearch.api.data import Data, GivenData, dataset_and_settings
from drsearch.api.space import Space, space_file
from drsearch.errors import DataError, DrsearchError, PhotographError, RegistryError
from drsearch.files import OutputError, check_outputs, write_whole
from drsearch.home import TRAININGS, Home
from drsearch.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from drsearch.data.decode import PhotographData
    from drsearch.data.records import RecordSet
    from drsearch.datasets.read import Dataset
    from drsearch.measure.scores import Interval, Scores
    from drsearch.release.compare import Versions
    from drsearch.release.evaluate import Evaluation
    from drsearch.release.explain import Explanation
    from drsearch.release.measured import Measured
    from drsearch.release.model_card import ModelCard
    from drsearch.release.registry import ModelVersion
    from drsearch.release.stress import Stress
    from drsearch.serving.answers import Answerer
    from drsearch.serving.grader import HeatMap
    from drsearch.training.outcome import Outcome
    from drsearch.training.single import TrainingResult

Photographs = str | Path | Iterable[str | Path]
"""One photograph's file, or several."""


class Model:
    """A registered version, from `drsearch.load_model` or `study.model`.

    Its files are fetched, and TensorFlow is loaded, at the first prediction.

    Args:
        version: The version in MLflow's registry.
        home: Names the registry.

    Attributes:
        version: The version in MLflow's registry, with its tags and aliases.
    """

    def __init__(self, version: ModelVersion, home: Home) -> None:
        self.version = version
        self._home = home
        self._loaded: Answerer | None = None

    @property
    def uri(self) -> str:
        """The address that names this version in all commands: `models:/retinopathy/3`."""
        return self.version.uri

    @property
    def scores(self) -> dict[str, Interval]:
        """The scores on the test split with their 95 % intervals, by name: `auc`, `accuracy`, ...; empty before."""
        return self.version.scores

    def predict(
        self,
        photographs: Photographs,
        *,
        explain: str | Path | None = None,
        method: str = "",
        layer: str = "",
        overwrite: bool = False,
    ) -> pd.DataFrame:
        """Grade photographs: referable (RDR) or not (NRDR).

        Args:
            photographs: Files as the camera wrote them, in any format that is read (docs/photographs.md); or a folder,
                with all photographs in it.
            explain: Write each photograph with its heat map, and the map alone beside it: a new file, or a folder for
                several photographs.
            method: How heat maps are made: `gradcam`, `gradcam++`, `hirescam`, `occlusion` or `lesion_map`; empty for
                the model's map of lesions if it has learned one, else Grad-CAM.
            layer: Of the network, for heat maps; empty for the last one with places.
            overwrite: Let `explain` replace files; photographs are never replaced.

        Returns:
            One row per photograph, in their order: label, probability of RDR, confidence, threshold, distance from the
            training eyes, warning, quality, reason and error. A photograph whose quality lies below that of the
            training eyes has the label `not gradable` and the reason; one that cannot be read or shows no retina has
            its error, and no label.

        Raises:
            DataError: If a folder holds no photograph.
            OutputError: If a heat map would replace a photograph or another file.
        """
        answers = self.answers(photographs, explain=explain, method=method, layer=layer, overwrite=overwrite)
        return answer_table(answers, explained=explain is not None)

    def answers(
        self,
        photographs: Photographs,
        *,
        explain: str | Path | None = None,
        method: str = "",
        layer: str = "",
        overwrite: bool = False,
    ) -> Iterator[tuple[Path, dict[str, Any], Path | None]]:
        """As `predict`, one photograph at a time.

        Args:
            photographs: Files or folders.
            explain: A file, or a folder.
            method: How heat maps are made; empty for the model's own way.
            layer: Of the network, for heat maps.
            overwrite: Let `explain` replace files.

        Yields:
            The file, the answer by name (as `--json` prints it), and the file of its heat map, if one was written.
        """
        yield from graded(self, photographs, explain=explain, method=method, layer=layer, overwrite=overwrite)

    def explain(self, photograph: str | Path | PhotographData, method: str = "", layer: str = "") -> NDArray[np.uint8]:
        """The photograph, coloured where the model saw its class; below it the answer and the scale of the colours.

        Args:
            photograph: A file, its bytes, or RGB pixels of shape `(height, width, 3)`.
            method: `gradcam`, `gradcam++`, `hirescam`, `occlusion` or `lesion_map`; empty for the model's map of
                lesions if it has learned one, else Grad-CAM.
            layer: Of the network; empty for the last one with places.

        Returns:
            RGB, as wide as the photograph, and higher by the strip below it.

        Raises:
            MetricError: If there is no such method or layer.
            PhotographError: If it cannot be read whole or shows no retina.
        """
        return self._heat_map(photograph, method, layer).picture

    def _heat_map(self, photograph: str | Path | PhotographData, method: str, layer: str) -> HeatMap:
        given = Path(photograph).expanduser().read_bytes() if isinstance(photograph, str | Path) else photograph
        return self._load().grader.explain(given, method=method, layer=layer)

    def evaluate(
        self,
        data: GivenData,
        split: str = "test",
        *,
        skip_bad: bool = False,
        progress: bool | Console = True,
    ) -> Evaluation:
        """As `drsearch.evaluate` of this model."""
        return evaluate(self, data, split, skip_bad=skip_bad, progress=progress)

    @property
    def card(self) -> ModelCard:
        """As `drsearch.model_card` of this model."""
        return model_card(self)

    def _load(self) -> Answerer:
        if self._loaded is None:
            from drsearch.release.registry import Registry

            with tempfile.TemporaryDirectory() as folder:
                files = Registry(self._home.tracking_uri).download(self.uri, Path(folder))
                from drsearch.serving.answers import Answerer  # loads TensorFlow, for a model that is there
                from drsearch.serving.grader import Grader

                self._loaded = Answerer(Grader(files), self.uri)
        return self._loaded

    def __repr__(self) -> str:
        aliases = "".join(f" @{alias}" for alias in self.version.aliases)
        auc = self.scores.get("auc")
        return f"<Model {self.version.name}/{self.version.version}{aliases}{f': test AUC {auc}' if auc else ''}>"

    def _repr_html_(self) -> str:
        import pandas as pd

        from drsearch.display.html import described_table

        rows = {name: (score.value, score.low, score.high) for name, score in self.scores.items()}
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["test", "95 % from", "to"])
        return described_table(repr(self).strip("<>"), table.round(3))


def load_model(model: str | Model) -> Model:
    """A registered version by its name.

    Args:
        model: `retinopathy@champion`, `retinopathy/3`, or either after `models:/`. An alias is looked up now, once.

    Returns:
        The version, ready to predict.

    Raises:
        RegistryError: If there is no such version.

    Example:
        >>> import drsearch
        >>> model = drsearch.load_model("retinopathy@search-best")
        >>> model.predict("eyes/none.jpg")["error"].item()
        'the photograph cannot be read (No such file or directory)'
    """
    if isinstance(model, Model):
        return model
    from drsearch.release.registry import Registry

    home = open_home()
    reach_runs(home)
    return Model(Registry(home.tracking_uri).find(model), home)


def _name(model: str | Model) -> str:
    return model.uri if isinstance(model, Model) else model


def graded(
    model: str | Model,
    photographs: Photographs,
    *,
    explain: str | Path | None = None,
    method: str = "",
    layer: str = "",
    overwrite: bool = False,
    progress: bool | Console = False,
) -> Iterator[tuple[Path, dict[str, Any], Path | None]]:
    """Answers of a model, one photograph at a time; the model is loaded for the first that can be read.

    Args:
        model: A version, or its name.
        photographs: Files or folders.
        explain: A file for the heat map, or a folder for several; None for none.
        method: How heat maps are made; empty for the model's own way.
        layer: Of the network, for heat maps; empty for the last one with places.
        overwrite: Let `explain` replace files.
        progress: Show that the model is loading; or the Rich console that shows it.

    Yields:
        The file, the answer by name (as `--json` prints it), and the file of its heat map, if one was written.

    Raises:
        DataError: If a folder holds no photograph.
        MetricError: If there is no such method or layer.
        OutputError: If a heat map would replace a photograph or another file.
        RegistryError: If there is no such version.
    """
    if explain is None and (method or layer):
        raise DrsearchError("--method and --layer say how heat maps are made: name a file or a folder with --explain.")
    paths = files_of(photographs)
    heat_maps = heat_map_files(paths, explain, overwrite)
    if not all(map(unreadable, paths)):
        from drsearch.display.output import working

        with working(console_of(progress), f"loading {_name(model)}"):
            model = load_model(model)
            model._load()
    for path, heat_map in zip(paths, heat_maps, strict=True):
        written = None
        if error := unreadable(path):
            yield path, {"error": error}, None
            continue
        assert isinstance(model, Model)
        answer = model._load().answers([path])[0].to_json()
        if heat_map and answer["probability"] is not None:
            try:
                _write_heat_map(model._heat_map(path, method, layer), heat_map, overwrite)
                written = heat_map
            except PhotographError as refused:
                answer["error"] = f"the photograph {refused}"
            except OSError as refused:
                answer["error"] = f"the heat map cannot be written to {heat_map} ({refused.strerror})"
        yield path, answer, written


def evaluate(
    model: str | Model,
    data: GivenData,
    split: str = "test",
    *,
    skip_bad: bool = False,
    progress: bool | Console = True,
) -> Evaluation:
    """Score a registered model on a split, with 95 % intervals.

    Where patients are known, they are scored beside eyes: a patient is referable if an eye is. Photographs and patients
    that the model was trained on are refused. Every test evaluation is counted. Photographs that are all of one class
    have a sensitivity or a specificity, and no AUC. The scores are noted in the version's model card.

    Args:
        model: A version, or its name.
        data: The folder of photographs, or a prepared data set. It is prepared as the model's own data was.
        split: `test`, `validation`, `train` or `all`; all of them only for a data set that the model was not trained
            on.
        skip_bad: Leave out photographs and labels that cannot be used.
        progress: Show a bar; or the Rich console that shows it.

    Returns:
        Scores of eyes and of patients with intervals, and how often this test split has been evaluated.

    Raises:
        DataError: If the split is empty, or holds pictures or patients that the model was trained on.
        RegistryError: If there is no such version.

    Example:
        >>> import drsearch
        >>> drsearch.evaluate("retinopathy/1", "eyes").scores.n
        12
    """
    from drsearch.display.output import liner, working
    from drsearch.release.evaluate import evaluate as score
    from drsearch.release.model_card import add_to_card
    from drsearch.release.registry import Registry

    home, out = open_home(), console_of(progress)
    version, dataset, records = _unseen_data(model, data, split, skip_bad, home, out)
    with working(out, f"scoring {split} photographs"):
        result = score(version._load().grader, records, split, home, f"evaluate {version.uri}")  # type: ignore[arg-type]  # checked
    figures = result.for_card(dataset.name, records.data_fingerprint)
    try:
        add_to_card(Registry(home.tracking_uri), version.version, figures)
    except RegistryError as denied:
        liner(out)(f"not noted in the model card: {denied}")
    return result


def model_card(model: str | Model) -> ModelCard:
    """The model card of a registered version: what it is, what it was made from, and what was measured of it.

    It is made when the version is registered, and gains what `evaluate`, `explain` and `stress` measure.

    Args:
        model: A version, or its name.

    Returns:
        The card: `markdown()` is for people, `to_json()` for programs, and `checklist("tripod-ai")` (`claim`,
        `stard-ai`) a reporting guideline, filled in as far as drsearch knows.

    Raises:
        RegistryError: If there is no such version, or it was not registered by a study of this drsearch.

    Example:
        >>> import drsearch
        >>> drsearch.model_card("retinopathy@search-best").task
        'grade 2 or higher'
    """
    from drsearch.release.model_card import read_card
    from drsearch.release.registry import Registry

    home, version = open_home(), load_model(model).version
    return read_card(Registry(home.tracking_uri), version)


def compare(
    models: Iterable[str | Model],
    data: GivenData | None = None,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    skip_bad: bool = False,
    progress: bool | Console = True,
) -> Versions:
    """Score registered models on the same test eyes, paired, as `promote` compares challenger and champion.

    Nothing is decided or changed. It counts as one test evaluation.

    Args:
        models: At least two versions, or their names; differences are those of each further one from the first.
        data: A data set whose test split is used; None: the data that the first model was trained with.
        out: Also write a page to this file, HTML: scores, differences, ROC curves, and the photographs of the eyes on
            which they disagree.
        overwrite: Let `out` replace a file.
        skip_bad: Leave out photographs and labels that cannot be used.
        progress: Show a bar; or the Rich console that shows it.

    Returns:
        Scores, paired differences with 95 % intervals, and the eyes on which the models disagree.

    Raises:
        DrsearchError: If there are fewer than two models, or one is named twice.
        OutputError: If the page would replace a file.
        RegistryError: If there is no such version, a model was trained on a photograph or patient of these eyes, or the
            records are not to be had.
    """
    from drsearch.display.output import counting
    from drsearch.release.registry import Registry

    home, console = open_home(), console_of(progress)
    page = html_output(out, overwrite)
    versions = [load_model(model).version for model in models]
    if len({version.uri for version in versions}) < max(2, len(versions)):
        named = ", ".join(f"{version.name}/{version.version}" for version in versions)
        raise DrsearchError(f"compare: name two versions or more, each once; these are {named}.")
    dataset = dataset_and_settings(data, None, home)[0] if data is not None else None

    from drsearch.release.compare import compare_versions
    from drsearch.reports.compare_page import compare_page

    skip_bad = skip_bad or (isinstance(data, Data) and data.skip_bad)
    with counting(console, "photographs") as count:
        result = compare_versions(
            Registry(home.tracking_uri), versions, home, dataset, skip_bad=skip_bad, on_photograph=count
        )
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_whole(page, compare_page(result).encode(), replace=overwrite)
    return result


def html_output(out: str | Path | None, overwrite: bool) -> Path | None:
    """The file that `--out` names for a page; None for none.

    Raises:
        OutputError: If it is no HTML file, or would replace one.
    """
    if out is None:
        return None
    page = Path(out).expanduser()
    if page.suffix.lower() != ".html":
        raise OutputError(f"--out {page}: the page is HTML; name it .html.")
    check_outputs([page], [], "--out", overwrite=overwrite)
    return page


def _unseen_data(
    model: str | Model, data: GivenData, split: str, skip_bad: bool, home: Home, out: Console
) -> tuple[Model, Dataset, RecordSet]:
    """A version with the data on which it is judged, prepared as its own data was."""
    from drsearch.data.prepare import prepare
    from drsearch.display.output import counting, working
    from drsearch.release.evaluate import Split

    if split not in get_args(Split):
        raise DrsearchError(f"--split {split}: write one of {', '.join(get_args(Split))}.")
    dataset, _ = dataset_and_settings(data, None, home)
    skip_bad = skip_bad or (isinstance(data, Data) and data.skip_bad)
    with working(out, f"loading {_name(model)}"):
        version = load_model(model)
        serving = version._load().grader.serving
    settings = Settings(images=serving.images, data=serving.data, task=serving.task)
    with counting(out, "photographs") as count:
        prepared = prepare(dataset, settings, home, skip_bad=skip_bad, for_training=False, on_photograph=count)
    return version, dataset, prepared.records


def explain(
    model: str | Model,
    data: GivenData,
    split: str = "test",
    *,
    method: str = "",
    layer: str = "",
    seen: bool = False,
    skip_bad: bool = False,
    progress: bool | Console = True,
) -> Explanation:
    """Measure whether a registered model looks at lesions, in referable eyes that have boxes around lesions.

    How often the peak of the heat lies in a lesion, the share of heat in lesions by kind and by grade, against chance,
    untrained networks and the boxes of other eyes; deletion and insertion curves; maps of randomised weights. Counts a
    test evaluation as `evaluate` does. Figures, a chart, and heat maps of six of the eyes at the photographs' own
    resolution are logged to the version's run (no photograph with `study.gradcam_eyes = 0`).

    Args:
        model: A version, or its name.
        data: The folder of photographs, or a prepared data set, with boxes (docs/data.md). It is prepared as the
            model's own data was.
        split: `test`, `validation`, `train` or `all`; all of them only for a data set that the model was not trained
            on.
        method: How heat maps are made: `gradcam`, `gradcam++`, `hirescam`, `occlusion` or `lesion_map`; empty for the
            model's map of lesions if it has learned one, else Grad-CAM.
        layer: Of the network; empty for the last one with places.
        seen: Also of eyes that the model was trained on.
        skip_bad: Leave out photographs and labels that cannot be used.
        progress: Show a bar; or the Rich console that shows it.

    Returns:
        The figures, with intervals and paired tests.

    Raises:
        DataError: If fewer than two referable eyes have boxes, or the split is empty or holds pictures or patients that
            the model was trained on.
        MetricError: If there is no such method or layer.
        RegistryError: If there is no such version.

    Example:
        >>> import drsearch
        >>> drsearch.explain("retinopathy/1", "eyes", progress=False).regions[0].name
        'lesion'
    """
    from drsearch.display.output import counting, working
    from drsearch.measure.figures import png
    from drsearch.release.card_figures import CHART
    from drsearch.release.explain import explain as measure
    from drsearch.release.explain import figure
    from drsearch.release.explained_eyes import explained_eyes
    from drsearch.release.registry import Registry

    home, console = open_home(), console_of(progress)
    version, dataset, records = _unseen_data(model, data, split, skip_bad, home, console)
    grader, why = version._load().grader, f"explain {version.uri}"
    with counting(console, "maps and curves") as count:
        result = measure(grader, records, split, home, why, method, layer, seen, count)  # type: ignore[arg-type]  # checked
    files = {CHART: png(figure(result))}
    if Registry(home.tracking_uri).holds_photographs(version.version):
        with working(console, "pictures of some eyes"):
            files |= explained_eyes(grader, records, dataset, result)
    _log(result, files, version, records, dataset, console)
    return result


def _log(
    result: Measured, files: Mapping[str, bytes], version: Model, records: RecordSet, dataset: Dataset, out: Console
) -> None:
    """Log figures to a version, or say who does not let this user."""
    from drsearch.display.output import liner
    from drsearch.release.measured import log_measured
    from drsearch.release.registry import Registry

    try:
        log_measured(result, files, Registry(version._home.tracking_uri), version.version, records, dataset)
    except RegistryError as denied:
        liner(out)(f"not logged: {denied}")


def stress(
    model: str | Model,
    data: GivenData,
    split: str = "test",
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    skip_bad: bool = False,
    progress: bool | Console = True,
) -> Stress:
    """Score a registered model on photographs that are made worse, each paired with the photograph as it is.

    Blur, exposure, colour cast, JPEG quality, rotation, a crop that is too tight and the resolution of the camera, at
    four strengths each. They are applied to the photographs as they come from their files, so all of `predict` is under
    test. Refuses what `evaluate` refuses, and counts a test evaluation as `evaluate` does. Table, chart and figures are
    logged to the version's run.

    Args:
        model: A version, or its name.
        data: The folder of photographs, or a prepared data set. It is prepared as the model's own data was.
        split: `test`, `validation`, `train` or `all`; all of them only for a data set that the model was not trained
            on.
        out: Also write the chart to this file, an HTML page.
        overwrite: Let `out` replace a file.
        skip_bad: Leave out photographs and labels that cannot be used.
        progress: Show a bar; or the Rich console that shows it.

    Returns:
        AUC, accuracy and calibration error under each condition with intervals, their paired changes, and how many
        photographs are refused or not gradable.

    Raises:
        DataError: If the split is empty, has one class, or holds pictures or patients that the model was trained on.
        OutputError: If the chart would replace a file.
        RegistryError: If there is no such version.

    Example:
        >>> import drsearch
        >>> drsearch.stress("retinopathy/1", "eyes", progress=False).undamaged.n
        12
    """
    from drsearch.display.output import counting
    from drsearch.release.stress import stress as score
    from drsearch.reports.stress_page import stress_page

    home, console = open_home(), console_of(progress)
    chart = html_output(out, overwrite)
    version, dataset, records = _unseen_data(model, data, split, skip_bad, home, console)
    with counting(console, "photographs under stress") as count:
        result = score(version._load().grader, records, dataset, split, home, f"stress {version.uri}", count)  # type: ignore[arg-type]  # checked
    page = stress_page(result, f"{version.version.name}/{version.version.version}", dataset.name).encode()
    if chart is not None:
        chart.parent.mkdir(parents=True, exist_ok=True)
        write_whole(chart, page, replace=overwrite)
    _log(result, {"stress.html": page}, version, records, dataset, console)
    return result


@dataclass(frozen=True, repr=False)
class Training:
    """A single training, from `drsearch.train`.

    Attributes:
        result: Its run, folder and outcome.
    """

    result: TrainingResult

    @property
    def run_id(self) -> str | None:
        """Its MLflow run; None if MLflow has not answered yet."""
        return self.result.run_id

    @property
    def outcome(self) -> Outcome:
        """State, best epoch, scores, and the file of the trained network."""
        return self.result.outcome

    @property
    def scores(self) -> Scores | None:
        """Validation scores at the best epoch; None if the training failed."""
        return self.outcome.scores

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch: loss, accuracy and AUC of train and validation, learning rate and seconds."""
        import pandas as pd

        rows = []
        for epoch in self.outcome.history:
            row: dict[str, float] = {"epoch": epoch.epoch}
            for split, measures in (("train", epoch.train), ("val", epoch.validation)):
                if measures is not None:
                    row |= {f"{split}_{name}": getattr(measures, name) for name in ("loss", "accuracy", "auc")}
            rows.append(row | {"learning_rate": epoch.learning_rate, "seconds": epoch.seconds})
        return pd.DataFrame(rows).set_index("epoch") if rows else pd.DataFrame()

    def __repr__(self) -> str:
        scored = f"; best epoch {self.outcome.epoch}, validation AUC {self.scores.auc}" if self.scores else ""
        return f"<Training {self.result.name}: {self.outcome.state}{scored}>"

    def _repr_html_(self) -> str:
        from drsearch.display.html import described_table

        return described_table(repr(self).strip("<>"), self.history.round(4), f"MLflow run {self.run_id}")


def train(
    data: GivenData,
    settings: GivenSettings = None,
    *,
    config: Configs = (),
    space: Space | None = None,
    name: str = "training",
    skip_bad: bool = False,
    progress: bool | Console = True,
) -> Training:
    """Train one network without a study, for example to repeat a trial.

    settings.gin, with all settings of a trial, is among the artifacts of its MLflow run. The same call resumes a
    training that was interrupted.

    Args:
        data: The folder of photographs, or a prepared data set.
        settings: Settings by name.
        config: Gin files.
        space: The search space, if its `build_model` makes the network.
        name: Name of the MLflow run.
        skip_bad: Leave out photographs and labels that cannot be used.
        progress: Show a bar; or the Rich console that shows it.

    Returns:
        The training, with its curve and validation scores; its outcome is `failed` if its loss was not finite.

    Raises:
        Interrupted: After Ctrl-C; the same call resumes at the checkpoint.
        DataError: If the folder cannot be used.
        SettingsError: If a setting is unknown or out of range, or TensorFlow computes with other threads already.

    Example:
        >>> import drsearch
        >>> small = {"training.epochs": 2, "images.image_px": 64}
        >>> training = drsearch.train("eyes", small, progress=False)
        >>> len(training.history)
        2
    """
    from drsearch.space.source import read_source

    home, out = open_home(), console_of(progress)
    skip_bad = skip_bad or (isinstance(data, Data) and data.skip_bad)
    dataset, settings = dataset_and_settings(data, settings, home)
    chosen = merged_settings(settings, config)
    path = space_file(space, home) if space is not None else None
    if path is not None:
        read_source(path)

    from drsearch.study.definition import check_name
    from drsearch.tracking.remote_runs import check_experiments

    check_name("--name", name)
    if warn_if_away(home, out):
        check_experiments(home, TRAININGS)

    from drsearch.data.prepare import prepare
    from drsearch.display.output import counting
    from drsearch.display.progress import training_view
    from drsearch.space.search_space import read_space
    from drsearch.training.single import check_network
    from drsearch.training.single import train as train_once

    network = read_space(path) if path is not None else None
    check_network(chosen, network)
    with counting(out, "photographs") as count:
        prepared = prepare(dataset, chosen, home, skip_bad=skip_bad, on_photograph=count)
    chosen = _with_threads(chosen)
    with training_view(out) as listener:
        return Training(train_once(name, prepared.records, dataset, chosen, home, listener, network))


def _with_threads(settings: Settings) -> Settings:
    """Settings with the number of threads that TensorFlow computes with from now on."""
    from drsearch.errors import SettingsError
    from drsearch.model.fit import set_threads
    from drsearch.processes import cores

    threads = settings.training.threads or cores()
    try:
        set_threads(threads, cores())
    except RuntimeError as error:
        if settings.training.threads and settings.training.threads != cores():
            raise SettingsError(
                f"training.threads = {threads}: TensorFlow computes in this process already, and its threads cannot be "
                "changed; start Python anew, or leave the setting out."
            ) from error
    return settings.replace({"training.threads": threads})


def answer_table(answers: Iterable[tuple[Path, dict[str, Any], Path | None]], *, explained: bool) -> pd.DataFrame:
    """The answers for photographs, a row each.

    Args:
        answers: What `graded` yields.
        explained: Whether the files of heat maps are a column.
    """
    import pandas as pd

    from drsearch.datasets.listing import readable

    rows = [
        {"photograph": readable(str(path)), **answer, "explanation": str(file) if file else None}
        for path, answer, file in answers
    ]
    columns = ["label", "probability", "confidence", "threshold", "distance", "warning", "quality", "reason", "error"]
    table = pd.DataFrame(rows, columns=["photograph", *columns, *(["explanation"] if explained else [])])
    return table.set_index("photograph")


def files_of(photographs: Photographs) -> list[Path]:
    """The files of photographs; of a folder, all that are photographs by their ending, sorted.

    Raises:
        DataError: If a folder holds none.
    """
    from drsearch.datasets.listing import list_folder

    files = []
    for path in [photographs] if isinstance(photographs, str | Path) else photographs:
        place = Path(path).expanduser()
        within = [place / name for name in list_folder(place).pictures] if place.is_dir() else [place]
        if not within:
            raise DataError(f"{place} holds no photographs; name a folder that does, or the files.")
        files += within
    return files


def unreadable(path: Path) -> str | None:
    """Why a file cannot be a photograph, as far as can be told without reading it."""
    from drsearch.files import check_file

    try:
        check_file(path)
    except OSError as error:
        return f"the photograph cannot be read ({error.strerror})"
    return None


def heat_map_files(photographs: list[Path], explain: str | Path | None, overwrite: bool) -> list[Path] | list[None]:
    """The file of every photograph's heat map: the one that `explain` names, or one in the folder that it names.

    Args:
        photographs: Their files.
        explain: A file or a folder; None for no heat maps.
        overwrite: Whether files may be replaced.

    Raises:
        OutputError: If one of them would replace a photograph, another file, or another heat map.
    """
    if explain is None:
        return [None] * len(photographs)
    place = Path(explain).expanduser()
    if len(photographs) > 1 or place.is_dir():
        files = [place / f"{photograph.stem}.png" for photograph in photographs]
    elif place.suffix.lower() in (".png", ".jpg", ".jpeg"):
        files = [place]
    else:
        raise OutputError(f"--explain {place}: is no folder, and no name of a picture; name it .png or .jpg.")
    outputs = [*files, *map(_raw_map, files)]
    check_outputs(outputs, [*photographs, *photographs], "--explain", overwrite=overwrite)
    return files


def _raw_map(heat_map: Path) -> Path:
    """The file of the map alone, beside the picture: `eye-cam-map.png` beside `eye-cam.png`."""
    return heat_map.with_name(f"{heat_map.stem}-map.png")


def _write_heat_map(heat_map: HeatMap, file: Path, overwrite: bool) -> None:
    """Write the picture, and beside it the map alone, in grey: 255 where it is 1."""
    import cv2

    from drsearch.measure.figures import png

    file.parent.mkdir(parents=True, exist_ok=True)
    picture = cv2.imencode(file.suffix.lower(), cv2.cvtColor(heat_map.picture, cv2.COLOR_RGB2BGR))[1].tobytes()
    write_whole(file, picture, replace=overwrite)
    write_whole(_raw_map(file), png(heat_map.grey), replace=overwrite)
