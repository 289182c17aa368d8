"""The model card of a registered version: what it is, what it was made from, what was measured, what it is not for.

Source:
    Mitchell et al. (2019), Model Cards for Model Reporting, FAT* 2019, 220-229, arXiv:1810.03993. Titles as in Hugging
    Face's model cards.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import takewhile

from pydantic import TypeAdapter, ValidationError

from drsearch.errors import RegistryError
from drsearch.release.card_figures import (
    Evaluated,
    Explained,
    Figures,
    NetworkFacts,
    Scored,
    SourceSet,
    SplitCounts,
    Stressed,
)
from drsearch.release.checklist import Checklist, checklist
from drsearch.release.facts import Fact, Table, markdown
from drsearch.release.registry import ModelVersion, Registry
from drsearch.settings import Value

CARD_FILE = "model_card.json"
"""Of a version, beside the files of its model."""

MOST_CHARACTERS = 5000
"""Of a version's description: MLflow's column for it, where a database counts them."""

_FITTED = {"squeeze": "squeezed", "pad": "padded"}

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "": ("origin",),
    "Evaluation": (
        "scores", "threshold", "reference", "patients", "patient_scores", "sources", "blind", "cautions",
        "statistics", "front", "confusion", "failures", "grades", "qualities", "other_data",
    ),
    "Uses": ("purpose", "users", "not_for"),
    "Bias, risks and limitations": ("unknown_groups", "poor_photographs", "counted"),
    "Training details": (
        "data", "splits", "exclusions", "preparation", "network", "training", "selection", "settings",
    ),
    "Model examination": ("explanations", "robustness"),
    "Technical specifications": ("software", "lineage", "kept", "repeat"),
}  # fmt: skip
"""Facts of the sections of a card, in its order; the first stands before all titles."""


@dataclass(frozen=True)
class ModelCard:
    """What is known of a registered version.

    Attributes:
        model: Name of the registered model.
        origin: What made it, from which trials of which study; begins a sentence.
        network: Its size and speed.
        task: Which eyes are referable.
        data: The data sets that it was made from.
        data_name: Name of the whole.
        data_fingerprint: Of photographs, grades and split.
        splits: Eyes of each split.
        exclusions: Photographs of each kind that were found, and left out.
        patients: How patients are known, a sentence.
        settings: Of the training, all of them.
        changed: Names of those that are not at their default.
        selection: How the setting was found, in sentences.
        front: Which trial of a Pareto front it is; empty with one objective.
        threshold: Threshold and temperature, and how they were chosen, in sentences.
        held_out: The eyes that chose them: `validation`.
        validation: Scores on these.
        validation_patients: Of their patients; None where none is known.
        lineage: Study, trial, run, commit and fingerprints, by name.
        libraries: Versions of Python and of the libraries that results depend on.
        evaluated: Scores on test eyes and on other data.
        explained: What the version looks at.
        stressed: The version on photographs that are made worse.
        version: The version's number; 0 in the file beside the model, which is written before there is one.
    """

    model: str
    origin: str
    network: NetworkFacts
    task: str
    data: tuple[SourceSet, ...]
    data_name: str
    data_fingerprint: str
    splits: Mapping[str, SplitCounts]
    exclusions: Mapping[str, int]
    patients: str
    settings: Mapping[str, Value]
    changed: tuple[str, ...]
    selection: str
    front: str
    threshold: str
    held_out: str
    validation: Scored
    validation_patients: Scored | None
    lineage: Mapping[str, str]
    libraries: Mapping[str, str]
    evaluated: tuple[Evaluated, ...] = ()
    explained: tuple[Explained, ...] = ()
    stressed: tuple[Stressed, ...] = ()
    version: int = 0

    @property
    def test(self) -> Evaluated | None:
        """The scores on the test split of the data that the version was made from; None before that was evaluated."""
        return next((each for each in self.evaluated if each.key == (self.data_fingerprint, "test")), None)

    @property
    def name(self) -> str:
        """The version as commands take it: `retinopathy/3`."""
        return f"{self.model}/{self.version}" if self.version else self.model

    def with_figures(self, figures: Figures) -> "ModelCard":
        """The card with what was measured of the version; it replaces what was measured before on the same eyes."""
        field = {Evaluated: "evaluated", Explained: "explained", Stressed: "stressed"}[type(figures)]
        others = [each for each in getattr(self, field) if each.key != figures.key]
        return replace(self, **{field: (*others, figures)})  # type: ignore[arg-type]  # the field is of their type

    def facts(self) -> dict[str, Fact]:
        """Every fact by its name, as `SECTIONS` and the checklists name them; those that do not apply are missing."""
        return {name: Fact(tuple(blocks)) for name, blocks in _facts(self).items() if blocks} | _not_measured(self)

    def sections(self) -> dict[str, list[Fact]]:
        """What is known, by the titles of the sections, in the order of the card; the first has no title."""
        known = {name: fact for name, fact in self.facts().items() if fact.known}
        return {title: [known[name] for name in names if name in known] for title, names in SECTIONS.items()}

    def markdown(self) -> str:
        """The whole card."""
        return "\n".join([f"# Model card of {self.name}", "", *_lines(self.sections())]) + "\n"

    def description(self) -> str:
        """The card as far as a version's description in MLflow has room: whole sections, what matters most first."""
        sections = list(self.sections().items())
        end = f"The whole card: `drsearch card`, or `{CARD_FILE}` among the files of the model."
        first, *more = ("\n".join([*_lines(dict(sections[:n])), "", end]) for n in range(2, len(sections) + 1))
        return [first, *takewhile(lambda text: len(text) <= MOST_CHARACTERS, more)][-1]

    def checklist(self, name: str) -> Checklist:
        """A checklist of a reporting guideline, filled in with what is known.

        Args:
            name: `tripod-ai`, `claim` or `stard-ai`.

        Raises:
            DrsearchError: If there is no such checklist.
        """
        return checklist(name, self.name, self.facts())

    def to_json(self) -> str:
        """The card as JSON, which `from_json` reads."""
        return _adapter().dump_json(self, indent=1).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "ModelCard":
        """The card that `to_json` wrote.

        Raises:
            pydantic.ValidationError: If it is none.
        """
        return _adapter().validate_json(text)


