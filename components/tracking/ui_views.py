"""What MLflow's UI opens at: a saved view of the latest run's arms, and the addresses of its pages.

The UI keeps a view (filter, order, columns, charts) as JSON in a tag of the experiment, lists it there by its name, and
opens it where the address has the tag's key. Read in the sources of MLflow 3.17's UI; what an older one does not know
it leaves out. A view says which runs are rows, but not which rows are unfolded, so the rows are the arms alone.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

NAME = "What helped in"
MOST_CHARTED = 100  # arms in a chart; the UI draws ten unless told
WIDTH = 110  # pixels of a column: so many of a number's digits as matter
CURVES = ("val_loss", "loss", "val_accuracy", "accuracy")


def view_tag(study: str) -> str:
    """Return the tag of a study's view; each finished run takes it over, so that its address stays."""
    return f"mlflow.sharedViewState.{_key(study)}"


def _key(study: str) -> str:
    return f"assay.{study}"


def view(study: str, run: str, metric: str) -> str:
    """Return the view of a study run's arms, sorted by their effect, as the value of `view_tag`."""
    columns = [
        "tags.`assay.technique`",
        *(f"metrics.`{name}`" for name in ("effect", "low", "high")),
        "tags.`assay.verdict`",
        *(f"metrics.`{name}`" for name in (f"effect/{metric}", "cost", f"validation/{metric}")),
    ]
    sections = {
        "What a technique brings that an arm lacks or adds": ("effect", f"validation/{metric}", "cost"),
        "Learning curves, means of the seeds": CURVES,
    }
    state = {
        "searchFilter": f"tags.`assay.run` = '{run}' and tags.`assay.role` = 'arm'",
        "orderByKey": "metrics.`effect`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": dict.fromkeys(columns, WIDTH),
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,  # else the UI sorts the sections by name
        "compareRunSections": [
            {"uuid": name, "name": name, "display": True, "isReordered": True, "deleted": False, "isGenerated": False}
            for name in sections
        ],
        "compareRunCharts": [
            _chart(name, section, "LINE" if name in CURVES else "BAR")
            for section, names in sections.items()
            for name in names
        ],
    }
    now = int(time.time() * 1000)
    return json.dumps({"name": f"{NAME} {study}", "createdAt": now, "updatedAt": now, "state": json.dumps(state)})


def _chart(metric: str, section: str, kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": metric,
        "metricKey": metric,
        "metricSectionId": section,
        "runsCountToCompare": MOST_CHARTED,
        "deleted": False,
        "isGenerated": False,
    }


def pages(study: str, experiment: str, parent: str, arms: Sequence[str]) -> dict[str, str]:
    """Return the addresses of a study run's pages by what they show, to be put behind the server's.

    Args:
        study: its name.
        experiment: its number.
        parent: the number of the study's run.
        arms: the numbers of the arms' runs.
    """
    key = quote(_key(study))
    runs, training = f"#/experiments/{experiment}/runs", "workflowType=machine_learning"  # else traces and prompts
    return {
        "charts": f"{runs}?viewStateShareKey={key}&compareRunsMode=CHART&{training}",
        "table": f"{runs}?viewStateShareKey={key}&compareRunsMode=TABLE&{training}",
        "verdict": f"{runs}/{parent}?{training}",
        "compare": f"#/compare-runs?runs={_listed(arms)}&experiments={_listed([experiment])}&{training}",
    }


def _listed(numbers: Sequence[str]) -> str:
    """Return a JSON list without characters that an address must not have."""
    return json.dumps(list(numbers), separators=(",", ":")).replace('"', "%22")


def description(answer: str, run: str, links: Mapping[str, str]) -> str:
    """Return what the experiment's page says above its runs: the answer, and where to look (`links` of `pages`)."""
    looks = " · ".join(f"[{what}]({where})" for what, where in links.items())
    return f"{answer}\n\nLatest run, {run}: {looks}\n"
