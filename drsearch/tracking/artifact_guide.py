"""README.md among the artifacts of a run: what is what."""

README_FILE = "README.md"

_TRAINING = (
    ("settings.gin", "all settings; `drsearch train --config settings.gin` repeats the training"),
    ("model/model.keras", "the network of the best epoch, for `keras.saving.load_model`"),
    ("validation/", "scores of the best epoch on the validation eyes, confusion matrix and ROC curve"),
    (
        "validation/gradcam.npz, lesions.npz",
        "the heat maps of `images/` as numbers: `maps` (0 to 1, one per eye), `names`, `grades`, `probabilities`; "
        '`numpy.load("gradcam.npz")["maps"]`',
    ),
    ("images/", "the pictures that *Model metrics* shows: heat maps of the same eyes in every trial, and the curves"),
    ("test/", "if a version was registered from this run: its test scores, its answer for every eye, and pictures"),
    ("explain/", "if `drsearch explain` was asked about the version: what it looks at"),
    ("stress/", "if `drsearch stress` was asked about it: its scores on photographs that are worse"),
    ("data.toml", "of `drsearch train`: how the data set was read"),
    ("checkpoint/", "of a study on several machines: what another machine needs to resume the trial"),
)
_STUDY = (
    ("report.html", "the report of the study, with all figures of the search: open it here, or download it"),
    ("study/history.png", "the value of every trial, and the best so far"),
    ("study/ablation.html, ablation.json", "of an ablation: what each choice is worth, as a figure and as numbers"),
    ("space/", "the space file, what the study may draw; and `settings.gin`, what its trials start from"),
    ("data/audit.json", "what `drsearch prepare` found out about the photographs"),
    ("data/data.toml", "how the data set was read: tables, columns, grades, patients"),
    ("data/manifest.json", "photographs per split, class, grade and source, and how they were split"),
    ("crops/", "some eyes of each grade, as the networks see them"),
    ("data/crops.html", "photographs with their crops, if `drsearch prepare --look` was called"),
)


def training_guide() -> str:
    """The text for the run of a training, in Markdown."""
    return _guide("training", _TRAINING)


def study_guide() -> str:
    """The text for a study's own run, in Markdown."""
    return _guide("study", _STUDY)


def _guide(kind: str, files: tuple[tuple[str, str], ...]) -> str:
    lines = [f"- `{path}`: {meaning}" for path, meaning in files]
    return "\n".join([f"# Files of this {kind}", "", "Not every run has all of them.", "", *lines, ""])
