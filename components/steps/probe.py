"""A short probe of a study: how long its cells take, and how much two trainings differ that differ by chance alone.

What is known of finished cells is used instead, where there are enough.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from components.data.prepared import Prepared
from components.runtime.cells import FinishedCell, Store
from components.stats.metrics import row_scores
from components.study.model_catalogue import MODELS
from components.study.recipe import Recipe, program_key
from components.study.study import REFERENCE, Study

STEPS = 50  # that an epoch of the probe has at most; time grows with the steps
MOST_ROWS = 10_000  # that it is validated on
FEW_EPOCHS = 4  # of each program, to see how long an epoch is
TRAININGS = 3  # of the reference, that differ by chance
MOST_SECONDS = 20.0  # that each of them may take
FEWEST_SEEDS = 3  # finished ones, from which their spread is taken


@dataclass(frozen=True)
class Probe:
    """What a study's cells are like."""

    # By arm, that a cell takes; of processor time where it is the processor that computes. At most: where early
    # stopping may end a cell sooner, and the probe did not train that long, all epochs are counted.
    seconds: dict[str, float]
    spread: (
        float  # standard deviation over seeds of an arm's difference to the reference, in the deciding metric's unit
    )
    shared: float  # see `components.stats.paired_effects.Paired`
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
    arms = {arm: of for arm, of in found.items() if len(of) >= seeds and arm != REFERENCE}
    if seeds < FEWEST_SEEDS or not arms:
        return None
    cells = {arm: of[:seeds] for arm, of in {REFERENCE: found[REFERENCE], **arms}.items()}
    comparison = Comparison(study.model_copy(update={"seeds": seeds}), cells, prepared)
    pairs = []
    for arm in arms:
        ours = comparison.scores(arm)[study.decided_by]
        differences = [a - b for a, b in zip(ours, comparison.reference[study.decided_by], strict=True)]
        pairs.append(comparison.paired(differences))
    seconds = {arm: float(np.mean([cell.result.seconds for cell in of])) for arm, of in cells.items()}
    return Probe(
        {arm.name: seconds.get(arm.name, seconds[REFERENCE]) for arm in study.expand()},
        float(np.sqrt(np.median([pair.values.var(ddof=1) for pair in pairs]))),
        float(np.median([pair.shared for pair in pairs])),
        sum(map(len, cells.values())),
    )


def _trained(study: Study, prepared: Prepared) -> Probe:
    from components.runtime import devices
    from components.training.trainer import threads_for

    devices.set_up(study.recipe.train, threads_for(prepared.schema))
    seconds: dict[str, float] = {}
    known: dict[str, float] = {}  # by compiled program: seconds of an epoch
    spread, share = 0.0, 1.0
    for arm in study.expand():
        key = f"{program_key(arm.recipe)} {arm.recipe.data}"
        if key not in known:
            trial = _Trial(arm.recipe, prepared)
            known[key] = trial.epoch_seconds * trial.scale
            if arm.name == REFERENCE:
                spread, share = trial.spread(study.decided_by)
        stops = share if arm.recipe.train.early_stopping else 1.0
        epochs = 1 if MODELS[arm.recipe.model.name].trees else arm.recipe.train.epochs * stops
        seconds[arm.name] = known[key] * epochs
    return Probe(seconds, spread, 0.0, 0)


class _Trial:
    """A recipe's program on the first seed's rows, at most `STEPS` batches of them."""

    def __init__(self, recipe: Recipe, prepared: Prepared):
        """Build the program; it is compiled when it first trains."""
        from components.data.scaling import fit
        from components.training.engine import Split
        from components.training.trainer import build, threads_for

        self.recipe = recipe
        train, validation = prepared.split(0, recipe.data)
        rows = train[: STEPS * recipe.train.batch_size]
        self.validation_rows = len(validation)
        validation = validation[:MOST_ROWS]
        self.scale = len(train) / len(rows)
        encoder = fit(prepared, 0, {"": recipe})[""]
        self.spread_of_rows = encoder.spread
        self.split = Split(
            encoder(prepared.x[rows]), prepared.y[rows], encoder(prepared.x[validation]), prepared.y[validation]
        )
        self.program = build(recipe, prepared.schema, len(rows), threads_for(prepared.schema))

    @cached_property
    def epoch_seconds(self) -> float:
        """How long an epoch over these rows takes, without compiling; over all train rows `scale` times as long."""
        return self._train(0, FEW_EPOCHS).epoch_seconds

    def spread(self, metric: str) -> tuple[float, float]:
        """Train a few times with other random numbers and the same rows.

        Returns:
            the standard deviation of the difference between two of them, and no less than what the rows that only one
            of the two gets right would give by themselves;
            the share of the epochs after which early stopping ended, 1 where the trainings were cut short.
        """
        planned = 1 if MODELS[self.recipe.model.name].trees else self.recipe.train.epochs
        epochs = int(np.clip(MOST_SECONDS / max(self.epoch_seconds, 1e-6), 1, planned))
        y, of_rows, lengths = self.split.val_y, [], []
        for seed in range(TRAININGS):
            lengths.append(len(self._train(seed, epochs, self._stops(epochs)).curves["loss"]))
            of_rows.append(row_scores(self.program.probabilities(self.split.val_x), y)[metric])
        differences = [a - b for a, b in combinations(of_rows, 2)]
        by_rows = np.mean([np.mean(of**2) for of in differences]) / self.validation_rows
        by_trainings = np.mean([of.mean() ** 2 for of in differences])
        share = float(np.mean(lengths)) / planned if epochs == planned else 1.0
        return float(np.sqrt(max(by_rows, by_trainings, (0.5 / self.validation_rows) ** 2))), share

    def _stops(self, epochs: int) -> Mapping[str, Any]:
        return {} if epochs == self.recipe.train.epochs else {"early_stopping": None}

    def _train(self, seed: int, epochs: int, changes: Mapping[str, Any] | None = None):
        changes = {"early_stopping": None} if changes is None else changes
        recipe = self.recipe.train.model_copy(update={"epochs": epochs, "warm_up": 0, **changes})
        return self.program.fit(self.split, recipe, seed, self.spread_of_rows)
