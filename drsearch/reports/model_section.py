"""The section of a report about the best model."""

from collections.abc import Callable, Sequence

from markupsafe import Markup

from drsearch.grades import GRADE_NAMES, GRADES
from drsearch.measure.curves import curve_bands
from drsearch.measure.operating_point import operating_point
from drsearch.measure.scores import Interval, OneClassScores, Scores, one_class_scores, scores, scores_of_json
from drsearch.release.eye_answers import EyeAnswer
from drsearch.reports import figures
from drsearch.reports.page import (
    Section,
    beside,
    figure,
    heading,
    table,
    text,
)
from drsearch.reports.study_facts import StudyFacts, VersionFacts
from drsearch.reports.words import short
from drsearch.tracking.tags import (
    NETWORK_TAG,
    OPERATING_POINT_TAG,
    TRIAL_TAG,
)

_LEVELS = (0.8, 0.9, 0.95)


def best_model_section(facts: StudyFacts, model: VersionFacts) -> Section:
    """Training, test scores, thresholds, calibration, and scores of parts of the test split."""
    test, threshold = Scores.from_json(dict(model.test)), model.threshold
    network = model.version.tags.get(NETWORK_TAG, "")
    parts = [text(f"{network[:1].upper()}{network[1:]}."), *_drawn(facts, model), *_training(model)]
    parts.append(heading("On the test split"))
    (tn, fp), (fn, tp) = test.confusion
    square = figure(
        figures.confusion(test.confusion),
        f"{tp} referable eyes found, {fn} missed; {tn} others cleared, {fp} called referable",
        f"Confusion matrix at threshold {threshold:.3f}: eyes, and shares of their true class.",
        "confusion",
    )
    answers = model.answers
    if not answers:
        return Section("The best model", [*parts, square, *_subgroups(model)])
    roc, recall = curve_bands(*figures.arrays(answers))
    parts += [
        beside(
            square,
            figure(
                figures.probabilities_by_grade(answers, threshold),
                _grade_alt(answers),
                "The test eyes by their grades; crosses have the wrong class. Dotted: the threshold.",
                "probabilities",
            ),
        ),
        beside(
            figure(
                figures.roc(answers, threshold, roc),
                f"AUC {test.auc}",
                f"ROC curve with its 95 % band, AUC {test.auc.value:.3f}.",
                "roc",
            ),
            figure(
                figures.precision_recall(answers, threshold, recall),
                f"Precision-recall curve of {test.n} eyes",
                "Precision and recall with a 95 % band: what a positive answer is worth among the test eyes.",
                "precision-recall",
            ),
        ),
        heading("Thresholds and calibration"),
        beside(
            figure(
                figures.other_thresholds(answers, threshold),
                f"Sensitivity {test.sensitivity.value:.2f} and "
                f"specificity {test.specificity.value:.2f} at the threshold {threshold:.3f}",
                "What other thresholds would give. Dotted: the model's.",
                "thresholds",
            ),
            figure(
                figures.calibration(answers),
                "Share of referable eyes against probability in 10 bins",
                "Calibration: on the dotted line, of eyes with a probability of 0.7 seven in ten are referable. "
                "Larger points have more eyes.",
                "calibration",
            ),
        ),
        *_thresholds(model, answers),
        *_subgroups(model),
    ]
    return Section("The best model", parts)


def _drawn(facts: StudyFacts, model: VersionFacts) -> list[Markup]:
    number = int(model.version.tags[TRIAL_TAG])
    row = next((row for row in facts.rows if row.number == number), None)
    if row is None or not row.params:
        return []
    rows = [[name, short(value)] for name, value in row.params.items()]
    return [table(["setting", "value"], rows, f"What the search drew for trial {number}")]


