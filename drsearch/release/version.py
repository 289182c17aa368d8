"""Makes a registered version of a training: its files, tags, description and test scores."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drsearch.data.audit import Audit
from drsearch.data.records import RecordSet, read_eyes
from drsearch.measure.blind_baseline import BesideBlind
from drsearch.measure.familiarity import Familiarity, fit_familiarity
from drsearch.measure.figures import confusion_figure, png, roc_figure
from drsearch.measure.patients import patient_metrics
from drsearch.measure.scores import OneClassScores, Scores
from drsearch.model.mean_network import is_mean
from drsearch.model.predictor import Predictor
from drsearch.processes import cores
from drsearch.release.blind_scores import blind_caution, blind_text
from drsearch.release.candidate import Candidate
from drsearch.release.evaluate import Evaluation, evaluate
from drsearch.release.eye_answers import ANSWERS_FILE, PICTURES_FOLDER, answer_pictures, answers_csv, eye_answers
from drsearch.release.operating_point import ChosenThreshold, choose_threshold
from drsearch.release.registry import ModelVersion, Registry
from drsearch.run_folder import REGISTERED_FOLDER
from drsearch.serving.grader import Grader, load_network
from drsearch.serving.model_files import Serving, model_files
from drsearch.settings import Settings
from drsearch.study.best_trial import pick_rule
from drsearch.tracking.markdown import note_table
from drsearch.tracking.tags import (
    BLIND_CAUTION_TAG,
    DATA_FINGERPRINT_TAG,
    KIND_TAG,
    LIBRARY_TAG_PREFIX,
    MEMBERS_TAG,
    NETWORK_TAG,
    OPERATING_POINT_TAG,
    RECORDS_FINGERPRINT_TAG,
    RUN_ID_TAG,
    STUDY_ID_TAG,
    STUDY_TAG,
    TEMPERATURE_TAG,
    TEST_CAUTION_TAG,
    THRESHOLD_TAG,
    TRIAL_TAG,
    VALIDATION_CAUTION_TAG,
    provenance_tags,
)
from drsearch.training.best_network import latency_ms
from drsearch.training.cross_validation import folds_or_repeats
from drsearch.training.outcome import Outcome

_FAMILIAR_EYES = 5000
_TIMED = 10
_MADE_BY = {
    "trial": "The best checkpoint of",
    "refit": "Refitted on train and validation eyes from",
    "mean": "The mean of the networks of",
    "finetune": "Fine-tuned from",
}


def trials_text(numbers: Sequence[int]) -> str:
    """Trials in a sentence.

    Example:
        >>> trials_text([3]), trials_text([3, 8, 5])
        ('trial 3', 'trials 3, 8 and 5')
    """
    *others, last = map(str, numbers)
    return f"trials {', '.join(others)} and {last}" if others else f"trial {last}"


def threshold_of(candidate: Candidate, outcome: Outcome) -> ChosenThreshold:
    """Threshold and temperature of a version, chosen on the eyes that did not train its network.

    Args:
        candidate: The best trial.
        outcome: Of the trial, or of the fine-tuning.

    Returns:
        Both, and the scores of these eyes at them.
    """
    assert outcome.predictions is not None
    return choose_threshold(outcome.predictions, candidate.settings)


def register_version(
    registry: Registry,
    candidate: Candidate,
    *,
    kind: str,
    run_id: str,
    network: Path,
    outcome: Outcome,
    tags: Mapping[str, str],
) -> ModelVersion:
    """Register a network; returns the version that is already there if a process died after registering it.

    Args:
        registry: Where it is registered.
        candidate: The best trial.
        kind: What made the network: `trial`, `refit`, `finetune` or `mean`.
        run_id: Of that training.
        network: The saved network.
        outcome: Its predictions choose threshold and temperature.
        tags: Of the version, beside those that lead to study, trial and data.

    Returns:
        The version.
    """
    versions = registry.versions(candidate.name, {RUN_ID_TAG: run_id, STUDY_TAG: candidate.study.name})
    for version in versions:
        if version.tags.get(MEMBERS_TAG) == tags.get(MEMBERS_TAG):
            return version
    records, chosen, settings = candidate.records(), threshold_of(candidate, outcome), candidate.settings
    serving = Serving(
        images=settings.images,
        data=dataclasses.replace(settings.data, fingerprint=""),
        task=settings.task,
        threshold=chosen.point.threshold,
        temperature=chosen.temperature,
        fingerprint=records.fingerprint,
        chosen=chosen.text,
        symmetries=settings.registry.symmetries,
    )
    on_both = kind == "refit" or (candidate.is_mean and settings.search.folds > 1)
    trained_on = records.eyes("train", "validation") if on_both else records.eyes("train")
    files = model_files(
        network.parent / REGISTERED_FOLDER,
        network,
        serving.to_json(),
        json.dumps([eye.to_json() for eye in trained_on]),
        _familiarity(records).to_json(),
    )
    lineage = {
        KIND_TAG: kind,
        STUDY_TAG: candidate.study.name,
        STUDY_ID_TAG: candidate.study.definition.uid,
        TRIAL_TAG: str(candidate.number),
        RUN_ID_TAG: run_id,
        DATA_FINGERPRINT_TAG: records.data_fingerprint,
        RECORDS_FINGERPRINT_TAG: records.fingerprint,
        THRESHOLD_TAG: f"{chosen.point.threshold:.4f}",
        TEMPERATURE_TAG: f"{chosen.temperature:.4f}",
        OPERATING_POINT_TAG: settings.registry.operating_point,
        NETWORK_TAG: _about(network, settings),
        **({VALIDATION_CAUTION_TAG: chosen.scores.caution} if chosen.scores.caution else {}),
        # Libraries are with the run, and pinned in the model: here they would bury what tells versions apart.
        **{name: value for name, value in provenance_tags().items() if not name.startswith(LIBRARY_TAG_PREFIX)},
    }
    all_tags = {**lineage, **tags}
    return registry.register(candidate.name, run_id, files, all_tags, _description(candidate, outcome, all_tags))


def _about(file: Path, settings: Settings) -> str:
    """The size of a network, and the time that it takes here for an eye, in words."""
    network, side = load_network(file.parent), settings.images.image_px
    predict = Predictor(network, symmetries=settings.registry.symmetries)
    latency = latency_ms(predict, np.zeros((1, side, side, 3), np.uint8), _TIMED)
    n, kind = cores(), f"{network.name.replace('_', ' ')}, " if is_mean(network) else ""
    return (
        f"{kind}{network.count_params():,} parameters, {file.stat().st_size / 1e6:.1f} MB, {latency:.1f} ms per eye "
        f"on {n} core{'s' if n > 1 else ''}"
    )


def _familiarity(records: RecordSet) -> Familiarity:
    """What the training eyes look like; validation eyes only choose the limit, of a refit too."""
    train, validation = (
        _at_most(_FAMILIAR_EYES, read_eyes(records, split).images) for split in ("train", "validation")
    )
    return fit_familiarity(train, validation)


def _at_most(n: int, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Evenly chosen images: more would not change what they have in common."""
    return images[:: 1 + len(images) // n]


def _description(
    candidate: Candidate, outcome: Outcome, tags: Mapping[str, str], test: Evaluation | None = None
) -> str:
    """The text of a version's page in MLflow, Markdown."""
    chosen, settings = threshold_of(candidate, outcome), candidate.settings
    held_out = "validation" if outcome.scores is not None else f"held out in {folds_or_repeats(settings.search)}"
    members = json.loads(tags.get(MEMBERS_TAG, "[]"))
    trials = trials_text(list(dict.fromkeys(each["trial"] for each in members)) or [candidate.number])
    lines = [f"{_MADE_BY[tags[KIND_TAG]]} {trials}, study `{candidate.study.name}`: {tags[NETWORK_TAG]}.", ""]
    lines += [*_score_table("", held_out, chosen.scores, test.scores if test else None), "", chosen.text]
    lines += ["", f"Referable: {settings.task.words}. {_patients_sentence(candidate.records())}"]
    if chosen.patients is not None:
        lines += ["", *_score_table("patients", held_out, chosen.patients, test.patients if test else None)]
        lines += ["", "A patient is referable if an eye is, and has the larger probability of its eyes."]
    if test is not None and test.sources:
        names = [name for name, _ in test.scores.labelled]
        rows = [
            (source, str(of.n), *(str(interval or "") for _, interval in of.labelled))
            for source, of in test.sources.items()
        ]
        lines += ["", *note_table(("test eyes of", "n", *names), rows)]
    if test is not None:
        lines += ["", f"On test: {blind_text(test.blind)}."]
    on_test = (test.scores.caution, blind_caution(test.blind)) if test is not None else ()
    for split, caution in ((held_out, chosen.scores.caution), *(("test", each) for each in on_test)):
        if caution:
            lines += ["", f"**On {split}: {caution}**"]
    intervals = "95 % intervals" if chosen.patients is None else "95 % intervals by patients"
    lines += ["", f"{intervals}. Validation scores are optimistic: model and threshold were chosen on them."]
    if settings.study.second_objective != "none":
        front = f"the Pareto front of {settings.study.objective} against {settings.study.second_objective}"
        lines += ["", f"This is {pick_rule(settings)} on {front}."]
    return "\n".join(lines)


def _score_table(
    of: str, held_out: str, chosen: Scores | OneClassScores, test: Scores | OneClassScores | None
) -> list[str]:
    """The lines of a table of validation and test scores."""
    columns = (of, f"{held_out} ({chosen.n})", f"test ({test.n})" if test else "test")
    tested = [interval for _, interval in test.labelled] if test else [None] * len(chosen.labelled)
    rows = [
        (name, str(interval or ""), str(of_test or ""))
        for (name, interval), of_test in zip(chosen.labelled, tested, strict=True)
    ]
    return note_table(columns, rows)


def _patients_sentence(records: RecordSet) -> str:
    """How patients are known."""
    text = Audit.from_json(json.loads(records.audit_path.read_text())).patients_text
    return f"{text[0].upper()}{text[1:]}."


def evaluate_version(
    registry: Registry, candidate: Candidate, version: ModelVersion, outcome: Outcome
) -> dict[str, Any]:
    """Evaluate a version on the test split, and write the scores to it: one test evaluation.

    Args:
        registry: Where it is registered.
        candidate: The best trial.
        version: The version.
        outcome: Of the training that made it, for the description.

    Returns:
        The scores as JSON, with the number of test evaluations of this split, this one included.
    """
    grader = Grader(registry.download(version.uri, candidate.study.folder / "test" / "model"))
    test = evaluate(grader, candidate.records(), "test", candidate.home, f"end of study {candidate.study.name}")
    assert isinstance(test.scores, Scores), "a study has records of which each split has both classes"
    unfamiliar = float(np.mean(grader.familiarity.distances(test.eyes.images) > 1))
    values, of_patients = test.to_json(), {}
    if test.patients is not None:
        of_patients = {"test_patients": float(test.patients.n)} | patient_metrics(test.patients, "test_")
    beside = test.blind.metrics("test_") if isinstance(test.blind, BesideBlind) else {}
    cautions = {TEST_CAUTION_TAG: test.scores.caution, BLIND_CAUTION_TAG: blind_caution(test.blind)}
    probabilities, threshold = grader.probabilities(test.eyes.images), grader.serving.threshold
    answers = eye_answers(candidate.records().eyes("test"), probabilities, threshold)
    files = {
        "confusion.png": png(confusion_figure(test.scores.confusion, test.scores.threshold, "test")),
        "roc.png": png(roc_figure(test.eyes.labels, probabilities, threshold)),
        "scores.json": json.dumps(values, indent=2).encode(),
        ANSWERS_FILE: answers_csv(answers).encode(),
    }
    if candidate.settings.study.gradcam_eyes:  # 0 keeps photographs out of MLflow
        pictures = answer_pictures(grader, test.eyes, answers)
        files |= {f"{PICTURES_FOLDER}/{name}": content for name, content in pictures.items()}
    registry.log_scores(
        version,
        test.scores.metrics("test_", "test_")
        | of_patients
        | test.quality_metrics("test_")
        | beside
        | {"test_unfamiliar": unfamiliar},
        {name: caution for name, caution in cautions.items() if caution},
        files,
        _description(candidate, outcome, version.tags, test),
    )
    return values
