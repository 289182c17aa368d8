"""A page of photographs with their crops, by which a person sees whether a data set is read rightly.

One HTML file without scripts, which loads nothing and opens offline. What is strange comes first: refused photographs,
those left out, the lowest quality, unusual crops. It shows photographs of patients.
"""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from drsearch.data.audit import Audit
from drsearch.data.decode import decode
from drsearch.data.retina import BORDER_PX, Retina, find_retina
from drsearch.errors import PhotographError
from drsearch.files import read_file, write_whole

MOST_PHOTOGRAPHS = 500
"""Photographs on a page, some 6 kB each; where there are more, the ordinary ones are drawn evenly from the set."""

_THUMBNAIL_PX, _LARGE_PX, _JPEG_QUALITY = 200, 840, 80
_STYLE = """
:root { color-scheme: light dark; --line: #4ade80; --bad: #b3261e; --dim: #5f6368; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --dim: #a0a4a8; } }
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .5rem; }
p { margin: 0 0 .5rem; max-width: 60rem; color: var(--dim); }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: .9rem .7rem; }
figure { margin: 0; min-width: 0; } figcaption { font-size: 12px; overflow-wrap: anywhere; }
figcaption span { color: var(--dim); } figcaption em { color: var(--bad); font-style: normal; display: block; }
.photo { position: relative; background: #000; } .photo img { display: block; width: 100%; }
.photo i { position: absolute; box-sizing: border-box; border: 2px solid var(--line); }
.none { aspect-ratio: 3 / 2; background: color-mix(in srgb, currentColor 12%, transparent); }
"""


_CROPS = (
    "The frame is where each photograph is cropped: it should touch the retina on all sides, or the photograph's edge "
    "where the camera cut the retina. This page holds photographs of patients."
)


class SheetPhotograph(NamedTuple):
    """One photograph of a data set.

    Attributes:
        file: Its name within the data set, as the audit has it.
        path: The file.
        caption: Grade, split and quality, as far as they are known.
    """

    file: str
    path: Path
    caption: str


@dataclass(frozen=True)
class _Section:
    title: str
    text: str
    reasons: Mapping[str, str]  # by file
    most: int


def write_contact_sheet(
    page: Path,
    title: str,
    photographs: Sequence[SheetPhotograph],
    audit: Audit,
    *,
    on_photograph: Callable[[int, int], None] | None = None,
) -> int:
    """Write the page.

    Args:
        page: The file, which is replaced.
        title: Name of the data set.
        photographs: All that it has.
        audit: Its findings about them.
        on_photograph: Called with the number of photographs read, and of all that are shown.

    Returns:
        How many photographs it shows.

    Raises:
        OSError: If it cannot be written.
    """
    by_file = {photograph.file: photograph for photograph in photographs}
    chosen: list[tuple[_Section, int, list[SheetPhotograph]]] = []
    shown: set[str] = set()
    for section in _sections(audit):
        files = [file for file in section.reasons if file in by_file and file not in shown]
        shown.update(files[: section.most])
        chosen.append((section, len(files), [by_file[file] for file in files[: section.most]]))
    others = [photograph for photograph in photographs if photograph.file not in shown]
    room = max(1, MOST_PHOTOGRAPHS - len(shown))
    evenly = np.linspace(0, len(others) - 1, min(room, len(others))).round().astype(int)
    some_others = [others[i] for i in evenly.tolist()]
    rest = _Section("The others", "Nothing is noticed about them. The frame is where each is cropped.", {}, room)
    chosen.append((rest, len(others), some_others))
    n_shown = sum(len(some) for _, _, some in chosen)
    count = f"{n_shown} of {len(photographs)}" if n_shown < len(photographs) else f"{n_shown}"
    parts = [_head(f"{title}: crops", f"{title}: {count} photographs", _CROPS)]
    n_done = 0
    with ThreadPoolExecutor() as threads:
        for section, n, some in chosen:
            if not some:
                continue
            count = f"{n}" if n == len(some) else f"{len(some)} of {n}"
            parts.append(f"<h2>{section.title} ({count})</h2><p>{escape(section.text)}</p><main>")
            for photograph, figure in zip(some, threads.map(_photograph, some), strict=True):
                parts.append(_figure(photograph, figure, section.reasons.get(photograph.file, "")))
                n_done += 1
                if on_photograph is not None:
                    on_photograph(n_done, n_shown)
            parts.append("</main>")
    page.parent.mkdir(parents=True, exist_ok=True)
    write_whole(page, "\n".join([*parts, "</body></html>\n"]).encode(), replace=True)
    return n_shown


