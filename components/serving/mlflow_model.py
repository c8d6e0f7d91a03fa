"""The model as MLflow keeps it: raw rows in, a column of probabilities for each class out; and the code for that."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.data.prepared import Prepared
from components.errors import AssayError
from components.runtime.cells import FinishedCell
from components.runtime.code_version import library_version
from components.serving.saved_model import Served
from components.study.model_catalogue import MODELS
from components.study.source_types import source_type


class NotOurModelError(AssayError):
    """A registered model is none that Assay has made."""


@dataclass(frozen=True)
class LoggedModel:
    """A model that MLflow has kept, opened by its files alone.

    The code that it carries is that of the Assay which logged it: it is for servers that have none, and not run here.
    """

    served: Served
    column: str | None  # of texts or files; None where rows are no such
    input_type: np.dtype | None  # of rows that are arrays


def fetch_model(tracking_uri: str, model_uri: str, folder: str) -> LoggedModel:
    """Open a model of MLflow's by its files, which are put into the folder and read as they are needed.

    Raises:
        NotOurModelError: for a model that Assay has not made.
        MlflowException: where there is no such model, or MLflow is away.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.models import Model

    at = Path(download_artifacts(model_uri, dst_path=folder, tracking_uri=tracking_uri))
    model = Model.load(str(at))
    config = model.flavors.get("python_function", {}).get("config") or {}
    files = at / "artifacts" / "model"
    if "column" not in config or not (files / "encoder.json").exists():
        raise NotOurModelError(f"{model_uri} was not made by Assay")
    schema = model.get_input_schema()
    arrays = schema.input_types()[0] if schema is not None and schema.is_tensor_spec() else None
    return LoggedModel(Served(files), config["column"], arrays)


def log_model(run: str, cell: FinishedCell, prepared: Prepared, text: str):
    """Log the cell's model to a run and return MLflow's `ModelInfo`; the tracking URI must be set.

    Args:
        run: its number.
        cell: whose model it is.
        prepared: the data that it was trained on.
        text: the column of the text, as in the user's file.
    """
    import mlflow
    import mlflow.pyfunc

    schema = prepared.schema
    libraries = ["mlflow", "numpy", "pandas", "pyarrow"]
    trees = MODELS[cell.result.recipe.model.name].trees
    libraries += ["scikit-learn", "skops"] if trees else ["keras", "tensorflow"]
    libraries += ["pillow"] * (schema.kind == "image")
    package = Path(__file__).parents[1]
    with mlflow.start_run(run_id=run):
        return mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("mlflow_pyfunc.py")),
            artifacts={"model": str(cell.model)},
            code_paths=[str(package)],
            signature=_signature(prepared),
            input_example=_example(prepared, text),
            pip_requirements=[f"{name}=={library_version(name)}" for name in libraries],
            model_config={"column": _only_column(prepared, text)},
            metadata={"classes": list(schema.classes), "columns": [column.name for column in schema.columns]},
        )


def _only_column(prepared: Prepared, text: str) -> str | None:
    """Return the column of texts, or of image files; None where rows have several columns, or are arrays."""
    if prepared.schema.kind == "text":
        return text
    return "image" if source_type(prepared.schema.source).rows_are_files else None


def _signature(prepared: Prepared):
    """Return what the model takes and gives, in MLflow's terms; it refuses other columns and types."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    schema = prepared.schema
    takes: list[ColSpec | TensorSpec]
    if schema.kind == "table":
        # Not double: MLflow would refuse whole numbers. Nor boolean: with a missing value pandas has none. The served
        # model itself refuses what it can't read.
        takes = [ColSpec(AnyType(), column.name, required=True) for column in schema.columns]
    elif schema.kind == "text":
        takes = [ColSpec("string")]  # With a name MLflow would refuse a list. The served model checks the name.
    elif source_type(schema.source).rows_are_files:
        takes = [ColSpec("binary")]
    else:
        takes = [TensorSpec(prepared.x.dtype, (-1, *schema.shape))]
    return ModelSignature(Schema(takes), Schema([ColSpec("double", name) for name in schema.classes]))


def _example(prepared: Prepared, text: str) -> Any:
    """Return a raw row, which MLflow shows beside the model: from the train rows, and of images as files one in PNG."""
    import pandas as pd
    from PIL import Image

    from components.serving.saved_model import raw_rows

    raw = raw_rows(prepared, prepared.split(0)[0][:1])
    if prepared.schema.kind == "text":
        return pd.DataFrame({text: raw})
    if source_type(prepared.schema.source).rows_are_files:
        file = io.BytesIO()
        Image.fromarray(raw[0].squeeze()).save(file, "PNG")
        return pd.DataFrame({"image": [file.getvalue()]})
    return raw
