"""What people do with the registry by hand: look at the champion, promote a version, take a promotion back."""

import difflib
import shlex
import time
import uuid
from typing import Any

from rich.console import Console
from rich.text import Text

from components.errors import AssayError, UsageError
from components.registry import (
    CHALLENGER,
    CHAMPION,
    CHAMPION_TAG,
    DECISION_TAG,
    PREVIOUS,
    REASON_TAG,
    ROLLED_BACK_TAG,
    VERSION_TAG,
    AwayError,
    Registry,
    found_or,
)
from components.study import HIGHER_IS_BETTER

DECISIONS = 5  # that are shown
PATIENCE = 20.0  # seconds: somebody waits


def show_champion(console: Console, name: str) -> None:
    """Print the champion of a study: what it is, how good, since when, and the last decisions.

    Raises:
        AssayError: when MLflow has no such model, or it has no champion.
    """
    registry = _open(name)
    champion = registry.find_champion()
    decisions = _decisions(registry)
    if champion is None:
        raise AssayError(f"no version of {name!r} is the champion; {_say_versions(registry)}")
    tags = champion.tags
    lines = [f"{name} version {champion.version} is the champion since {_since(champion, decisions)}"]
    if "assay.arm" in tags:
        lines.append(f"  trained    {tags['assay.arm']}, seed {tags['assay.seed']}; run {champion.run_id}")
    if "assay.data" in tags:
        rows = f", {tags['assay.rows']} rows" if "assay.rows" in tags else ""
        lines.append(f"  data       {tags.get('assay.source', '')}{rows}, fingerprint {tags['assay.data'][:12]}")
    if scores := _scores(tags):
        lines.append(f"  its test   {scores}")
    aliases = [(alias, registry.at(alias)) for alias in (CHAMPION, CHALLENGER, PREVIOUS)]
    lines.append("  aliases    " + ", ".join(f"{alias} is version {of.version}" for alias, of in aliases if of))
    lines.append(f'  to load    mlflow.pyfunc.load_model("models:/{name}@{CHAMPION}")')
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    if decisions:
        console.print(Text("Last decisions:"))
    for run in decisions:
        console.print(Text(f"  {_told(run)}"), soft_wrap=True)


def promote(name: str, version: str | None, reason: str | None) -> str:
    """Make a version the champion, by hand, and return what was done.

    Args:
        name: of the study.
        version: its number; the challenger by default.
        reason: is kept with the decision.

    Raises:
        AssayError: when there is no such version, or it is the champion already, or MLflow is away.
    """
    registry = _open(name)
    chosen = (
        registry.version(version) if version and version.isdecimal() else None if version else registry.at(CHALLENGER)
    )
    if chosen is None:
        wanted = f"no version {version!r}" if version else "no challenger: no decision is open"
        raise UsageError(f"{name!r} has {wanted}; {_say_versions(registry)}")
    champion, number = registry.find_champion(), str(chosen.version)
    if champion and str(champion.version) == number:
        raise AssayError(f"version {number} of {name!r} is the champion already")
    challenger = registry.at(CHALLENGER)
    aliases = {**({PREVIOUS: registry.champion} if registry.champion else {}), CHAMPION: number}
    if challenger and str(challenger.version) == number:
        aliases[CHALLENGER] = None
    registry.tag(number, ROLLED_BACK_TAG, None)
    _write(registry, chosen, "promoted", f"by hand: {reason or 'no reason given'}", aliases)
    before = f"; version {registry.at(PREVIOUS).version} was it before" if PREVIOUS in aliases else ""
    return f"{name} version {number} is the champion now{before}"


def rollback(name: str, reason: str | None) -> str:
    """Make the champion before the champion again, and return what was done.

    Args:
        name: of the study.
        reason: is kept with the decision.

    Raises:
        AssayError: when there is no champion before, or MLflow is away.
    """
    registry = _open(name)
    champion, previous = registry.find_champion(), registry.at(PREVIOUS)
    if champion is None or previous is None or str(previous.version) == str(champion.version):
        raise AssayError(f"{name!r} has no champion before the present one; {_say_versions(registry)}")
    aliases = {CHAMPION: str(previous.version), PREVIOUS: str(champion.version)}
    said = f"by hand: {reason or 'no reason given'}"
    registry.tag(str(champion.version), ROLLED_BACK_TAG, f"{time.strftime('%Y-%m-%d')} {said}")
    registry.tag(str(previous.version), ROLLED_BACK_TAG, None)
    _write(registry, previous, "rolled back", said, aliases)
    return f"{name} version {previous.version} is the champion again; version {champion.version} is `{PREVIOUS}` now"


