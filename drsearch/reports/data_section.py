"""The section of a report about the data."""

from typing import Any

from markupsafe import Markup

from drsearch.grades import CLASS_NAMES, GRADE_NAMES, GRADES
from drsearch.reports import figures
from drsearch.reports.page import (
    Picture,
    Section,
    figure,
    heading,
    pictures,
    table,
    text,
)
from drsearch.reports.study_facts import StudyFacts


def data_section(facts: StudyFacts) -> Section:
    """Photographs per split and grade, eyes of each grade, quality, findings."""
    parts: list[Markup] = []
    manifest, audit = facts.manifest, facts.audit
    if audit is not None:
        patients = audit.patients_text
        parts.append(
            text(
                f"{facts.definition.data_name}: {audit.n_photographs} photographs, {audit.n_usable} of them usable. "
                f"{patients[0].upper()}{patients[1:]}. Referable: {facts.settings.task.words}."
            )
        )
    if manifest:
        counts = {name: split for name, split in manifest["counts"].items() if split["n"]}
        rows = [
            [name, *(str(split[each]) for each in ("n", *CLASS_NAMES)), *(str(split["grades"][str(g)]) for g in GRADES)]
            for name, split in counts.items()
        ]
        columns = ["split", "photographs", *CLASS_NAMES, *(f"grade {grade}" for grade in GRADES)]
        alt = "; ".join(f"{row[0]}: {row[1]} photographs, {row[3]} referable" for row in rows)
        parts += [
            figure(
                figures.grades_per_split(counts, facts.settings.task.referable_from),
                alt,
                "Photographs of each grade in each split; referable grades in warm colours.",
                "grades",
            ),
            table(columns, rows, "Photographs per split, class and grade"),
            text(f"Test split: {manifest['split']['test']}. Validation split: {manifest['split']['validation']}."),
        ]
        if manifest["sources"]:
            rows = [[name, *(str(split["n"]) for split in of.values())] for name, of in manifest["sources"].items()]
            splits = list(next(iter(manifest["sources"].values())))
            parts.append(table(["data set", *splits], rows, "Photographs of each data set"))
    if facts.crops:
        shown = [
            Picture(content, f"Eyes of grade {grade}", f"Grade {grade}: {GRADE_NAMES[grade]}")
            for grade, content in sorted(facts.crops.items())
        ]
        parts += [heading("Eyes of each grade"), pictures(shown, 520)]
        parts.append(text("Some eyes of the train split, as the network sees them, small."))
    if audit is not None and any(audit.quality):
        parts += [heading("Quality"), *_quality(audit)]
    if audit is not None:
        parts += [heading("Findings"), *_findings(audit)]
    return Section("The data", parts or [text("What the study knew of its data is not in MLflow.")])


def _quality(audit: Any) -> list[Markup]:
    n, low = sum(audit.quality), sum(audit.quality[:3])
    return [
        figure(
            figures.quality_histogram(audit.quality),
            f"{low} of {n} photographs have a quality below 0.3",
            "How well the photographs show their retina: focus, light, vessels.",
            "quality",
        )
    ]


def _findings(audit: Any) -> list[Markup]:
    names = {
        "unreadable": "cannot be read",
        "no_retina": "show no retina",
        "invalid_grade": "have no valid grade",
        "label_without_photograph": "labels without photograph",
        "unlabelled": "have no label",
        "duplicates": "pictures that lie in several files",
        "contradicting": "of these, with different grades",
        "ungradable": "cannot be graded, as their labels say",
        "left_out": "left out",
        "unusual_crops": "have an unusual crop",
    }
    counts = audit.counts()
    rows = [[words, str(counts[kind])] for kind, words in names.items() if counts[kind]]
    if not rows:
        return [text("The audit found nothing to object to.")]
    return [
        table(["finding", "photographs"], rows),
        text("The study's run has all findings with their files: data/audit.json."),
    ]
