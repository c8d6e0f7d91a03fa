"""Numbers, durations, lists and nearest names as people write them."""

import difflib
from collections.abc import Iterable, Sequence

MANY = 15  # more names than this are not listed where one of them is near


def did_you_mean(wrong: str, names: Iterable[str], form: str = "{}") -> str:
    """Return the valid names as text, and the nearest one where one is near: `a, b (did you mean a?)`."""
    names = list(names)
    near = difflib.get_close_matches(str(wrong), names, n=1, cutoff=0.5)
    if not near:  # 'dropout' is not near 'model.dropout' by letters, but it is its end
        near = [name for name in names if name.split(".")[-1] == str(wrong).split(".")[-1]][:1]
    if near and len(names) > MANY:
        return f"{form.format(near[0])}, or another of the {len(names)} that `assay schema` lists"
    listed = "one of " + ", ".join(form.format(name) for name in names)
    return f"{listed} (did you mean {form.format(near[0])}?)" if near else listed


def nearest(wrong: str, names: Iterable[str]) -> str:
    """Return a hint at what is there, for a name that the user gave: the nearest one, or all where none is near."""
    names = list(names)
    near = difflib.get_close_matches(wrong, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none yet'}"


def in_words(words: Sequence[str], last: str = "and") -> str:
    """Return several things as a person lists them: `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def duration(seconds: float) -> str:
    """Return a time for people: `1.2 s`, `12 s`, `1 min 12 s`, `2 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
