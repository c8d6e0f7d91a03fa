"""The MLflow model, for `mlflow.pyfunc.load_model` and `mlflow models serve`. MLflow executes this file by itself."""

import mlflow.pyfunc
import pandas as pd
from mlflow.models import set_model

from components.serve import Served


class RawRows(mlflow.pyfunc.PythonModel):
    """Raw rows in, a column of probabilities for each class out."""

    def load_context(self, context) -> None:
        """Open the model's files."""
        self.served = Served(context.artifacts["model"])

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        """Return the probabilities (rows, classes); of texts and images the first column counts.

        Images may also be an array. The type is what MLflow wants to read there, or it warns.
        """
        raw = model_input
        if isinstance(raw, pd.DataFrame) and self.served.kind != "table":
            raw = raw.iloc[:, 0].tolist()
        return pd.DataFrame(self.served(raw), columns=list(self.served.classes))


set_model(RawRows())
