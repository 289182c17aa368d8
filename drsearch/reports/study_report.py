"""The report of a study: one page, from MLflow and the study database alone."""

import json
from collections.abc import Sequence
from typing import Any

import drsearch
from drsearch.datasets.read import data_options
from drsearch.home import Home
from drsearch.measure.comparison import delong
from drsearch.measure.patients import patient_groups
from drsearch.measure.scores import Interval, Scores
from drsearch.release.eye_answers import EyeAnswer
from drsearch.reports import figures
from drsearch.reports.card_section import card_section, limits_section
from drsearch.reports.data_section import data_section
from drsearch.reports.eye_sections import attention_section, misclassified_section
from drsearch.reports.model_section import best_model_section
from drsearch.reports.page import (
    Section,
    commands,
    figure,
    folded,
    heading,
    notice,
    render,
    statements,
    table,
    text,
    tiles,
)
from drsearch.reports.prevalence_section import prevalence_section
from drsearch.reports.search_section import search_section, trial_texts
from drsearch.reports.study_facts import StudyFacts, VersionFacts, read_study
from drsearch.reports.words import html, percent, short
from drsearch.settings import Settings
from drsearch.tracking.tags import (
    BLIND_CAUTION_TAG,
    DATA_FINGERPRINT_TAG,
    KIND_TAG,
    MEMBERS_TAG,
    TEST_CAUTION_TAG,
    TRIAL_TAG,
)
from drsearch.trials.trials import trials_text

_MADE_BY = {
    "trial": "the best checkpoint of {trials}",
    "refit": "{trials}, trained again on train and validation eyes",
    "mean": "the mean of the networks of {trials}",
    "finetune": "{trials}, fine-tuned",
}


def study_report(storage: Any, name: str, home: Home) -> str:
    """The report of a study, as one HTML file that loads nothing and opens offline.

    Args:
        storage: The opened study database.
        name: The study's name.
        home: Names MLflow.

    Raises:
        StudyError: If there is no such study.
        TrackerUnavailable: If MLflow does not answer.
    """
    facts = read_study(storage, name, home)
    sections = [_answer(facts), data_section(facts), search_section(facts)]
    if facts.model is not None and facts.model.test:
        sections += [best_model_section(facts, facts.model), prevalence_section(facts.model)]
        sections += [attention_section(facts.model), misclassified_section(facts.model)]
    sections.append(_how_to_get_it(facts))
    if facts.model is not None and facts.model.card is not None:
        sections += [limits_section(facts.model.card), card_section(facts.model.card)]
    elif facts.model is not None:
        limit = "An older drsearch registered this version, without a model card. It is no medical device."
        sections.append(Section("What it may not be used for", [notice(limit)]))
    status = facts.status
    counts = ", ".join(f"{n} {state}" for state, n in status.counts().items() if n)
    return render(
        "Study report",
        name,
        [
            ("Data", facts.definition.data_name),
            ("Trials", counts or "none"),
            ("Referable", facts.settings.task.words),
            *([("Model", f"{facts.model.version.name}/{facts.model.version.version}")] if facts.model else []),
            *([("Last change", f"{status.changed:%Y-%m-%d %H:%M}")] if status.changed else []),
        ],
        sections,
        f"Made by drsearch {drsearch.__version__} from MLflow and the study database. This page may hold photographs "
        "of patients: treat it as you treat those.",
        trial_texts(facts),
    )


