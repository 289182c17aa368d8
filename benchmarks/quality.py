"""Does the quality score of real eyes fall when they are spoilt, and what does it cost?

    DRSEARCH_IDRID=~/IDRiD python -m benchmarks.quality

Prints the distribution of every measure on IDRiD's photographs; the score of some of them, spoilt in several ways and
more and more; the largest gain that a further step of spoiling brings any of them; how far the score depends on the
scale of decoding; the share of unseen eyes that a model of n training eyes would call not gradable; and the time that
the measures take of preparing a photograph.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.rounds import idrid
from drsearch.data.decode import read_photograph
from drsearch.data.images import decode_photograph, eye_image, eye_of, quality_of
from drsearch.data.quality import MEASURES, Quality
from drsearch.data.retina import find_retina
from drsearch.errors import PhotographError
from drsearch.serving.gradable import quality_limits
from drsearch.settings import ImageSettings

Picture = NDArray[np.uint8]
SETTINGS = ImageSettings()
QUANTILES = (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=14, help="spoil one photograph in so many")
    options = parser.parse_args()
    files = [path.read_bytes() for path in sorted(idrid().rglob("*.jpg"))]
    qualities = [eye_image(file, SETTINGS).quality for file in files]
    print(f"{len(files)} photographs\n\n| quantile | score | {' | '.join(MEASURES)} |\n|-|-|{'-|' * len(MEASURES)}")
    table = np.array([(quality.score, *quality.values) for quality in qualities])
    for share, row in zip(QUANTILES, np.quantile(table, QUANTILES, axis=0), strict=True):
        print(f"| {share:g} | {' | '.join(f'{value:.2f}' for value in row)} |")
    pictures = [read_photograph(file) for file in files[:: options.every]]
    print(f"\n| {len(pictures)} photographs, spoilt | median score | refused | largest gain | worst |\n|-|-|-|-|-|")
    for name, (spoil, amounts) in WAYS.items():
        before = np.array([_quality(picture).score for picture in pictures])
        for amount in amounts:
            spoilt = [_spoilt(spoil, picture, amount) for picture in pictures]
            scores = np.array([0.0 if quality is None else quality.score for quality in spoilt])
            reasons = [quality.reason for quality in spoilt if quality is not None]
            worst = max(set(reasons), key=reasons.count) if reasons else ""
            gain = max(0.0, float((scores - before).max()))
            print(f"| {name} {amount:g} | {np.median(scores):.2f} | {spoilt.count(None)} | {gain:.2f} | {worst} |")
            before = np.minimum(before, scores)
    spread = [np.ptp([eye_image(file, ImageSettings(image_px=side)).quality.values for side in (64, 256, 512)], axis=0)
              for file in files[:: options.every]]  # fmt: skip
    print(f"\nlargest difference between images of 64, 256 and 512 px: {np.max(spread):.3f}")
    for n in (30, 100, 263):
        shares = [_not_gradable(qualities, n, seed) for seed in range(200)]
        print(f"{n} training eyes, 200 random divisions: {np.mean(shares):.1%} of the other eyes are not gradable")
    _print_cost(files[:: options.every])


def _quality(picture: Picture) -> Quality:
    return quality_of(picture, find_retina(picture))


def _spoilt(spoil: Callable[[Picture, float], Picture], picture: Picture, amount: float) -> Quality | None:
    try:
        return _quality(np.ascontiguousarray(spoil(picture, amount)))
    except PhotographError:
        return None


def _not_gradable(qualities: Sequence[Quality], n: int, seed: int) -> float:
    order = np.random.default_rng(seed).permutation(len(qualities))
    limits = quality_limits([qualities[i] for i in order[:n]])
    return float(np.mean([limits.reason(qualities[i]) is not None for i in order[n:]]))


def _print_cost(files: Sequence[bytes]) -> None:
    decoded = [decode_photograph(file, SETTINGS) for file in files]
    retinas = [find_retina(each.pixels) for each in decoded]
    whole, part = [], []
    for _ in range(5):
        start = time.perf_counter()
        for file in files:
            eye_of(decode_photograph(file, SETTINGS), SETTINGS)
        whole.append(time.perf_counter() - start)
        start = time.perf_counter()
        for each, retina in zip(decoded, retinas, strict=True):
            quality_of(each.pixels, retina)
        part.append(time.perf_counter() - start)
    ms = [1000 * min(times) / len(files) for times in (whole, part)]
    print(f"{ms[1]:.2f} ms of {ms[0]:.2f} ms for a photograph: {ms[1] / ms[0]:.1%}")


def _blurred(picture: Picture, percent: float) -> Picture:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), percent / 100 * picture.shape[1]), np.uint8)


def _lit(picture: Picture, gain: float) -> Picture:
    return np.asarray(np.clip(gain * picture.astype(float), 0, 255), np.uint8)


def _hazed(picture: Picture, veil: float) -> Picture:
    inside = picture.max(axis=2, keepdims=True) > 25
    return np.asarray(np.where(inside, (1 - veil) * picture + veil * np.array([200, 170, 140]), picture), np.uint8)


def _shaded(picture: Picture, share: float) -> Picture:
    place = np.linspace(0, 1, picture.shape[1])[None, :, None]
    return np.asarray(picture * (1 - share / (1 + np.exp(20 * (place - 0.5)))), np.uint8)


def _compressed(picture: Picture, quality: float) -> Picture:
    jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)


def _noisy(picture: Picture, levels: float) -> Picture:
    return np.asarray(np.clip(picture + np.random.default_rng(0).normal(0, levels, picture.shape), 0, 255), np.uint8)


WAYS: dict[str, tuple[Callable[[Picture, float], Picture], tuple[float, ...]]] = {
    "blur, % of the width": (_blurred, (0.1, 0.2, 0.4, 0.6, 1, 2)),
    "less light, times": (_lit, (0.8, 0.6, 0.4, 0.3)),
    "more light, times": (_lit, (1.2, 1.4, 1.6, 2)),
    "haze": (_hazed, (0.2, 0.4, 0.6, 0.8)),
    "left half shaded by": (_shaded, (0.3, 0.6, 0.8, 0.95)),
    "noise, levels": (_noisy, (5, 10, 20, 40)),
    "JPEG of quality": (_compressed, (50, 30, 20, 10)),
}


if __name__ == "__main__":
    main()