def _open(name: str) -> Registry:
    """Return the registry of a model that is there.

    Raises:
        AssayError: where there is none of this name, with the nearest one.
    """
    from components.tracking import DEFAULT_STORE, SQLITE, check_reachable, tracking_uri

    uri = tracking_uri()
    check_reachable(uri)
    if uri.startswith(SQLITE) and not _is_file(uri.removeprefix(SQLITE)):
        raise AssayError(f"no models here yet: {uri} does not exist; `assay run` makes {DEFAULT_STORE} and the first")
    registry = Registry(name, PATIENCE)
    names = [model.name for model in registry.ask(lambda: registry.api.search_registered_models(max_results=1000))]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none yet'}"
        raise UsageError(f"MLflow at {uri} has no registered model {name!r}; {hint}")
    return registry


def _is_file(path: str) -> bool:
    from pathlib import Path

    return Path(path).exists()


def _write(registry: Registry, version: Any, decision: str, reason: str, aliases: dict[str, str | None]) -> None:
    """Record a decision made by hand, and carry it out.

    Raises:
        AssayError: when MLflow is away; it says what is the champion.
    """
    from components.tracking import experiment_of, tracking_uri, user

    made = {
        "decision": decision,
        "reason": reason,
        "model": registry.name,
        "version": str(version.version),
        "champion": aliases[CHAMPION],
        "before": registry.champion,
        "aliases": aliases,
        "by": user(),
    }
    try:
        experiment = registry.ask(lambda: experiment_of(registry.api, registry.name))
        parent = registry.ask(lambda: found_or(lambda: registry.api.get_run(version.run_id), None))
        inside = parent is not None and parent.info.experiment_id == experiment
        record = registry.record(experiment, version.run_id if inside else None, f"by hand {uuid.uuid4().hex}", made)
        registry.carry_out(record, made)
    except AwayError as error:
        raise AssayError(
            f"MLflow at {tracking_uri()} can't be reached, tried for {registry.patience:.0f} s ({error}); "
            f"{registry.how_it_stands()}; try again"
        ) from None


def _decisions(registry: Registry) -> list[Any]:
    experiment = registry.ask(lambda: registry.api.get_experiment_by_name(registry.name))
    return registry.decisions(experiment.experiment_id, DECISIONS) if experiment else []


def _since(champion: Any, decisions: list[Any]) -> str:
    """Return when the version became the champion, and by whom; its creation where no decision tells."""
    since = None
    for run in decisions:  # the newest first: the oldest of those that follow each other with this champion
        if run.data.tags.get(CHAMPION_TAG) != str(champion.version):
            break
        since = run
        if run.data.tags.get(DECISION_TAG) in ("promoted", "rolled back"):
            return f"{_time(run.info.start_time)} ({run.data.tags[DECISION_TAG]} by {run.data.tags['mlflow.user']})"
    return _time(since.info.start_time) + " or before" if since else _time(champion.creation_timestamp)


def _scores(tags: dict[str, str]) -> str:
    """Return the version's scores on the test rows of its own study, the study's metric first."""
    prefix = "assay.test_score."
    found = {name.removeprefix(prefix): float(value) for name, value in tags.items() if name.startswith(prefix)}
    own = tags.get("assay.metric")
    names = sorted(
        found, key=lambda name: (name != own, list(HIGHER_IS_BETTER).index(name) if name in HIGHER_IS_BETTER else 9)
    )
    return ", ".join(f"{name} {found[name]:.4f}" for name in names)


def _told(run: Any) -> str:
    tags = run.data.tags
    open_ = "" if run.info.status == "FINISHED" else " (not carried out)"
    what = f"{tags.get(DECISION_TAG, 'unfinished')}{open_}"
    return f"{_time(run.info.start_time)}  {what:<11}  version {tags[VERSION_TAG]}: {tags.get(REASON_TAG, '')}"


def _say_versions(registry: Registry) -> str:
    listed = ", ".join(registry.versions()) or "none"
    return f"its versions: {listed}; `assay promote {shlex.quote(registry.name)} VERSION` makes one the champion"


def _time(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))
