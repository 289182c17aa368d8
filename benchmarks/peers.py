"""Twelve trials by KerasTuner's grid, or by Optuna over a plain Keras objective: as their own pages show it.

python -m benchmarks.peers keras_tuner|optuna RECORDS
"""

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path

import keras
import optuna

from benchmarks.spaces.twelve import BATCHES, RATES, SETTINGS
from benchmarks.ways import compiled_as_usual, usual_batches, usual_validation
from drsearch.data.records import RecordSet, open_records
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import ModelSettings

EPOCHS = int(SETTINGS["training.epochs"])


def by_keras_tuner(records: RecordSet) -> int:
    """`GridSearch` with a `HyperModel` whose `fit` chooses the batch size; the number of trials."""
    import keras_tuner

    class Eyes(keras_tuner.HyperModel):
        def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
            rate = hp.Choice("learning_rate", RATES)
            hp.Choice("batch_size", BATCHES)
            return compiled_as_usual(build_resnet(ModelSettings(), records.images.image_px), rate)

        def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, **options: object) -> object:
            return model.fit(usual_batches(records, hp.get("batch_size")), **options)

    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.GridSearch(Eyes(), objective="val_accuracy", directory=folder, project_name="twelve")
        tuner.search(validation_data=usual_validation(records), epochs=EPOCHS, verbose=0)
        return len(tuner.oracle.trials)


def by_optuna(records: RecordSet) -> int:
    """`study.optimize` with `GridSampler` on SQLite; the number of trials."""

    def objective(trial: optuna.Trial) -> float:
        keras.utils.clear_session()
        rate = trial.suggest_categorical("learning_rate", RATES)
        batch = trial.suggest_categorical("batch_size", BATCHES)
        model = compiled_as_usual(build_resnet(ModelSettings(), records.images.image_px), rate)
        validation = usual_validation(records)
        history = model.fit(usual_batches(records, batch), validation_data=validation, epochs=EPOCHS, verbose=0)
        return float(max(history.history["val_accuracy"]))

    with tempfile.TemporaryDirectory() as folder:
        grid = {"learning_rate": RATES, "batch_size": BATCHES}
        sampler = optuna.samplers.GridSampler(grid, seed=0)
        study = optuna.create_study(storage=f"sqlite:///{folder}/s.db", sampler=sampler, direction="maximize")
        study.optimize(objective, n_trials=len(list(itertools.product(RATES, BATCHES))))
        return len(study.trials)


def main() -> None:
    """Print, as JSON, the trials and the seconds from the first to the end of the last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=("keras_tuner", "optuna"))
    parser.add_argument("records", type=Path)
    options = parser.parse_args()
    records = open_records(options.records)
    started = time.perf_counter()
    n = by_keras_tuner(records) if options.peer == "keras_tuner" else by_optuna(records)
    print(json.dumps({"trials": n, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
