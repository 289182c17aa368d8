"""Draws a folder of synthetic fundus photographs, with the lesions that make an eye referable.

The photographs imitate those of IDRiD: a round retina, cut at top and bottom, on a black or dimly lit surround, with
optic disc, branching vessels, macula and uneven light. Colour, brightness, sharpness, haze and the side of the disc
vary in every grade alike, so that only the lesions tell the classes apart.
"""

import contextlib
import csv
import dataclasses
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from drsearch.errors import DataError
from drsearch.grades import GRADES

GRADE_SHARES = (0.32, 0.05, 0.33, 0.18, 0.12)
"""Share of each grade: that of IDRiD's 413 training photographs, rounded."""

MACULAR_EDEMA_NEAR = 0.30
"""An exudate within one disc diameter of the macula, in retina radii, makes the risk of macular edema 2."""

_PLAINNESS = (0.5, 1.0)  # of the eyes of a folder: the lesions of some are few and faint, and easily missed
_JPEG_QUALITY = 92
_SMALLEST_PX = 64
_WIDEST = 2  # heights: a wider photograph shows a strip of retina too narrow for lesions
_SUBPIXEL_BITS = 4
_NOISE_SHIFT = 1009  # the channels share one field of noise, shifted: drawing three costs a tenth of an eye
_SUPERSAMPLE = 2  # masks are painted twice as large: thin vessels keep widths between whole pixels

_Points = NDArray[np.float64]  # (n, 2): x to the right and y down from the retina's centre, in retina radii
_Plane = NDArray[np.float32]  # (height, width)
_Planes = NDArray[np.float32]  # (3, height, width), red first: a channel in one piece of memory paints twice as fast


@dataclass(frozen=True)
class LesionBox:
    """A box around one lesion or the optic disc.

    Attributes:
        lesion: `optic_disc`, `hard_exudate` or `haemorrhage_or_microaneurysm`.
        cx: Centre, fraction of the photograph's width.
        cy: Centre, fraction of the height.
        w: Width, fraction of the photograph's width.
        h: Height, fraction of the photograph's height.
    """

    lesion: str
    cx: float
    cy: float
    w: float
    h: float


@dataclass(frozen=True)
class SyntheticEye:
    """One drawn eye.

    Attributes:
        image: Photograph, RGB, uint8, shape `(height, width, 3)`.
        boxes: The optic disc and, in a referable eye, its lesions. The few microaneurysms of grade 1 get no box, as in
            IDRiD.
        edema_risk: Risk of macular edema: 0 without hard exudates, 2 with one near the macula, else 1.
    """

    image: NDArray[np.uint8]
    boxes: tuple[LesionBox, ...]
    edema_risk: int


def synthesize(
    out: Path,
    n_images: int,
    seed: int,
    *,
    image_px: tuple[int, int] = (536, 356),
    on_photograph: Callable[[int, int], None] | None = None,
) -> tuple[int, ...]:
    """Draw a folder of labelled eyes in the flat layout.

    Writes `images/train/SYN_001.jpg` and so on, `labels/lesion_boxes_train.csv` and `labels/train.csv`. All of it
    appears at the end: it is drawn in a hidden folder inside `out`, which is removed if drawing is interrupted.

    Args:
        out: New folder, or one that is empty.
        n_images: Number of eyes; both classes are present from 2 on.
        seed: The same seed draws the same bytes.
        image_px: Width and height of a photograph, pixels.
        on_photograph: Called with the number of photographs that are drawn and that of all.

    Returns:
        The grade of every eye, in the order of the names.

    Raises:
        DataError: If `out` holds anything or is no folder, or if a number makes no photograph.
    """
    check_request(out, n_images, seed, image_px)
    grades = _draw_grades(n_images, np.random.default_rng([seed, 0]))
    names = photograph_names(n_images)
    with filled_at_once(out) as drawing:
        photographs, labels = drawing / "images" / "train", drawing / "labels"
        photographs.mkdir(parents=True)
        labels.mkdir()
        eyes = []
        for number, (name, grade) in enumerate(zip(names, grades, strict=True), start=1):
            rng = np.random.default_rng([seed, number])
            eye = draw_eye(grade, rng, image_px=image_px, plainness=float(rng.spawn(1)[0].uniform(*_PLAINNESS)))
            write_photograph(photographs / f"{name}.jpg", eye.image)
            eyes.append((name, grade, eye.edema_risk, eye.boxes))
            if on_photograph is not None:
                on_photograph(number, n_images)
        _write_boxes(labels / "lesion_boxes_train.csv", [(name, boxes) for name, _, _, boxes in eyes])
        _write_labels(labels / "train.csv", [(name, grade, risk) for name, grade, risk, _ in eyes])
    return grades


