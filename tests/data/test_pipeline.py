import dataclasses
import itertools
import math
import os
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import warm
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from drsearch.data.augmentation import Augmenter, mixed, pasted
from drsearch.data.pipeline import epoch_order, epoch_size, steps_per_epoch, training_batches
from drsearch.settings import AugmentationSettings, TrainingSettings

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]

LABELS = np.array([0] * 3 + [1] * 8)
OFF = AugmentationSettings(strength=0.0)


def _numbered(n: int) -> NDArray[np.uint8]:
    """Images that tell their index by their value."""
    return np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 8, 8, 3)).copy()


def _batches(
    training: TrainingSettings, augmentation: AugmentationSettings, first_epoch: int, n: int, labels: object = LABELS
) -> list[Batch]:
    labels = np.asarray(labels)
    rng = np.random.default_rng(0)
    images = _numbered(len(labels)) if augmentation is OFF else rng.integers(0, 256, (len(labels), 8, 8, 3), np.uint8)
    dataset = training_batches(images, labels, training, augmentation, first_epoch)
    return list(itertools.islice(dataset.as_numpy_iterator(), n))


@given(
    counts=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 1000),
)
def test_upsampling_evens_the_classes_and_favours_no_image(counts: tuple[int, int], seed: int, epoch: int) -> None:
    labels = np.repeat([0, 1], counts)
    order = epoch_order(labels, seed, epoch, "upsample")
    assert np.bincount(labels[order]).tolist() == [max(counts)] * 2
    assert len(order) == epoch_size(labels, "upsample")
    times = np.bincount(order, minlength=len(labels))
    for label in (0, 1):
        ratio = max(counts) / counts[label]
        assert np.all((times[labels == label] >= int(ratio)) & (times[labels == label] <= int(ratio) + 1))


@given(
    counts=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 1000),
)
def test_balanced_draws_are_as_many_as_the_images_and_favour_no_image_of_a_class(
    counts: tuple[int, int], seed: int, epoch: int
) -> None:
    labels = np.repeat([0, 1], counts)
    order = epoch_order(labels, seed, epoch, "draws")
    assert np.bincount(labels[order]).tolist() == [math.ceil(sum(counts) / 2)] * 2
    assert len(order) == epoch_size(labels, "draws")
    times = np.bincount(order, minlength=len(labels))
    assert all(np.ptp(times[labels == label]) <= 1 for label in (0, 1))


def test_balanced_draws_see_every_image_of_the_larger_class_in_time() -> None:
    seen = {int(index) for epoch in range(20) for index in epoch_order(LABELS, 0, epoch, "draws")}
    assert seen == set(range(11))


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_without_upsampling_every_image_is_seen_once(balance: str) -> None:
    assert sorted(epoch_order(LABELS, 0, 0, balance)) == list(range(11))


def test_a_set_of_one_class_is_seen_once() -> None:
    assert sorted(epoch_order(np.ones(5, np.int64), 0, 0, "upsample")) == list(range(5))


def test_order_and_extra_images_change_with_epoch_and_seed_and_with_nothing_else() -> None:
    first = epoch_order(LABELS, 0, 0, "upsample").tolist()
    assert epoch_order(LABELS, 0, 0, "upsample").tolist() == first
    assert epoch_order(LABELS, 0, 1, "upsample").tolist() != first
    assert epoch_order(LABELS, 1, 0, "upsample").tolist() != first
    remainders = {tuple(np.bincount(epoch_order(LABELS, 0, epoch, "upsample"))[:3]) for epoch in range(20)}
    assert remainders == {(3, 3, 2), (3, 2, 3), (2, 3, 3)}


def test_every_batch_brings_the_label_of_each_image() -> None:
    for images, labels in _batches(TrainingSettings(batch_size=4), OFF, 0, 12):
        assert images.dtype == np.uint8 and images.shape[1:] == (8, 8, 3) and labels.dtype == np.int64
        assert labels.tolist() == LABELS[images[:, 0, 0, 0]].tolist()