@cache
def _adapter() -> TypeAdapter[ModelCard]:
    return TypeAdapter(ModelCard)


def read_card(registry: Registry, version: ModelVersion) -> ModelCard:
    """The card of a version.

    Args:
        registry: Where it is registered.
        version: The version.

    Raises:
        RegistryError: If it has none, or one of another drsearch.
    """
    text = registry.read_beside(version, CARD_FILE)
    if text is None:
        raise RegistryError(f"{version.uri} has no model card: it was not registered by a study of this drsearch.")
    try:
        return replace(ModelCard.from_json(text), version=version.version)
    except ValidationError as wrong:
        raise RegistryError(f"{CARD_FILE} of {version.uri} was written by another drsearch, or altered.") from wrong


def add_to_card(registry: Registry, version: ModelVersion, figures: Figures) -> None:
    """Let the card of a version, if it has one, and its description gain what was measured.

    Args:
        registry: Where it is registered.
        version: The version.
        figures: What was measured.

    Raises:
        RegistryError: If MLflow does not let this user.
    """
    if registry.read_beside(version, CARD_FILE) is None:
        return
    card = read_card(registry, version).with_figures(figures)
    registry.write_beside(version, {CARD_FILE: card.to_json().encode()}, card.description())


def _lines(sections: Mapping[str, Sequence[Fact]]) -> list[str]:
    lines: list[str] = []
    for title, facts in sections.items():
        if facts:
            lines += ["", f"## {title}", ""] if title else []
            lines += markdown(facts)
    return lines


