"""The section of a report about what answers mean at another prevalence."""

from typing import Any

from drsearch.measure.predictive_values import PredictiveValues, predictive_values
from drsearch.measure.scores import Scores
from drsearch.reports import figures
from drsearch.reports.page import (
    Section,
    figure,
    slider,
    text,
)
from drsearch.reports.study_facts import VersionFacts

_PREVALENCES = tuple(percent / 100 for percent in range(1, 61))


def prevalence_section(model: VersionFacts) -> Section:
    """PPV and NPV at a prevalence that the reader sets."""
    test = Scores.from_json(dict(model.test))
    at = [predictive_values(test.confusion, prevalence) for prevalence in _PREVALENCES]
    start = 9  # 10 %
    share = sum(test.confusion[1]) / test.n
    sentence = (
        '<div class="tiles">'
        '<div><dt>PPV: a referral is right</dt><dd><strong><output data-row="ppv"></output></strong>'
        '<span><output data-row="ppv_range"></output></span></dd></div>'
        '<div><dt>NPV: an all-clear is right</dt><dd><strong><output data-row="npv"></output></strong>'
        '<span><output data-row="npv_range"></output></span></dd></div></div>'
        '<p>Of 1000 eyes, <output data-row="referable"></output> are referable: the model finds '
        '<output data-row="found"></output> and misses <output data-row="missed"></output>. Of the others it clears '
        '<output data-row="cleared"></output> and refers <output data-row="alarms"></output>.</p>'
    )
    rows = [_slider_row(each, test) for each in at]
    chart = figure(
        figures.predictive_value_curves(at, at[start]),
        "; ".join(
            f"at {100 * each.prevalence:.0f} %: PPV {each.positive.value:.2f}, NPV {each.negative.value:.2f}"
            for each in at[4::15]
        ),
        "PPV and NPV with 95 % bands.",
        "predictive-values",
    )
    return Section(
        "Where it is to be used",
        [
            text(
                f"In the test split {100 * share:.0f} % of the eyes are referable. Where fewer are, as in screening, "
                "more of the referred eyes are healthy. Set the share that you expect."
            ),
            slider("prevalence", "Prevalence of referable retinopathy:", rows, start, sentence, chart),
            text(
                "This holds if sensitivity and specificity are there as on the test split. Intervals: Mercaldo, Lau "
                "and Zhou (2007)."
            ),
        ],
    )


def _slider_row(at: PredictiveValues, test: Scores) -> dict[str, Any]:
    referable = round(1000 * at.prevalence)
    found = round(referable * test.sensitivity.value)
    cleared = round((1000 - referable) * test.specificity.value)
    (tn, fp), (fn, tp) = test.confusion
    return {
        "position": f"{100 * at.prevalence:.0f} %",
        "x": at.prevalence,
        "ppv": f"{100 * at.positive.value:.0f} %" if tp + fp else "–",
        "npv": f"{100 * at.negative.value:.1f} %" if tn + fn else "–",
        "ppv_range": f"{100 * at.positive.low:.0f} to {100 * at.positive.high:.0f} %"
        if tp + fp
        else "no test eye is called RDR",
        "npv_range": f"{100 * at.negative.low:.1f} to {100 * at.negative.high:.1f} %"
        if tn + fn
        else "no test eye is called NRDR",
        "referable": str(referable),
        "found": str(found),
        "missed": str(referable - found),
        "cleared": str(cleared),
        "alarms": str(1000 - referable - cleared),
    }
