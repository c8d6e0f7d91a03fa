"""Numbers as the page shows them."""

from components.reporting.phrases import number
from components.stats.metrics import METRICS


def minus(text: str) -> str:
    """Return a text with true minus signs."""
    return text.replace("-", "\N{MINUS SIGN}")


def whole(text: str) -> str:
    """Return a text that is not broken into lines."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def signed(value: float, metric: str) -> str:
    """Return a difference without its unit: percentage points of shares, the loss as it is."""
    return minus(number(value, metric))


def tick(value: float, metric: str) -> str:
    """Return a difference at an axis."""
    return minus(f"{100 * value if METRICS[metric].unit else value:+.4g}") if value else "0"


def score(value: float, metric: str) -> str:
    """Return a score as text: shares in percent."""
    if metric == "ece":
        return whole(f"{100 * value:.1f} points")
    return whole(f"{100 * value:.1f} %") if METRICS[metric].unit else f"{value:.4f}"


def unit(metric: str) -> str:
    """Return the unit of a difference, as it follows the name."""
    return ", points" if METRICS[metric].unit else ""


def change(value: float) -> str:
    """Return a relative change in percent."""
    return minus(f"{100 * value:+z.0f} %") if value else "0"


def level(value: float, metric: str) -> str:
    """Return a score at an axis."""
    return f"{100 * value:.4g} %" if METRICS[metric].unit else f"{value:.4g}"
