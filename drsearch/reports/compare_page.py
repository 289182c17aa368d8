"""The page of `drsearch compare`: several versions on the same test eyes."""

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

import drsearch
from drsearch.grades import CLASS_NAMES
from drsearch.measure.blind_baseline import BesideBlind
from drsearch.measure.curves import roc_curve
from drsearch.measure.figures import jpeg
from drsearch.measure.patients import PATIENT_SCORES
from drsearch.release.blind_scores import blind_text
from drsearch.release.compare import Versions
from drsearch.release.contest import p_text
from drsearch.release.same_eyes import SCORES, TITLES
from drsearch.reports.page import (
    Picture,
    Section,
    beside,
    figure,
    heading,
    pictures,
    points,
    render,
    statements,
    table,
    text,
)
from drsearch.study.chart_style import BLUE, GREEN, GREY, ORANGE, PURPLE

MOST_PICTURES = 60
"""Eyes whose photographs the page shows; those with the widest probabilities."""

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
_DASHES = ("solid", "dash", "dashdot", "longdash")


def compare_page(versions: Versions) -> str:
    """The page, HTML.

    Args:
        versions: The comparison.
    """
    n, n_patients = len(versions.eyes.names), len(set(versions.eyes.patients) - {""})
    facts = [
        ("Data", versions.data),
        ("Test eyes", f"{n}, {int(versions.eyes.labels.sum())} referable ({versions.records.task.words})"),
        ("Patients", str(n_patients) if n_patients else "unknown"),
        ("Test evaluations of these eyes", str(versions.test_evaluations)),
    ]
    sections = [
        Section("The answer", [statements(*_answer(versions))]),
        Section("Scores", [_scores(versions), _thresholds(versions)]),
        Section("Differences", [*_differences(versions)]),
        Section("Curves", [beside(_roc(versions), _probabilities(versions))]),
        Section("Beside the baseline", [*_baseline(versions)]),
        Section("Eyes on which they disagree", [*_disagreeing(versions)]),
        Section("How to read it", [points(*_reading(versions))]),
    ]
    foot = f"Holds photographs of patients: show it only to those who may see them. drsearch {drsearch.__version__}."
    return render("Comparison of models", " and ".join(versions.names), facts, sections, foot)


def _answer(versions: Versions) -> list[str]:
    first, n = versions.names[0], len(versions.eyes.names)
    lines = []
    for place, (name, each) in enumerate(zip(versions.names[1:], versions.scored[1:], strict=True)):
        difference = versions.difference(place, "auc")
        if difference.low > 0:
            verdict = f"{name} tells eyes apart better than {first}"
        elif difference.high < 0:
            verdict = f"{name} tells eyes apart worse than {first}"
        else:
            verdict = f"No difference between {name} and {first} is shown"
        lines.append(
            f"{verdict}: AUC {each.scores.auc.value:.3f} against {versions.scored[0].scores.auc.value:.3f}, difference "
            f"{difference:+.3f} on {n} test eyes."
        )
    lines.append(f"They disagree on {len(versions.disagreeing)} of {n} eyes.")
    better = [
        name
        for name, blind in zip(versions.names, versions.beside_blind, strict=True)
        if isinstance(blind, BesideBlind) and not blind.caution
    ]
    if any(isinstance(blind, BesideBlind) for blind in versions.beside_blind):
        who = " and ".join(better) if better else "None of them"
        verb = "are" if len(better) > 1 else "is"
        lines.append(f"{who} {verb} shown better than what colours alone tell.")
    return lines


def _scores(versions: Versions) -> Markup:
    rows = [(TITLES.get(name, name), *(str(each.interval(name)) for each in versions.scored)) for name in SCORES]
    if versions.scored[0].patients is not None:
        for name in PATIENT_SCORES:
            cells = (str(getattr(each.patients, name) or "not defined") for each in versions.scored)
            rows.append((f"{TITLES.get(name, name)} of patients", *cells))
    return table(("score", *versions.names), rows, "Scores with 95 % intervals, each version at its own threshold")


def _thresholds(versions: Versions) -> Markup:
    rows = []
    for name, each in zip(versions.names, versions.scored, strict=True):
        (tn, fp), (fn, tp) = each.scores.confusion
        rows.append((name, f"{each.serving.threshold:.4f}", str(tp), str(fn), str(fp), str(tn)))
    columns = ("version", "threshold", "RDR found", "RDR missed", "NRDR called RDR", "NRDR left")
    return table(columns, rows, "Eyes at these thresholds")