def test_no_batch_depends_on_the_number_of_threads_that_change_pictures() -> None:
    one, several = (
        _batches(TrainingSettings(batch_size=4, input_threads=n), AugmentationSettings(), 0, 12) for n in (1, 5)
    )
    for (images, labels), (same_images, same_labels) in zip(one, several, strict=True):
        assert np.array_equal(images, same_images) and np.array_equal(labels, same_labels)


AHEAD = """
import itertools
import numpy as np, tensorflow as tf
from drsearch.data.pipeline import copied_ahead, training_batches
from drsearch.settings import AugmentationSettings, TrainingSettings
(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
images, labels = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), np.uint8), np.arange(11) % 2
make = lambda: training_batches(images, labels, TrainingSettings(batch_size=4), AugmentationSettings(), 3)
for usual, ahead in itertools.islice(zip(make(), copied_ahead(make(), "/CPU:1")), 12):
    assert usual[0].device.endswith("CPU:0") and all(part.device.endswith("CPU:1") for part in ahead), ahead
    assert all(np.array_equal(one, other) for one, other in zip(usual, ahead, strict=True))
print("the same")
"""


def test_batches_that_are_copied_ahead_lie_on_the_device_of_the_steps_and_are_the_same() -> None:
    """The processor in two devices stands for a processor and a GPU."""
    done = warm.run([sys.executable, "-c", AHEAD], os.environ)
    assert done.stdout == "the same\n", done.stderr[-2000:]


def test_augmentation_leaves_the_labels_and_their_order_alone() -> None:
    training = TrainingSettings(batch_size=4)
    plain = np.concatenate([labels for _, labels in _batches(training, OFF, 0, 8)])
    strong = np.concatenate([labels for _, labels in _batches(training, AugmentationSettings(strength=2.0), 0, 8)])
    assert plain.tolist() == strong.tolist()


def test_an_epoch_is_the_order_of_that_epoch_dealt_into_even_batches() -> None:
    training = TrainingSettings(batch_size=5, seed=7)
    batches = _batches(training, OFF, 0, 8)
    assert steps_per_epoch(LABELS, training) == 4
    assert [len(labels) for _, labels in batches] == [4, 4, 4, 4] * 2
    for epoch in (0, 1):
        seen = np.concatenate([images[:, 0, 0, 0] for images, _ in batches[4 * epoch : 4 * epoch + 4]])
        assert seen.tolist() == epoch_order(LABELS, 7, epoch, "upsample").tolist()


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 16, 500])
def test_batches_are_never_larger_than_asked_and_differ_by_one_at_most(batch_size: int) -> None:
    training = TrainingSettings(batch_size=batch_size)
    sizes = [len(labels) for _, labels in _batches(training, OFF, 0, steps_per_epoch(LABELS, training))]
    assert sum(sizes) == 16 and max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1


def test_a_resumed_epoch_brings_the_very_batches_of_the_lost_one() -> None:
    training, augmentation = TrainingSettings(batch_size=4, seed=2), AugmentationSettings()
    lost = _batches(training, augmentation, 0, 12)[8:]
    resumed = _batches(training, augmentation, 2, 4)
    for (lost_images, lost_labels), (images, labels) in zip(lost, resumed, strict=True):
        assert np.array_equal(lost_images, images) and np.array_equal(lost_labels, labels)


def test_changes_differ_between_epochs_and_between_repetitions_of_an_image() -> None:
    labels = np.array([0] + [1] * 8)
    batches = _batches(TrainingSettings(batch_size=16), AugmentationSettings(), 0, 2, labels)
    repeated = [images[some_labels == 0] for images, some_labels in batches]
    assert len({image.tobytes() for image in np.concatenate(repeated)}) == 16


def test_changes_do_not_depend_on_the_batch_size() -> None:
    by_four = _batches(TrainingSettings(batch_size=4), AugmentationSettings(), 0, 4)
    by_sixteen = _batches(TrainingSettings(batch_size=16), AugmentationSettings(), 0, 1)
    assert np.array_equal(np.concatenate([images for images, _ in by_four]), by_sixteen[0][0])


