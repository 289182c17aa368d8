"""Names of the MLflow tags that drsearch writes and reads; `docs/tags_and_metrics.md` explains each.

Attributes in Optuna's database have their names in `trials/attributes.py`.
"""

import json
import os
from collections.abc import Mapping

import drsearch
from drsearch.provenance import git_commit, library_versions

# Runs
KEY_TAG = "drsearch.key"  # `RunStart.key`, by which the sender finds the run
KIND_TAG = "drsearch.kind"  # study, trial, refit, finetune, judged, training or decision; of versions too, and mean
OUTCOME_TAG = "drsearch.outcome"  # complete, pruned, failed, interrupted; of a study: complete or stopped
REASON_TAG = "drsearch.reason"  # why the run ended so; of a decision: the words of the person who decided
VERSION_TAG = "drsearch.version"  # of drsearch
LIBRARY_TAG_PREFIX = "version."  # `version.keras`: the version of a library
ONEDNN_TAG = "env.TF_ENABLE_ONEDNN_OPTS"  # that environment variable: the last digits of results depend on it

# Runs of a study, and versions that come from them
STUDY_TAG = "drsearch.study"  # name
TRIAL_TAG = "drsearch.trial"  # number
WARM_START_TAG = "drsearch.warm_start"  # of a study: the study whose trials were taken over
BEST_TRIAL_TAG = "drsearch.best_trial"  # of a study: number
SCORE_TAG_PREFIX = "best_val_"  # of a training: a metric of that name in words, `0.786 [0.673, 0.883]`
VIOLATED_TAG = "drsearch.violated"  # of a trial: the constraints that it does not keep, with its values
REGISTERED_TAG = "drsearch.registered_as"  # the version that was registered from this run: `retinopathy/3`
TRIAL_RUN_TAG = "drsearch.trial_run"  # of a refit and its version: run id of the trial whose setting it has
REFIT_EPOCHS_TAG = "drsearch.refit_epochs"  # of a refit: number of epochs
PARENT_MODEL_TAG = "drsearch.parent_model"  # of a fine-tuning: the version that it starts from
PARENT_RUN_TAG = "drsearch.parent_run"  # of a fine-tuning: run id of that version

# Registered versions
STUDY_ID_TAG = "drsearch.study_id"  # of the study: a deleted study's name may be used again, its id may not
RUN_ID_TAG = "drsearch.run_id"  # of the training that made the version
NETWORK_TAG = "drsearch.network"  # the network in words: its size, and the time that it takes for an eye
MEMBERS_TAG = "drsearch.members"  # of a mean of networks: trial, run id and name of each, JSON
PARENT_VERSION_TAG = "drsearch.parent_version"  # of a fine-tuned version: the number of the one that it starts from
DATA_FINGERPRINT_TAG = "drsearch.data_fingerprint"  # of photographs, grades and split
RECORDS_FINGERPRINT_TAG = "drsearch.records_fingerprint"  # of the record set
THRESHOLD_TAG = "drsearch.threshold"  # probability from which an image is called referable
TEMPERATURE_TAG = "drsearch.temperature"  # divides the logits
OPERATING_POINT_TAG = "drsearch.operating_point"  # the rule that chose the threshold
VALIDATION_CAUTION_TAG = "drsearch.validation_caution"  # why the validation scores say little, if they do
TEST_CAUTION_TAG = "drsearch.test_caution"  # why the test scores say little, if they do
BLIND_CAUTION_TAG = "drsearch.blind_caution"  # that the model may have learned the camera, if that is not excluded
EXPLAIN_TAG = "drsearch.explain"  # of the last `drsearch explain`: data, and how often the peak lies in a lesion
STRESS_TAG = "drsearch.stress"  # the AUC on photographs as they are, and where it falls most

# Decisions about the champion
MODEL_TAG = "drsearch.model"  # name of the registered model
VERSION_NUMBER_TAG = "drsearch.version_number"  # the version that was decided on
PREVIOUS_TAG = "drsearch.previous"  # number of the champion before; empty: none
DECISION_TAG = "drsearch.decision"  # promoted, forced, refused, ...; `unfinished` until then
BY_TAG = "drsearch.by"  # `user@machine`
RULE_TAG = "drsearch.rule"  # checks of the rule, and whether each holds
TEST_FINGERPRINT_TAG = "drsearch.test_fingerprint"  # of the test split
TEST_EVALUATIONS_TAG = "drsearch.test_evaluations"  # of that split so far, this one included
NEXT_DECISION = "drsearch.next_decision"  # run id: parameter of a decision, and tag of the experiment of the first one

# Studies on several machines
ATTEMPT_TAG = "drsearch.attempt"  # of a run: the attempt that runs it; MLflow takes no more from earlier attempts
BUNDLE_TAG = "drsearch.bundle"  # of a run: name and SHA-256 of the checkpoint bundle that counts, JSON
JOINED_TAG = "drsearch.joined"  # of an experiment: the machine that joined last

# MLflow's own
NOTE_TAG = "mlflow.note.content"  # description of a run or an experiment, Markdown
COMMIT_TAG = "mlflow.source.git.commit"  # of drsearch's checkout
PRIMARY_METRIC_TAG = "mlflow.experiment.primaryMetric.name"  # of an experiment: the metric that ranks its runs
GREATER_IS_BETTER_TAG = "mlflow.experiment.primaryMetric.greaterIsBetter"  # `True` or `False`, of that metric
COLOUR_TAG = "mlflow.runColor"  # of a run, in charts
VIEW_TAG_PREFIX = "mlflow.sharedViewState."  # of an experiment: a saved view of its page, JSON


def provenance_tags() -> dict[str, str]:
    """The tags of every run that name its code and libraries; MLflow's own page shows the commit."""
    tags = {VERSION_TAG: drsearch.__version__}
    tags |= {f"{LIBRARY_TAG_PREFIX}{name}": number for name, number in library_versions().items()}
    if onednn := os.environ.get("TF_ENABLE_ONEDNN_OPTS"):
        tags[ONEDNN_TAG] = onednn
    if commit := git_commit():
        tags[COMMIT_TAG] = commit
    return tags


def outcome_tags(outcome: str, reason: str) -> dict[str, str]:
    """The tags of a run that ended: how, and why."""
    return {OUTCOME_TAG: outcome, REASON_TAG: reason}


def member_runs(tags: Mapping[str, str]) -> set[str]:
    """The ids of the runs that trained the networks of a version, which is their mean; none for any other.

    Example:
        >>> member_runs({MEMBERS_TAG: '[{"trial": 3, "run": "810f", "network": "fold1"}]'})
        {'810f'}
    """
    return {member["run"] for member in json.loads(tags.get(MEMBERS_TAG, "[]"))}


def has_tag(name: str, value: str) -> str:
    """A filter for MLflow's searches: the tag has this value.

    Example:
        >>> has_tag(KIND_TAG, "trial")
        "tags.`drsearch.kind` = 'trial'"
    """
    quote = '"' if "'" in value else "'"
    return f"tags.`{name}` = {quote}{value}{quote}"
