"""A short probe of a study: how long its cells take, and how much two trainings differ that differ by chance alone.

What is known of finished cells is used instead, where there are enough.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from components.data.prepared import Prepared
from components.runtime.cells import FinishedCell, Store
from components.stats.metrics import METRICS, row_scores
from components.stats.paired_effects import Spread, moderated
from components.study.model_catalogue import MODELS
from components.study.recipe import Recipe, program_key
from components.study.study import REFERENCE, Study

STEPS = 50  # that an epoch of the probe has at most; time grows with the steps
MOST_ROWS = 10_000  # that it is validated on
FEW_EPOCHS = 4  # of each program, to see how long an epoch is
TRAININGS = 3  # of the reference, that differ by chance
MOST_SECONDS = 30.0  # that they may take, and as much again one training of each arm
SHRINKS = 4  # degrees of freedom with which the ratio of their variance to that of their rows is taken for 1
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
    resolution = METRICS[study.decided_by].resolution(prepared.schema.splits["validation"])
    spreads = {arm: of for arm, of in zip(arms, moderated(pairs, resolution), strict=True) if of}
    seconds = {arm: float(np.mean([cell.result.seconds for cell in of])) for arm, of in cells.items()}
    return Probe(
        {arm.name: seconds.get(arm.name, seconds[REFERENCE]) for arm in study.expand()},
        spreads,
        sum(map(len, cells.values())),
    )


def _trained(study: Study, prepared: Prepared) -> Probe:
    from components.runtime import devices
    from components.training.trainer import threads_for

    devices.set_up(study.recipe.train, threads_for(prepared.schema))
    programs: dict[str, Any] = {}
    reference, *arms = [(arm.name, _Trial(arm.recipe, prepared, programs)) for arm in study.expand()]
    metric, longest = study.decided_by, MOST_SECONDS / max(len(arms), 1)
    seeds = [reference[1].scores(metric, seed, MOST_SECONDS / TRAININGS) for seed in range(TRAININGS)]
    ratio = _ratio(seeds)
    seconds, spreads = {REFERENCE: reference[1].seconds}, {}
    for name, trial in arms:
        by_rows = _by_rows(trial.scores(metric, 0, longest), seeds[0])
        variance = ratio * max(by_rows, (METRICS[metric].resolution(len(seeds[0])) / 2) ** 2) * len(seeds[0])
        rows = prepared.schema.splits["validation"]
        spreads[name] = Spread(variance / rows, 0.0, FEWEST_SEEDS, FEWEST_SEEDS - 1, rows)
        seconds[name] = trial.seconds
    return Probe(seconds, spreads, 0)


def _by_rows(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the variance that the rows give the mean difference of two trainings' scores (rows,)."""
    return float((ours - theirs).var() / len(ours))


def _ratio(seeds: Sequence[np.ndarray]) -> float:
    """Return how much more the mean differs between trainings that differ by chance than their rows explain.

    A few trainings tell it badly, so it is shrunk towards 1, the least that it can be.
    """
    pairs = list(combinations(seeds, 2))
    explained = float(np.mean([_by_rows(one, other) for one, other in pairs]))
    found = float(np.mean([(one - other).mean() ** 2 for one, other in pairs])) / max(explained, 1e-12)
    own = len(seeds) - 1
    return max((own * found + SHRINKS) / (own + SHRINKS), 1.0)


class _Trial:
    """A recipe's program on the first seed's rows, at most `STEPS` batches of them."""

    def __init__(self, recipe: Recipe, prepared: Prepared, programs: dict[str, Any]):
        """Build the program, which is compiled when it first trains, or take it from those that are there."""
        from components.data.scaling import fit
        from components.training.engine import Split
        from components.training.trainer import build, threads_for

        self.recipe = recipe
        train, validation = prepared.split(0, recipe.data)
        rows = train[: STEPS * recipe.train.batch_size]
        validation = validation[:MOST_ROWS]
        self.scale = len(train) / len(rows)
        encoder = fit(prepared, 0, {"": recipe})[""]
        self.spread_of_rows = encoder.spread
        self.split = Split(
            encoder(prepared.x[rows]), prepared.y[rows], encoder(prepared.x[validation]), prepared.y[validation]
        )
        key = f"{program_key(recipe)} {len(rows)}"
        if key not in programs:
            programs[key] = build(recipe, prepared.schema, len(rows), threads_for(prepared.schema))
        self.program = programs[key]
        self.planned = 1 if MODELS[recipe.model.name].trees else recipe.train.epochs
        self.lengths: list[int] = []  # epochs that trainings took which were not cut short

    @cached_property
    def epoch_seconds(self) -> float:
        """How long an epoch over these rows takes, without compiling."""
        return self._train(0, FEW_EPOCHS, {"early_stopping": None}).epoch_seconds

    @property
    def seconds(self) -> float:
        """How long a cell takes, on all train rows."""
        epochs = float(np.mean(self.lengths)) if self.lengths else self.planned
        return self.epoch_seconds * self.scale * epochs

    def scores(self, metric: str, seed: int, seconds: float) -> np.ndarray:
        """Train for at most so many seconds, and return the validation rows' scores (rows,); higher is better."""
        epochs = int(np.clip(seconds / max(self.epoch_seconds, 1e-6), 1, self.planned))
        whole = epochs == self.planned
        fit = self._train(seed, epochs, {} if whole else {"early_stopping": None})
        if whole:
            self.lengths.append(len(fit.curves["loss"]))
        of_rows = row_scores(self.program.probabilities(self.split.val_x), self.split.val_y)[metric]
        return METRICS[metric].sign * of_rows

    def _train(self, seed: int, epochs: int, changes: Mapping[str, Any]):
        recipe = self.recipe.train.model_copy(update={"epochs": epochs, "warm_up": 0, **changes})
        return self.program.fit(self.split, recipe, seed, self.spread_of_rows)