def test_second_targets_go_with_their_images_and_know_how_these_are_changed() -> None:
    images = np.broadcast_to(np.arange(11, dtype=np.uint8)[:, None, None, None] * 20 + 30, (11, 8, 8, 3)).copy()
    augmentation = AugmentationSettings(brightness_fraction=0.1)
    targets = [
        lambda i, change: np.array([i, change.brightness], np.float32),
        lambda i, change: np.full((2, 2), i, np.float32),
    ]
    dataset = training_batches(images, LABELS, TrainingSettings(batch_size=3), augmentation, 0, targets)
    for some_images, labels, pairs, maps in itertools.islice(dataset.as_numpy_iterator(), 8):
        indices = pairs[:, 0].astype(int)
        assert np.array_equal(LABELS[indices], labels)
        changed = 20.0 * indices + 30 + np.round(pairs[:, 1] * 255)
        assert np.array_equal(some_images, np.broadcast_to(changed[:, None, None, None], some_images.shape))
        assert np.array_equal(maps, np.broadcast_to(indices[:, None, None], (len(indices), 2, 2)))


STILL = AugmentationSettings(
    rotation_deg=0, shift_fraction=0, zoom_fraction=0, shear_deg=0, brightness_fraction=0, flip=False, mixup=0.4
)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_mixup_mixes_each_image_and_its_label_with_the_next_of_the_epoch_in_one_share(batch_size: int) -> None:
    training, grey = TrainingSettings(batch_size=batch_size, seed=3), np.arange(11, dtype=np.uint8) * 20
    images = np.broadcast_to(grey[:, None, None, None], (11, 8, 8, 3)).copy()
    batches = list(
        itertools.islice(
            training_batches(images, LABELS, training, STILL, 1).as_numpy_iterator(), steps_per_epoch(LABELS, training)
        )
    )
    levels = np.concatenate([some[:, 0, 0, 0] for some, _ in batches]).astype(float)
    labels = np.concatenate([some for _, some in batches])
    own = epoch_order(LABELS, 3, 1, "upsample")
    others = np.roll(own, -1)
    shares = Augmenter(STILL).shares(np.random.default_rng([3, 1, 3]), 16)
    assert labels.dtype == np.float32 and ((shares >= 0.5) & (shares <= 1)).all() and len(set(shares)) == 16
    np.testing.assert_allclose(labels, shares * LABELS[own] + (1 - shares) * LABELS[others], rtol=1e-6)
    np.testing.assert_allclose(levels, shares * grey[own] + (1 - shares) * grey[others], atol=0.5001)


def test_mixup_leaves_the_other_changes_alone_and_is_off_at_strength_zero() -> None:
    plain, mixing = Augmenter(AugmentationSettings()), Augmenter(AugmentationSettings(mixup=1.0))
    drawn = [list(augmenter.parameters(np.random.default_rng(5), 4)) for augmenter in (plain, mixing)]
    assert drawn[0] == drawn[1]
    off = AugmentationSettings(mixup=1.0, strength=0.0)
    dataset = training_batches(_numbered(11), LABELS, TrainingSettings(), off, 0)
    assert next(dataset.as_numpy_iterator())[1].dtype == np.int64


