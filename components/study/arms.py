"""The arms: what a study's `arms` say, as variants of its reference with full recipes."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import TypeGuard

from components.errors import StudyError
from components.formatting import did_you_mean
from components.study.model_catalogue import MODELS
from components.study.part import Kind, Place, is_list, is_mapping
from components.study.recipe import Recipe, change, lookup, own_defaults, refuse_kind
from components.study.techniques import AUGMENTATIONS, TECHNIQUES, techniques_on

REFERENCE = "reference"
LEAVE_ONE_OUT = "leave-one-out"
ADD_ONE_IN = "add-one-in"

Arms = str | dict[str, object] | list[str | dict[str, object]]  # as a study has them


@dataclass(frozen=True)
class Arm:
    """One variant of the reference."""

    name: str  # unique in the study; what runs and figures are called
    technique: str  # what the verdict speaks of ("dropout" for the arm "no dropout")
    # the arm lacks the technique, whose effect is then reference minus arm; else it is arm minus reference
    removes: bool
    changes: Mapping[str, object]  # the differences from the reference recipe, as path and value
    recipe: Recipe
    pair: tuple[str, str] | None = None  # the names of the two arms whose changes it has both; None of all other arms

    @property
    def is_size(self) -> bool:
        """Whether it is no technique but the reference with fewer rows: a point of the learning curve."""
        return set(self.changes) == {"data"}


def expand(arms: Arms, recipe: Recipe, kind: Kind, *, pairs: bool) -> list[Arm]:
    """Return the reference and the arms, see `Study.expand`; with `pairs` every two arms are also one together."""
    entries = arms if isinstance(arms, list) else [arms]
    reference = recipe
    if ADD_ONE_IN in entries:
        if LEAVE_ONE_OUT in entries:
            starts = f"{LEAVE_ONE_OUT} starts from the full recipe and {ADD_ONE_IN} from a bare one"
            raise StudyError(("arms",), f"{starts}; choose one")
        reference = change(recipe, {t.path: t.off for t in techniques_on(recipe)}, ("arms",))
    refuse_kind(reference, kind, ("recipe",))
    expanded = [Arm(REFERENCE, REFERENCE, False, {}, reference)]
    for index, entry in enumerate(entries):
        place = ("arms", index) if isinstance(arms, list) else ("arms",)
        expanded += _preset(entry, recipe) if isinstance(entry, str) else _stated(entry, reference, kind, place)
    if pairs:
        expanded += _pairs(expanded[1:], reference, kind)
    names = [arm.name for arm in expanded]
    for name in names:
        if names.count(name) > 1:
            raise StudyError(("arms",), f"two arms are called {name!r}; give one another name")
    return expanded


def _preset(preset: str, recipe: Recipe) -> list[Arm]:
    """Return the arms of `leave-one-out` or `add-one-in`; `recipe` is the full one."""
    if preset not in (LEAVE_ONE_OUT, ADD_ONE_IN):
        expected = did_you_mean(preset, [LEAVE_ONE_OUT, ADD_ONE_IN])
        raise StudyError(("arms",), f"no preset is called {preset!r}; expected {expected}, or a mapping")
    removes, on, full = preset == LEAVE_ONE_OUT, techniques_on(recipe), recipe.model_dump()
    off = {t.path: t.off for t in on}
    changes = off if removes else {path: lookup(full, path) for path in off}
    stated = [(f"{'no' if removes else 'with'} {t.name}", t.name, {t.path: changes[t.path]}) for t in on]
    if len(on) > 1:
        stated.append(("bare" if removes else "with all", "all of these together", changes))
    base = recipe if removes else change(recipe, off, ("arms",))
    return [Arm(name, technique, removes, diff, change(base, diff, ("arms",))) for name, technique, diff in stated]


def _stated(entry: Mapping[str, object], reference: Recipe, kind: Kind, place: Place) -> list[Arm]:
    """Return the arms of a mapping: a name with its differences, or a path with the values to sweep."""
    arms: list[Arm] = []
    for key, value in entry.items():
        if is_mapping(value):
            arms.append(_arm(str(key), value, reference, kind, (*place, key)))
        elif is_list(value):
            swept = [_arm(f"{key}={item}", {str(key): item}, reference, kind, place) for item in value]
            arms += [arm for arm in swept if arm.recipe != reference]
        else:
            forms = "a mapping of its differences, as in {model.dropout: 0.2}, or a list of values to sweep"
            raise StudyError((*place, key), f"an arm is {forms}, got {value!r}")
    return arms


def _pairs(arms: list[Arm], reference: Recipe, kind: Kind) -> list[Arm]:
    """Return an arm for every two that add, or remove, different things; what can't be had together is left out."""
    pairs: list[Arm] = []
    for first, second in combinations([arm for arm in arms if not arm.is_size], 2):
        # One changes the same path, or a part of what the other changes.
        paths = product((f"{path}." for path in first.changes), (f"{path}." for path in second.changes))
        overlap = any(a.startswith(b) or b.startswith(a) for a, b in paths)
        if first.removes != second.removes or overlap:
            continue
        changes = {**first.changes, **second.changes}
        try:
            recipe = change(reference, changes, ("pairs",))
            refuse_kind(recipe, kind, ("pairs",))
        except StudyError:
            continue
        name, technique = f"{first.name}, {second.name}", f"{first.technique} and {second.technique}"
        pairs.append(Arm(name, technique, first.removes, changes, recipe, (first.name, second.name)))
    return pairs