# Facts


def _facts(card: ModelCard) -> dict[str, list[str | Table]]:
    test, settings = card.test, card.settings
    return {
        "origin": [f"{card.origin}: {card.network.text}."],
        "scores": [score_table("", card.held_out, card.validation, test.scores if test else None)],
        "threshold": [card.threshold],
        "reference": [f"Referable: {card.task}. {_scales(card)}"],
        "patients": [card.patients],
        "patient_scores": _patient_scores(card),
        "sources": [_groups("test eyes of", test.sources)] if test and test.sources else [],
        "grades": [*_of_grades(test)] if test and test.grades else [],
        "qualities": [_groups("quality of test eyes", test.qualities)] if test and test.qualities else [],
        "blind": [f"On test: {test.blind}."] if test else [],
        "cautions": [*_cautions(card)],
        "statistics": [_statistics(card)],
        "front": [card.front] if card.front else [],
        "confusion": [_confusion(test)] if test else [],
        "failures": [_failures(test)] if test else [],
        "other_data": [*_other_data(card)],
        "purpose": [
            "To estimate, from one colour photograph of the retina, the probability that the eye is referable (RDR: "
            f"{card.task}), and to call it RDR from the threshold on. For research, and as an opinion that a person "
            "checks."
        ],
        "users": ["People who can judge a photograph of a retina themselves, and who have read this card."],
        "not_for": [
            "Not a medical device: no diagnosis, treatment or screening may rest on it. Not for other diseases: an eye "
            "that is not called RDR need not be healthy. Not for other kinds of pictures, or people and cameras unlike "
            "those of the eyes that it was tested on, until it was tested on such: `drsearch evaluate`."
        ],
        "unknown_groups": [
            "Age, sex, ethnicity, kind of diabetes and camera are not in the records: how scores differ between such "
            "groups is unknown."
        ],
        "poor_photographs": [_poor_photographs(test)],
        "counted": [_counted(test)] if test and test.test_evaluations else [],
        "data": [
            Table(
                ("data set", "source", "licence"),
                [(each.name, each.source or "not named", each.licence or "not named") for each in card.data],
            ),
            *(note for each in card.data for note in each.notes),
        ],
        "splits": [
            Table(
                ("split", "eyes", "referable", "patients", *(f"grade {grade}" for grade in range(5))),
                [
                    (name, str(of.n), str(of.referable), str(of.patients or "unknown"),
                     *(str(of.grades.get(str(grade), 0)) for grade in range(5)))
                    for name, of in card.splits.items()
                ],
            )
        ],
        "exclusions": [_exclusions(card)],
        "preparation": [_preparation(settings)],
        "selection": [card.selection],
        "training": [_training(settings)],
        "settings": [
            "Settings that are not at their default (all are in `settings.gin` of the run):",
            Table(("setting", "value"), [(f"`{name}`", str(settings[name])) for name in card.changed]),
        ] if card.changed else [],
        "network": [f"Network `{settings['model.backbone']}`, see the settings `model.*`: {card.network.text}."],
        "software": [f"{', '.join(f'{name} {version}' for name, version in card.libraries.items())}."],
        "lineage": [Table(("lineage", ""), [(name, f"`{value}`") for name, value in card.lineage.items()])],
        "kept": [
            "The answer for each test eye is in `test/predictions.csv` of the run; test evaluations are counted, and "
            "decisions about the champion recorded."
        ],
        "repeat": [
            f"`drsearch predict {card.name} PHOTOGRAPH` asks it, `drsearch lineage {card.name}` names what it comes "
            "from, and `drsearch train --config settings.gin` repeats the training."
        ] if card.version else [],
        "explanations": [block for each in card.explained for block in _explained(each)],
        "robustness": [block for each in card.stressed for block in _stressed(each)],
    }  # fmt: skip


