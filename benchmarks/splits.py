"""How well the lesion-blind baseline does under each way of dividing eyes: what it knows of the session.

    python -m benchmarks.splits ~/IDRiD

Each way deals all eyes into five outer folds; the forest of `measure/blind_baseline.py` is fitted on four of them and
judged on the fifth. The AUC is the mean over the folds, because folds differ in their share of referable eyes; the
difference from random folds is of the pooled predictions, paired (DeLong). Last come eyes of a colour that was not
trained on: five groups by k-means of the colours, each judged by a forest of the other four.
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import roc_auc_score

import drsearch
from drsearch.data.records import EyeEntry, Eyes, RecordSet, map_outer_eyes
from drsearch.home import Home
from drsearch.measure.blind_baseline import blind_features, fit_blind_baseline
from drsearch.measure.comparison import delong
from drsearch.settings import DataSettings, SearchSettings
from drsearch.training.outer_folds import outer_fold

FOLDS = 5
_COLOURS = slice(192, None)  # of the features: what is not the picture of 8 x 8


def dealt(entries: tuple[EyeEntry, ...], data: DataSettings, repeat: int) -> NDArray[np.int64]:
    """The outer fold of each eye."""
    fold_of = np.zeros(len(entries), np.int64)
    for fold in range(FOLDS):
        search = SearchSettings(outer_folds=FOLDS, outer_fold=repeat * FOLDS + fold + 1)
        fold_of[outer_fold(entries, data, search).judged] = fold
    return fold_of


def judged(
    features: NDArray[np.float32], labels: NDArray[np.int64], fold_of: NDArray[np.int64]
) -> tuple[NDArray[np.float64], float]:
    """The probability of each eye by the forest of the other folds, and the mean AUC of the folds."""
    probabilities, areas = np.zeros(len(labels)), []
    for fold in np.unique(fold_of):
        held = fold_of == fold
        baseline = fit_blind_baseline(features[~held], labels[~held])
        probabilities[held] = baseline.probabilities(features[held])
        areas.append(roc_auc_score(labels[held], probabilities[held]))
    return probabilities, float(np.mean(areas))


def _prepared(folder: str, way: str) -> tuple[RecordSet, Eyes]:
    data = drsearch.prepare(folder, settings={"data.split": way}, skip_bad=True, progress=False)
    return data.records, map_outer_eyes(data.records, Home.from_environment())


def main() -> None:
    """Print a line per way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of photographs with labels")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    random: dict[str, float] = {}
    for way in ("random", "blocks", "likeness"):
        records, eyes = _prepared(options.data, way)
        entries = records.eyes(*records.outer_splits)
        features, areas, pooled = blind_features(np.asarray(eyes.images)), [], []
        for repeat in range(options.repeats):
            fold_of = dealt(entries, records.data, repeat)
            probabilities, area = judged(features, eyes.labels, fold_of)
            areas.append(area)
            pooled.append(probabilities)
        mean = np.mean(pooled, axis=0)
        shares = [eyes.labels[fold_of == fold].mean() for fold in range(FOLDS)]
        sizes = np.bincount(fold_of)
        beside = ""
        if random:
            others = np.array([random[name] for name in eyes.names])
            beside = f"; minus random, pooled and paired: {delong(eyes.labels, mean, others).difference:+.3f}"
        else:
            random = dict(zip(eyes.names, mean.tolist(), strict=True))
        print(
            f"{way}: AUC {np.mean(areas):.3f} ({', '.join(f'{area:.3f}' for area in areas)}){beside}; last repeat: "
            f"{sizes.min()} to {sizes.max()} eyes per fold, {min(shares):.2f} to {max(shares):.2f} referable",
            flush=True,
        )
    colours = features[:, _COLOURS]
    points = (colours - colours.mean(0)) / colours.std(0)
    _, area = judged(features, eyes.labels, KMeans(FOLDS, n_init=10, random_state=0).fit_predict(points))
    print(f"eyes of a colour that was not trained on: AUC {area:.3f}")


if __name__ == "__main__":
    main()
