"""Which files make a registered model, besides MLflow's own? The network, how to ask it, and what it was trained on."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from drsearch.files import write_whole
from drsearch.grades import CLASS_NAMES
from drsearch.run_folder import MODEL_FILE
from drsearch.settings import DataSettings, ImageSettings

SERVING_FILE = "serving.json"
TRAINED_ON_FILE = "trained_on.json"
FAMILIARITY_FILE = "familiarity.json"


@dataclass(frozen=True)
class Serving:
    """What a model needs to be asked, besides its network.

    Attributes:
        images: How a photograph becomes the network's input.
        data: How the data it was trained on was divided.
        threshold: Probability of RDR from which an eye is called referable.
        temperature: Divides the log-odds before they become a probability; 1 changes nothing.
        fingerprint: The record set it was trained on.
        chosen: How threshold and temperature were chosen, in words.
    """

    images: ImageSettings
    data: DataSettings
    threshold: float
    temperature: float
    fingerprint: str
    chosen: str = ""

    def to_json(self) -> str:
        """As `serving.json` has it."""
        return json.dumps({"classes": CLASS_NAMES, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Serving":
        """Read `serving.json`."""
        found = json.loads(text)
        return cls(
            ImageSettings(**found["images"]),
            DataSettings(**found["data"]),
            found["threshold"],
            found["temperature"],
            found["fingerprint"],
            found["chosen"],
        )


def model_files(folder: Path, model: Path, serving: str, trained_on: str, familiarity: str) -> dict[str, Path]:
    """The files of a model, written beside each other and named as `Grader` reads them.

    Args:
        folder: Where they are written; made if it is missing.
        model: The network, which stays where it is.
        serving: From `Serving.to_json`.
        trained_on: JSON of the `EyeEntry` of every training eye.
        familiarity: From `Familiarity.to_json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {SERVING_FILE: serving, TRAINED_ON_FILE: trained_on, FAMILIARITY_FILE: familiarity}
    for name, text in texts.items():
        write_whole(folder / name, text.encode(), replace=True)
    return {MODEL_FILE: model, **{name: folder / name for name in texts}}
