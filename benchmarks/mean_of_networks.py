"""Do a threshold and a temperature that single networks chose fit the mean of five, of log-odds and of probabilities?

python -m benchmarks.mean_of_networks [--sets 200]

An eye has evidence that all networks see, and each network adds noise of its own, heavy in its tails, an offset, and a
certainty. Each of 330 eyes is answered by the one network that did not train on it: these answers choose both numbers.
They are then applied to 2000 other eyes, answered by one network and by both means. Prints a table in Markdown.
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from drsearch.measure.calibration import fit_temperature, tempered
from drsearch.measure.operating_point import operating_point
from drsearch.measure.scores import auc
from drsearch.model.mean_network import mean_answers

NETWORKS, EYES, OTHERS = 5, 330, 2000
Values = NDArray[np.float64]


def answers(n: int, networks: Values, noise: float, rng: np.random.Generator) -> tuple[NDArray[np.int64], Values]:
    """Labels of n eyes, and the probabilities of networks of these offsets and certainties, shape `(2, networks)`."""
    labels = (rng.random(n) < 0.5).astype(np.int64)
    evidence = 0.9 * (2 * labels - 1) + rng.normal(size=n)
    offsets, certainties = networks[:, :, None]
    own = noise * rng.standard_t(3, size=(networks.shape[1], n))
    return labels, expit(certainties * (evidence + own + offsets))


def judged(labels: NDArray[np.int64], probabilities: Values, threshold: float, temperature: float) -> Values:
    """AUC, sensitivity and specificity, what the best threshold would add to their sum, and cross-entropy, twice.

    The second cross-entropy is that at the best temperature.
    """
    called = probabilities >= threshold
    sensitivity, specificity = called[labels == 1].mean(), (~called[labels == 0]).mean()
    best = operating_point(labels, probabilities)
    losses = []
    for each in (temperature, fit_temperature(labels, probabilities)[0]):
        of_label = np.abs(1 - labels - tempered(probabilities, each))
        losses.append(-np.log(np.clip(of_label, 1e-7, 1)).mean())
    lost = best.sensitivity + best.specificity - sensitivity - specificity
    return np.array([auc(labels, probabilities), sensitivity, specificity, lost, *losses])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mean_of_networks")
    parser.add_argument("--sets", type=int, default=200, help="drawn studies per row (default: 200)")
    sets = parser.parse_args().sets
    print("| noise, certainty | answered by | AUC | sensitivity | specificity | lost by threshold | loss | best loss |")
    print("|-|-|-|-|-|-|-|-|")
    for noise, certainty in ((0.4, 1.0), (0.6, 2.0), (1.0, 4.0)):
        rows: dict[str, list[Values]] = {"one network": [], "mean of log-odds": [], "mean of probabilities": []}
        for seed in range(sets):
            rng = np.random.default_rng(seed)
            networks = np.stack(
                [rng.normal(0, 0.3, NETWORKS), certainty * np.exp(rng.normal(0, 0.4, NETWORKS))]
            )  # offsets and certainties
            labels, each = answers(EYES, networks, noise, rng)
            held_out = each[np.arange(EYES) % NETWORKS, np.arange(EYES)]
            chosen = operating_point(labels, held_out).threshold, fit_temperature(labels, held_out)[0]
            labels, each = answers(OTHERS, networks, noise, rng)
            for name, mean in zip(rows, (each[0], mean_answers(each), each.mean(axis=0)), strict=True):
                rows[name].append(judged(labels, mean, *chosen))
        for name, drawn in rows.items():
            cells = " | ".join(f"{value:.3f}" for value in np.mean(drawn, axis=0))
            print(f"| {noise}, {certainty} | {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
