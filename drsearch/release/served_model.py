"""What MLflow runs when it serves a registered model: this file, stored with it as text.

Photographs in, classes out: a table with a column `photograph` of JPEG, PNG or TIFF bytes
(base64 in JSON), answered by a table with `label` and `probability` of RDR.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd  # type: ignore[import-untyped]  # its stubs are a package of their own


class Retinopathy(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # untyped library
    """Referable diabetic retinopathy, from photographs."""

    def load_context(self, context: Any) -> None:
        """Read the model's files; TensorFlow is loaded here, not when the model is looked at."""
        from drsearch.release.files import MODEL_FILE
        from drsearch.release.grader import Grader

        self._grader = Grader(Path(context.artifacts[MODEL_FILE]).parent)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Grade the photographs of a table.

        Args:
            context: Not used.
            model_input: A pandas table with a column `photograph` of bytes.
            params: None are known.

        Returns:
            A table with a row a photograph: `label` (NRDR or RDR) and `probability` (of RDR).
        """
        verdicts = self._grader.grade([bytes(data) for data in model_input["photograph"]])
        return pd.DataFrame({"label": [v.label for v in verdicts], "probability": [v.probability for v in verdicts]})


mlflow.models.set_model(Retinopathy())
