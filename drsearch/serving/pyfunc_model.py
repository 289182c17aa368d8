"""What MLflow runs when it serves a registered model: this file, stored with it as text.

Photographs in, classes out: a table with a column `photograph` of JPEG, PNG or TIFF bytes
(base64 in JSON), answered by a table of `drsearch.serving.answers.Answer`.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd


class Retinopathy(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # untyped library
    """Referable diabetic retinopathy, from photographs."""

    def load_context(self, context: Any) -> None:
        """Read the model's files; TensorFlow is loaded here, not when the model is looked at."""
        from drsearch.run_folder import MODEL_FILE
        from drsearch.serving.answers import Answerer
        from drsearch.serving.grader import Grader

        files = Path(context.artifacts[MODEL_FILE]).parent
        self._answerer = Answerer(Grader(files), _name(files.parent))
        self._answerer.warm_up()

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Grade the photographs of a table.

        Args:
            context: Not used.
            model_input: A pandas table with a column `photograph`: bytes, `pathlib.Path`, RGB pixels, or base64.
            params: `explain`: whether to add a column `explanation`, the PNG of a Grad-CAM overlay.

        Returns:
            A table with a row per photograph and the columns of `Answer`. A photograph that cannot be graded has no
            label and no probability, but an `error`; the others are graded.
        """
        from drsearch.serving.answers import Answer

        explain = bool((params or {}).get("explain"))
        answers = self._answerer.answers(list(model_input["photograph"]), explain)
        names = [name for name in Answer.__dataclass_fields__ if explain or name != "explanation"]
        return pd.DataFrame({name: _column([getattr(answer, name) for answer in answers]) for name in names})


def _column(values: list[Any]) -> "pd.Series[Any]":
    """A column that keeps None: pandas makes NaN of it, which is no JSON."""
    return pd.Series(values, dtype=object if None in values else None)


def _name(folder: Path) -> str:
    """What the model is called: the version as which it was loaded, else MLflow's id of it.

    A version has its number only after the files were stored; MLflow notes it beside them when it fetches them.
    """
    import yaml  # type: ignore[import-untyped]

    noted = folder / "registered_model_meta"
    found = yaml.safe_load(noted.read_text()) if noted.is_file() else {}
    if found.get("model_name"):  # null where the model was asked for by its id
        return f"models:/{found['model_name']}/{found['model_version']}"
    return f"models:/{yaml.safe_load((folder / 'MLmodel').read_text())['model_id']}"


mlflow.models.set_model(Retinopathy())
