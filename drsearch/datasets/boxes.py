"""Boxes around lesions: as a table has them, and as fractions of a photograph."""

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, overload

Pixels = Annotated[int, "a number of pixels above 0"]

_SLACK = 0.01  # of the photograph's side: a box that ends so little beyond the photograph is cut, not refused
_FORMS: Mapping[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "centre": ((1, -0.5), (1, 0.5)),
    "corner": ((1, 0), (1, 1)),
    "corners": ((1, 0), (0, 1)),
}  # weights of the first and second number of an axis, for where a box begins and ends
_RED = {"haemorrhage", "hemorrhage", "microaneurysm", "he", "ma", "red"}
_BRIGHT = {"exudate", "cotton", "ex", "se", "bright"}  # short names as in DDR and the segmentation part of IDRiD


class Box(NamedTuple):
    """A box around something in a picture; places are fractions of its width and height, 0 to 1 from the upper left.

    Attributes:
        kind: What the box is around, as the table calls it, in small letters: `hard_exudate`.
        left: Where it begins.
        top: Where it begins.
        right: Where it ends, above `left`.
        bottom: Where it ends, above `top`.
    """

    kind: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def colour(self) -> Literal["red", "bright", ""]:
        """`red` for haemorrhages and microaneurysms, `bright` for exudates and cotton wool spots; else empty.

        What is neither, such as the optic disc, is no lesion of retinopathy.
        """
        words = {word.removesuffix("s") for word in re.split(r"[\W_]+", self.kind)}
        return "red" if words & _RED else "bright" if words & _BRIGHT else ""


class PackedBoxes(Sequence[tuple[Box, ...]]):
    """The boxes of many pictures, 36 bytes a box, where a `Box` and its numbers take 200.

    Args:
        pictures: The boxes of each.

    Example:
        >>> boxes = PackedBoxes([[Box("haemorrhage", 0.1, 0.2, 0.3, 0.4)], []])
        >>> len(boxes), boxes[0][0].kind, boxes[1]
        (2, 'haemorrhage', ())
    """

    def __init__(self, pictures: Iterable[Iterable[Box]]) -> None:
        kinds: dict[str, int] = {}
        self._kind_of, self._places, self._ends = array("I"), array("d"), array("Q")
        for boxes in pictures:
            for kind, *places in boxes:
                self._kind_of.append(kinds.setdefault(kind, len(kinds)))
                self._places.extend(places)
            self._ends.append(len(self._kind_of))
        self._kinds = tuple(kinds)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, which: int) -> tuple[Box, ...]: ...
    @overload
    def __getitem__(self, which: slice) -> tuple[tuple[Box, ...], ...]: ...
    def __getitem__(self, which: int | slice) -> tuple[Any, ...]:
        if isinstance(which, slice):
            return tuple(self[place] for place in range(*which.indices(len(self))))
        place = range(len(self))[which]  # from the end too, and no further than there are
        numbers = range(self._ends[place - 1] if place else 0, self._ends[place])
        return tuple(Box(self._kinds[self._kind_of[n]], *self._places[4 * n : 4 * n + 4]) for n in numbers)


@dataclass(frozen=True)
class BoxTable:
    """A table of boxes, one per row; a photograph may have many, or none.

    Attributes:
        table: The file, within the folder of the data set.
        images: Folders of the photographs that it names; "." is the data set's own.
        image_column: Names the photograph, as `Part.image_column` does.
        kind_column: Says what the box is around.
        columns: The four numbers of a box: of the horizontal axis, of the vertical one, and the same again.
        form: What they are: centre, then width and height; the upper left `corner`, then width and height; or both
            `corners`.
        kinds: What the texts of `kind_column` mean, where they are not to be taken as they are.
        size_px: Width and height of the pictures that the boxes were drawn on, where the numbers are pixels: the
            photographs may be copies of another size. Empty: the numbers are fractions of width and height, 0 to 1.
    """

    table: str
    images: tuple[str, ...] = (".",)
    image_column: str = "image"
    kind_column: str = "lesion"
    columns: tuple[str, ...] = ("cx", "cy", "w", "h")
    form: Literal["centre", "corner", "corners"] = "centre"
    kinds: Mapping[str, str] = field(default_factory=dict)
    size_px: tuple[Pixels, ...] = ()

    @property
    def titles(self) -> tuple[str, ...]:
        """Of all its columns."""
        return (self.image_column, self.kind_column, *self.columns)

    @property
    def fault(self) -> str:
        """What is wrong with this description, the end of a sentence; empty where nothing is."""
        if len(self.columns) != 4:
            return f"columns = {list(self.columns)}; name the four columns of a box"
        if len(self.size_px) not in (0, 2):
            return f"size_px = {list(self.size_px)}; write width and height, or leave it out for fractions"
        return ""

    def box(self, kind: str, numbers: Sequence[str]) -> Box | str:
        """The box of a row, cut at the borders of the photograph.

        Args:
            kind: The cell of `kind_column`.
            numbers: The cells of `columns`.

        Returns:
            The box; or what was found and what to do, the end of a sentence.
        """
        written = ", ".join(f"{title} = {cell!r}" for title, cell in zip(self.columns, numbers, strict=True))
        kind = " ".join(kind.split()).casefold()
        kind = {text.casefold(): meaning for text, meaning in self.kinds.items()}.get(kind, kind)
        if not kind:
            return f"has no {self.kind_column!r}: name what the box is around"
        try:
            values = [float(number.replace(",", ".")) for number in numbers]
        except ValueError:
            return f"has {written}: write numbers"
        left, right, top, bottom = ends = [
            round(end, 6) for axis in (0, 1) for end in self._ends(values[axis], values[axis + 2], axis)
        ]
        if not (left < right and top < bottom):
            return f"has {written}: that is no box; its end must lie behind its beginning"
        box = Box(kind, max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0))
        if min(ends) < -_SLACK or max(ends) > 1 + _SLACK or not (box.left < box.right and box.top < box.bottom):
            unit = f"pixels of {self.size_px[0]} x {self.size_px[1]}" if self.size_px else "fractions of its size"
            return f"has {written}: that box, in {unit}, lies outside its photograph; mend it, or 'size_px' and 'form'"
        return box

    def _ends(self, first: float, second: float, axis: int) -> Iterator[float]:
        side = self.size_px[axis] if self.size_px else 1
        yield from ((a * first + b * second) / side for a, b in _FORMS[self.form])