def _not_measured(card: ModelCard) -> dict[str, Fact]:
    """Facts that a command would tell."""
    missing: dict[str, str] = {}
    if len(card.evaluated) == (card.test is not None):
        missing["other_data"] = f"No scores on other data: `drsearch evaluate {card.name} --data OTHER --split all`."
    if not card.explained:
        missing["explanations"] = f"No scores of explanations: `drsearch explain {card.name} --data FOLDER`."
    if not card.stressed:
        missing["robustness"] = f"No scores on worse photographs: `drsearch stress {card.name} --data FOLDER`."
    if card.test is None:
        of_test = ("blind", "confusion", "failures", "grades", "qualities", "counted")
        missing |= dict.fromkeys(of_test, f"No test scores: `drsearch evaluate {card.name} --data FOLDER`.")
    return {name: Fact((text,), known=False) for name, text in missing.items()}


def score_table(of: str, held_out: str, chosen: Scored, test: Scored | None) -> Table:
    """A table of validation and test scores.

    Args:
        of: What is scored; the title of the first column.
        held_out: The name of the eyes that chose the threshold.
        chosen: The scores on these.
        test: The scores on the test split; None before.
    """
    tested = [interval for _, interval in test.labelled] if test else [None] * len(chosen.labelled)
    rows = [
        (name, str(interval or ""), str(of_test or ""))
        for (name, interval), of_test in zip(chosen.labelled, tested, strict=True)
    ]
    return Table((of, f"{held_out} ({chosen.n})", f"test ({test.n})" if test else "test"), rows)


def _groups(title: str, groups: Mapping[str, Scored]) -> Table:
    names = [name for name, _ in next(iter(groups.values())).labelled]
    rows = [(name, str(of.n), *(str(interval or "") for _, interval in of.labelled)) for name, of in groups.items()]
    return Table((title, "n", *names), rows)


def _of_grades(test: Evaluated) -> Iterator[str | Table]:
    rows = []
    for grade, of in test.grades.items():
        (_, fp), (_, tp) = of.confusion
        rows.append((f"grade {grade}", str(of.n), str(fp + tp), str(of.accuracy)))
    yield Table(("test eyes of", "n", "called RDR", "right"), rows)
    if test.kappa is not None:
        yield f"Its five grades agree with those of the test eyes with a quadratic kappa of {test.kappa}."


def _patient_scores(card: ModelCard) -> list[str | Table]:
    if card.validation_patients is None:
        return []
    tested = card.test.patients if card.test else None
    return [
        score_table("patients", card.held_out, card.validation_patients, tested),
        "A patient is referable if an eye is, and has the larger probability of its eyes.",
    ]


def _cautions(card: ModelCard) -> list[str]:
    cautions = [(card.held_out, getattr(card.validation, "caution", ""))]
    if card.test:
        cautions += [("test", card.test.scores.caution), ("test", card.test.blind_caution)]
    return [f"**On {split}: {caution}**" for split, caution in cautions if caution]


def _statistics(card: ModelCard) -> str:
    by = " by patients" if card.validation_patients is not None else ""
    return f"95 % intervals{by}. Validation scores are optimistic: model and threshold were chosen on them."


def _scales(card: ModelCard) -> str:
    scales = dict.fromkeys(each.scale for each in card.data if each.scale)
    return f"Grades: {'; '.join(scales)}." if scales else ""


def _confusion(test: Evaluated) -> Table:
    (tn, fp), (fn, tp) = test.scores.confusion
    head = (f"test eyes at {test.scores.threshold:.4g}", "called NRDR", "called RDR")
    return Table(head, [("NRDR", str(tn), str(fp)), ("RDR", str(fn), str(tp))])


