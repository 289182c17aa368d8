"""Makes a registered version of a training: its files, tags, description and test scores."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drsearch.data.audit import Audit
from drsearch.data.mapped_images import Images
from drsearch.data.records import EyeEntry, RecordSet, map_eyes
from drsearch.datasets.description import read_source_file
from drsearch.home import Home
from drsearch.measure.blind_baseline import BesideBlind
from drsearch.measure.familiarity import Familiarity, fit_familiarity
from drsearch.measure.figures import confusion_figure, png, roc_figure
from drsearch.measure.patients import patient_metrics
from drsearch.measure.scores import Scores
from drsearch.model.mean_network import is_mean
from drsearch.model.predictor import Predictor
from drsearch.processes import cores
from drsearch.provenance import library_versions
from drsearch.release.blind_scores import blind_caution
from drsearch.release.candidate import Candidate
from drsearch.release.card_figures import NetworkFacts, SourceSet, SplitCounts
from drsearch.release.evaluate import evaluate
from drsearch.release.eye_answers import ANSWERS_FILE, PICTURES_FOLDER, answers_csv, eye_answers
from drsearch.release.eye_pictures import answer_pictures
from drsearch.release.model_card import CARD_FILE, ModelCard, add_to_card
from drsearch.release.operating_point import ChosenThreshold, choose_threshold
from drsearch.release.photograph_files import photographs_of
from drsearch.release.registry import ModelVersion, Registry
from drsearch.run_folder import REGISTERED_FOLDER
from drsearch.serving.gradable import quality_limits
from drsearch.serving.grader import Grader, load_network
from drsearch.serving.model_files import Serving, model_files
from drsearch.settings import Settings
from drsearch.study.best_trial import pick_rule
from drsearch.tracking.tags import (
    BLIND_CAUTION_TAG,
    COMMIT_TAG,
    DATA_FINGERPRINT_TAG,
    KIND_TAG,
    LIBRARY_TAG_PREFIX,
    MEMBERS_TAG,
    NETWORK_TAG,
    OPERATING_POINT_TAG,
    PARENT_VERSION_TAG,
    RECORDS_FINGERPRINT_TAG,
    RUN_ID_TAG,
    STUDY_ID_TAG,
    STUDY_TAG,
    TEMPERATURE_TAG,
    TEST_CAUTION_TAG,
    THRESHOLD_TAG,
    TRIAL_TAG,
    VALIDATION_CAUTION_TAG,
    VERSION_TAG,
    provenance_tags,
)
from drsearch.training.best_network import latency_ms
from drsearch.training.cross_validation import folds_or_repeats, n_trainings
from drsearch.training.outcome import Outcome
from drsearch.trials.trials import trials_text

_FAMILIAR_EYES = 5000
_TIMED = 10
_EXCLUDED = (
    "unreadable",
    "no_retina",
    "invalid_grade",
    "label_without_photograph",
    "unlabelled",
    "ungradable",
    "left_out",
    "duplicates",
    "contradicting",
)
_MADE_BY = {
    "trial": "The best checkpoint of",
    "refit": "Refitted on train and validation eyes from",
    "mean": "The mean of the networks of",
    "finetune": "Fine-tuned from",
}


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
    on_both = kind == "refit" or (candidate.is_mean and settings.search.folds > 1)
    trained_on = records.eyes("train", "validation") if on_both else records.eyes("train")
    serving = Serving(
        images=settings.images,
        data=dataclasses.replace(settings.data, fingerprint=""),
        task=settings.task,
        threshold=chosen.point.threshold,
        temperature=chosen.temperature,
        fingerprint=records.fingerprint,
        chosen=chosen.text,
        symmetries=settings.registry.symmetries,
        quality_limits=quality_limits([eye.quality for eye in trained_on]),
    )
    files = model_files(
        network.parent / REGISTERED_FOLDER,
        network,
        serving.to_json(),
        json.dumps([eye.to_json() for eye in trained_on]),
        _familiarity(records, candidate.home).to_json(),
    )
    about = _about(network, settings)
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
        NETWORK_TAG: about.text,
        **({VALIDATION_CAUTION_TAG: chosen.scores.caution} if chosen.scores.caution else {}),
        # Libraries are with the run, and pinned in the model: here they would bury what tells versions apart.
        **{name: value for name, value in provenance_tags().items() if not name.startswith(LIBRARY_TAG_PREFIX)},
    }
    all_tags = {**lineage, **tags}
    card = _card(candidate, outcome, all_tags, about)
    beside = {CARD_FILE: card.to_json().encode()}
    return registry.register(candidate.name, run_id, files, all_tags, card.description(), beside)


def _about(file: Path, settings: Settings) -> NetworkFacts:
    """The size of a network, and the time that it takes here for an eye."""
    network, side = load_network(file.parent), settings.images.image_px
    predict = Predictor(network, symmetries=settings.registry.symmetries)
    latency = latency_ms(predict, np.zeros((1, side, side, 3), np.uint8), _TIMED)
    kind = network.name.replace("_", " ") if is_mean(network) else ""
    return NetworkFacts(kind, network.count_params(), file.stat().st_size / 1e6, latency, cores())


def _familiarity(records: RecordSet, home: Home) -> Familiarity:
    """What the training eyes look like; validation eyes only choose the limit, of a refit too."""
    train, validation = (
        _at_most(_FAMILIAR_EYES, map_eyes(records, home, split).images) for split in ("train", "validation")
    )
    return fit_familiarity(train, validation)


def _at_most(n: int, images: Images) -> NDArray[np.uint8]:
    """Evenly chosen images: more would not change what they have in common."""
    return np.asarray(images[:: 1 + len(images) // n])


def _card(candidate: Candidate, outcome: Outcome, tags: Mapping[str, str], network: NetworkFacts) -> ModelCard:
    """What is known of a version when it is registered."""
    chosen, settings, records = threshold_of(candidate, outcome), candidate.settings, candidate.records()
    members = json.loads(tags.get(MEMBERS_TAG, "[]"))
    trials = trials_text(list(dict.fromkeys(each["trial"] for each in members)) or [candidate.number])
    values, defaults = settings.flat(), Settings().flat()
    audit = Audit.from_json(json.loads(records.audit_path.read_text()))
    patients = audit.patients_text
    definition = candidate.study.definition
    lineage = {
        "study": candidate.study.name,
        "trial": tags[TRIAL_TAG],
        "run": tags[RUN_ID_TAG],
        "made by": tags[KIND_TAG],
        "fine-tuned from version": tags.get(PARENT_VERSION_TAG, ""),
        "space": definition.space_file,
        "photographs, grades and split": records.data_fingerprint,
        "records": records.fingerprint,
        "commit of drsearch": tags.get(COMMIT_TAG, ""),
        "drsearch": tags[VERSION_TAG],
        "registered": datetime.now(UTC).date().isoformat(),
    }
    return ModelCard(
        model=candidate.name,
        origin=f"{_MADE_BY[tags[KIND_TAG]]} {trials}, study `{candidate.study.name}`",
        network=network,
        task=settings.task.words,
        data=_source_sets(records, definition.data_name),
        data_name=definition.data_name,
        data_fingerprint=records.data_fingerprint,
        splits={split: _split_counts(records.eyes(split)) for split in ("train", "validation", "test")},
        exclusions={kind: audit.counts()[kind] for kind in _EXCLUDED},
        patients=f"{patients[0].upper()}{patients[1:]}.",
        settings=values,
        changed=tuple(name for name, value in values.items() if value != defaults[name]),
        selection=_selection(candidate),
        front=_front(settings),
        threshold=chosen.text,
        held_out="validation" if outcome.scores is not None else f"held out in {folds_or_repeats(settings.search)}",
        validation=chosen.scores,
        validation_patients=chosen.patients,
        lineage={name: value for name, value in lineage.items() if value},
        libraries=library_versions(),
    )


def _source_sets(records: RecordSet, name: str) -> tuple[SourceSet, ...]:
    """The data sets of the records, as their description names them."""
    if not records.description_path.is_file():
        return (SourceSet(name),)
    sets = read_source_file(records.description_path).sets
    return tuple(SourceSet(each.name, each.source, each.licence, each.scale, each.notes) for each in sets)


def _split_counts(eyes: Sequence[EyeEntry]) -> SplitCounts:
    grades = Counter(str(eye.grade) for eye in eyes)
    patients = {eye.patient for eye in eyes} - {""}
    return SplitCounts(len(eyes), sum(eye.label for eye in eyes), dict(sorted(grades.items())), len(patients))


def _selection(candidate: Candidate) -> str:
    """How a study found the setting."""
    settings, counts = candidate.settings, candidate.study.counts()
    states = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    n, n_trials = n_trainings(settings.search), sum(counts.values())
    judged = f", each judged by {n} {folds_or_repeats(settings.search)}" if n > 1 else ""
    return (
        f"A study of {n_trials} trial{'s' if n_trials > 1 else ''} ({states}{judged}) chose among settings by "
        f"`{settings.study.objective}` on validation eyes; sampler {settings.study.sampler}, pruner "
        f"{settings.study.pruner}. It saw no test eye."
    )


def _front(settings: Settings) -> str:
    if settings.study.second_objective == "none":
        return ""
    front = f"the Pareto front of {settings.study.objective} against {settings.study.second_objective}"
    return f"This is {pick_rule(settings)} on {front}."


def evaluate_version(registry: Registry, candidate: Candidate, version: ModelVersion) -> dict[str, Any]:
    """Evaluate a version on the test split, and write the scores to it: one test evaluation.

    Args:
        registry: Where it is registered.
        candidate: The best trial.
        version: The version.

    Returns:
        The scores as JSON, with the number of test evaluations of this split, this one included.
    """
    grader = Grader(registry.download(version.uri, candidate.study.folder / "test" / "model"))
    test = evaluate(grader, candidate.records(), "test", candidate.home, f"end of study {candidate.study.name}")
    assert isinstance(test.scores, Scores), "a study has records of which each split has both classes"
    unfamiliar = float(np.mean(grader.familiarity.distances(np.asarray(test.eyes.images)) > 1))
    values, of_patients = test.to_json(), {}
    if test.patients is not None:
        of_patients = {"test_patients": float(test.patients.n)} | patient_metrics(test.patients, "test_")
    beside = test.blind.metrics("test_") if isinstance(test.blind, BesideBlind) else {}
    of_grades = test.kappa.metrics("test_kappa") if test.kappa is not None else {}
    cautions = {TEST_CAUTION_TAG: test.scores.caution, BLIND_CAUTION_TAG: blind_caution(test.blind)}
    probabilities, threshold = grader.probabilities(test.eyes.images), grader.serving.threshold
    listed = candidate.records().eyes("test")
    answers = eye_answers(listed, probabilities, threshold)
    files = {
        "confusion.png": png(confusion_figure(test.scores.confusion, test.scores.threshold, "test")),
        "roc.png": png(roc_figure(test.eyes.labels, probabilities, threshold)),
        "scores.json": json.dumps(values, indent=2).encode(),
        ANSWERS_FILE: answers_csv(answers).encode(),
    }
    if candidate.settings.study.gradcam_eyes:  # 0 keeps photographs out of MLflow
        pictures = answer_pictures(grader, listed, test.eyes, answers, photographs_of(candidate.records()))
        files |= {f"{PICTURES_FOLDER}/{name}": content for name, content in pictures.items()}
    registry.log_scores(
        version,
        test.scores.metrics("test_", "test_")
        | of_patients
        | of_grades
        | test.quality_metrics("test_")
        | beside
        | {"test_unfamiliar": unfamiliar},
        {name: caution for name, caution in cautions.items() if caution},
        files,
    )
    records = candidate.records()
    add_to_card(registry, version, test.for_card(candidate.study.definition.data_name, records.data_fingerprint))
    return values
