"""The sections of a report that show eyes: what the model looks at, and every misclassified eye."""

from markupsafe import Markup

from drsearch.grades import CLASS_NAMES
from drsearch.release.eye_answers import ANSWERS_FILE, EyeAnswer, telling
from drsearch.reports.card_section import fact_parts
from drsearch.reports.page import (
    Picture,
    Section,
    heading,
    pictures,
    table,
    text,
)
from drsearch.reports.study_facts import VersionFacts
from drsearch.reports.words import html

_LISTED_EYES = 500  # without a picture, of each kind


def attention_section(model: VersionFacts) -> Section:
    """Heat maps of eyes that are right, sure and in doubt; heat on lesions where that was measured."""
    parts = [
        text(
            "Photograph, and beside it the places that count for the class that the eye is called, from violet "
            "(little) to yellow (most); below it how the map was made, and its scale. A map says where a network "
            "looked, not that it understood what is there."
        )
    ]
    right = [model.answers[i] for i in telling(model.answers, model.threshold) if model.answers[i].is_right]
    doubt = sorted(right, key=lambda answer: abs(answer.probability - model.threshold))
    half = len(doubt) // 2
    for title, some in (("Right and sure", doubt[half:][::-1]), ("Right and in doubt", doubt[:half])):
        shown = [_eye_picture(model, answer) for answer in some if answer.eye in model.pictures]
        if shown:
            parts += [heading(title), pictures(shown, 260)]
    if not model.pictures:
        parts = [text("No photographs of test eyes are in MLflow (study.gradcam_eyes = 0, or an older drsearch).")]
    parts.append(heading("Does it look at lesions?"))
    if model.explanations:
        if model.card is not None:
            parts += fact_parts(model.card.facts()["explanations"])
        parts += [
            pictures([Picture(content, f"{what}, {how}", f"{what}: {how}")], 900)
            for how, files in model.explanations.items()
            for what, content in zip(("Peaks and heat in lesions", "Some of these eyes"), files, strict=False)
        ]
    else:
        version = f"{model.version.name}/{model.version.version}"
        asked = html("<code>drsearch explain {version} --data FOLDER</code>", version=version)
        parts.append(text(html("Not measured yet: {} measures it on photographs with boxes around lesions.", asked)))
    return Section("What it looks at", parts)


def misclassified_section(model: VersionFacts) -> Section:
    """Every test eye with the wrong class, missed ones first."""
    wrong = [answer for answer in model.answers if not answer.is_right]
    if not model.answers:
        return Section(
            "Misclassified eyes", [text("The answers for single eyes are not in MLflow (an older drsearch).")]
        )
    parts: list[Markup] = []
    for label, title, words in (
        (1, "Missed", "referable eyes that the model clears"),
        (0, "False alarms", "eyes that are not referable, and that the model refers"),
    ):
        some = [answer for answer in wrong if answer.label == label]
        some.sort(key=lambda answer: answer.probability, reverse=not label)
        parts += [heading(f"{title}: {len(some)}"), text(f"{words[0].upper()}{words[1:]}; the surest mistake first.")]
        shown = [_eye_picture(model, answer) for answer in some if answer.eye in model.pictures]
        if shown:
            parts.append(pictures(shown, 260))
        if rest := [answer for answer in some if answer.eye not in model.pictures]:
            rows = [
                [answer.eye, str(answer.grade), f"{answer.probability:.3f}", f"{answer.quality:.2f}"]
                for answer in rest[:_LISTED_EYES]
            ]
            parts.append(table(["eye", "grade", "probability of RDR", "quality"], rows))
        if len(rest) > _LISTED_EYES:
            more = html("<code>{}</code>", f"test/{ANSWERS_FILE}")
            parts.append(text(html("{} more are in {} of the version's run.", f"{len(rest) - _LISTED_EYES:,}", more)))
    return Section("Misclassified eyes", parts)


def _eye_picture(model: VersionFacts, answer: EyeAnswer) -> Picture:
    source = f", {answer.source}" if answer.source else ""
    return Picture(
        model.pictures[answer.eye],
        f"{answer.eye}, grade {answer.grade}, called {CLASS_NAMES[answer.called]}: photograph and heat map",
        f"{answer.eye}: grade {answer.grade}, called {CLASS_NAMES[answer.called]}",
        f"probability {answer.probability:.3f}, quality {answer.quality:.2f}{source}",
    )
