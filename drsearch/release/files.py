"""Which files make a registered model, besides MLflow's own? The network, how to ask it, and what it was trained on."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from drsearch.grades import CLASS_NAMES
from drsearch.settings import DataSettings, ImageSettings

MODEL_FILE = "model.keras"
SERVING_FILE = "serving.json"
TRAINED_ON_FILE = "trained_on.json"


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


def model_files(folder: Path, model: Path, serving: str, trained_on: str) -> dict[str, Path]:
    """The files of a model, written beside each other and named as `Grader` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SERVING_FILE).write_text(serving)
    (folder / TRAINED_ON_FILE).write_text(trained_on)
    return {MODEL_FILE: model, SERVING_FILE: folder / SERVING_FILE, TRAINED_ON_FILE: folder / TRAINED_ON_FILE}