def _differences(versions: Versions) -> list[Markup]:
    first = versions.names[0]
    parts = []
    for place, (name, comparison) in enumerate(zip(versions.names[1:], versions.differences, strict=True)):
        rows = [(TITLES.get(score, score), f"{versions.difference(place, score):+.3f}") for score in SCORES]
        by = "Obuchowski's" if comparison.by_patients else "DeLong's"
        errors = comparison.mcnemar
        exact = "exact p by patients" if comparison.by_patients else "McNemar's exact p"
        parts += [
            heading(f"{name} minus {first}"),
            beside(
                table(("score", "difference"), rows, "Paired differences with 95 % intervals"),
                _forest(versions, place),
            ),
            text(
                f"AUC: {by} p {p_text(comparison.auc.p)}; by the bootstrap {comparison.auc_bootstrap:+.3f}. Errors: "
                f"{errors.first_only} eyes only {name} gets wrong, {errors.second_only} only {first} ({exact} "
                f"{p_text(errors.p)})."
            ),
        ]
    return parts


def _forest(versions: Versions, place: int) -> Markup:
    shown = [(TITLES.get(name, name), versions.difference(place, name)) for name in reversed(SCORES)]
    values = [each.value for _, each in shown]
    chart = go.Figure(
        go.Scatter(
            x=values,
            y=[name for name, _ in shown],
            mode="markers",
            marker={"size": 10, "color": BLUE},
            error_x={
                "array": [each.high - each.value for _, each in shown],
                "arrayminus": [each.value - each.low for _, each in shown],
                "color": BLUE,
            },
            hovertemplate="%{y}: %{x:+.3f}<extra></extra>",
        )
    )
    chart.add_vline(x=0, line={"color": GREY, "dash": "dot"})
    chart.update_layout(height=300, xaxis={"title": {"text": "difference"}, "tickformat": "+.2f"})
    alt = "; ".join(f"{name} {each:+.3f}" for name, each in reversed(shown))
    caption = "Right of the line: a larger value. Of the last two, less is better."
    return figure(chart, f"Differences with their intervals: {alt}", caption)


def _roc(versions: Versions) -> Markup:
    chart, labels = go.Figure(), versions.eyes.labels
    chart.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": GREY, "dash": "dot", "width": 1}, name="chance")
    if versions.blind_probabilities is not None:
        curve = roc_curve(labels, versions.blind_probabilities)
        chart.add_scatter(
            x=curve.false_positive_rate, y=curve.true_positive_rate, mode="lines", name="lesion-blind baseline",
            line={"color": GREY, "width": 2},
        )  # fmt: skip
    for i, (name, each) in enumerate(zip(versions.names, versions.scored, strict=True)):
        curve, colour = roc_curve(labels, each.probabilities), _COLOURS[i % len(_COLOURS)]
        line = {"color": colour, "width": 2.5, "dash": _DASHES[i % len(_DASHES)]}
        chart.add_scatter(
            x=curve.false_positive_rate, y=curve.true_positive_rate, mode="lines", name=name, line=line,
            legendgroup=name,
        )  # fmt: skip
        chart.add_scatter(
            x=[1 - each.scores.specificity.value], y=[each.scores.sensitivity.value], mode="markers", legendgroup=name,
            marker={"color": colour, "size": 11, "line": {"color": "white", "width": 1.5}}, showlegend=False,
            name=f"{name} at {each.serving.threshold:.3g}",
        )  # fmt: skip
    chart.update_layout(
        height=460,
        xaxis={"title": {"text": "1 - specificity"}, "range": [-0.01, 1.01]},
        yaxis={"title": {"text": "sensitivity"}, "range": [-0.01, 1.01]},
    )
    areas = [f"{name} {each.scores.auc.value:.3f}" for name, each in zip(versions.names, versions.scored, strict=True)]
    return figure(
        chart, f"ROC curves; areas: {', '.join(areas)}", "ROC curves; the point is at the version's threshold.", "roc"
    )