def _failures(test: Evaluated) -> str:
    (_, fp), (fn, tp) = test.scores.confusion
    n, n_referable = test.scores.n, fn + tp
    wrong = [
        f"{of.confusion[1][0] + of.confusion[0][1]} of {of.n} of grade {grade}"
        for grade, of in test.grades.items()
        if of.accuracy.value < 1
    ]
    by_grade = f" Wrong: {', '.join(wrong)}." if wrong else ""
    return (
        f"Of {n} test eyes it misses {fn} of {n_referable} referable ones, and calls {fp} of {n - n_referable} others "
        f"RDR.{by_grade}"
    )


def _poor_photographs(test: Evaluated | None) -> str:
    text = "A photograph of lower quality than the training eyes gets no grade, one without a retina an error"
    if test is None:
        return f"{text}."
    return f"{text}: of {test.scores.n} test eyes {test.n_gradable} get a grade; scores count all of them."


def _counted(test: Evaluated) -> str:
    n = test.test_evaluations
    times = "once" if n == 1 else f"{n} times"
    return f"The test split was evaluated {times}; the more often, the less its scores say about other eyes."


def _other_data(card: ModelCard) -> list[str | Table]:
    blocks: list[str | Table] = []
    for each in card.evaluated:
        if each is card.test:
            continue
        own = "" if each.data_fingerprint == card.data_fingerprint else ", data that it was not made from"
        rows = [(name, str(interval or "not defined")) for name, interval in each.scores.labelled]
        blocks += [Table((f"{each.data}, split {each.split}{own}", str(each.scores.n)), rows), f"{each.blind}."]
    return blocks


def _exclusions(card: ModelCard) -> str:
    found = [f"{n} {kind.replace('_', ' ')}" for kind, n in card.exclusions.items() if n]
    return f"Photographs and labels that were found wanting: {', '.join(found) or 'none'}."


def _preparation(settings: Mapping[str, Value]) -> str:
    steps = [
        "cropped to the retina",
        f"{_FITTED[str(settings['images.fit'])]} to a square of {settings['images.image_px']} px",
        *([f"normalised ({settings['images.normalisation']})"] if settings["images.normalisation"] != "none" else []),
        *([f"made even outside a circle of {settings['images.mask']} of the side"] if settings["images.mask"] else []),
        "stored as JPEG of quality 98",
    ]
    return f"Each photograph is {', '.join(steps[:-1])} and {steps[-1]}. Training and prediction take the same steps."


def _training(settings: Mapping[str, Value]) -> str:
    def value(name: str) -> Value:
        return settings[f"training.{name}"]

    weights = settings["model.weights"]
    began = "random weights" if weights == "none" else f"weights of {weights}"
    return (
        f"Trained from {began} (seed {value('seed')}); loss {value('loss')}, "
        f"{value('optimizer')} at {value('learning_rate')}, schedule {value('schedule')}, batches of "
        f"{value('batch_size')}, at most {value('epochs')} epochs, {value('judged_epoch')} epoch kept; classes: "
        f"{value('balance')}. Training images are turned by up to {settings['augmentation.rotation_deg']:g} degrees, "
        "shifted, zoomed, sheared, mirrored and brightened as `augmentation.*` says."
    )


def _explained(each: Explained) -> list[str | Table]:
    rows = [(f"{row.name} ({row.n})", str(row.hit), str(row.heat), f"{row.area:.3f}") for row in each.regions]
    hit, heat = each.untrained
    rows.append(("lesion, untrained networks", str(hit), str(heat), rows[0][3]))
    table = Table((f"{each.data}, {each.split} eyes, {each.method}", "peak in it", "heat in it", "by chance"), rows)
    return [f"{each.text}.", table, f"Deletion curve {each.deletion}, insertion curve {each.insertion}."]


def _stressed(each: Stressed) -> list[str | Table]:
    rows = [
        (row.condition, str(row.auc or ""), f"{row.auc_change:+.3f}" if row.auc_change else "", f"{row.graded:.0%}")
        for row in each.worst
    ]
    return [f"{each.data}, {each.text}.", Table((f"{each.data}, {each.split} eyes", "AUC", "change", "graded"), rows)]
