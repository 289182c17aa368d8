"""The result of a study."""

from dataclasses import dataclass
from pathlib import Path

from drsearch.run_folder import trial_run
from drsearch.study.best_trial import best_trial, front
from drsearch.study.definition import StudyDefinition, folder_name
from drsearch.tracking.sent import run_id_of
from drsearch.trials.trials import Trial


@dataclass(frozen=True)
class StudyResult:
    """The result of a study, or of one call of it.

    Attributes:
        name: The name of the study and of its MLflow experiment.
        definition: Its definition.
        folder: The folder of its journals.
        trials: Its trials that a worker has taken.
        n_trials: Trials in total.
        stopped: Why it stopped early; empty if it came to its end.
        spent: The budget that ended it; empty if all trials are over.
    """

    name: str
    definition: StudyDefinition
    folder: Path
    trials: tuple[Trial, ...]
    n_trials: int
    stopped: str
    spent: str = ""

    @property
    def best(self) -> Trial | None:
        """The complete trial that is registered, see `best_trial`."""
        return best_trial(self.trials, self.definition.settings)

    @property
    def front(self) -> list[Trial]:
        """The Pareto front, best objective first; the best trial alone where there is one objective."""
        return front(self.trials, self.definition.settings)

    def counts(self) -> dict[str, int]:
        """Number of trials per state; inherited trials are counted apart, if there are any."""
        counts = dict.fromkeys(("complete", "pruned", "failed", "waiting", "running"), 0)
        for trial in self.trials:
            state = "inherited" if trial.inherited_from else trial.state
            counts[state] = counts.get(state, 0) + 1
        counts["waiting"] += self.n_trials - len(self.trials)  # those that no worker has taken yet
        return counts

    def trial_folder(self, trial: int) -> Path:
        """The folder of a trial's journal, files and model; of an inherited trial, in the study that ran it."""
        origin = next((each.inherited_from for each in self.trials if each.number == trial), None)
        if origin:
            return self.folder.with_name(folder_name(origin["study"], origin["uid"])) / trial_run(origin["trial"])
        return self.folder / trial_run(trial)

    def run_id(self, trial: int) -> str | None:
        """The id of a trial's MLflow run; None before the sender has opened it."""
        return run_id_of(self.trial_folder(trial))
