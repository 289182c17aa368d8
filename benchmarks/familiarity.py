"""Which pictures does a model answer with a warning? Real eyes, synthetic eyes, and what is no eye.

    DRSEARCH_IDRID=~/IDRiD python -m benchmarks.familiarity --px 256

Divides IDRiD's photographs as `drsearch prepare` does, fits the distance to the training eyes and chooses its limit on
the validation eyes, as registration does. Prints, for each kind of picture, how many pass the check for a retina, how
many of these get a warning, and their median distance. Last, the same for real eyes in random divisions.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from benchmarks.rounds import idrid
from drsearch.data.decode import read_photograph
from drsearch.data.images import eye_image
from drsearch.data.prepare import prepare
from drsearch.data.records import read_eyes, read_test_eyes
from drsearch.data.synthetic import draw_eye
from drsearch.datasets.given import open_dataset
from drsearch.errors import PhotographError
from drsearch.home import Home
from drsearch.measure.familiarity import fit_familiarity
from drsearch.settings import ImageSettings, Settings

Picture = NDArray[np.uint8]
SIZE = 600, 400
N = 30


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--px", type=int, default=256)
    parser.add_argument("--divisions", type=int, default=20)
    options = parser.parse_args()
    settings, data = Settings().replace({"images.image_px": options.px}), idrid()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        records = prepare(open_dataset([data]), settings, home).records
        train, validation = read_eyes(records, "train").images, read_eyes(records, "validation").images
        test = read_test_eyes(records, home, "familiarity")
    familiarity = fit_familiarity(train, validation)
    print(f"| pictures ({options.px} px) | pass as a retina | get a warning | median distance |\n|-|-|-|-|")

    def row(name: str, n_given: int, images: Picture) -> None:
        distances = familiarity.distances(images)
        print(f"| {name} | {len(images)} of {n_given} | {np.sum(distances > 1)} | {np.median(distances):.2f} |")

    row("IDRiD, validation", len(validation), validation)
    row("IDRiD, test", len(test.images), test.images)
    files = {path.stem: path for path in data.rglob("*.jpg")}
    photographs = [read_photograph(files[name].read_bytes(), 400) for name in test.names[:: len(test.names) // N][:N]]
    for name, pictures in kinds(photographs):
        prepared = [_prepared(picture, settings.images) for picture in pictures]
        images = [image for image in prepared if image is not None]
        if images:
            row(name, len(pictures), np.stack(images))
        else:
            print(f"| {name} | 0 of {len(pictures)} | | |")
    eyes = np.concatenate([train, validation, test.images])
    for n_train, n_validation in ((len(train), len(validation)), (100, 25), (30, 10)):
        shares = [_share_beyond(eyes, n_train, n_validation, seed) for seed in range(options.divisions)]
        print(f"{n_train} training and {n_validation} validation eyes, {len(shares)} random divisions: a warning for "
              f"{100 * np.mean(shares):.1f} % of the other eyes, {100 * max(shares):.1f} % at most")  # fmt: skip


def _prepared(picture: Picture, settings: ImageSettings) -> Picture | None:
    try:
        return eye_image(np.ascontiguousarray(picture), settings).image
    except PhotographError:
        return None


def _share_beyond(eyes: Picture, n_train: int, n_validation: int, seed: int) -> float:
    order = np.random.default_rng(seed).permutation(len(eyes))
    train, validation, other = np.split(eyes[order], [n_train, n_train + n_validation])
    return float(np.mean(fit_familiarity(train, validation).distances(other) > 1))


def kinds(photographs: list[Picture]) -> Iterator[tuple[str, list[Picture]]]:
    """Pictures by kind.

    Args:
        photographs: Of real eyes; some kinds are made of them.
    """
    draw = np.random.default_rng(0)
    clouds, scenes = [_clouds(draw) for _ in range(N)], [_scene(draw) for _ in range(N)]
    yield "synthetic eyes", [draw_eye(i % 5, np.random.default_rng(i)).image for i in range(2 * N)]
    yield "cats, drawn, on black", [_cat(draw, 0) for _ in range(N)]
    yield "cats, drawn, on white", [_cat(draw, 255) for _ in range(N)]
    yield "pizzas, drawn", [_pizza(draw) for _ in range(N)]
    yield "plain warm discs", [_disc(draw) for _ in range(N)]
    yield "bar charts", [_chart(draw) for _ in range(N)]
    yield "pages of text", [_text(draw) for _ in range(N)]
    yield "warm clouds (noise)", clouds
    yield "the same through a round mask", [_masked(each) for each in clouds]
    yield "parts of two photographs (a temple, a flower)", scenes
    yield (
        "the same, warmer, through a round mask",
        [_masked((each * [1.0, 0.7, 0.5]).astype(np.uint8)) for each in scenes],
    )
    yield "eyes: the middle ninth", [p[p.shape[0] // 3 : -p.shape[0] // 3, p.shape[1] // 3 : -p.shape[1] // 3]
                                     for p in photographs]  # fmt: skip
    yield "eyes: left half black", [_half(p) for p in photographs]
    yield "eyes: far out of focus", [cv2.GaussianBlur(p, (0, 0), p.shape[0] / 25) for p in photographs]
    yield "eyes: 0.3 of the light", [(0.3 * p).astype(np.uint8) for p in photographs]
    yield "eyes: green and blue swapped", [p[..., [0, 2, 1]] for p in photographs]
    yield "eyes: nearly grey", [np.stack([np.minimum(1.1 * p.mean(2), 255), p.mean(2), p.mean(2)], 2).astype(np.uint8)
                                for p in photographs]  # fmt: skip
    yield "eyes: upside down", [p[::-1] for p in photographs]
    yield "eyes: JPEG of quality 30", [_recoded(p) for p in photographs]


def _cat(draw: np.random.Generator, ground: int) -> Picture:
    (width, height), r = SIZE, int(draw.integers(130, 180))
    x, y = width // 2 + int(draw.integers(-20, 20)), height // 2
    picture = np.full((height, width, 3), ground, np.uint8)
    fur = [int(draw.integers(*level)) for level in ((180, 255), (90, 160), (20, 80))]
    cv2.circle(picture, (x, y), r, fur, cv2.FILLED)
    for side in (-1, 1):
        ear = np.array([(0.9, -0.4), (0.75, -1.1), (0.2, -0.9)]) * r * (side, 1) + (x, y)
        cv2.fillPoly(picture, [ear.astype(np.int32)], fur)
        eye = (x + int(side * 0.4 * r), y - int(0.3 * r))
        cv2.circle(picture, eye, r // 7, (60, 160, 60), cv2.FILLED)
        cv2.ellipse(picture, eye, (r // 20, r // 8), 0, 0, 360, (0, 0, 0), cv2.FILLED)
        for way in (-1, 0, 1):
            ends = (x + int(side * 0.2 * r), y + r // 4), (x + int(side * 0.95 * r), y + r // 4 + way * r // 7)
            cv2.line(picture, *ends, (80, 40, 20), 3)
    return picture


def _pizza(draw: np.random.Generator) -> Picture:
    picture = _disc(draw)
    for _ in range(int(draw.integers(8, 18))):
        at = np.array(SIZE) / 2 + draw.uniform(-100, 100, 2)
        colour = [int(draw.integers(*level)) for level in ((150, 200), (20, 60), (10, 40))]
        cv2.circle(picture, at.astype(int).tolist(), int(draw.integers(10, 25)), colour, cv2.FILLED)
    return picture


def _disc(draw: np.random.Generator) -> Picture:
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    far = np.hypot(x - SIZE[0] / 2, y - SIZE[1] / 2)[..., None] / 190
    light = draw.uniform((150, 60, 10), (250, 130, 70)) * (1 - draw.uniform(0.2, 0.6) * far**2)
    return np.clip((far < 1) * (light + 3 * draw.normal(size=(*far.shape[:2], 3))), 0, 255).astype(np.uint8)


def _chart(draw: np.random.Generator) -> Picture:
    picture = np.full((SIZE[1], SIZE[0], 3), (255, 252, 245), np.uint8)
    for bar in range(6):
        picture[int(draw.integers(50, 330)) : 380, 60 + 85 * bar : 120 + 85 * bar] = draw.integers((150, 40, 20), 255)
    return picture


def _text(draw: np.random.Generator) -> Picture:
    picture = np.full((SIZE[1], SIZE[0], 3), (255, 240, 220), np.uint8)
    for line in range(20):
        letters = "".join(chr(letter) for letter in draw.integers(97, 123, 60))
        cv2.putText(picture, letters, (10, 20 + 19 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (60, 20, 10), 1)
    return picture


def _clouds(draw: np.random.Generator) -> Picture:
    height, width = SIZE[1], SIZE[0]
    frequency = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width)[None] ** 2
    frequency[0, 0] = 1
    planes = []
    for _ in range(3):
        waves = draw.normal(size=frequency.shape) + 1j * draw.normal(size=frequency.shape)
        plane = np.fft.irfft2(waves * frequency**-1.1, s=(height, width))
        planes.append(60 + 190 * (plane - plane.min()) / np.ptp(plane))
    return (np.stack(planes, 2) * (1, 0.6, 0.35)).astype(np.uint8)


def _scene(draw: np.random.Generator) -> Picture:
    picture = load_sample_images().images[int(draw.integers(2))]
    height = int(picture.shape[0] * draw.uniform(0.4, 0.9))
    width = min(picture.shape[1], int(1.4 * height))
    top, left = (int(draw.integers(most + 1)) for most in (picture.shape[0] - height, picture.shape[1] - width))
    return np.asarray(picture[top : top + height, left : left + width])


def _masked(picture: Picture) -> Picture:
    field = cv2.circle(np.zeros((SIZE[1], SIZE[0], 1), np.uint8), (SIZE[0] // 2, SIZE[1] // 2), 195, 1, cv2.FILLED)
    return np.asarray(cv2.resize(picture, SIZE) * field)


def _half(photograph: Picture) -> Picture:
    picture = photograph.copy()
    picture[:, : picture.shape[1] // 2] = 0
    return picture


def _recoded(photograph: Picture) -> Picture:
    jpeg = cv2.imencode(".jpg", photograph[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB))


if __name__ == "__main__":
    main()
