"""How far do borders of the retina move when real eyes are put into other surrounds?

    DRSEARCH_IDRID=~/IDRiD python -m benchmarks.borders --every 4

Changes what surrounds each photograph's retina, its light, or what of it the photograph shows; compresses it again
(JPEG, quality 92); and compares its borders with those of the unchanged photograph. Prints, for each change, how many
photographs are refused, in how many a border moves by more than 1 % of the photograph's width or height, and the
largest move.
"""

import argparse
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.rounds import idrid
from drsearch.data.decode import read_photograph
from drsearch.data.retina import Retina, check_whole, find_retina, retina_mask
from drsearch.errors import PhotographError

Picture = NDArray[np.uint8]
Change = tuple[str, Picture, tuple[int, int]]
RED, WHITE = (230, 20, 20), (255, 255, 255)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=4, help="use one photograph in so many")
    options = parser.parse_args()
    moves: dict[str, list[float | None]] = {}
    for path in sorted(idrid().rglob("*.jpg"))[:: options.every]:
        eye = np.ascontiguousarray(read_photograph(path.read_bytes(), 400))
        clean = find_retina(eye)
        for name, picture, offset in changes(eye, clean):
            moves.setdefault(name, []).append(move(eye, clean, picture, offset))
    print("change                          photographs  refused  beyond 1 %  largest move, %")
    for name, of_all in moves.items():
        read = [one for one in of_all if one is not None]
        beyond, largest = sum(one > 0.01 for one in read), 100 * max(read, default=0.0)
        print(f"{name:31} {len(of_all):11} {len(of_all) - len(read):8} {beyond:11} {largest:16.2f}")


