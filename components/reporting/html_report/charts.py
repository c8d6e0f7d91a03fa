"""Charts as inline SVG for the HTML report: text stays text, and colours come from the page's style sheet.

A chart has a title and a description for who can't see it. Its size in the page is at most its own, so that letters
are as large on a phone as on a screen. Classes (`reference`, `helped`, ...) are those of `templates/report.css.j2`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup

POINTS = 60  # of a curve; of longer ones so many are drawn
LETTER = 6.6  # width of a letter of the labels, about

Number = Callable[[float], str]


@dataclass(frozen=True)
class Axis:
    """An axis: what it measures, from where to where, and how its numbers are written."""

    name: str  # what it measures, with the unit
    low: float
    high: float
    write: Number
    log: bool = False  # then both ends are above 0
    marks: tuple[float, ...] | None = None  # where numbers stand; by default at round ones

    def place(self, value: float) -> float:
        """Return where a value is: 0 at the low end, 1 at the high end."""
        low, high, value = (math.log(max(v, 1e-300)) if self.log else v for v in (self.low, self.high, value))
        return (value - low) / (high - low)

    def ticks(self) -> tuple[float, ...]:
        """Return where numbers stand."""
        if self.marks is not None:
            return self.marks
        return log_ticks(self.low, self.high) if self.log else ticks(self.low, self.high)


def ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Return at most `most` round numbers (steps of 1, 2 or 5 times a power of ten) from low to high."""
    for exponent in range(math.floor(math.log10(high - low)) - 1, 400):
        for base in (1, 2, 5):
            step = base * 10.0**exponent
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
            if last - first < most:
                return tuple(float(f"{i * step:.12g}") for i in range(first, last + 1))
    raise AssertionError("not reached")