@contextlib.contextmanager
def filled_at_once(out: Path) -> Iterator[Path]:
    """A hidden folder inside `out`, whose content moves to `out` at the end, or is removed after an error.

    Raises:
        DataError: If something else was put into `out` meanwhile.
    """
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    drawing = Path(tempfile.mkdtemp(prefix=".drawing-", dir=out))
    try:
        yield drawing
        if len(list(out.iterdir())) > 1:
            raise DataError(f"{out}: something was put there meanwhile; name another folder.")
        for entry in sorted(drawing.iterdir()):
            entry.rename(out / entry.name)
    finally:
        shutil.rmtree(drawing, ignore_errors=True)
        if is_new:
            with contextlib.suppress(OSError):  # it holds the eyes
                out.rmdir()


def photograph_names(n_images: int) -> tuple[str, ...]:
    """The names `SYN_001` and on, with as many digits as the last number needs, so that they sort as they count."""
    digits = max(3, len(str(n_images)))
    return tuple(f"SYN_{number:0{digits}d}" for number in range(1, n_images + 1))


def draw_eye(
    grade: int,
    rng: np.random.Generator,
    *,
    image_px: tuple[int, int] = (536, 356),
    side: Literal["left", "right"] | None = None,
    edema_risk: int | None = None,
    colours: np.random.Generator | None = None,
    plainness: float = 1.0,
) -> SyntheticEye:
    """Draw one eye.

    Args:
        grade: Retinopathy grade, 0 to 4. It sets number and size of lesions and nothing else.
        rng: Source of everything that is not the grade.
        image_px: Width and height, pixels.
        side: Which eye; by chance without it. The disc of a right eye lies to the right of its macula.
        edema_risk: Risk of macular edema that the exudates are to have; by chance without it. It must go with the
            grade: 0 below 2, 1 or 2 from there on.
        colours: Source of colour, light and sharpness instead of `rng`: one for both eyes of a person.
        plainness: Share of the lesions' number and contrast that is drawn; a referable eye keeps one of each kind.

    Returns:
        The photograph, with the boxes of its lesions.

    Raises:
        DataError: If a photograph of that size has no room for a retina.
    """
    _check_size(image_px)
    frame = _draw_frame(rng, image_px)
    anatomy = _draw_anatomy(rng, frame, side)
    # Lesions draw from a generator of their own: eyes of one seed and two grades differ in lesions only.
    severity = _SEVERITY[grade].times(plainness)
    lesions = _draw_lesions(severity, rng.spawn(1)[0], anatomy)
    while edema_risk not in (None, lesions.edema_risk):
        lesions = _draw_lesions(severity, rng.spawn(1)[0], anatomy)
    look = _draw_look(colours or rng)
    look = dataclasses.replace(look, lesion_contrast=look.lesion_contrast * plainness)
    image = _paint(rng, frame, anatomy, lesions, look)
    boxes = (
        frame.box("optic_disc", anatomy.disc_outline),
        *(frame.box(lesion, shape) for lesion, shape in lesions.boxed),
    )
    return SyntheticEye(image, tuple(box for box in boxes if box.w > 0 and box.h > 0), lesions.edema_risk)


def check_request(out: Path, n_images: int, seed: int, image_px: tuple[int, int]) -> None:
    """Refuse to draw into a folder that holds something, or numbers that make no photograph.

    Raises:
        DataError: With the reason.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: already holds something; name a folder that is empty or not there yet.")
    if n_images < 1:
        raise DataError(f"{n_images} synthetic eyes were asked for; ask for at least 1.")
    if seed < 0:
        raise DataError(f"The seed of synthetic eyes is {seed}; take 0 or more.")
    _check_size(image_px)


def _check_size(image_px: tuple[int, int]) -> None:
    width, height = image_px
    if min(image_px) < _SMALLEST_PX or width > _WIDEST * height:
        raise DataError(
            f"Synthetic eyes of {width} x {height} pixels were asked for; take at least {_SMALLEST_PX} a side "
            f"and a width of at most {_WIDEST} heights."
        )


def _draw_grades(n_images: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Grades in the shares of `GRADE_SHARES` by largest remainder, shuffled."""
    wanted = np.array(GRADE_SHARES) * n_images
    counts = np.floor(wanted).astype(int)
    largest_remainder = np.argsort(counts - wanted, kind="stable")
    counts[largest_remainder[: n_images - counts.sum()]] += 1
    return tuple(int(grade) for grade in rng.permutation(np.repeat(GRADES, counts)))


