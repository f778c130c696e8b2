"""Geometry of the charts, in percent of the drawing; templates turn it into SVG.

Positions are percentages, so a chart takes any width while its letters keep their size: readable on a
phone without a script.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from codojo.reports.measures import Estimate, Side, table_ks
from codojo.reports.page import THIN, count, percent

LEFT, RIGHT, TOP, BOTTOM = 11.0, 97.0, 5.0, 84.0
"""Edges of the plotting area; letters of the axes stand outside."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Dot:
    """A point with what it says when pointed at."""

    x: float
    y: float
    title: str
    kind: str = ""
    radius: float = 3.5


@dataclass(frozen=True)
class Line:
    """A curve, and the band of its intervals."""

    name: str
    kind: str
    """Class of the style sheet: `before`, `after`, `loss`."""
    points: str
    band: str = ""
    dots: tuple[Dot, ...] = ()


@dataclass(frozen=True)
class Chart:
    """Everything that is drawn in one frame."""

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...] = ()
    dots: tuple[Dot, ...] = ()
    diagonal: tuple[float, float, float, float] | None = None
    """Ends of the line on which both coordinates are equal."""
    left: float = LEFT
    right: float = RIGHT
    top: float = TOP
    bottom: float = BOTTOM


@dataclass(frozen=True)
class Scale:
    """From values to percent of the drawing; logarithmic where both ends are positive and it is asked."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        share = (at - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 3)


@dataclass(frozen=True)
class Span:
    """An interval on a line from 0 to 100 %."""

    low: float
    at: float
    high: float
    zero: float
    kind: str


@dataclass(frozen=True)
class Part:
    """One piece of a stacked bar."""

    label: str
    start: float
    width: float
    kind: str
    shown: str
    """The amount, with its unit."""


@dataclass(frozen=True)
class Bar:
    """A stacked bar."""

    label: str
    total: str
    parts: tuple[Part, ...]


def nice_step(span: float, wanted: int = 4) -> float:
    """A step of 1, 2 or 5 times a power of ten that cuts a span into about so many pieces.

    >>> nice_step(0.37)
    0.1
    """
    if span <= 0:
        return 1.0
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    return next((m * power for m in (1, 2, 5) if m * power >= raw - 1e-12), 10 * power)


def pass_chart(sides: Sequence[tuple[str, Side]], *, by_tokens: bool) -> Chart:
    """pass@k of one or two models, over k or over the tokens that k answers take."""
    everything = [point for _, side in sides for point in side.curve]
    xs = [point.tokens if by_tokens else float(point.k) for point in everything]
    x = Scale(min(xs), max(xs), LEFT + 3, RIGHT - 1, log=min(xs) > 0)
    step = nice_step(max(point.estimate.high for point in everything) or 0.05)
    top = step * math.ceil(max(point.estimate.high for point in everything) / step - 1e-9) or step
    y = Scale(0, top, BOTTOM, TOP)
    marked = {k for _, side in sides for k in table_ks(len(side.curve))}
    lines = []
    for kind, side in sides:
        at = [x(p.tokens if by_tokens else p.k) for p in side.curve]
        upper = [f"{a},{y(p.estimate.high)}" for a, p in zip(at, side.curve, strict=True)]
        lower = [f"{a},{y(p.estimate.low)}" for a, p in zip(at, side.curve, strict=True)]
        dots = tuple(
            Dot(
                a,
                y(p.estimate.value),
                f"pass@{p.k}: {percent(p.estimate.value)} "
                f"({percent(p.estimate.low)} to {percent(p.estimate.high)}), "
                f"{count(p.tokens)} tokens per task",
                radius=3.5 if p.k in marked else 2,
            )
            for a, p in zip(at, side.curve, strict=True)
        )
        points = " ".join(f"{dot.x},{dot.y}" for dot in dots)
        lines.append(Line(side.model, kind, points, " ".join(upper + lower[::-1]), dots))
    ticks = _token_ticks(x) if by_tokens else [(k, str(k)) for k in table_ks(int(max(xs)))]
    return Chart(
        title="pass@k over " + ("tokens per task" if by_tokens else "the number of answers k"),
        x_label="tokens spent per task" if by_tokens else "answers per task, k",
        y_label="tasks solved by at least one answer",
        x_ticks=tuple(Tick(x(value), label) for value, label in ticks),
        y_ticks=_percent_ticks(y, step),
        lines=tuple(lines),
    )


def loss_chart(losses: Sequence[float]) -> Chart:
    """Training loss over optimiser steps."""
    x = Scale(1, max(len(losses), 2), LEFT + 1, RIGHT)
    step = nice_step(max(losses) or 1.0)
    y = Scale(0, step * math.ceil(max(losses) / step - 1e-9) or step, BOTTOM, TOP)
    dots = [Dot(x(i), y(loss), f"step {i}: {loss:.3f}") for i, loss in enumerate(losses, 1)]
    apart = max(1, round(nice_step(len(losses))))
    marks = [1, *range(apart, len(losses) - apart // 2, apart), len(losses)]
    top = round(y.high / step)
    return Chart(
        title="training loss over optimiser steps",
        x_label="optimiser step",
        y_label="loss per label token, nats",
        x_ticks=tuple(Tick(x(mark), str(mark)) for mark in sorted(set(marks))),
        y_ticks=tuple(Tick(y(i * step), f"{i * step:g}") for i in range(top + 1)),
        lines=(
            Line(
                "loss",
                "after",
                " ".join(f"{dot.x},{dot.y}" for dot in dots),
                dots=tuple(dots) if len(dots) <= 60 else (dots[0], dots[-1]),
            ),
        ),
    )


def rates_chart(pairs: Sequence[tuple[str, float, float]]) -> Chart:
    """Each task's pass rate under candidate over champion; equal pairs share a dot that grows."""
    x, y = Scale(0, 1, LEFT + 6, RIGHT - 3), Scale(0, 1, BOTTOM - 4, TOP + 3)
    groups: dict[tuple[float, float], list[str]] = {}
    for name, before, after in pairs:
        groups.setdefault((before, after), []).append(name)
    dots = []
    for (before, after), names in sorted(groups.items(), key=lambda item: -len(item[1])):
        kind = "gain" if after > before else "fall" if after < before else "same"
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        title = f"{percent(before)} → {percent(after)}: {', '.join(sorted(names)[:6])}{more}"
        dots.append(Dot(x(before), y(after), title, kind, round(3 + 2 * math.sqrt(len(names)), 2)))
    ticks = [(i / 4, f"{25 * i}{THIN}%") for i in range(5)]
    return Chart(
        title="pass rate of each task, candidate over champion",
        x_label="champion",
        y_label="candidate",
        x_ticks=tuple(Tick(x(value), label) for value, label in ticks),
        y_ticks=tuple(Tick(y(value), label) for value, label in ticks),
        dots=tuple(dots),
        diagonal=(x(0), y(0), x(1), y(1)),
    )


