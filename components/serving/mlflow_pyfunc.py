"""The MLflow model, for `mlflow.pyfunc.load_model` and `mlflow models serve`. MLflow executes this file by itself."""

import base64
import binascii
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from components.serving.saved_model import RowError, Served


class InputError(MlflowException, ValueError):
    """What the model was given can't be read. `mlflow models serve` answers 400 and the message."""

    def __init__(self, message: str):
        super().__init__(message, INVALID_PARAMETER_VALUE)


class RawRows(mlflow.pyfunc.PythonModel):
    """Raw rows in, a column of probabilities for each class out."""

    def load_context(self, context) -> None:
        """Open the model's files."""
        self.served = Served(context.artifacts["model"])
        self.column = context.model_config["column"]

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        """Return the probabilities (rows, classes).

        Args:
            context: MLflow's.
            model_input: of tables a data frame with the columns. Of texts, and of images by their files, one whose
                first column has them, or an array of them: MLflow makes a data frame of a list. A file is its bytes, or
                base64 of them. Of any images an array (rows, height, width, channels). The type is what MLflow wants to
                read there, or it warns.
            params: not used.

        Raises:
            InputError: for rows that can't be read.
        """
        try:
            raw: Any = model_input
            if self.column is not None and not (isinstance(raw, np.ndarray) and raw.ndim > 1):
                raw = self._only_column(raw)
                if self.served.kind == "image":
                    raw = [_bytes(row, value) for row, value in enumerate(raw)]
            return pd.DataFrame(self.served(raw), columns=list(self.served.classes))
        except ValueError as error:
            raise InputError(str(error)) from None

    def _only_column(self, given: Any) -> list[Any]:
        """Return the texts, or files, of which MLflow's signature knows that they are one column, but not its name."""
        if not isinstance(given, pd.DataFrame):
            return list(given)
        name = given.columns[0]
        if name not in (self.column, 0):  # MLflow calls that of a list 0
            mend = f"pass it alone, as frame[[{self.column!r}]], or pass a list"
            raise ValueError(f"the first column is {name!r}; expected {self.column!r}: {mend}")
        return given.iloc[:, 0].tolist()


def _bytes(row: int, value: object) -> bytes:
    """Return the bytes of an image file, out of base64 where they are text, as in JSON."""
    if isinstance(value, str):
        try:
            return base64.b64decode("".join(value.split()), validate=True)
        except binascii.Error:
            raise RowError(row, ": expected the bytes of an image file in base64, got other text") from None
    if not isinstance(value, bytes):
        raise RowError(row, f": expected the bytes of an image file, got {type(value).__name__}")
    return value


set_model(RawRows())