def _answer(facts: StudyFacts) -> Section:
    model = facts.model
    if model is None or not model.test:
        best, objective = facts.status.best, facts.status.progress.objective
        line = facts.status.why_no_best or "No trial is complete yet."
        if best is not None and best.value is not None:
            line = f"The best trial so far is trial {best.number}, with {objective} {best.value:.4f}."
        return Section(
            "The answer",
            [
                statements(f"The study is {facts.status.state}: no model of it has been tested yet.", line),
                text("The same run-study command resumes the study; its end registers and tests the best model."),
            ],
        )
    score, test = Scores.from_json(dict(model.test)), model.test
    version, n = f"{model.version.name}/{model.version.version}", score.n
    blind = _of_metrics(model, "test_blind_auc")
    over = _of_metrics(model, "test_auc_over_blind")
    tags = model.version.tags
    members = [each["trial"] for each in json.loads(tags.get(MEMBERS_TAG, "[]"))] or [tags[TRIAL_TAG]]
    made_by = _MADE_BY[tags[KIND_TAG]].format(trials=trials_text(list(dict.fromkeys(members))))
    share = sum(score.confusion[1]) / n
    others = []
    if blind is not None and over is not None:
        verdict = "is better" if over.low > 0 else "is not shown to be better"
        others.append(
            f"it {verdict} than the lesion-blind baseline, which sees colours and an 8 × 8 picture alone (AUC "
            f"{blind.value:.3f}, difference {over:+.3f})"
        )
    others.append(f"calling every eye referable would be right for {100 * share:.0f} %")
    rows = [(version, score.auc, True)]
    if blind is not None:
        rows.append(("lesion-blind baseline", blind, False))
    champion = facts.champion
    if champion is None:
        others.append("no other version is champion")
    elif auc := champion.scores.get("auc"):
        same = champion.tags.get(DATA_FINGERPRINT_TAG) == model.version.tags[DATA_FINGERPRINT_TAG]
        difference = _over(model.answers, facts.champion_answers) if same else None
        compared = f", and the difference is {difference:+.3f}" if difference is not None else ""
        on = "" if same else " on other test eyes"
        others.append(f"the champion, version {champion.version}, has AUC {auc.value:.3f}{on}{compared}")
        if same:
            rows.append((f"champion: version {champion.version}", auc, False))
    lines = [
        html(
            "<strong>{version}</strong>: {made_by}. It calls an eye referable from a probability of {threshold} on.",
            version=version,
            made_by=made_by,
            threshold=f"{score.threshold:.3f}",
        ),
        html(
            "Of {n} test eyes that chose nothing of it, it finds <strong>{found}</strong> of the referable ones and "
            "clears <strong>{cleared}</strong> of the others.",
            n=str(n),
            found=percent(score.sensitivity),
            cleared=percent(score.specificity),
        ),
        f"{others[0][0].upper()}{'; '.join(others)[1:]}.",
    ]
    cautions = [model.version.tags.get(tag, "") for tag in (TEST_CAUTION_TAG, BLIND_CAUTION_TAG)]
    names = ("AUC", "Sensitivity", "Specificity", "Accuracy")
    values = (score.auc, score.sensitivity, score.specificity, score.accuracy)
    alt = "; ".join(f"{name}: AUC {interval}" for name, interval, _ in rows)
    return Section(
        "The answer",
        [
            statements(*lines),
            tiles(
                [
                    (name, f"{each.value:.3f}", f"{each.low:.3f} to {each.high:.3f}")
                    for name, each in zip(names, values, strict=True)
                ]
            ),
            figure(figures.auc_beside(rows), alt, "AUC with 95 % intervals; 0.5 is chance.", "auc"),
            *(notice(caution) for caution in cautions if caution),
            text(
                f"All values are of the test split, with 95 % intervals{_by_patients(test)}. "
                f"Test evaluations of these eyes when it was tested: {test['test_evaluations']}."
            ),
        ],
    )


def _over(answers: Sequence[EyeAnswer], others: Sequence[EyeAnswer]) -> Interval | None:
    """The AUC of a model minus that of another, paired, with its interval; None unless both answered the same eyes."""
    if [each.eye for each in answers] != [each.eye for each in others] or not others:
        return None
    return delong(
        [each.label for each in answers],
        [each.probability for each in answers],
        [each.probability for each in others],
        patient_groups([each.patient for each in answers]),
    ).difference


def _by_patients(test: Any) -> str:
    return " by patients" if test.get("patients") else ", which count each eye as independent"


def _of_metrics(model: VersionFacts, name: str) -> Interval | None:
    return Interval.from_metrics(model.metrics, name)


def _how_to_get_it(facts: StudyFacts) -> Section:
    definition, parts = facts.definition, []
    given = data_options(definition.data_given)
    if (model := facts.model) is not None:
        version = f"{model.version.name}/{model.version.version}"
        lineage = model.card.lineage if model.card is not None else {"run": model.version.run_id}
        parts += [
            table(["", ""], [["registered version", version], *([name, value] for name, value in lineage.items())]),
            heading("Use it"),
            commands(
                f"drsearch predict {version} PHOTOGRAPH...\n"
                f"drsearch evaluate {version} --data FOLDER\n"
                f"drsearch promote {model.version.name} --version {model.version.version}\n"
                f"drsearch lineage {version}"
            ),
        ]
    parts += [
        heading("Repeat it"),
        text(
            "The study, with its space and settings.gin, which are in space/ of its run; its best trial alone, with "
            "the settings.gin of that trial's run:"
        ),
        commands(
            f"drsearch run-study {definition.space_file} {given} --config settings.gin\n"
            f"drsearch train {given} --config settings.gin"
        ),
        folded(f"The search space: {definition.space_file}", commands(definition.space_source)),
        folded("Settings that are not the default", table(["setting", "value"], _changed_settings(facts))),
    ]
    if facts.run_id:
        parts.append(text(f"The study's own run in MLflow: {facts.run_id}."))
    return Section("How to get it", parts)


def _changed_settings(facts: StudyFacts) -> list[list[str]]:
    """Name and value of the study's settings that differ from drsearch's own; MLflow's parameters have all."""
    default = Settings().flat()
    return [[name, short(value)] for name, value in facts.settings.flat().items() if value != default[name]]
