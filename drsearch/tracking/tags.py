"""Names of the MLflow tags that drsearch writes and reads (attributes of Optuna: `trials/attributes.py`)."""

import os

import drsearch
from drsearch.provenance import git_commit, library_versions

# Of every run.
KEY_TAG = "drsearch.key"
"""`RunStart.key`, by which a sender finds the run again: unique among all runs of an experiment."""
KIND_TAG = "drsearch.kind"
"""What the run is: `study`, `trial`, `refit`, `finetune`, `training` or `decision`. Of a version: `trial`, `refit` or
`finetune`, the training that made it."""
OUTCOME_TAG = "drsearch.outcome"
"""How the run ended: `complete`, `pruned`, `failed`, `interrupted`; a study's run: `complete` or `stopped`."""
REASON_TAG = "drsearch.reason"
"""Why it ended so, in a sentence; of a decision: the words of the person who decided."""
VERSION_TAG = "drsearch.version"
"""The version of drsearch."""
LIBRARY_TAG_PREFIX = "version."
"""`version.keras` and so on: the versions of Python and of the libraries that results depend on."""
ONEDNN_TAG = "env.TF_ENABLE_ONEDNN_OPTS"
"""That environment variable, where it is set: the last digits of results depend on it."""

# Of the runs of a study, and of the versions that come from them.
STUDY_TAG = "drsearch.study"
"""The study's name."""
TRIAL_TAG = "drsearch.trial"
"""The trial's number."""
WARM_START_TAG = "drsearch.warm_start"
"""Of a study's run: the study whose trials were taken over."""
BEST_TRIAL_TAG = "drsearch.best_trial"
"""Of a study's run: the number of its best trial."""
REGISTERED_TAG = "drsearch.registered_as"
"""`retinopathy/3`: the version that was registered from this run."""
TRIAL_RUN_TAG = "drsearch.trial_run"
"""Of a refit, and of its version: the run of the trial whose setting it has."""
REFIT_EPOCHS_TAG = "drsearch.refit_epochs"
"""Of a refit: how many epochs it trains."""
PARENT_MODEL_TAG = "drsearch.parent_model"
"""Of a fine-tuning: the version it starts from, as `models:/retinopathy/1`."""
PARENT_RUN_TAG = "drsearch.parent_run"
"""Of a fine-tuning: the run that made the version it starts from."""

# Of registered versions.
RUN_ID_TAG = "drsearch.run_id"
"""The run that made the version."""
PARENT_VERSION_TAG = "drsearch.parent_version"
"""Of a fine-tuned version: the number of the version it starts from."""
DATA_FINGERPRINT_TAG = "drsearch.data_fingerprint"
"""Fingerprint of photographs, grades and split."""
RECORDS_FINGERPRINT_TAG = "drsearch.records_fingerprint"
"""Fingerprint of the record set that the version was trained on."""
THRESHOLD_TAG = "drsearch.threshold"
"""Probability from which an eye is called referable."""
TEMPERATURE_TAG = "drsearch.temperature"
"""Temperature that logits are divided by."""
OPERATING_POINT_TAG = "drsearch.operating_point"
"""The rule by which the threshold was chosen: the setting `registry.operating_point`."""
VALIDATION_CAUTION_TAG = "drsearch.validation_caution"
"""Why the validation scores say little, where they do."""
TEST_CAUTION_TAG = "drsearch.test_caution"
"""Why the test scores say little, where they do."""

# Of decisions about the champion.
MODEL_TAG = "drsearch.model"
"""The registered model."""
VERSION_NUMBER_TAG = "drsearch.version_number"
"""The version that was decided on."""
PREVIOUS_TAG = "drsearch.previous"
"""The champion before, its number; empty: none."""
DECISION_TAG = "drsearch.decision"
"""What was decided: `promoted`, `forced`, `refused`, `declined`, `rolled back`, ...; until then `unfinished`."""
BY_TAG = "drsearch.by"
"""Who decided: `user@machine`."""
RULE_TAG = "drsearch.rule"
"""The checks of the rule and whether each holds."""
TEST_FINGERPRINT_TAG = "drsearch.test_fingerprint"
"""Fingerprint of the test split that was evaluated."""
TEST_EVALUATIONS_TAG = "drsearch.test_evaluations"
"""How often that test split had been evaluated by then, this time included."""
NEXT_DECISION = "drsearch.next_decision"
"""The run of the decision after this one: a parameter of a decision's run, and a tag of the model's own experiment."""

# Between machines.
ATTEMPT_TAG = "drsearch.attempt"
"""Of a run: the attempt that goes on with it. MLflow takes nothing more from earlier attempts."""
BUNDLE_TAG = "drsearch.bundle"
"""Of a run: JSON with the name and the SHA-256 of the checkpoint bundle that counts."""
JOINED_TAG = "drsearch.joined"
"""Of an experiment: the machine that joined last."""

# MLflow's own.
NOTE_TAG = "mlflow.note.content"
"""Description of a run or an experiment, Markdown."""
COMMIT_TAG = "mlflow.source.git.commit"
"""The commit of drsearch's checkout, with `+changes` if files differ from it."""
PRIMARY_METRIC_TAG = "mlflow.experiment.primaryMetric.name"
"""Of an experiment: the metric that ranks its runs."""
GREATER_IS_BETTER_TAG = "mlflow.experiment.primaryMetric.greaterIsBetter"
"""Of an experiment: `True` or `False`, for that metric."""
COLOUR_TAG = "mlflow.runColor"
"""Of a run: its colour in charts."""
VIEW_TAG_PREFIX = "mlflow.sharedViewState."
"""Of an experiment: a saved view of its page, as JSON."""


def provenance_tags() -> dict[str, str]:
    """Tags that name every run's code and libraries; MLflow's own page shows the commit."""
    tags = {VERSION_TAG: drsearch.__version__}
    tags |= {f"{LIBRARY_TAG_PREFIX}{name}": number for name, number in library_versions().items()}
    if onednn := os.environ.get("TF_ENABLE_ONEDNN_OPTS"):
        tags[ONEDNN_TAG] = onednn
    if commit := git_commit():
        tags[COMMIT_TAG] = commit
    return tags


def outcome_tags(outcome: str, reason: str) -> dict[str, str]:
    """Tags of a run that ended: how, and why."""
    return {OUTCOME_TAG: outcome, REASON_TAG: reason}


def has_tag(name: str, value: str) -> str:
    """A filter for MLflow's searches: the tag has this value.

    Example:
        >>> has_tag(KIND_TAG, "trial")
        "tags.`drsearch.kind` = 'trial'"
    """
    quote = '"' if "'" in value else "'"
    return f"tags.`{name}` = {quote}{value}{quote}"
