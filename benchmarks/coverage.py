"""How often does a 95 % interval hold the truth where patients have two eyes, by patients and by eyes?

python -m benchmarks.coverage [--sets 1000]

Each test set has patients with two eyes, whose probabilities share a part of their noise; a model's true AUC and
sensitivity are known. Two models of the same quality are compared, too: at 5 %, a right test calls them different in 5
of 100 sets. Prints a table in Markdown.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from drsearch.measure.comparison import delong, mcnemar
from drsearch.measure.scores import scores

STEP, THRESHOLD = 1.0, 0.5
TRUE_AUC, TRUE_SENSITIVITY = float(norm.cdf(STEP / np.sqrt(2))), float(norm.cdf(STEP / 2))
RESAMPLES = 1000

Eyes = NDArray[np.float64]


def two_eyes_each(n: int, shared: float, seed: int) -> tuple[NDArray[np.int64], Eyes, Eyes, NDArray[np.int64]]:
    """Labels, the probabilities of two equally good models, and the patients of two eyes of n patients each.

    Args:
        n: Patients.
        shared: Part of the variance of a model's noise that both eyes have in common, in 0..1.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n), 2)
    ill = rng.random(n) < 0.5
    labels = (ill[patient] ^ (rng.random(2 * n) < 0.15)).astype(np.int64)
    models = []
    for _ in range(2):
        noise = np.sqrt(shared) * rng.normal(size=n)[patient] + np.sqrt(1 - shared) * rng.normal(size=2 * n)
        models.append(1 / (1 + np.exp(STEP / 2 - STEP * labels - noise)))
    return labels, models[0], models[1], patient


def rates(n: int, shared: float, sets: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """The shares of test sets, by patients and by eyes.

    Yields:
        The unit, and the shares in which the intervals of AUC and sensitivity hold the truth, and in which equal models
        are called different by the AUC and by the errors, shape `(4,)`.
    """
    drawn = [two_eyes_each(n, shared, seed) for seed in range(sets)]
    for unit in ("patients", "eyes"):
        counts = np.zeros(4)
        for seed, (labels, one, other, patient) in enumerate(drawn):
            groups = patient if unit == "patients" else None
            found = scores(labels, one, THRESHOLD, RESAMPLES, seed, groups)
            counts += [
                found.auc.low <= TRUE_AUC <= found.auc.high,
                found.sensitivity.low <= TRUE_SENSITIVITY <= found.sensitivity.high,
                delong(labels, one, other, groups).p < 0.05,
                mcnemar(labels, one >= THRESHOLD, other >= THRESHOLD, groups).p < 0.05,
            ]
        yield unit, counts / sets


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage")
    parser.add_argument("--sets", type=int, default=1000, help="test sets per row (default: 1000)")
    sets = parser.parse_args().sets
    print("| patients | noise in common | by | AUC holds | sensitivity holds | AUC differs | errors differ |")
    print("|-|-|-|-|-|-|-|")
    for n in (30, 60, 200):
        for shared in (0.5, 0.9):
            for unit, shares in rates(n, shared, sets):
                cells = " | ".join(f"{100 * share:.1f} %" for share in shares)
                print(f"| {n} | {100 * shared:.0f} % | {unit} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
