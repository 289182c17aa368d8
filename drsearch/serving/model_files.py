"""The files of a registered model, besides MLflow's own."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from drsearch.files import write_whole
from drsearch.grades import CLASS_NAMES
from drsearch.run_folder import MODEL_FILE
from drsearch.serving.gradable import QualityLimits
from drsearch.settings import SYMMETRIES, DataSettings, ImageSettings, TaskSettings

SERVING_FILE = "serving.json"
TRAINED_ON_FILE = "trained_on.json"
FAMILIARITY_FILE = "familiarity.json"


@dataclass(frozen=True)
class Serving:
    """The settings that a model needs besides its network, as `serving.json` has them.

    Attributes:
        images: How a photograph becomes the network's input.
        data: How the training data was split.
        task: Which eyes are referable.
        threshold: Probability of RDR from which an eye is called referable, in 0..1.
        temperature: Divides the log-odds before they become a probability, above 0; 1 changes nothing.
        fingerprint: The record set that the model was trained on.
        chosen: How threshold and temperature were chosen, in words.
        symmetries: Views of an eye over which its probability is averaged, before the temperature: 1 or 8.
        quality_limits: Tell photographs of a lower quality than the training eyes; None: to be found in those eyes.
    """

    images: ImageSettings
    data: DataSettings
    task: TaskSettings
    threshold: float
    temperature: float
    fingerprint: str
    chosen: str = ""
    symmetries: int = 1
    quality_limits: QualityLimits | None = None

    def to_json(self) -> str:
        """The text of `serving.json`."""
        return json.dumps({"classes": CLASS_NAMES, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Serving":
        """Read the text of `serving.json`.

        Raises:
            ValueError, TypeError, KeyError, AttributeError, RecursionError: If the text is not as `to_json` writes it.
        """
        values = json.loads(text)
        limits = values.get("quality_limits")  # earlier versions of drsearch wrote neither these nor the symmetries
        serving = cls(
            images=ImageSettings(**values["images"]),
            data=DataSettings(**values["data"]),
            task=TaskSettings(**values["task"]),
            threshold=values["threshold"],
            temperature=values["temperature"],
            fingerprint=values["fingerprint"],
            chosen=values["chosen"],
            symmetries=values.get("symmetries", 1),
            quality_limits=QualityLimits.from_json(limits) if limits is not None else None,
        )
        if not (0 <= serving.threshold <= 1 and 0 < serving.temperature < math.inf):
            raise ValueError("threshold or temperature out of range")
        if type(serving.symmetries) is not int or serving.symmetries not in SYMMETRIES:
            raise ValueError("symmetries out of range")
        return serving


def model_files(folder: Path, model: Path, serving: str, trained_on: str, familiarity: str) -> dict[str, Path]:
    """Write the files of a model beside its network.

    Args:
        folder: Where the files are written; created if it is missing.
        model: The network, which stays where it is.
        serving: From `Serving.to_json`.
        trained_on: JSON of the `EyeEntry` of every training eye.
        familiarity: From `Familiarity.to_json`.

    Returns:
        All files, by the names that `Grader` expects.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {SERVING_FILE: serving, TRAINED_ON_FILE: trained_on, FAMILIARITY_FILE: familiarity}
    for name, text in texts.items():
        write_whole(folder / name, text.encode(), replace=True)
    return {MODEL_FILE: model, **{name: folder / name for name in texts}}
