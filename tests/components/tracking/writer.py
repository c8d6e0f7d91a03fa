"""Logs cells as a train task does, for a test of several at once.

python writer.py STUDY_JSON RUNS_FILE DATA_FOLDER CELL_FOLDER NUMBERS...
"""

import sys
from pathlib import Path

from components.data.prepared import Prepared
from components.records import from_json
from components.runtime.cells import FinishedCell
from components.study.study import Study
from components.tracking.cell_log import CellLogger
from components.tracking.runs import StudyRuns


def main() -> None:
    study, runs, data, cell, *numbers = sys.argv[1:]
    result = FinishedCell(cell)
    logger = CellLogger(from_json(StudyRuns, Path(runs).read_bytes(), runs), Prepared(data).schema)
    cells = Study.model_validate_json(study).cells()
    for number in numbers:
        log = logger.start(cells[int(number)])
        for epoch in range(result.result.epochs):
            log.epoch(epoch, {name: curve[epoch] for name, curve in result.result.curves.items()})
            log._send()  # no waiting for a batch to fill: as many writes as there can be
        log.finish(result, reused=False)


if __name__ == "__main__":
    main()