def test_cutmix_pastes_a_box_of_the_next_image_and_mixes_the_label_by_its_area() -> None:
    cutting = dataclasses.replace(STILL, mixup=0.0, cutmix=1.0)
    training, grey = TrainingSettings(batch_size=4, seed=3), np.arange(1, 12, dtype=np.uint8) * 20
    images = np.broadcast_to(grey[:, None, None, None], (11, 16, 16, 3)).copy()
    targets = [lambda i, change: images[i, ::8, ::8, :1].astype(np.float32), lambda i, change: np.float32([i])]
    dataset = training_batches(images, LABELS, training, cutting, 1, targets)
    batches = list(itertools.islice(dataset.as_numpy_iterator(), steps_per_epoch(LABELS, training)))
    pictures, labels, maps, indices = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    own = epoch_order(LABELS, 3, 1, "upsample")
    others = np.roll(own, -1)
    is_own, is_other = (pictures == grey[order, None, None, None] for order in (own, others))
    assert (is_own | is_other).all()
    pasted_share = np.where(grey[own] == grey[others], 0, 1 - is_own.mean(axis=(1, 2, 3)))
    assert (pasted_share <= 0.57).all() and len(set(pasted_share)) > 5  # half, rounded to whole pixels
    different = grey[own] != grey[others]
    for mixed_values, of_eyes in ((labels, LABELS), (indices[:, 0], np.arange(11))):
        expected = (1 - pasted_share) * of_eyes[own] + pasted_share * of_eyes[others]
        np.testing.assert_allclose(mixed_values[different], expected[different], atol=1e-5)
    cells = pictures[..., :1].astype(float).reshape(len(own), 2, 8, 2, 8, 1).mean(axis=(2, 4))
    np.testing.assert_allclose(maps, cells, atol=1e-3)
    for some in pictures[different]:
        rows, columns = np.nonzero((some != some[0, 0])[..., 0])
        if len(rows) and len({*some[[0, 0, -1, -1], [0, -1, 0, -1], 0]}) == 1:
            assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)  # a box


def test_a_place_of_a_map_is_unknown_where_what_it_shows_is() -> None:
    maps = np.zeros((3, 2, 2, 1), np.float32)
    maps[1] = -1
    half = np.array([[0, 0, 4, 8]] * 2)
    assert pasted(maps, half, 8)[..., 0].tolist() == [[[-1, 0], [-1, 0]], [[0, -1], [0, -1]]]
    assert pasted(np.float32([[0.5], [-1], [1]]), half, 8).tolist() == [[-1], [-1]]


@given(
    st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.floats(0.5, 1), min_size=n, max_size=n))),
    st.integers(0, 2**31),
)
def test_a_mixture_lies_between_both_and_one_with_something_unknown_is_unknown(
    case: tuple[int, list[float]], seed: int
) -> None:
    n, shares = case[0], np.array(case[1], np.float32)
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, (n + 1, 2, 2), np.uint8)
    mixture = mixed(values, shares)
    assert mixture.dtype == np.uint8 and mixture.shape == (n, 2, 2)
    assert (mixture >= np.minimum(values[:-1], values[1:])).all()
    assert (mixture <= np.maximum(values[:-1], values[1:])).all()
    maps = rng.random((n + 1, 2, 2)).astype(np.float32)
    maps[rng.random(n + 1) < 0.3] = -1
    is_unknown = (maps[:-1] < 0) | (maps[1:] < 0)
    assert ((mixed(maps, shares) < 0) == is_unknown).all()


def test_the_images_held_in_memory_are_not_touched() -> None:
    images = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), np.uint8)
    before = images.copy()
    dataset = training_batches(images, LABELS, TrainingSettings(), AugmentationSettings(strength=2.0), 0)
    list(itertools.islice(dataset.as_numpy_iterator(), 8))
    assert np.array_equal(images, before)


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a niceness of its own on Linux alone")
def test_batches_are_made_by_a_thread_that_lets_the_step_go_first() -> None:
    def niceness() -> dict[int, int]:
        found = {}
        for thread in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):  # it has ended meanwhile
                found[int(thread.name)] = os.getpriority(os.PRIO_PROCESS, int(thread.name))
        return found

    before = niceness()
    batches = iter(training_batches(_numbered(11), LABELS, TrainingSettings(batch_size=4), AugmentationSettings(), 0))
    next(batches)
    after = niceness()
    nicer = {thread for thread in after if after[thread] > after[os.getpid()]}
    assert nicer - before.keys()
    assert {thread: n for thread, n in after.items() if thread in before} == {
        thread: n for thread, n in before.items() if thread in after
    }
