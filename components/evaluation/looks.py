"""Looks: which verdicts were given before on the same question, and how often the next one may be wrong.

Whoever judges after 10 seeds, and again after 20 because nothing was decided, has two chances to be wrong. So every
look spends its part of `ALPHA`, and has intervals as wide as that part says. Of k seeds out of those that are planned,
ALPHA (k / planned)^1.5 is spent in all (alpha spending: Lan and DeMets 1983; this family: Kim and DeMets 1987): little
at first, so that the last look has most of it. What is left after earlier looks is what this one may spend, so the
intervals of all looks hold at once (Bonferroni), however the next one was chosen.

A question is one arm beside its reference on one version of the data. When all is spent, as by a look at all the seeds
that were planned, a verdict from more seeds is exploratory: a study with new data must confirm it.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from components.data.prepared import Schema
from components.stats.paired_effects import ALPHA
from components.study.recipe import content_hash
from components.study.study import Study

FILE = "looks.jsonl"  # in the store: a line for each arm of each verdict
GROWTH = 1.5  # of what is spent, with the share of the planned seeds


@dataclass(frozen=True)
class Look:
    """One arm's part in a verdict."""

    question: str  # a hash of the data, the reference, the arm and the metric that decides
    data: str  # the fingerprint's first digits
    run: str  # the unique name of the study's run
    seeds: int
    planned: int  # seeds
    alpha: float  # in what share of studies this look may miss; 0 where nothing was left

    @property
    def may_miss(self) -> float:
        """In what share of studies its intervals may miss; an exploratory look's are those of a first one."""
        return self.alpha or ALPHA

    @property
    def exploratory(self) -> bool:
        """Whether all was spent before."""
        return self.alpha == 0


def looks(study: Study, schema: Schema, run: str, earlier: Iterable[Look]) -> dict[str, Look]:
    """Return what each arm's part in the verdict of a run is, by arm.

    Args:
        study: what was run.
        schema: of its data.
        run: its unique name.
        earlier: verdicts on any question.
    """
    reference, *arms = study.expand()
    by_question: dict[str, list[Look]] = {}
    for look in earlier:
        by_question.setdefault(look.question, []).append(look)
    found: dict[str, Look] = {}
    for arm in arms:
        decides = [schema.fingerprint, study.decided_by]
        recipes = [of.recipe.model_dump(mode="json") for of in (reference, arm)]
        question, seeds = content_hash([*decides, *recipes])[:16], study.seeds_of(arm.name)
        planned = max(study.planned or study.seeds, seeds)
        found[arm.name] = Look(
            question, _short(schema), run, seeds, planned, left_to_spend(by_question.get(question, ()), seeds, planned)
        )
    return found


def looks_at_test_rows(schema: Schema, run: str, earlier: Iterable[Look]) -> int:
    """Return how many other runs have given a verdict on the same data."""
    return len({look.run for look in earlier if look.data == _short(schema)} - {run})


def _short(schema: Schema) -> str:
    return schema.fingerprint[:12]


def left_to_spend(earlier: Sequence[Look], seeds: int, planned: int) -> float:
    """Return what a look may spend after the earlier ones; the same numbers, seen again, are no new look."""
    for look in earlier:
        if look.seeds == seeds:
            return look.alpha
    if any(look.seeds > seeds for look in earlier):
        return 0.0
    of_seeds = {look.seeds: look.alpha for look in earlier}
    left = ALPHA * (seeds / planned) ** GROWTH - sum(of_seeds.values())
    return left if left > 1e-9 else 0.0


def read(store: Path) -> list[Look]:
    """Return what a store of finished cells remembers; a line that a dying process left torn is no look."""
    found: list[Look] = []
    with suppress(FileNotFoundError):
        for line in (store / FILE).read_text("utf-8").splitlines():
            with suppress(ValueError, TypeError):
                found.append(Look(**json.loads(line)))
    return found


def remember(store: Path, found: Iterable[Look]) -> None:
    """Add looks to what a store remembers."""
    known = set(read(store))
    lines = [json.dumps(asdict(look)) + "\n" for look in found if look not in known]
    store.mkdir(parents=True, exist_ok=True)
    with (store / FILE).open("a", encoding="utf-8") as file:
        torn = file.tell() and not (store / FILE).read_bytes().endswith(b"\n")
        file.write("\n" * bool(torn) + "".join(lines))