def _probabilities(versions: Versions) -> Markup:
    """The second version's probabilities against the first's."""
    first, second = versions.scored[:2]
    chart = go.Figure()
    looks = zip(CLASS_NAMES, (BLUE, ORANGE), ("circle-open", "diamond"), strict=True)
    for label, (name, colour, symbol) in enumerate(looks):
        which = versions.eyes.labels == label
        chart.add_scatter(
            x=first.probabilities[which], y=second.probabilities[which], mode="markers", name=name,
            marker={"color": colour, "symbol": symbol, "size": 8},
            text=[eye for eye, shown in zip(versions.eyes.names, which, strict=True) if shown],
            hovertemplate="%{text}: %{x:.3f}, %{y:.3f}<extra></extra>",
        )  # fmt: skip
    chart.add_vline(x=first.serving.threshold, line={"color": GREY, "dash": "dot"})
    chart.add_hline(y=second.serving.threshold, line={"color": GREY, "dash": "dot"})
    chart.update_layout(
        height=460,
        xaxis={"title": {"text": f"probability of RDR, {versions.names[0]}"}, "range": [-0.02, 1.02]},
        yaxis={"title": {"text": f"probability of RDR, {versions.names[1]}"}, "range": [-0.02, 1.02]},
    )
    both = np.corrcoef(first.probabilities, second.probabilities)[0, 1]
    caption = "Each eye by both probabilities; lines are the thresholds: they disagree upper left and lower right."
    alt = f"Probabilities of {versions.names[1]} against {versions.names[0]}, correlation {both:.2f}"
    return figure(chart, alt, caption)


def _baseline(versions: Versions) -> list[Markup]:
    rows = []
    for name, blind in zip(versions.names, versions.beside_blind, strict=True):
        if isinstance(blind, BesideBlind):
            rows.append((name, f"{blind.auc.difference:+.3f}", p_text(blind.auc.p), "no" if blind.caution else "yes"))
    blind = versions.beside_blind[0]
    if not isinstance(blind, BesideBlind):
        return [text(f"{blind_text(blind)}.")]
    baseline = (
        f"A forest that sees nothing but colours and a picture of 8 x 8 pixels, fitted on the same train split, has an "
        f"AUC of {blind.scores.auc} on these eyes. A model that is not better has not been shown to see lesions."
    )
    return [text(baseline), table(("version", "AUC minus baseline's", "p", "shown better"), rows)]


def _disagreeing(versions: Versions) -> list[Markup]:
    places, eyes, called = versions.disagreeing, versions.eyes, versions.called
    if not len(places):
        return [text("None: all versions call every eye alike.")]
    right = called == (eyes.labels == 1)
    counts = [f"{name} is right in {int(right[i, places].sum())}" for i, name in enumerate(versions.names)]
    parts = [
        text(f"{len(places)} of {len(eyes.names)} eyes; of these {', '.join(counts)}. Widest probabilities first.")
    ]
    shown = []
    for place in places[:MOST_PICTURES]:
        answers = zip(versions.names, versions.scored, called[:, place], right[:, place], strict=True)
        said = "; ".join(
            f"{name}: {each.probabilities[place]:.2f}, {CLASS_NAMES[int(is_called)]}{'' if is_right else ' (wrong)'}"
            for name, each, is_called, is_right in answers
        )
        label = f"{CLASS_NAMES[eyes.labels[place]]}, grade {eyes.grades[place]}"
        alt = f"Photograph of eye {eyes.names[place]}, {label}"
        shown.append(Picture(jpeg(eyes.images[place]), alt, f"{eyes.names[place]}: {label}", said))
    parts.append(pictures(shown, 200))
    if len(places) > MOST_PICTURES:
        parts.append(text(f"{len(places) - MOST_PICTURES} more are in the JSON of the same command (--json)."))
    return parts


def _reading(versions: Versions) -> list[str]:
    by = "patients" if versions.differences[0].by_patients else "eyes"
    n = versions.test_evaluations
    return [
        f"Intervals are 95 %, by the bootstrap of {by} within their class; the difference of AUC has the variance of "
        f"{'Obuchowski (1997)' if by == 'patients' else 'DeLong et al. (1988)'}. Differences are paired: all versions "
        "see the same eyes, and the same draws of them.",
        "An interval that holds 0 shows no difference, and does not show that there is none.",
        f"This test split was evaluated {n} time{'s' if n > 1 else ''} from this machine's records; the more often it "
        "chooses among models, the less its scores say about other eyes.",
        "No model here is a medical device.",
    ]
