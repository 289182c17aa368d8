"""Is a start that a network teaches itself on the training photographs worth anything, beside random weights?

    python -m benchmarks.self_supervised ~/IDRiD [--px 160] [--first 45] [--epochs 45] [--folds 5]

The settings are those of best.gin, smaller. In each outer fold one network starts from random weights; the other first
learns, without labels, that two augmented views of an eye are nearer to each other than to those of any other eye of
the batch (SimCLR: Chen et al. 2020, arXiv:2002.05709). Both then train alike and judge the fold's eyes. Prints a line
per fold, and the paired difference of the pooled answers (DeLong).
"""

import argparse

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import drsearch
from drsearch.config import load
from drsearch.data.augmentation import Augmenter
from drsearch.data.records import Eyes
from drsearch.home import Home
from drsearch.measure.comparison import delong
from drsearch.measure.scores import auc
from drsearch.model.fit import Training, set_seeds, set_threads
from drsearch.model.predictor import Predictor
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import AugmentationSettings, Settings
from drsearch.training.outer_folds import training_eyes

BATCH, TEMPERATURE = 32, 0.2
VIEWS = AugmentationSettings(
    rotation_deg=180, shift_fraction=0.15, zoom_fraction=0.4, shear_deg=10, brightness_fraction=0.2,
    contrast_fraction=0.4,
)  # fmt: skip


def teach_itself(network: keras.Model, images: NDArray[np.uint8], epochs: int, seed: int) -> None:
    """Train all of a network but its classifier to know an eye again.

    Args:
        network: Its last layer is the classifier.
        images: Shape `(n, px, px, 3)`.
        epochs: Passes over the images.
        seed: Of order and views.
    """
    hidden = keras.layers.Dense(64, activation="relu")(network.layers[-1].input)
    projected = keras.Model(network.input, keras.layers.Dense(32)(hidden))
    steps, augmenter = len(images) // BATCH, Augmenter(VIEWS)
    optimizer = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(1e-3, epochs * steps), weight_decay=1e-4)
    optimizer.build(projected.trainable_variables)
    other_view = (tf.range(2 * BATCH) + BATCH) % (2 * BATCH)

    @tf.function(autograph=False)
    def step(views: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            places = tf.math.l2_normalize(projected(tf.cast(views, tf.float32), training=True), axis=1)
            nearness = tf.matmul(places, places, transpose_b=True) / TEMPERATURE - 1e9 * tf.eye(2 * BATCH)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(other_view, nearness))
        optimizer.apply(tape.gradient(loss, projected.trainable_variables), projected.trainable_variables)
        return loss

    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        order, losses = rng.permutation(len(images)), []
        for first in range(0, steps * BATCH, BATCH):
            eyes = np.tile(order[first : first + BATCH], 2)
            views = np.empty((2 * BATCH, *images.shape[1:]), np.uint8)
            for eye, change, into in zip(eyes, augmenter.parameters(rng, 2 * BATCH), views, strict=True):
                augmenter.apply(images[eye], change, into)
            losses.append(float(step(tf.constant(views))))
        if epoch in (0, epochs - 1):
            print(f"  without labels, epoch {epoch + 1}: loss {np.mean(losses):.3f}", flush=True)


def judged(settings: Settings, train: Eyes, held: Eyes, first: int) -> NDArray[np.float64]:
    """The probabilities of the eyes that are kept away.

    Args:
        settings: Of the network and its training.
        train: The eyes that it learns from.
        held: The eyes that are kept away.
        first: Epochs without labels before; 0 for random weights.
    """
    set_seeds(settings.training.seed)
    network = build_resnet(settings.model, settings.images.image_px)
    if first:
        teach_itself(network, train.images, first, settings.training.seed)
    set_seeds(settings.training.seed)
    training = Training(network, train, held, settings)
    for _ in range(settings.training.epochs):
        training.run_epoch()
    return Predictor(training.model, symmetries=8)(held.images)


def main() -> None:
    """Print a line per fold, and the difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of photographs with labels and boxes around lesions")
    parser.add_argument("--px", type=int, default=160)
    parser.add_argument("--first", type=int, default=45, help="epochs without labels")
    parser.add_argument("--epochs", type=int, default=45, help="epochs with labels")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    set_threads(options.threads, options.threads)
    changed = {"images.image_px": options.px, "training.epochs": options.epochs, "training.warmup_epochs": 2}
    settings = load(["best.gin"], changed)
    records = drsearch.prepare(options.data, settings=settings, skip_bad=True, progress=False).records
    labels: list[int] = []
    answers: list[list[float]] = [[], []]
    for fold in range(1, options.folds + 1):
        of_fold = settings.replace(
            {"search.outer_folds": options.folds, "search.outer_fold": fold, "training.seed": fold}
        )
        train, _, held = training_eyes(records, Home.from_environment(), of_fold.search)
        assert held is not None
        each = [judged(of_fold, train, held, first) for first in (0, options.first)]
        areas = [auc(held.labels, probabilities) for probabilities in each]
        print(f"fold {fold}: AUC {areas[0]:.3f} from random weights, {areas[1]:.3f} from its own start", flush=True)
        labels += held.labels.tolist()
        for arm, probabilities in zip(answers, each, strict=True):
            arm += probabilities.tolist()
    difference = delong(labels, answers[1], answers[0]).difference
    right = ((np.array(answers) >= 0.5) == np.array(labels)).mean(axis=1)
    print(f"pooled: own start minus random weights, AUC {difference:+.3f}; accuracy {right[1]:.3f} and {right[0]:.3f}")


if __name__ == "__main__":
    main()