def write_photograph(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB or grey picture in the format of the file's ending."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix.lower().startswith(".j") else []
    encoded, data = cv2.imencode(path.suffix, image[..., ::-1] if image.ndim == 3 else image, quality)
    assert encoded
    path.write_bytes(data.tobytes())  # not cv2.imwrite: it returns False on a full disk


def _write_boxes(path: Path, eyes: Sequence[tuple[str, Sequence[LesionBox]]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "lesion", "cx", "cy", "w", "h"])
        for name, boxes in eyes:
            for box in boxes:
                writer.writerow([name, box.lesion, *(f"{value:.6f}" for value in (box.cx, box.cy, box.w, box.h))])


def _write_labels(path: Path, eyes: Sequence[tuple[str, int, int]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["Image name", "Retinopathy grade", "Risk of macular edema"])
        writer.writerows(eyes)


# Where things are ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Frame:
    """The retina in the photograph: pixels."""

    width: int
    height: int
    cx: float
    cy: float
    radius: float

    def to_pixels(self, points: _Points) -> _Points:
        return points * self.radius + (self.cx, self.cy)

    def box(self, lesion: str, shape: _Points) -> LesionBox:
        size = np.array([self.width, self.height])
        low, high = (np.clip(self.to_pixels(edge) / size, 0.0, 1.0) for edge in (shape.min(0), shape.max(0)))
        (cx, cy), (w, h) = (low + high) / 2, high - low
        return LesionBox(lesion, float(cx), float(cy), float(w), float(h))

    def axes(self) -> tuple[_Plane, _Plane]:
        """The positions of the pixels' centres in retina radii: `x` of shape (1, width), `y` of shape (height, 1)."""
        x = (np.arange(self.width)[None, :] - self.cx) / self.radius
        y = (np.arange(self.height)[:, None] - self.cy) / self.radius
        return x.astype(np.float32), y.astype(np.float32)


def _draw_frame(rng: np.random.Generator, image_px: tuple[int, int]) -> _Frame:
    width, height = image_px
    # As IDRiD's camera frames it: left border at 6.5 % of the width, right border at 86 %, cut at top and bottom.
    return _Frame(
        width,
        height,
        cx=width * (0.463 + rng.uniform(-0.006, 0.006)),
        cy=height * (0.5 + rng.uniform(-0.01, 0.01)),
        radius=width * (0.398 + rng.uniform(-0.004, 0.004)),
    )


@dataclass(frozen=True)
class _Vessel:
    points: _Points
    widths: NDArray[np.float64]  # (n,), retina radii
    vein: bool


@dataclass(frozen=True)
class _Anatomy:
    disc: _Points  # (2,)
    disc_radii: tuple[float, float]
    macula: _Points  # (2,)
    temporal: int  # +1: the macula lies to the right of the disc
    vessels: tuple[_Vessel, ...]
    top: float  # the retina is seen from -top to top
    disc_outline: _Points


def _draw_anatomy(rng: np.random.Generator, frame: _Frame, side: Literal["left", "right"] | None) -> _Anatomy:
    by_chance = int(rng.choice([-1, 1]))  # drawn in any case, so that the rest is the same eye
    temporal = by_chance if side is None else 1 if side == "left" else -1
    disc = np.array([-temporal * rng.uniform(0.42, 0.78), rng.uniform(-0.14, 0.14)])
    radii = (rng.uniform(0.135, 0.165), rng.uniform(0.15, 0.185))
    macula = disc + (temporal * rng.uniform(0.78, 0.92), rng.uniform(0.02, 0.14))
    vessels = tuple(_draw_vessels(rng, disc, temporal))
    outline = disc + np.array([[-radii[0], -radii[1]], [radii[0], radii[1]]])
    return _Anatomy(disc, radii, macula, temporal, vessels, frame.height / 2 / frame.radius, outline)


def _draw_vessels(rng: np.random.Generator, disc: _Points, temporal: int) -> Iterator[_Vessel]:
    """Four arcades, each a vein and an artery, leave the disc upwards and downwards and bend away."""
    for upward in (-1, 1):
        for start_deg, end_deg, length, share, depth in ((82, -4, 1.75, 1.0, 2), (118, 150, 0.9, 0.75, 1)):
            for vein in (True, False):
                start = start_deg + rng.normal(0, 9)
                end = end_deg + rng.normal(0, 9)
                width = share * rng.uniform(0.021, 0.028) * (1.0 if vein else 0.75)
                origin = disc + rng.normal(0, 0.018, 2)
                for points, widths in _grow(rng, origin, start, end, length * rng.uniform(0.85, 1.1), width, depth):
                    turned = disc + (points - disc) * (temporal, upward)
                    yield _Vessel(turned, widths, vein)


def _grow(
    rng: np.random.Generator, start: _Points, start_deg: float, end_deg: float, length: float, width: float, depth: int
) -> Iterator[tuple[_Points, NDArray[np.float64]]]:
    """A vessel and its branches; it bends from its first heading to its last within 0.45 radii."""
    way = np.linspace(0.0, length, max(4, int(length / 0.03)))
    step = way[1]
    wander = np.cumsum(rng.normal(0, 4.5 - depth, way.size))
    heading = np.deg2rad(end_deg + (start_deg - end_deg) * np.exp(-way / 0.45) + wander)
    points = start + np.cumsum(step * np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
    widths = width * (1.0 - 0.6 * way / length)
    yield points, widths
    if depth == 0:
        return
    side = int(rng.choice([-1, 1]))
    for at in np.sort(rng.uniform(0.15, 0.95, rng.integers(2 + depth, 4 + depth))):
        node = int(at * (way.size - 1))
        side = -side
        leaves_deg = math.degrees(heading[node]) + side * rng.uniform(30, 60)
        turns_deg = leaves_deg - side * rng.uniform(0, 30)
        reach = rng.uniform(0.35, 0.65) * length * (1.1 - 0.6 * at)
        yield from _grow(rng, points[node], leaves_deg, turns_deg, reach, 0.62 * widths[node], depth - 1)


# Lesions ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lesions:
    exudates: tuple[_Points, ...]  # closed outlines
    haemorrhages: tuple[_Points, ...]
    boxed: tuple[tuple[str, _Points], ...]
    edema_risk: int


@dataclass(frozen=True)
class _Severity:
    """How much of what a grade shows; counts from the first to the second number, both included."""

    microaneurysms: tuple[int, int]
    haemorrhages: tuple[int, int]
    haemorrhage_radius: tuple[float, float]  # retina radii
    exudate_clusters: tuple[int, int]
    exudates_a_cluster: tuple[int, int]
    large_haemorrhage: float  # probability

    def times(self, share: float) -> "_Severity":
        """A share of these numbers of lesions; of each kind at least one where there is any."""

        def fewer(limits: tuple[int, int]) -> tuple[int, int]:
            low, high = (min(n, max(1, round(share * n))) for n in limits)
            return low, high

        return dataclasses.replace(
            self,
            microaneurysms=fewer(self.microaneurysms),
            haemorrhages=fewer(self.haemorrhages),
            exudate_clusters=fewer(self.exudate_clusters),
            exudates_a_cluster=fewer(self.exudates_a_cluster),
            large_haemorrhage=share * self.large_haemorrhage,
        )


_SEVERITY = {
    0: _Severity((0, 0), (0, 0), (0.0, 0.0), (0, 0), (0, 0), 0.0),
    1: _Severity((1, 4), (0, 0), (0.0, 0.0), (0, 0), (0, 0), 0.0),
    2: _Severity((3, 10), (4, 8), (0.020, 0.042), (2, 4), (6, 18), 0.0),
    3: _Severity((6, 16), (7, 13), (0.020, 0.050), (3, 6), (8, 26), 0.1),
    4: _Severity((6, 16), (8, 15), (0.022, 0.055), (3, 7), (8, 30), 0.6),
}


def _draw_lesions(severity: _Severity, rng: np.random.Generator, anatomy: _Anatomy) -> _Lesions:
    tiny = [
        _blot(rng, _somewhere(rng, anatomy, 0.5), rng.uniform(0.005, 0.009))
        for _ in range(_count(rng, severity.microaneurysms))
    ]
    bleeds = [_haemorrhage(rng, anatomy, severity) for _ in range(_count(rng, severity.haemorrhages))]
    if rng.uniform() < severity.large_haemorrhage:
        bleeds.append(_blot(rng, _somewhere(rng, anatomy, 0.5), rng.uniform(0.09, 0.16)))
    clusters = [
        _exudate_cluster(rng, anatomy, _count(rng, severity.exudates_a_cluster))
        for _ in range(_count(rng, severity.exudate_clusters))
    ]
    exudates = [shape for cluster in clusters for shape in cluster]
    boxed = [("haemorrhage_or_microaneurysm", shape) for shape in bleeds]
    boxed += [("hard_exudate", np.concatenate(cluster)) for cluster in clusters]
    return _Lesions(tuple(exudates), tuple(tiny + bleeds), tuple(boxed), _edema_risk(exudates, anatomy))


def _count(rng: np.random.Generator, limits: tuple[int, int]) -> int:
    return int(rng.integers(limits[0], limits[1], endpoint=True))


def _somewhere(rng: np.random.Generator, anatomy: _Anatomy, spread: float) -> _Points:
    """A place round the macula that is on the visible retina and off the disc."""
    while True:
        place = anatomy.macula * 0.6 + rng.normal(0, spread, 2)
        seen = math.hypot(*place) < 0.82 and abs(place[1]) < anatomy.top - 0.1
        if seen and math.hypot(*(place - anatomy.disc)) > 0.27:
            return np.asarray(place)


def _blot(
    rng: np.random.Generator, place: _Points, radius: float, *, stretch: float = 1.0, turn: float = 0.0
) -> _Points:
    """An irregular round outline, `stretch` times as long as wide, its length turned by `turn` radians."""
    outline: _Points = _blots(rng, np.zeros((1, 2)), np.array([radius]))[0] * (
        math.sqrt(stretch),
        1 / math.sqrt(stretch),
    )
    cos, sin = math.cos(turn), math.sin(turn)
    turned: _Points = place + outline @ np.array([[cos, sin], [-sin, cos]])
    return turned


def _blots(rng: np.random.Generator, places: _Points, radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """Irregular round outlines, shape `(n, 20, 2)`."""
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    heights, phases = rng.normal(0, 0.11, (4, len(places), 1)), rng.uniform(0, 2 * np.pi, (4, len(places), 1))
    waves = np.cos(np.arange(2, 6)[:, None, None] * angle + phases)
    ragged = radii[:, None] * np.clip(1 + (heights * waves).sum(0), 0.5, 1.5)
    outlines: NDArray[np.float64] = places[:, None, :] + np.stack(
        [ragged * np.cos(angle), ragged * np.sin(angle)], axis=2
    )
    return outlines


def _haemorrhage(rng: np.random.Generator, anatomy: _Anatomy, severity: _Severity) -> _Points:
    """A blot, or one time in three a flame along the nerve fibres, which run to the disc."""
    place = _somewhere(rng, anatomy, 0.45)
    radius = rng.uniform(*severity.haemorrhage_radius)
    if rng.uniform() < 1 / 3:
        to_disc = anatomy.disc - place
        return _blot(rng, place, radius, stretch=rng.uniform(2.5, 4.0), turn=math.atan2(to_disc[1], to_disc[0]))
    return _blot(rng, place, radius, stretch=rng.uniform(1.0, 1.6), turn=rng.uniform(0, np.pi))


def _exudate_cluster(rng: np.random.Generator, anatomy: _Anatomy, n: int) -> list[_Points]:
    """Small sharp spots close together, one time in three on a ring, some grown into one."""
    centre = _somewhere(rng, anatomy, 0.32)
    spread = rng.uniform(0.025, 0.06)
    if rng.uniform() < 1 / 3:
        angle = rng.uniform(0, 1.6 * np.pi) + rng.uniform(0, 1.2 * np.pi, n)
        radius = 1.6 * spread * (1 + rng.normal(0, 0.12, n))
        places = centre + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    else:
        places = centre + rng.normal(0, spread, (n, 2))
    radii = np.clip(rng.lognormal(math.log(0.0115), 0.4, n), 0.005, 0.026)
    return list(_blots(rng, places, radii))


def _edema_risk(exudates: Sequence[_Points], anatomy: _Anatomy) -> int:
    if not exudates:
        return 0
    nearest = min(float(np.hypot(*(shape - anatomy.macula).T).min()) for shape in exudates)
    return 2 if nearest < MACULAR_EDEMA_NEAR else 1


# Light and colour ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Look:
    """What differs between photographs whatever the grade."""

    colour: NDArray[np.float32]  # (3,), of the lit retina, 0..255
    slope: tuple[float, float]  # of the light, a radius to the right and down
    falloff: float  # share of the light lost at the rim
    rim_glow: float  # pale crescent at the rim
    glow_towards: float  # radians
    haze: float
    blur_radii: float
    noise: float  # of 255
    surround: float  # of 255
    halo: float  # of 255
    macula_contrast: float
    vessel_contrast: float
    lesion_contrast: float
    exudate_colour: NDArray[np.float32]  # (3,)
    texture: float
    drusen: int
    dust: int


def _draw_look(rng: np.random.Generator) -> _Look:
    red = rng.uniform(135, 222)
    green_share = rng.uniform(0.40, 0.60)
    blue_share = rng.uniform(0.02, 0.16) + max(0.0, green_share - 0.48)  # paler fundi are bluer too
    colour = np.array([red, red * green_share, red * blue_share], np.float32)
    return _Look(
        colour=colour,
        slope=(rng.normal(0, 0.12), rng.normal(0, 0.08)),
        falloff=rng.uniform(0.05, 0.35),
        rim_glow=max(0.0, rng.normal(0, 0.35)),
        glow_towards=rng.uniform(0, 2 * np.pi),
        haze=min(0.5, max(0.0, rng.normal(0, 0.15))),
        blur_radii=rng.uniform(0.0, 0.006),
        noise=rng.uniform(0.8, 2.5),
        # One surround in five is lit: camera flare, or a scan of a print.
        surround=rng.uniform(14, 45) if rng.uniform() < 0.2 else rng.uniform(0, 6),
        halo=max(0.0, rng.normal(0, 6)),
        macula_contrast=rng.uniform(0.5, 1.0),
        vessel_contrast=rng.uniform(0.55, 1.0),
        lesion_contrast=rng.uniform(0.65, 1.0),
        exudate_colour=np.array([255, rng.uniform(195, 235), rng.uniform(50, 135)], np.float32),
        texture=rng.uniform(0.5, 1.5),
        drusen=int(rng.integers(3, 12)) if rng.uniform() < 0.25 else 0,
        dust=int(rng.integers(0, 4)),
    )


def _paint(
    rng: np.random.Generator, frame: _Frame, anatomy: _Anatomy, lesions: _Lesions, look: _Look
) -> NDArray[np.uint8]:
    """Light the retina, then lay disc, vessels and lesions over it, then photograph it."""
    x, y = frame.axes()
    light = _light(rng, frame, look, x, y)
    image = look.colour[:, None, None] * light
    _tint(image, _texture(rng, frame), [look.texture * share for share in (0.05, 0.10, 0.12)])
    macula = _bump(x, y, anatomy.macula, rng.uniform(0.09, 0.14)) + np.float32(0.4) * _bump(x, y, anatomy.macula, 0.3)
    _tint(image, macula, [look.macula_contrast * share for share in (-0.25, -0.36, -0.30)])
    _paint_drusen(rng, frame, anatomy, look, image)
    _paint_disc(rng, anatomy, look, light, image, x, y)
    _paint_vessels(frame, anatomy, look, image)
    bleeds = _blurred(_outlines(frame, lesions.haemorrhages), 0.005 * frame.radius)
    _tint(image, bleeds, [look.lesion_contrast * share for share in (-0.42, -0.72, -0.60)])
    spots = _blurred(_outlines(frame, lesions.exudates), 0.002 * frame.radius)
    _cover(image, np.float32(look.lesion_contrast) * spots, look.exudate_colour, np.clip(light, 0.55, 1.0))
    return _photograph(rng, frame, look, image, x, y)


def _tint(image: _Planes, amount: _Plane, by_channel: Sequence[float]) -> None:
    """Brighten, or with negative shares darken, each channel by its share where `amount` is 1."""
    for channel, share in zip(image, by_channel, strict=True):
        channel *= 1 + np.float32(share) * amount


def _cover(image: _Planes, opacity: _Plane, colour: NDArray[np.float32], shade: _Plane) -> None:
    """Lay a colour in the given shade over the image."""
    for channel, value in zip(image, colour, strict=True):
        channel += opacity * (value * shade - channel)


def _blurred(plane: _Plane, sigma: float) -> _Plane:
    blurred: _Plane = cv2.GaussianBlur(plane, (0, 0), sigma) if sigma > 0.3 else plane
    return blurred


def _bump(x: _Plane, y: _Plane, centre: _Points, radius: float) -> _Plane:
    """A smooth spot: 1 at `centre`, 1/e at `radius`."""
    cx, cy = (np.float32(value / radius) for value in centre)
    scale = np.float32(1 / radius)
    bump: _Plane = np.exp(-((x * scale - cx) ** 2)) * np.exp(-((y * scale - cy) ** 2))
    return bump


def _light(rng: np.random.Generator, frame: _Frame, look: _Look, x: _Plane, y: _Plane) -> _Plane:
    squared = x * x + y * y
    light = 1 + np.float32(look.slope[0]) * x + np.float32(look.slope[1]) * y - np.float32(look.falloff) * squared
    towards = np.float32(math.cos(look.glow_towards)) * x + np.float32(math.sin(look.glow_towards)) * y
    light += np.float32(look.rim_glow) * np.clip(towards, 0, 1) ** 2 * squared**2
    lit: _Plane = np.clip(light + 0.10 * _clouds(rng, frame, 3), 0.25, 1.5)
    return lit


def _clouds(rng: np.random.Generator, frame: _Frame, cells: int) -> _Plane:
    """Smooth noise of standard deviation about 1, `cells` waves across the height."""
    coarse = rng.standard_normal((cells + 2, math.ceil(cells * 1.5) + 2), dtype=np.float32)
    clouds: _Plane = cv2.resize(coarse, (frame.width, frame.height), interpolation=cv2.INTER_CUBIC)
    return clouds


def _texture(rng: np.random.Generator, frame: _Frame) -> _Plane:
    texture: _Plane = 0.5 * _clouds(rng, frame, 8) + 0.4 * _clouds(rng, frame, 24) + 0.4 * _clouds(rng, frame, 80)
    return texture


def _paint_drusen(rng: np.random.Generator, frame: _Frame, anatomy: _Anatomy, look: _Look, image: _Planes) -> None:
    """Pale soft spots of age, in any grade: the network must not take every bright spot for an exudate."""
    if look.drusen:
        shapes = [_blot(rng, _somewhere(rng, anatomy, 0.3), rng.uniform(0.010, 0.022)) for _ in range(look.drusen)]
        _tint(image, _blurred(_outlines(frame, shapes), 0.012 * frame.radius), (0.18, 0.40, 0.40))


def _paint_disc(
    rng: np.random.Generator, anatomy: _Anatomy, look: _Look, light: _Plane, image: _Planes, x: _Plane, y: _Plane
) -> None:
    across = (x - np.float32(anatomy.disc[0])) / np.float32(anatomy.disc_radii[0])
    along = (y - np.float32(anatomy.disc[1])) / np.float32(anatomy.disc_radii[1])
    disc = np.clip((1.1 - np.sqrt(across**2 + along**2)) / np.float32(rng.uniform(0.15, 0.4)), 0, 1)
    cup_radius = rng.uniform(0.4, 0.65)
    cup = np.clip(
        (cup_radius - np.sqrt((across - np.float32(0.15 * anatomy.temporal)) ** 2 + along**2)) / 0.4 + 0.5, 0, 1
    )
    rim_colour = np.array([1.25, 1.6, 1.5], np.float32) * look.colour + np.array([10, 12, 8], np.float32)
    cup_colour = np.array([255, rng.uniform(205, 240), rng.uniform(100, 180)], np.float32)
    shade = np.asarray(np.clip(light, 0.6, 1.1) * rng.uniform(0.85, 1.05), np.float32)
    opacity = np.asarray(rng.uniform(0.7, 0.95) * disc, np.float32)
    _cover(image, opacity, rim_colour, shade)
    _cover(image, np.asarray(opacity * cup, np.float32), cup_colour, shade)


def _paint_vessels(frame: _Frame, anatomy: _Anatomy, look: _Look, image: _Planes) -> None:
    for vein, by_channel in ((False, (-0.14, -0.42, -0.38)), (True, (-0.28, -0.52, -0.42))):
        mask = _blank(frame)
        for vessel in anatomy.vessels:
            if vessel.vein == vein:
                _stroke(mask, frame, vessel)
        _tint(image, _shrunk(mask, frame), [look.vessel_contrast * share for share in by_channel])


def _blank(frame: _Frame) -> NDArray[np.uint8]:
    return np.zeros((frame.height * _SUPERSAMPLE, frame.width * _SUPERSAMPLE), np.uint8)


def _fixed_point(frame: _Frame, points: _Points) -> NDArray[np.int32]:
    scale = _SUPERSAMPLE * 2**_SUBPIXEL_BITS
    return np.asarray(np.round(frame.to_pixels(points) * scale), np.int32)


def _stroke(mask: NDArray[np.uint8], frame: _Frame, vessel: _Vessel) -> None:
    """Draw a vessel in pieces of one width each, thin ones fainter."""
    points = _fixed_point(frame, vessel.points)
    thickness = np.maximum(1, np.round(vessel.widths * frame.radius * _SUPERSAMPLE)).astype(int)
    starts = [0, *(np.flatnonzero(np.diff(thickness)) + 1), len(points)]
    for first, last in zip(starts[:-1], starts[1:], strict=True):
        piece = points[max(0, first - 1) : last]
        strength = min(1.0, 0.35 + float(vessel.widths[first]) / 0.018)
        cv2.polylines(mask, [piece], False, 255 * strength, int(thickness[first]), cv2.LINE_AA, _SUBPIXEL_BITS)


def _outlines(frame: _Frame, shapes: Sequence[_Points]) -> _Plane:
    mask = _blank(frame)
    for shape in shapes:  # one by one: fillPoly leaves holes where the shapes of one call overlap
        cv2.fillPoly(mask, [_fixed_point(frame, shape)], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    return _shrunk(mask, frame)


def _shrunk(mask: NDArray[np.uint8], frame: _Frame) -> _Plane:
    small = cv2.resize(mask, (frame.width, frame.height), interpolation=cv2.INTER_AREA)
    shares: _Plane = small.astype(np.float32) / 255
    return shares


def _photograph(
    rng: np.random.Generator, frame: _Frame, look: _Look, image: _Planes, x: _Plane, y: _Plane
) -> NDArray[np.uint8]:
    """Haze, lens, dust, the round mask with the camera's mark, and the sensor's noise."""
    for _ in range(look.dust):
        _tint(image, _bump(x, y, rng.uniform(-0.8, 0.8, 2), rng.uniform(0.01, 0.02)), (-0.3, -0.3, -0.3))
    distance = np.sqrt(x * x + y * y)
    inside = np.maximum(np.clip((1 - distance) * np.float32(frame.radius / 1.5) + 0.5, 0, 1), _camera_mark(frame))
    surround = np.float32(look.surround) + np.float32(look.halo) * np.exp(np.minimum(1 - distance, 0) / 0.15)
    channels = []
    noise = np.float32(look.noise) * rng.standard_normal(inside.size + 2 * _NOISE_SHIFT, dtype=np.float32)
    for index, (channel, veil, dim) in enumerate(zip(image, (12, 16, 14), (1.0, 0.85, 0.75), strict=True)):
        seen = _blurred(_hazed(frame, look.haze, channel, veil), look.blur_radii * frame.radius)
        outside = np.float32(dim) * surround
        grain = noise[index * _NOISE_SHIFT :][: inside.size].reshape(inside.shape)
        channels.append(cv2.convertScaleAbs(np.maximum(outside + inside * (seen - outside) + grain, 0)))
    photograph: NDArray[np.uint8] = cv2.merge(channels)
    return photograph


def _hazed(frame: _Frame, haze: float, channel: _Plane, veil: float) -> _Plane:
    """A cloudy lens mixes in the light of the neighbourhood and a little grey."""
    around = cv2.GaussianBlur(cv2.resize(channel, None, fx=0.125, fy=0.125), (0, 0), frame.radius / 32)
    around = cv2.resize(around, (frame.width, frame.height)) + np.float32(veil)
    hazed: _Plane = channel + np.float32(haze) * (around - channel)
    return hazed


def _camera_mark(frame: _Frame) -> _Plane:
    """The two teeth at the upper right of the rim that tell which way up the picture is."""
    teeth = []
    for degrees in (-32.0, -27.5):
        corners = np.deg2rad([degrees - 2.2, degrees - 2.2, degrees + 2.2])
        reach = np.array([0.99, 1.035, 1.0])
        teeth.append(np.stack([reach * np.cos(corners), reach * np.sin(corners)], axis=1))
    return _outlines(frame, teeth)