def spans(estimates: Sequence[tuple[str, Estimate]]) -> list[Span]:
    """Intervals on one common line that holds zero and all of them."""
    low = min(0.0, *(e.low for _, e in estimates))
    high = max(0.01, *(e.high for _, e in estimates))
    at = Scale(low, high, 2, 98)
    return [Span(at(e.low), at(e.value), at(e.high), at(0), kind) for kind, e in estimates]


def stacked(label: str, total: str, amounts: Sequence[tuple[str, str, float, str]]) -> Bar:
    """A bar of parts given as (label, class, amount, amount as text); empty ones are left out."""
    whole = sum(amount for _, _, amount, _ in amounts)
    parts, start = [], 0.0
    for name, kind, amount, shown in amounts:
        if amount > 0:
            width = 100 * amount / whole
            parts.append(Part(name, round(start, 3), round(width, 3), kind, shown))
            start += width
    return Bar(label, total, tuple(parts))


def _percent_ticks(y: Scale, step: float) -> tuple[Tick, ...]:
    steps = round(y.high / step)
    return tuple(Tick(y(i * step), f"{100 * i * step:g}{THIN}%") for i in range(steps + 1))


def _token_ticks(x: Scale) -> list[tuple[float, str]]:
    low, high = x.low, x.high
    if low <= 0 or high <= low:
        return [(low, count(low))]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [m * 10.0**d for d in decades for m in (1, 2, 5) if low <= m * 10.0**d <= high]
    return [(value, count(value)) for value in (found if len(found) > 1 else [low, high])]
