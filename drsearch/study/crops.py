"""Pictures of some eyes of each grade, for the report of a study."""

from pathlib import Path

import cv2
import numpy as np

from drsearch.data.records import RecordSet, joined, read_in_pieces
from drsearch.files import write_whole
from drsearch.grades import GRADES
from drsearch.measure.figures import jpeg

_READ, _SHOWN, _SIDE_PX, _GAP_PX = 512, 8, 112, 4


def write_crops(records: RecordSet, folder: Path) -> list[Path]:
    """Write a row of eyes of each grade, as the network sees them, small; files that are there are left.

    Args:
        records: Their train split is shown: evenly chosen eyes of it.
        folder: Where the files are.

    Returns:
        The files, `grade-0.jpg` and so on; none of a grade without eyes.
    """
    if files := sorted(folder.glob("grade-*.jpg")):
        return files
    eyes = joined(*read_in_pieces(records, "train", _READ))
    folder.mkdir(parents=True, exist_ok=True)
    for grade in GRADES:
        places = np.flatnonzero(eyes.grades == grade)
        if not places.size:
            continue
        evenly = np.linspace(0, places.size - 1, min(_SHOWN, places.size)).round().astype(int)
        row = np.zeros((_SIDE_PX, _SHOWN * (_SIDE_PX + _GAP_PX) - _GAP_PX, 3), np.uint8)
        for column, image in enumerate(eyes.images[places[evenly]]):
            left = column * (_SIDE_PX + _GAP_PX)
            row[:, left : left + _SIDE_PX] = cv2.resize(image, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
        file = folder / f"grade-{grade}.jpg"
        write_whole(file, jpeg(row), replace=True)
        files.append(file)
    return files
