"""A registered model as MLflow serves it; MLflow stores this file with the model, as text.

Takes a table with a column `photograph` of the bytes of files (base64 in JSON), and returns a table of
`drsearch.serving.answers.Answer`.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd


class Retinopathy(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # untyped library
    """Referable diabetic retinopathy, from photographs."""

    def load_context(self, context: Any) -> None:
        """Read the model's files; loads TensorFlow, which MLflow does not need to list a model."""
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
            params: `explain`: whether to add a column `explanation`, the PNG of its heat map.

        Returns:
            A table with a row per photograph and the columns of `Answer`. A photograph that cannot be graded has an
            `error` and no label; the others are graded.
        """
        from drsearch.serving.answers import Answer

        explain = bool((params or {}).get("explain"))
        answers = self._answerer.answers(list(model_input["photograph"]), explain)
        names = [name for name in Answer.__dataclass_fields__ if explain or name != "explanation"]
        return pd.DataFrame({name: _column([getattr(answer, name) for answer in answers]) for name in names})


def _column(values: list[Any]) -> "pd.Series[Any]":
    """A column that keeps None, of which pandas would make NaN, which JSON does not have."""
    return pd.Series(values, dtype=object if None in values else None)


def _name(folder: Path) -> str:
    """The name of the model: the version as which it was loaded, or MLflow's id of it.

    A version gets its number after its files are stored; MLflow writes it beside the files when it downloads them.
    """
    import yaml  # type: ignore[import-untyped]

    file = folder / "registered_model_meta"
    meta = yaml.safe_load(file.read_text()) if file.is_file() else {}
    if meta.get("model_name"):  # null if the model was loaded by its id
        return f"models:/{meta['model_name']}/{meta['model_version']}"
    return f"models:/{yaml.safe_load((folder / 'MLmodel').read_text())['model_id']}"


mlflow.models.set_model(Retinopathy())
