"""Makes `records_v4`: sixteen synthetic eyes at 32 px, as the record schema of that number writes them.

    python tests/golden/make_records.py

Run it only when the schema version rises, and remove the folder of the one before, which no longer reads.
"""

import json
import shutil
import tempfile
from pathlib import Path

from drsearch.data.prepare import prepare
from drsearch.data.records import SCHEMA_VERSION, read_eyes
from drsearch.data.synthetic import synthesize
from drsearch.datasets.given import open_dataset
from drsearch.home import Home
from drsearch.settings import Settings


def main() -> None:
    """Write the folder beside this file."""
    out = Path(__file__).parent / f"records_v{SCHEMA_VERSION}"
    with tempfile.TemporaryDirectory() as scratch:
        synthesize(Path(scratch) / "eyes", 16, seed=0, image_px=(268, 178))
        settings = Settings().replace({"images.image_px": 32})
        records = prepare(open_dataset([Path(scratch) / "eyes"]), settings, Home(Path(scratch) / "home")).records
        expected: dict[str, object] = {"fingerprint": records.fingerprint}
        for split in ("train", "validation"):
            eyes = read_eyes(records, split)  # type: ignore[arg-type]  # the loop's literals
            means = [round(float(mean), 3) for mean in eyes.images.mean(axis=(1, 2, 3))]
            expected[split] = {"names": eyes.names, "grades": eyes.grades.tolist(), "mean_levels": means}
        shutil.copytree(records.folder, out, ignore=shutil.ignore_patterns(records.description_path.name))
    (out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