def log_ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Return at most `most` numbers 1, 2 or 5 times a power of ten, or powers of ten, or some of them."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for bases in ((1, 2, 5), (1, 3), (1,)):
        found = tuple(base * 10.0**e for e in exponents for base in bases if low <= base * 10.0**e <= high)
        if 2 <= len(found) <= most:
            return found
    powers = tuple(10.0**e for e in exponents if low <= 10.0**e <= high)
    return powers[:: -(-len(powers) // most)] if len(powers) > most else (low, high)


def spread(values: Sequence[float], margin: float = 0.06) -> tuple[float, float]:
    """Return the least and the greatest value with a margin around them; never the same number twice."""
    low, high = min(values), max(values)
    around = (high - low) * margin or abs(low) * 0.1 or 1.0
    return low - around, high + around


def thinned(count: int, most: int = POINTS) -> np.ndarray:
    """Return the positions of at most `most` of `count` points, evenly, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


@dataclass
class Plot:
    """A chart with two axes."""

    name: str  # unique in the page
    title: str
    description: str  # what is to be seen, in a sentence
    x: Axis
    y: Axis
    width: int = 340  # in CSS pixels, the labels included
    height: int = 240
    parts: list[Markup] = field(default_factory=list)

    @property
    def _frame(self) -> tuple[float, float, float, float]:
        """Return left, right, top and bottom of the area between the axes."""
        widest = max((len(self.y.write(tick)) for tick in self.y.ticks()), default=1)
        return widest * LETTER + 12, self.width - 20, 26, self.height - 40

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point is, in pixels."""
        left, right, top, bottom = self._frame
        return left + (right - left) * self.x.place(x), bottom - (bottom - top) * self.y.place(y)

    def line(self, x: Sequence[float], y: Sequence[float], kind: str) -> None:
        """Draw a line through points."""
        self.parts.append(Markup('<path class="line {}" d="{}"/>').format(kind, self._path(x, y)))

    def band(self, x: Sequence[float], low: Sequence[float], high: Sequence[float], kind: str) -> None:
        """Fill the area between two lines."""
        there, back = self._path(x, low), self._path(list(x)[::-1], list(high)[::-1])
        self.parts.append(Markup('<path class="band {}" d="{}L{}Z"/>').format(kind, there, back[1:]))

    def dot(self, x: float, y: float, kind: str, radius: float = 4) -> None:
        """Draw a point."""
        self.parts.append(
            Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(kind, *self.at(x, y), radius)
        )

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "middle", shift: float = 4) -> None:
        """Write a text at a point, `shift` pixels below it."""
        left, top = self.at(x, y)
        self.parts.append(
            Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
                kind, left, top + shift, anchor, text
            )
        )

    def bar(self, x: tuple[float, float], y: tuple[float, float], kind: str) -> None:
        """Fill a rectangle from (x[0], y[0]) to (x[1], y[1])."""
        left, bottom = self.at(x[0], y[0])
        right, top = self.at(x[1], y[1])
        box = Markup('<rect class="bar {}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
        self.parts.append(box.format(kind, left, top, max(right - left, 0.5), max(bottom - top, 0)))

    def render(self) -> Markup:
        """Return the SVG."""
        left, right, _, bottom = self._frame
        grid: list[Markup] = []
        line = Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
        label = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
        for tick in self.y.ticks():
            y = self.at(self.x.low, tick)[1]
            grid.append(line.format("grid", left, y, right, y))
            grid.append(label.format(left - 6, y + 4, "end", self.y.write(tick)))
        previous = -math.inf
        for tick in self.x.ticks():
            x = self.at(tick, self.y.low)[0]
            written = self.x.write(tick)
            if x - previous < (len(written) + 1) * LETTER:  # they would overlap
                continue
            previous = x
            grid.append(line.format("axis", x, bottom, x, bottom + 4))
            grid.append(label.format(x, bottom + 17, "middle", written))
        grid.append(line.format("axis", left, bottom, right, bottom))
        grid.append(label.format((left + right) / 2, self.height - 5, "middle", self.x.name))
        grid.append(label.format(2, 12, "start", self.y.name))
        return svg(self.name, self.title, self.description, self.width, self.height, [*grid, *self.parts])

    def _path(self, x: Sequence[float], y: Sequence[float]) -> str:
        return "M" + "L".join("{:.1f} {:.1f}".format(*self.at(a, b)) for a, b in zip(x, y, strict=True))


def svg(name: str, title: str, description: str, width: int, height: int, parts: Sequence[Markup]) -> Markup:
    """Return the parts as an image that a screen reader reads by its title and description."""
    head = Markup(
        '<svg class="chart" role="img" aria-labelledby="{0}-t {0}-d" viewBox="0 0 {1} {2}" width="{1}" height="{2}">'
        '<title id="{0}-t">{3}</title><desc id="{0}-d">{4}</desc>'
    ).format(name, width, height, title, description)
    return head + Markup("").join(parts) + Markup("</svg>")


@dataclass(frozen=True)
class Strip:
    """A row of a table that shows effects on a common axis; it is as wide as its cell, whatever that is."""

    axis: Axis

    def _at(self, value: float) -> str:
        return f"{100 * self.axis.place(min(max(value, self.axis.low), self.axis.high)):.2f}%"

    def effect(self, effect: float, low: float | None, high: float | None, seeds: Sequence[float], kind: str) -> Markup:
        """Return the effect as a dot, its interval as a bar and each seed as a tick; the numbers stand beside it."""
        zero = Markup('<line class="axis" x1="{0}" x2="{0}" y1="0" y2="100%"/>').format(self._at(0))
        tick = Markup('<rect class="seed" x="{}" y="50%" width="1" height="12"/>')
        parts = [zero, *(tick.format(self._at(seed)) for seed in seeds)]
        if low is not None and high is not None:
            bar = Markup('<line class="interval" x1="{}" x2="{}" y1="50%" y2="50%"/>')
            parts.append(bar.format(self._at(low), self._at(high)))
        parts.append(Markup('<circle class="dot" cx="{}" cy="50%" r="6"/>').format(self._at(effect)))
        return Markup('<svg class="strip {}" aria-hidden="true">').format(kind) + Markup("").join(parts) + END

    def scale(self) -> Markup:
        """Return the axis' numbers, to stand above the column."""
        label = Markup('<text x="{}" y="12" text-anchor="middle">{}</text>')
        parts = [label.format(self._at(tick), self.axis.write(tick)) for tick in self.axis.ticks()]
        return Markup('<svg class="strip scale" aria-hidden="true">') + Markup("").join(parts) + END


END = Markup("</svg>")


def histogram(heights: Sequence[float]) -> Markup:
    """Return bars in a line of text; what they say must stand beside them."""
    most, wide = max(heights) or 1, 96 / len(heights)
    bar = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
    bars = [
        bar.format(i * wide, 20 - 20 * height / most, max(wide - 1, 0.5), 20 * height / most)
        for i, height in enumerate(heights)
        if height
    ]
    head = Markup('<svg class="histogram" aria-hidden="true" viewBox="0 0 96 20" width="96" height="20">')
    return head + Markup("").join(bars) + END