def _training(model: VersionFacts) -> list[Markup]:
    parts: list[Markup] = []
    if any(model.curves.values()):
        of = " of each network" if any("/" in name for name in model.curves) else ""
        parts = [
            heading("Training"),
            beside(
                figure(
                    figures.training_curves(model.curves, "auc", "AUC"),
                    "AUC of each epoch",
                    f"AUC{of} in each epoch.",
                    "training-auc",
                ),
                figure(
                    figures.training_curves(model.curves, "loss", "loss (nats)"),
                    "Loss of each epoch",
                    f"Loss{of} in each epoch.",
                    "training-loss",
                ),
            ),
        ]
    if (tuned := model.finetuning) is not None:
        rows = []
        for name in ("auc", "accuracy", "sensitivity", "specificity"):
            pair = [Interval.from_metrics(each, f"best_val_{name}") for each in (tuned.before, tuned.after)]
            rows.append([name, *(str(each or "") for each in pair)])
        verdict = "and is the registered version" if tuned.is_better else "and was not registered: it is not better"
        parts.append(table(["on validation", "before", "after"], rows, f"Fine-tuning ran {verdict}"))
    return parts


def _thresholds(model: VersionFacts, answers: Sequence[EyeAnswer]) -> list[Markup]:
    labels, probabilities = [answer.label for answer in answers], [answer.probability for answer in answers]
    asked = [("the model's", model.threshold)]
    asked += [
        (
            f"finds {100 * level:.0f} % of the referable",
            operating_point(labels, probabilities, "sensitivity", level).threshold,
        )
        for level in _LEVELS
    ]
    rows = []
    for name, threshold in asked:
        at = scores(labels, probabilities, threshold)
        (_, fp), (fn, _) = at.confusion
        rows.append([name, f"{threshold:.3f}", str(at.sensitivity), str(at.specificity), str(fn), str(fp)])
    columns = ["threshold", "from", "sensitivity", "specificity", "missed", "false alarms"]
    rule = model.version.tags.get(OPERATING_POINT_TAG, "")
    return [
        table(columns, rows, f"The model's threshold (rule: {rule}) was chosen on validation eyes"),
        text(
            "The other thresholds are read off the test eyes: they describe, and would flatter if one were chosen here."
        ),
    ]


def _subgroups(model: VersionFacts) -> list[Markup]:
    parts, columns = (
        [heading("Scores of parts of the test split")],
        ["eyes of", "n", "AUC", "sensitivity", "specificity"],
    )
    test = model.test
    groups = {f"data set {name}": scores_of_json(of) for name, of in test.get("sources", {}).items()}
    for third, of in test.get("qualities", {}).items():
        groups[f"{third} quality, {of['from']:.2f} to {of['to']:.2f}"] = scores_of_json(of)
    if test.get("patients"):
        groups["patients instead of eyes"] = scores_of_json(test["patients"])
    if groups:
        rows = [
            [name, str(of.n), *(str(each or "–") for each in (of.auc, of.sensitivity, of.specificity))]
            for name, of in groups.items()
        ]
        parts.append(table(columns, rows, "By quality, data set and patients"))
    if model.answers:
        rows, shown = [], []
        for grade in GRADES:
            some = [answer for answer in model.answers if answer.grade == grade]
            if some:
                right = _right(some, model.threshold)
                called = sum(answer.called for answer in some)
                rows.append([f"grade {grade}, {GRADE_NAMES[grade]}", str(len(some)), str(called), str(right)])
                shown.append((f"grade {grade}", right, False))
        parts += [
            figure(
                figures.intervals(shown, "share of eyes with the right class"),
                "; ".join(f"{name}: {right}" for name, right, _ in shown),
                "Right answers by grade.",
                "right-by-grade",
            ),
            table(["grade", "eyes", "called RDR", "right"], rows),
        ]
        if (kappa := Interval.from_metrics(model.metrics, "test_kappa")) is not None:
            parts.append(text(f"Its five grades agree with those of the eyes with a quadratic kappa of {kappa}."))
    return parts if len(parts) > 1 else []


def _right(answers: Sequence[EyeAnswer], threshold: float) -> Interval:
    """The share of eyes with the right class."""
    labels, probabilities = [answer.label for answer in answers], [answer.probability for answer in answers]
    judge: Callable[..., Scores | OneClassScores] = scores if len(set(labels)) == 2 else one_class_scores
    return judge(labels, probabilities, threshold).accuracy


def _grade_alt(answers: Sequence[EyeAnswer]) -> str:
    wrong = [sum(not answer.is_right for answer in answers if answer.grade == grade) for grade in GRADES]
    return "Wrong eyes by grade: " + ", ".join(f"{n} of grade {grade}" for grade, n in zip(GRADES, wrong, strict=True))
