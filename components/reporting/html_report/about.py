"""What the page shows of the data, its augmentation, and how to do all of it again."""

import platform
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from components.data import report
from components.data.prepared import Prepared
from components.data.report.data_report import Histogram
from components.data.report.markdown import missing_text, values_text
from components.evaluation.judge import Cells
from components.evaluation.verdict import Verdict
from components.reporting.html_report.answers import address, data_address
from components.reporting.html_report.charts import Axis, Plot, histogram
from components.runtime.code_version import code_version
from components.study.study import REFERENCE, Study

CLASSES = 20  # classes that the data section lists
COLUMNS = 40  # columns that it lists
PREVIEW_WIDTH = 1400  # pixels
LIBRARIES = ("assay-pipeline", "keras", "tensorflow", "jax", "scikit-learn", "numpy", "mlflow", "kfp")


def preview(file: Path) -> dict[str, Any] | None:
    """Return the picture of augmentation with fewer colours: a third of the bytes."""
    from PIL import Image

    if not file.exists():
        return None
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    image.thumbnail((PREVIEW_WIDTH, 4 * PREVIEW_WIDTH))
    return {"address": address(image.quantize(64)), "width": image.width, "height": image.height}


def data(file: Path) -> dict[str, Any] | None:
    """Return the data report in short; None where there is none."""
    if not file.exists():
        return None
    about = report.read(file.parent)
    most = max((entry.rows for entry in about.classes), default=1) or 1
    return {
        **{key: value for key, value in vars(about).items() if value is not None},
        "listed": [{**vars(entry), "part": entry.rows / most} for entry in about.classes[:CLASSES]],
        "columns_listed": [
            {
                **vars(column),
                "gone": missing_text(column),
                "said": values_text(column),
                "drawn": histogram(column.histogram) if column.histogram else "",
            }
            for column in about.columns[:COLUMNS]
        ],
        "lengths": _lengths(about.text.histogram) if about.text else None,
    }


def _lengths(bars: Histogram) -> Any:
    edges, rows = bars.edges, bars.rows
    x = Axis("words in a text", edges[0], edges[-1], "{:.0f}".format)
    y = Axis("texts", 0, max(*rows, 1), "{:.0f}".format)
    plot = Plot("lengths", "Lengths of the texts", f"From {edges[0]} to {edges[-1] - 1} words.", x, y, 340, 200)
    for left, right, count in zip(edges, edges[1:], rows, strict=False):
        plot.bar((left, right), (0, count), "soft")
    return plot.render()


def reproduce(study: Study, verdict: Verdict, cells: Cells, prepared: Prepared) -> dict[str, Any]:
    """Return the exact study, what computed it, and the versions."""
    text = yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True, default_flow_style=None)
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        with suppress(PackageNotFoundError):  # jax is an extra, and kfp is not in every image
            versions[library] = version(library)
    return {
        "study": text,
        "address": data_address("text/yaml", text.encode()),
        "versions": versions,
        "computed": asdict(cells[REFERENCE][0].result.computed),
        "code": code_version()[:12],
        "fingerprint": prepared.schema.fingerprint,
        "run": verdict.run,
        "mlflow": verdict.mlflow and verdict.mlflow.run_id,
        "system": f"{platform.system()} {platform.machine()}",
    }
