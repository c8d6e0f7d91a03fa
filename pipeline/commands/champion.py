"""What people do with the registry by hand: look at the champion, promote a version, take a promotion back."""

import shlex
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from components.errors import AssayError, UsageError
from components.formatting import nearest
from components.registry import model_registry as registered
from components.registry.decision import Judgement, Outcome
from components.registry.model_registry import CHALLENGER, CHAMPION, PREVIOUS, Registry
from components.tracking.client import ROLE_TAG, check_store, tracking_uri, without_login
from components.tracking.runs import experiment_of

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

DECISIONS = 5  # that are shown
ENOUGH = 100  # decisions, to find the last promotion among them
PATIENCE = 20.0  # seconds: somebody waits


def show_champion(console: Console, name: str) -> None:
    """Print the champion of a study: what it is, how good, since when, and the last decisions.

    Raises:
        AssayError: when MLflow has no such model, or it has no champion, or MLflow is away.
    """
    with _opened(name) as registry:
        champion = registry.find_champion()
        decisions = registry.decisions(ENOUGH)
        if champion is None:
            raise AssayError(f"no version of {name!r} is the champion; {_versions(registry)}")
        at = {alias: registry.at(alias) for alias in (CHAMPION, CHALLENGER, PREVIOUS)}
    tags = champion.tags
    lines = [f"{name} version {champion.version} is the champion since {_since(champion, decisions)}"]
    if "assay.arm" in tags:
        lines.append(f"  trained    {tags['assay.arm']}, seed {tags['assay.seed']}; run {champion.run_id}")
    if "assay.data" in tags:
        rows = f"{tags['assay.source']}, {tags['assay.rows']} rows, " if "assay.rows" in tags else ""
        lines.append(f"  data       {rows}fingerprint {tags['assay.data'][:12]}")
    if scores := _scores(tags):
        lines.append(f"  its test   {scores}")
    lines.append("  aliases    " + ", ".join(f"{alias} is version {of.version}" for alias, of in at.items() if of))
    lines.append(f'  to load    mlflow.pyfunc.load_model("models:/{name}@{CHAMPION}")')
    if decisions:
        lines += ["Last decisions:", *(f"  {_told(run)}" for run in decisions[:DECISIONS])]
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def promote(name: str, version: str | None, reason: str | None) -> str:
    """Make a version (the challenger where none is named) the champion, by hand, and return what was done.

    Raises:
        AssayError: when there is no such version, or it is the champion already, or MLflow is away.
    """
    with _opened(name) as registry:
        if version is None:
            chosen, lacking = registry.at(CHALLENGER), "no challenger: no decision is open"
        else:
            chosen, lacking = registry.version(version) if version.isdecimal() else None, f"no version {version!r}"
        if chosen is None:
            raise UsageError(f"{name!r} has {lacking}; {_versions(registry)}")
        number, champion = str(chosen.version), registry.find_champion()
        if registry.champion == number:
            raise AssayError(f"version {number} of {name!r} is the champion already")
        challenger = registry.at(CHALLENGER)
        aliases: dict[str, str | None] = {PREVIOUS: registry.champion} if champion else {}
        aliases[CHAMPION] = number
        if challenger and str(challenger.version) == number:
            aliases[CHALLENGER] = None
        _write(registry, chosen, Outcome.PROMOTED, reason, aliases)
    before = f"; version {champion.version} was it before" if champion else ""
    return f"{name} version {number} is the champion now{before}"


def rollback(name: str, reason: str | None) -> str:
    """Make the champion before the champion again, and return what was done.

    Raises:
        AssayError: when there is no champion before, or MLflow is away.
    """
    with _opened(name) as registry:
        champion, previous = registry.find_champion(), registry.at(PREVIOUS)
        if champion is None or previous is None or str(previous.version) == registry.champion:
            raise AssayError(f"{name!r} has no champion before the present one; {_versions(registry)}")
        aliases: dict[str, str | None] = {CHAMPION: str(previous.version), PREVIOUS: registry.champion}
        _write(registry, previous, Outcome.ROLLED_BACK, reason, aliases)
    return f"{name} version {previous.version} is the champion again; version {champion.version} is `{PREVIOUS}` now"


@contextmanager
def _opened(name: str) -> Iterator[Registry]:
    """Open the registry of a model that must be there; where MLflow is away it is said what is the champion."""
    uri = without_login(tracking_uri())
    check_store("models")
    registry = Registry(name, PATIENCE)
    try:
        names = [model.name for model in registry.ask(lambda: registry.api.search_registered_models(max_results=1000))]
        if name not in names:
            raise UsageError(f"MLflow at {uri} has no registered model {name!r}; {nearest(name, names)}")
        yield registry
    except registered.AwayError as error:
        raise AssayError(
            f"MLflow at {uri} can't be reached, tried for {PATIENCE:.0f} s ({error}); {registry.how_it_stands()}; "
            "try again"
        ) from None


def _write(
    registry: Registry, version: "ModelVersion", decision: Outcome, reason: str | None, aliases: dict[str, str | None]
) -> None:
    """Record a decision made by hand, and carry it out."""
    judgement = Judgement(decision=decision, reason=f"by hand: {reason or 'no reason given'}")
    parent = registry.find(lambda: registry.api.get_run(version.run_id or ""))
    if parent and parent.data.tags.get(ROLE_TAG) == "study" and parent.info.lifecycle_stage == "active":
        experiment, above = parent.info.experiment_id, version.run_id
    else:
        experiment, above = registry.ask(lambda: experiment_of(registry.api, registry.name)), None
    made = registry.decision(judgement, str(version.version), aliases)
    registry.write(made, experiment, above, f"by hand {uuid.uuid4().hex}")


def _since(champion: "ModelVersion", decisions: list["Run"]) -> str:
    """Return when the version became the champion, and by whom; where no decision tells, when it was made."""
    for run in decisions:
        tags = run.data.tags
        decided = tags.get(registered.DECISION_TAG)
        made_it = decided in (Outcome.PROMOTED, Outcome.ROLLED_BACK) and run.info.status == "FINISHED"
        if made_it and tags[registered.CHAMPION_TAG] == str(champion.version):
            return f"{_time(run.info.start_time)}, {decided} by {tags['mlflow.user']}"
    return f"{_time(champion.creation_timestamp)} or later"


def _scores(tags: dict[str, str]) -> str:
    """Return the version's scores on the test rows of its own study, the study's metric first."""
    prefix, metric = registered.SCORE_TAG, tags.get(registered.METRIC_TAG)
    found = {name.removeprefix(prefix): float(of) for name, of in tags.items() if name.startswith(prefix)}
    return ", ".join(f"{name} {found[name]:.4f}" for name in sorted(found, key=lambda of: (of != metric, of)))


def _told(run: "Run") -> str:
    tags, is_done = run.data.tags, run.info.status == "FINISHED"
    what = tags.get(registered.DECISION_TAG, "unfinished") + ("" if is_done else ", not carried out")
    version, reason = tags[registered.VERSION_TAG], tags.get(registered.REASON_TAG, "")
    return f"{_time(run.info.start_time)}  {what:<11}  version {version}: {reason}"


def _versions(registry: Registry) -> str:
    listed = ", ".join(registry.versions()) or "none"
    return f"its versions: {listed}; `assay promote {shlex.quote(registry.name)} VERSION` makes one the champion"


def _time(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))