def write_doubtful_sheet(page: Path, title: str, photographs: Sequence[SheetPhotograph]) -> None:
    """Write the page of photographs whose label a cross-validation contradicts, large enough to be graded again.

    Args:
        page: The file, which is replaced.
        title: Name of the cross-validation.
        photographs: In the order in which a person is to look at them; the caption has label and probability.

    Raises:
        OSError: If it cannot be written.
    """
    text = (
        "Every repeat gives these eyes to the other class with confidence: the label may be wrong, or the eye is hard, "
        "or the networks share a mistake. Look, and decide. This page holds photographs of patients."
    )
    wide = "main { grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); }"
    parts = [_head(f"{title}: doubtful labels", f"{title}: {len(photographs)} doubtful labels", text, wide), "<main>"]
    with ThreadPoolExecutor() as threads:
        seen = threads.map(_large, photographs)
        parts += [_figure(photograph, each, "") for photograph, each in zip(photographs, seen, strict=True)]
    write_whole(page, "\n".join([*parts, "</main></body></html>\n"]).encode(), replace=True)


def _sections(audit: Audit) -> Iterable[_Section]:
    refused = dict((*audit.unreadable, *audit.no_retina))
    yield _Section("Refused", "drsearch cannot use these photographs.", refused, 100)
    ungradable = dict.fromkeys(audit.ungradable, "")
    yield _Section("Cannot be graded", "So the labels of the data set say. They are not recorded.", ungradable, 60)
    yield _Section("Left out", "These are usable by themselves, but are not recorded.", dict(audit.left_out), 60)
    yield _Section(
        "Lowest quality",
        "The worst first. They are recorded; --least-quality leaves out those below a score.",
        {file: reason for file, _, reason in audit.lowest_quality},
        40,
    )
    yield _Section(
        "Unusual crops",
        "The retina does not lie where it lies on other photographs of that size; look whether the frame fits.",
        dict(audit.unusual_crops),
        40,
    )


def _head(title: str, heading: str, text: str, style: str = "") -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; style-src '
        "'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head><body>"
        f"<h1>{escape(heading)}</h1><p>{text}</p>"
    )


class _Seen(NamedTuple):
    jpeg: bytes
    retina: Retina | None


def _photograph(photograph: SheetPhotograph) -> _Seen | None:
    """A small copy with the borders of the retina, if it has one; None where it cannot be read."""
    try:
        pixels = decode(read_file(photograph.path), BORDER_PX).pixels
    except (OSError, PhotographError):
        return None
    try:
        retina = find_retina(pixels)
    except PhotographError:
        retina = None
    return _Seen(_copy(pixels, _THUMBNAIL_PX), retina)


def _large(photograph: SheetPhotograph) -> _Seen | None:
    """A copy large enough to see lesions; None where it cannot be read."""
    try:
        return _Seen(_copy(decode(read_file(photograph.path), _LARGE_PX).pixels, _LARGE_PX), None)
    except (OSError, PhotographError):
        return None


def _copy(pixels: NDArray[np.uint8], longer_px: int) -> bytes:
    """The JPEG of a small copy."""
    scale = min(1.0, longer_px / max(pixels.shape[:2]))
    size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
    small = cv2.cvtColor(np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


def _figure(photograph: SheetPhotograph, seen: _Seen | None, reason: str) -> str:
    picture: Any = '<div class="none"></div>'
    if seen is not None:
        frame = ""
        if seen.retina is not None:
            left, right, top, bottom = (100 * share for share in (
                seen.retina.left, seen.retina.right, seen.retina.top, seen.retina.bottom))  # fmt: skip
            place = f"left:{left:.1f}%;top:{top:.1f}%;width:{right - left:.1f}%;height:{bottom - top:.1f}%"
            frame = f'<i style="{place}"></i>'
        data = base64.b64encode(seen.jpeg).decode()
        picture = f'<div class="photo"><img alt="" src="data:image/jpeg;base64,{data}">{frame}</div>'
    why = f"<em>{escape(reason)}</em>" if reason else ""
    name, caption = escape(photograph.file.rpartition("/")[2]), escape(photograph.caption)
    return (
        f'<figure title="{escape(photograph.file)}">{picture}'
        f"<figcaption><b>{name}</b> <span>{caption}</span>{why}</figcaption></figure>"
    )
