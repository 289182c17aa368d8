"""The texts on a study's pages in MLflow."""

from collections.abc import Mapping

from drsearch.measure.scores import TRIAL_THRESHOLD
from drsearch.settings import Value
from drsearch.study.best_trial import why_none
from drsearch.study.definition import StudyDefinition
from drsearch.study.result import StudyResult
from drsearch.tracking.markdown import note_table, pictures
from drsearch.tracking.metric_names import best_metric
from drsearch.tracking.tags import GREATER_IS_BETTER_TAG, NOTE_TAG, PRIMARY_METRIC_TAG
from drsearch.training.objective import Objective

HISTORY_PICTURE = "history.png"
"""In `study/` of the artifacts of a study's run."""


def study_note(result: StudyResult, best_run: str | None = None) -> str:
    """The text on the page of a study's own run, in Markdown: its outcome, its ten best trials, and pictures.

    Args:
        result: What the study came to.
        best_run: Id of the best trial's run, whose pictures it shows; None if that is not known.
    """
    objective = Objective(result.definition.settings.study.objective)
    complete = [trial for trial in result.trials if trial.state == "complete"]
    complete.sort(key=lambda trial: (bool(trial.violated), objective.loss(trial.values[0])))
    counts = ", ".join(f"{n} {state}" for state, n in result.counts().items() if n)
    best = result.best
    chosen = f" Best: trial {best.number}, {objective.name} {best.values[0]:.4f}." if best is not None else ""
    if why := why_none(result.trials, result.definition.settings):
        chosen = f" {why[0].upper()}{why[1:]}."
    referable = f" Referable: {result.definition.settings.task.words}."
    lines = [f"Study {result.name}, {result.n_trials} trials: {counts}.{chosen}{referable}"]
    if complete:
        names = list({name: None for trial in complete for name in trial.last.params})
        limited = ("violates",) if result.definition.settings.study.constraints else ()
        rows = [
            (
                str(trial.number),
                f"{trial.value:.4f}",
                *(trial.violated for _ in limited),
                *(_cell(trial.last.params.get(name, "")) for name in names),
            )
            for trial in complete[:10]
        ]
        lines += ["", *note_table(("trial", objective.name, *limited, *names), rows)]
    if len(complete) > 10:
        lines += ["", f"The ten best of {len(complete)}."]
    if complete:
        lines += ["", "Validation chose the best: its value flatters it. The registered version has test scores."]
        lines += ["", pictures(f"study/{HISTORY_PICTURE}")]
    if best_run is not None:
        of_best = pictures("validation/confusion.png", "validation/roc.png", run_id=best_run)
        lines += ["", "The best trial on its validation eyes:", "", of_best]
    return "\n".join(lines)


def _cell(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def experiment_tags(definition: StudyDefinition, objective: str) -> Mapping[str, str]:
    """The tags of a study's MLflow experiment: the text of its page, and the metric by which it sorts."""
    note = (
        f"{definition.space_file} on {definition.data_name} "  # plain: the list of experiments shows no Markdown
        f"(data `{definition.data_fingerprint[:12]}`); referable: {definition.settings.task.words}. "
        f"One run per trial (`drsearch.kind = trial`), one for the study "
        f"with its report (`study`), one for fine-tuning (`finetune`). A trial is judged by "
        f"`{best_metric(objective)}`: its best checkpointed epoch, with 95 % intervals in `_low` and `_high`. "
        "Accuracy, sensitivity and specificity of "
        f"trials are at a threshold of {TRIAL_THRESHOLD:g}; a registered version has its own. *Views* has all trials "
        "in a table, and the best side by side; the study's run says what it came to. The best of many trials looks "
        "better than it is; the test scores of the registered version are the ones to report."
    )
    return {
        NOTE_TAG: note,
        PRIMARY_METRIC_TAG: best_metric(objective),
        GREATER_IS_BETTER_TAG: str(not Objective(objective).less_is_better),
    }
