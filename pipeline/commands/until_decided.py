"""Runs a study in looks: some seeds of all arms, then more of those that are not decided, as long as it is worth it."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from components.errors import UsageError
from components.formatting import duration, in_words
from components.study.study import REFERENCE, Study
from pipeline.commands.plan import OVERHEAD_SECONDS, RESERVE, Plan, within_budget

if TYPE_CHECKING:
    from pipeline.runners.run import Finished

FIRST_SEEDS = 5  # of the first look; each further one has twice as many
MOST_SEEDS = 40  # by default
FREED = 2  # times as many seeds as a budget pays for of all arms: arms that are decided free their time

Run = Callable[[Study], "Finished"]


def until_decided(
    study: Study, most: int, tasks: int, run: Run, say: Callable[[str], None], budget: tuple[Plan, float] | None
) -> "Finished":
    """Run a study's looks, and return the last one's outcome.

    Args:
        study: to run; its own number of seeds is not used.
        most: seeds of an arm, at most; 2 or more.
        tasks: training tasks side by side.
        run: runs one look.
        say: is told before each look what it is expected to bring.
        budget: what is expected of the study, and the seconds that there are; of None there is no limit.

    Raises:
        UsageError: where `most` seeds, or those that the budget pays for, are less than two.
    """
    if most < 2:
        raise UsageError(f"--most-seeds {most}: one seed tells nothing of how sure an effect is; expected 2 or more")
    begun, first = time.monotonic(), FIRST_SEEDS
    if budget:
        affordable = within_budget(*budget)
        first = min(first, affordable)
        most = min(most, affordable if affordable <= FIRST_SEEDS else FREED * affordable)
    look = study.model_copy(update={"seeds": min(first, most), "planned": most, "stopped": {}})
    say(f"{look.seeds} seeds of all arms" + (f", and up to {most} where they decide nothing" if most > first else ""))
    while True:
        finished = run(look)
        left = budget[1] - (time.monotonic() - begun) if budget else None
        following = _following(look, finished, tasks, say, left)
        if following is None:
            break
        look = following
    if finished.verdict.goes_on:  # there is no time for it, so this is the last one, which registers the winner
        finished = run(look.model_copy(update={"planned": look.seeds}))
    return finished


def _following(
    look: Study, finished: "Finished", tasks: int, say: Callable[[str], None], left: float | None
) -> Study | None:
    """Return the look after one, and say what it is expected to bring; None where there is none."""
    verdict = finished.verdict
    if not verdict.goes_on:
        return None
    planned = verdict.planned or verdict.seeds
    pairs = {arm.name: arm.pair for arm in look.expand() if arm.pair}
    names = {effect.arm for effect in verdict.undecided}
    names |= {one for name in names for one in pairs.get(name, ())}  # how two work together takes each alone, too
    seeds = min(2 * look.seeds, planned)
    seconds = sum(verdict.seconds[name] for name in (REFERENCE, *names))
    # What this look's own seconds say of a wall clock's: its tasks ran side by side. No faster than all of them at
    # once: where an earlier run had trained its cells, it took no time at all.
    trained = sum(of * look.seeds_of(name) for name, of in verdict.seconds.items())
    a_second = max((finished.ended - finished.begun - OVERHEAD_SECONDS) / trained, 1 / tasks)
    if left is not None:
        affordable = look.seeds + int((RESERVE * left - OVERHEAD_SECONDS) / (a_second * seconds))
        if affordable <= look.seeds:
            return None
        if affordable < 2 * seeds:  # there is no time for another look after this one
            seeds = planned = min(affordable, planned)
    stopped = {arm.name: look.seeds_of(arm.name) for arm in look.expand()[1:] if arm.name not in names}
    more, hoped = seeds - look.seeds, sum(effect.chance or 0.0 for effect in verdict.undecided)
    about = duration(OVERHEAD_SECONDS + more * a_second * seconds)
    say(
        f"{more} more {'seed' if more == 1 else 'seeds'} of {in_words(sorted(names))}, about {about}; with {planned} "
        f"seeds {hoped:.0f} of the {len(verdict.undecided)} should be decided"
    )
    return look.model_copy(update={"seeds": seeds, "planned": planned, "stopped": stopped})
