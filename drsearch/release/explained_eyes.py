"""Pictures of some of the eyes that `drsearch explain` measured: heat maps at their own resolution, and boxes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from drsearch.data.records import EyeEntry, RecordSet
from drsearch.datasets.boxes import Box
from drsearch.datasets.read import Dataset
from drsearch.measure.figures import jpeg, png
from drsearch.measure.heat_maps import heat_map_figure, heat_map_rows
from drsearch.model.predictor import RDR
from drsearch.release.card_figures import SHEET
from drsearch.release.explain import Explanation, measured_eyes
from drsearch.release.photograph_files import PhotographFiles

if TYPE_CHECKING:
    from drsearch.serving.grader import Grader

_EYES = 6
_SHEET_PX = 420  # width of each eye
_BOX_COLOURS = {"red": (255, 80, 60), "bright": (255, 230, 90)}


def explained_eyes(
    grader: "Grader", records: RecordSet, dataset: Dataset, explanation: Explanation
) -> Mapping[str, bytes]:
    """Heat maps of RDR of six of the eyes, from the lowest grade to the highest.

    Args:
        grader: The model.
        records: As for `explain`.
        dataset: The photographs of the records.
        explanation: What was measured: split, method and layer.

    Returns:
        Files by name: for each eye the photograph under its map, `eyes/NAME.jpg`, and the map alone in grey,
        `eyes/NAME-map.png`, both as large as the photograph; and all of them beside each other with the boxes around
        their lesions, red ones red and bright ones yellow, `SHEET`.

    Raises:
        DataError: If a photograph was changed meanwhile.
    """
    files: dict[str, bytes] = {}
    pictures, heat_maps, names = [], [], []
    photographs = PhotographFiles(dataset)
    for eye in _some_eyes(records, explanation):
        photograph = photographs.of(eye)
        heat = grader.explain(
            photograph.path.read_bytes(), method=explanation.method, layer=explanation.layer, label=RDR
        )
        files |= {f"eyes/{eye.name}.jpg": jpeg(heat.picture), f"eyes/{eye.name}-map.png": png(heat.grey)}
        width = heat.photograph.shape[1]
        size = (_SHEET_PX, round(heat.photograph.shape[0] * _SHEET_PX / width))
        small = cv2.resize(heat.photograph, size, interpolation=cv2.INTER_AREA)
        cam = cv2.resize(heat.cam, size, interpolation=cv2.INTER_AREA)
        heat_maps.append(heat_map_figure(small, cam, heat.probability, heat.threshold, heat.method, heat.label))
        pictures.append(_with_boxes(small, photograph.boxes))
        names.append(f"{eye.name}, grade {eye.grade}")
    return {SHEET: jpeg(heat_map_rows(pictures, heat_maps, names, columns=3)), **files}


def _some_eyes(records: RecordSet, explanation: Explanation) -> list[EyeEntry]:
    """Of the eyes that were measured, evenly by grade and name."""
    eyes = sorted(measured_eyes(records, explanation.split), key=lambda eye: (eye.grade, eye.name))
    places = np.linspace(0, len(eyes) - 1, min(_EYES, len(eyes)))
    return [eyes[round(place)] for place in places]


def _with_boxes(photograph: NDArray[np.uint8], boxes: Sequence[Box]) -> NDArray[np.uint8]:
    """A photograph with frames around its lesions."""
    picture, (height, width) = photograph.copy(), photograph.shape[:2]
    for box in boxes:
        if box.colour:
            first = round(box.left * width), round(box.top * height)
            last = round(box.right * width), round(box.bottom * height)
            cv2.rectangle(picture, first, last, _BOX_COLOURS[box.colour], 1)
    return picture