def _arm(name: str, changes: Mapping[str, object], reference: Recipe, kind: Kind, place: Place) -> Arm:
    """Return the arm with these differences."""
    recipe = change(reference, changes, place)
    refuse_kind(recipe, kind, place)
    ours, theirs = recipe.model_dump(), reference.model_dump()
    for path in ("train.backend", "train.deterministic"):  # set once in a process
        actual, expected = lookup(ours, path), lookup(theirs, path)
        if actual != expected:
            shared = f"all arms share one process, which has one {path}; expected {expected!r} as in the reference"
            raise StudyError((*place, path), f"{shared}, got {actual!r}; say it in the recipe, and compare two studies")
    # Whoever writes {model.dropout: 0} wants to know what dropout brings.
    on = techniques_on(reference, (*TECHNIQUES, *AUGMENTATIONS))
    off = [t for t in on if recipe == change(reference, {t.path: t.off}, place)]
    return Arm(name, off[0].name if off else name, bool(off), dict(changes), recipe)


def with_own_defaults(arms: object, kind: Kind, name: object, stated: Mapping[str, object]) -> object:
    """Return the arms; one that sets `model.name` also sets that model's defaults, but for what is stated.

    Args:
        arms: as written; what is wrong with them is left as it is, and refused later.
        kind: of the data.
        name: of the reference's model.
        stated: the recipe as written.
    """
    if is_list(arms):
        return [with_own_defaults(entry, kind, name, stated) for entry in arms]
    if not is_mapping(arms) or not _is_model(name):
        return arms
    filled: dict[str, object] = {}
    for key, value in arms.items():
        if key == "model.name" and is_list(value) and all(map(_is_model, value)):
            swept = {f"{key}={other}": {key: other} for other in value if other != name}
            filled |= {arm: _filled(changes, kind, name, stated) for arm, changes in swept.items()}
        else:
            filled[key] = _filled(value, kind, name, stated) if is_mapping(value) else value
    return filled


def _filled(changes: Mapping[str, object], kind: Kind, name: str, stated: Mapping[str, object]) -> Mapping[str, object]:
    """Return an arm's differences with the defaults of the model that it names; arguments as above."""
    other = changes.get("model.name")
    if not _is_model(other):
        return changes
    own: dict[str, object] = {}
    for path, value in own_defaults(kind, name, other).items():
        part, _, inner = path.partition(".")
        of_part = stated.get(part, {})
        if is_mapping(of_part) and inner not in of_part:  # a part that is off says all of it
            own[path] = value
    return {**own, **changes}


def _is_model(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and name in MODELS
