"""Names of MLflow metrics that more than one file writes or reads. `docs/tags_and_metrics.md` lists all of them."""

BEST_EPOCH = "best_epoch"
"""The epoch whose weights are saved, from 1."""
BEST_THRESHOLD = "best_threshold"
"""Probability from which an eye is called referable in the scores of the best epoch."""


def best_metric(metric: str) -> str:
    """The name of an epoch's metric at the best epoch.

    Example:
        >>> best_metric("val_auc")
        'best_val_auc'
    """
    return f"best_{metric}"