def move(eye: Picture, clean: Retina, changed: Picture, offset: tuple[int, int]) -> float | None:
    """The largest move of a border, as a share of the photograph's width or height; None where it is refused."""
    jpeg = cv2.imencode(".jpg", changed[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    (height, width), (tall, wide), (down, right) = eye.shape[:2], changed.shape[:2], offset
    try:
        found = find_retina(read_photograph(jpeg))
        check_whole(found, 10 * tall, 10 * wide)
    except PhotographError:
        return None
    across = [(at * wide, min(max(was * width + right, 0), wide))
              for at, was in ((found.left, clean.left), (found.right, clean.right))]  # fmt: skip
    along = [(at * tall, min(max(was * height + down, 0), tall))
             for at, was in ((found.top, clean.top), (found.bottom, clean.bottom))]  # fmt: skip
    return max([abs(at - was) / width for at, was in across] + [abs(at - was) / height for at, was in along])


def changes(eye: Picture, clean: Retina) -> Iterator[Change]:
    """Each with its name, and where in it the first pixel of the photograph lies: row and column."""
    height, width = eye.shape[:2]
    left, right = round(clean.left * width), round(clean.right * width)
    more, random, here = width - height, np.random.default_rng(0), (0, 0)

    def noise(shape: tuple[int, ...], mean: float, spread: float) -> NDArray[np.float64]:
        return np.abs(random.normal(mean, spread, shape))

    for name, colour in (("white", WHITE), ("grey", (128,) * 3), ("blue", (40, 60, 140))):
        yield f"{name} surround", around(eye, np.array(colour)), here
    for mean, spread in ((4, 4), (12, 8), (20, 15)):
        yield f"noise of {mean} +- {spread} around it", around(eye, noise(eye.shape, mean, spread)), here
    yield "uneven background, 0 to 30", around(eye, np.linspace(0, 30, width)[None, :, None]), here
    away = cv2.distanceTransform((~retina_mask(eye)).astype(np.uint8), cv2.DIST_L2, 5)
    for levels in (20, 40):
        yield f"glow of {levels} levels", around(eye, (levels * np.exp(-away / (0.02 * width)))[..., None]), here
    rows, columns = np.mgrid[:height, :width]
    flare = np.clip(90 - 300 * np.hypot(rows, columns) / height, 0, 90)[..., None] * [1, 0.8, 0.7]
    yield "stray light in a corner", around(eye, flare), here
    yield "red text", lettered(eye, RED), here
    yield "white text", lettered(eye, WHITE), here
    marked = eye.copy()
    cv2.fillPoly(marked, [np.array([(right - 6, height // 2 - height // 40), (right + height // 25, height // 2),
                                    (right - 6, height // 2 + height // 40)])], (200, 200, 200))  # fmt: skip
    yield "triangle at the border", marked, here
    marked = eye.copy()
    cv2.rectangle(marked, (right - 4, height // 2 - height // 30), (right + height // 18, height // 2 + height // 30),
                  (160, 90, 50), cv2.FILLED)  # fmt: skip
    yield "tab at the border", marked, here
    for times in (0.1, 0.2, 0.3, 1.3, 1.6, 2.0):
        yield f"light x {times}", lit(eye, times), here
    yield "light x 0.3, red text", lettered(lit(eye, 0.3), RED), here
    yield "light x 0.3, noise of 8 +- 6", around(lit(eye, 0.3), noise(eye.shape, 8, 6)), here
    yield "light x 1.3, white surround", around(lit(eye, 1.3), np.array(WHITE)), here
    yield "square black frame", padded(eye, more // 2, 0), (more // 2, 0)
    noisy = padded(eye, more // 2, 0)
    yield "square frame of noise", np.maximum(noisy, noise(noisy.shape, 6, 5).astype(np.uint8)), (more // 2, 0)
    yield "square, white surround", padded(around(eye, np.array(WHITE)), more // 2, 0, WHITE), (more // 2, 0)
    yield "portrait", padded(eye, more, 0), (more, 0)
    yield "portrait, light x 0.3", padded(lit(eye, 0.3), more, 0), (more, 0)
    white = padded(around(eye, np.array(WHITE)), more, 0, WHITE)
    yield "portrait, white, red text", lettered(white, RED), (more, 0)
    wide = padded(eye, height // 3, width // 3)
    yield "wide black frame, red text", lettered(wide, RED), (height // 3, width // 3)
    for name, (top, bottom, first, last) in {
        "touching left and right": (0, height, left, right), "cut left": (0, height, left + width // 8, width),
        "cut right": (0, height, 0, right - width // 20),
        "cut left and right": (0, height, left + width // 20, right - width // 20),
        "cut above": (height // 10, height, 0, width), "cut below": (0, height - height // 6, 0, width),
        "cut on three sides": (height // 12, height - height // 12, left + width // 20, width),
    }.items():  # fmt: skip
        yield name, np.ascontiguousarray(eye[top:bottom, first:last]), (-top, -first)


def around(eye: Picture, colour: NDArray[np.generic]) -> Picture:
    """The retina in another surround."""
    inside = cv2.GaussianBlur(retina_mask(eye).astype(np.float32), (0, 0), 1.0)[..., None]
    return np.clip(eye * inside + colour * (1 - inside), 0, 255).astype(np.uint8)


def lit(eye: Picture, times: float) -> Picture:
    """With so many times the light."""
    return np.clip(times * eye.astype(float), 0, 255).astype(np.uint8)


def padded(eye: Picture, rows: int, columns: int, colour: tuple[int, int, int] = (0, 0, 0)) -> Picture:
    """With so many pixels more on both sides."""
    frame = (rows, rows, columns, columns)
    return np.asarray(cv2.copyMakeBorder(eye, *frame, cv2.BORDER_CONSTANT, value=colour), np.uint8)


def lettered(eye: Picture, colour: tuple[int, int, int]) -> Picture:
    """With text in all corners."""
    picture, (height, width) = eye.copy(), eye.shape[:2]
    scale = min(height, width) / 712
    places = ((0.01, 0.05), (0.85, 0.05), (0.85, 0.97), (0.01, 0.94))
    for text, (x, y) in zip(("OD 2026", "4711 R", "14:03", "f 45"), places, strict=True):
        at = (int(x * width), int(y * height))
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.9 * scale, colour, max(1, int(2 * scale)))
    return picture


if __name__ == "__main__":
    main()
