"""The folder of a run: its name, and the files and folders in it.

runs/retina-1f2e3d4c/                  a study
    study/                             its own run
    crops/grade-0.jpg ...              some eyes of each grade, for its report
    trial-0003/                        the run of a trial
        journal.jsonl, sent.json ...   what it logs, and how much of that MLflow has: `tracking/`
        owner, owner.lock              the attempt that may write here: `training/run_lock.py`
        settings.gin
        checkpoint/latest.npz, checkpoint/best-000020.npz
        staging/                       files of the end that are not finished
        outcome.json, model.keras      how it ended, and the network of the best epoch
        fold2/                         the `checkpoint/` and `outcome.json` of one fold
        fold2.keras                    its network, until the mean of all is `model.keras`
        registered/                    the companions of a registered model
    refit-0003/, finetune-0003/        runs after the search
    judged-0015/                   the run of a cross-validation: what its 15 folds came to
    mean/model.keras                   the mean of the networks of several trials
    closed-0003-00017/                 a journal that ends the run of an attempt on another machine
"""

from pathlib import Path

STUDY_RUN = "study"

SETTINGS_FILE = "settings.gin"
MODEL_FILE = "model.keras"
OUTCOME_FILE = "outcome.json"
OWNER_FILE = "owner"
OWNER_LOCK = "owner.lock"
CHECKPOINT_FOLDER = "checkpoint"
LATEST_CHECKPOINT = "latest.npz"
BEST_CHECKPOINTS = "best-*.npz"
STAGING_FOLDER = "staging"
MEAN_FOLDER = "mean"
CROPS_FOLDER = "crops"
REGISTERED_FOLDER = "registered"


def trial_run(trial: int) -> str:
    """The name of a trial's folder, and the end of its run's key.

    Example:
        >>> trial_run(3)
        'trial-0003'
    """
    return f"trial-{trial:04d}"


def refit_run(trial: int) -> str:
    """The name of the folder where a trial's setting is refitted, and the end of that run's key."""
    return f"refit-{trial:04d}"


def finetune_run(trial: int) -> str:
    """The name of the folder where a trial's network is fine-tuned, and the end of that run's key."""
    return f"finetune-{trial:04d}"


def judged_run(n_folds: int) -> str:
    """The name of the folder of a cross-validation's own run, and the end of that run's key."""
    return f"judged-{n_folds:04d}"


def judged_runs(study_folder: Path) -> list[Path]:
    """The folders of a cross-validation's own runs, that of the most outer folds last."""
    return sorted(study_folder.glob("judged-*"))


def fold_network(name: str) -> str:
    """The file of the network of one fold or repeat, by the fold's name.

    Example:
        >>> fold_network("repeat1/fold2")
        'repeat1-fold2.keras'
    """
    return f"{name.replace('/', '-')}.keras"


def closed_run(trial: int, attempt: int) -> str:
    """The name of the folder whose journal ends the run of an attempt on another machine."""
    return f"closed-{trial:04d}-{attempt:05d}"


def run_kind(name: str) -> str:
    """The kind of run that a folder name stands for.

    Example:
        >>> run_kind("refit-0003"), run_kind(STUDY_RUN)
        ('refit', 'study')
    """
    return name.partition("-")[0]


def best_checkpoint(epoch: int) -> str:
    """The name of the checkpoint of the best epoch, once a later one is the latest."""
    return f"best-{epoch:06d}.npz"
