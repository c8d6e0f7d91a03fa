"""What a retraining says, in words."""

from components.data.drift import FEWEST_ROWS, Drift
from components.data.retraining import Retraining

MOST_DRIFTED = 3  # values that have drifted, in a sentence


def sentences(found: Retraining) -> list[str]:
    """Return what is trained, and why."""
    if found.why == "no champion":
        return ["No version is the champion yet, so the whole study is run."]
    lines = [drift_as_text(found.drift, found.champion)]
    if found.is_studied:
        lines.append(f"A whole study was run on such rows on {found.since}, and its winner was not promoted.")
    version = f"version {found.champion} ({found.arm})"
    recipe = f"The recipe of {version}"
    return [
        *lines,
        {
            "recipe": f"{recipe} is trained again.",
            "drift": "So the whole study is run.",
            "run is gone": f"The run of {version} is gone, and its recipe with it, so the whole study is run.",
            "unfit recipe": f"{recipe} can't be trained here ({found.error}), so the whole study is run.",
        }[found.why],
    ]


def drift_as_text(found: Drift | None, champion: str | None) -> str:
    """Return how far the data has drifted in one sentence."""
    if found is None:
        return f"How far the data has drifted is not known: nothing was kept of that of version {champion}."
    if not found.new:
        return f"No row is new since version {champion}."
    new = f"{found.new:,} of {found.rows:,} rows are new since version {champion}"
    if found.compared == "all":
        new = f"Rows have come and gone since version {champion}; all {found.rows:,} are compared"
    if found.new == found.rows:
        new = f"No row of today was there for version {champion}; all {found.rows:,} are compared"
    if not found.enough:
        groups = " of different groups" if found.looked_at < found.new else ""
        return f"{new}, too few to tell whether the data has drifted (it takes {FEWEST_ROWS}{groups})."
    moved = [value for value in found.values if value.drifted]
    if moved:
        listed = [f"{of.quantity} ({of.then}, now {of.now}; PSI {of.psi:.2f})" for of in moved[:MOST_DRIFTED]]
        more = f" and {len(moved) - MOST_DRIFTED} more" if len(moved) > MOST_DRIFTED else ""
        return f"{new}, and they have drifted: {', '.join(listed)}{more}."
    most = max(found.values, key=lambda value: value.psi)
    return f"{new}, and they have not drifted: the greatest PSI is {most.psi:.2f} ({most.quantity})."
