"""A short probe of a study: how long its cells take, and how much the difference of two arms varies with the seed.

What is known of finished cells is used instead, where there are enough.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from components.data.prepared import Prepared
from components.runtime.cells import FinishedCell, Store
from components.stats.metrics import METRICS, row_scores
from components.stats.paired_effects import Paired, Spread, expected_spreads, paired
from components.study.model_catalogue import MODELS
from components.study.recipe import Recipe, program_key
from components.study.study import REFERENCE, Study

STEPS = 50  # that an epoch of the probe has at most; time grows with the steps
MOST_ROWS = 10_000  # that a seed is validated on
FEW_EPOCHS = 4  # of each program, to see how long an epoch is
SEEDS = 2  # of each arm
MOST_SECONDS = 60.0  # that their trainings may take in all
FEWEST_SEEDS = 3  # finished ones, from which their spread is taken


@dataclass(frozen=True)
class Probe:
    """What a study's cells are like."""

    # By arm, that a cell takes; of processor time where it is the processor that computes. At most: where early
    # stopping may end a cell sooner, and the probe did not train that long, all epochs are counted.
    seconds: dict[str, float]
    # By arm but the reference, how a seed's difference to the reference varies, in the deciding metric's unit.
    spreads: dict[str, Spread]
    cells: int  # finished ones that it was read from; 0 where it was trained for


def probe(study: Study, prepared: Prepared, store: Store) -> Probe:
    """Return what finished cells of the study tell; where there are too few, train for it, for a minute or so."""
    return _of_finished(study, prepared, store) or _trained(study, prepared)


def _of_finished(study: Study, prepared: Prepared, store: Store) -> Probe | None:
    from components.evaluation.judge import Comparison

    found: dict[str, list[FinishedCell]] = {}
    for cell in study.cells():
        finished = found.setdefault(cell.arm, [])
        result = store.find(cell.key)
        if result and len(finished) == cell.seed:  # none is missing before it
            finished.append(result)
    seeds = len(found[REFERENCE])
    arms = [arm.name for arm in study.expand()[1:] if len(found[arm.name]) >= seeds]
    if seeds < FEWEST_SEEDS or not arms:
        return None
    cells = {arm: found[arm][:seeds] for arm in (REFERENCE, *arms)}
    comparison = Comparison(study.of_seeds(seeds), cells, prepared)
    pairs = []
    for arm in arms:
        ours = comparison.scores(arm)[study.decided_by]
        differences = [a - b for a, b in zip(ours, comparison.reference[study.decided_by], strict=True)]
        pairs.append(comparison.paired(differences))
    spreads = _spreads(pairs, study, prepared)
    seconds = {arm: float(np.mean([cell.result.seconds for cell in of])) for arm, of in cells.items()}
    return Probe(
        {arm.name: seconds.get(arm.name, seconds[REFERENCE]) for arm in study.expand()},
        dict(zip(arms, spreads, strict=True)),
        sum(map(len, cells.values())),
    )


def _spreads(pairs: list[Paired], study: Study, prepared: Prepared) -> list[Spread]:
    splits = prepared.schema.splits
    resolution = METRICS[study.decided_by].resolution(splits["validation"])
    return expected_spreads(pairs, resolution, splits["validation"] / (splits["train"] + splits["validation"]))


def _trained(study: Study, prepared: Prepared) -> Probe:
    from components.runtime import devices
    from components.training.trainer import threads_for

    devices.set_up(study.recipe.train, threads_for(prepared.schema))
    programs: dict[str, Any] = {}
    arms = {arm.name: _Trial(arm.recipe, prepared, programs) for arm in study.expand()}
    longest = MOST_SECONDS / SEEDS / len(arms)
    scores = {
        arm: [trial.scores(study.decided_by, seed, longest) for seed in range(SEEDS)] for arm, trial in arms.items()
    }
    rows, reference = [_validation(prepared, seed) for seed in range(SEEDS)], scores.pop(REFERENCE)
    pairs = [
        paired(rows, [a - b for a, b in zip(ours, reference, strict=True)], np.asarray(prepared.units))
        for ours in scores.values()
    ]
    spreads = _spreads(pairs, study, prepared)
    seconds = {arm: trial.seconds for arm, trial in arms.items()}
    return Probe(seconds, dict(zip(scores, spreads, strict=True)), 0)


def _validation(prepared: Prepared, seed: int) -> np.ndarray:
    return prepared.split(seed)[1][:MOST_ROWS]


class _Trial:
    """A recipe's program, trained on at most `STEPS` batches of rows."""

    def __init__(self, recipe: Recipe, prepared: Prepared, programs: dict[str, Any]):
        """Build the program, which is compiled when it first trains, or take it from those that are there."""
        from components.training.trainer import build, threads_for

        self.recipe, self.prepared = recipe, prepared
        train = len(prepared.split(0, recipe.data)[0])
        self.rows = min(train, STEPS * recipe.train.batch_size)
        self.scale = train / self.rows
        key = f"{program_key(recipe)} {self.rows}"
        if key not in programs:
            programs[key] = build(recipe, prepared.schema, self.rows, threads_for(prepared.schema))
        self.program = programs[key]
        self.planned = 1 if MODELS[recipe.model.name].trees else recipe.train.epochs
        self.lengths: list[int] = []  # epochs that trainings took which were not cut short

    @cached_property
    def epoch_seconds(self) -> float:
        """How long an epoch over these rows takes, without compiling."""
        return self._train(0, FEW_EPOCHS, {"early_stopping": None})[0].epoch_seconds

    @property
    def seconds(self) -> float:
        """How long a cell takes, on all train rows."""
        epochs = float(np.mean(self.lengths)) if self.lengths else self.planned
        return self.epoch_seconds * self.scale * epochs

    def scores(self, metric: str, seed: int, seconds: float) -> np.ndarray:
        """Train for at most so many seconds, and return the validation rows' scores (rows,); higher is better."""
        epochs = int(np.clip(seconds / max(self.epoch_seconds, 1e-6), 1, self.planned))
        whole = epochs == self.planned
        fit, split = self._train(seed, epochs, {} if whole else {"early_stopping": None})
        if whole:
            self.lengths.append(len(fit.curves["loss"]))
        of_rows = row_scores(self.program.probabilities(split.val_x), split.val_y)[metric]
        return METRICS[metric].sign * of_rows

    def _train(self, seed: int, epochs: int, changes: Mapping[str, Any]):
        from components.data.scaling import fit
        from components.training.engine import Split

        prepared, recipe = self.prepared, self.recipe
        rows, validation = prepared.split(seed, recipe.data)[0][: self.rows], _validation(prepared, seed)
        encoder = fit(prepared, seed, {"": recipe})[""]
        split = Split(
            encoder(prepared.x[rows]), prepared.y[rows], encoder(prepared.x[validation]), prepared.y[validation]
        )
        train = recipe.train.model_copy(update={"epochs": epochs, "warm_up": 0, **changes})
        return self.program.fit(split, train, seed, encoder.spread), split
