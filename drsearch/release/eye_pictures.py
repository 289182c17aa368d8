"""Pictures of the eyes that tell most about a version, each with the heat map of the class that it is called."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drsearch.data.images import retina_in_square
from drsearch.data.records import EyeEntry, Eyes
from drsearch.measure.explainers import own_method
from drsearch.measure.figures import jpeg
from drsearch.measure.heat_maps import heat_map_figure
from drsearch.release.eye_answers import EyeAnswer, telling
from drsearch.release.photograph_files import PhotographFiles
from drsearch.serving.grader import Grader

_SIDE_PX, _LONGEST_PX = 320, 400  # of a square as the network sees it; of a photograph


def answer_pictures(
    grader: Grader,
    listed: Sequence[EyeEntry],
    eyes: Eyes,
    answers: Sequence[EyeAnswer],
    photographs: PhotographFiles | None = None,
) -> dict[str, bytes]:
    """JPEG files of the eyes that tell most: the photograph, and beside it the heat map of the class that it is called.

    Args:
        grader: The version.
        listed: The eyes of the split.
        eyes: Their images, in the same order.
        answers: The version's answers, in the same order.
        photographs: Their files; an eye that has none is shown as the network sees it.

    Returns:
        By file name.
    """
    files, method = dict[str, bytes](), own_method(grader.model)
    for place in telling(answers, grader.serving.threshold):
        answer = answers[place]
        photograph = photographs.find(listed[place]) if photographs is not None else None
        if photograph is not None:
            heat = grader.explain(photograph.path.read_bytes(), _LONGEST_PX, method, label=answer.called)
            picture, cam = heat.photograph, heat.cam
        else:
            image = eyes.images[place]
            inside = retina_in_square(image, grader.serving.images)
            maps, _ = grader.explainer(method).maps(image[None], inside[None], answer.called)
            picture, cam = _small(image), _small(maps[0])
        figure = heat_map_figure(picture, cam, answer.probability, grader.serving.threshold, method, beside=True)
        files[f"{answer.eye}.jpg"] = jpeg(figure)
    return files


def _small(picture: NDArray[Any]) -> NDArray[Any]:
    """A square, no larger than needed on a page."""
    side = min(_SIDE_PX, len(picture))
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA))
