"""What benchmarks share: a fair order, ratios with their uncertainty, a quiet machine, tables."""

import os
import platform
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codojo.errors import MeasurementRefused

Floats = NDArray[np.float64]

ROUNDS = 9
MOST_LOAD = 1.5
"""One-minute load average above which a measurement here says more about the neighbours."""
LEVEL = 0.95
SEED = 20_251


@dataclass(frozen=True, slots=True)
class Batch:
    """What one way did in one round."""

    runs: int
    wall_s: float
    latencies_s: tuple[float, ...] = ()
    """Of each run, where they were taken."""

    @property
    def per_second(self) -> float:
        """Runs finished in a second."""
        return self.runs / self.wall_s

    @property
    def middle_s(self) -> float:
        """Median latency."""
        return float(np.median(self.latencies_s))


class Ratio(NamedTuple):
    """A quotient of two medians with its 95 % interval."""

    value: float
    low: float | None = None
    """None after a single round, which says nothing of its uncertainty."""
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None:
            return f"{self.value:.2f}"
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


class Spread(NamedTuple):
    """Where latencies lie, in milliseconds."""

    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Target:
    """A claim, and what was measured of it."""

    claim: str
    measured: str
    kept: bool

    def __str__(self) -> str:
        return f"{self.claim}: {self.measured}, {'kept' if self.kept else 'MISSED'}"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table for a person: on a terminal, or in a document."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


async def interleave(
    ways: Mapping[str, Callable[[], Awaitable[Batch]]],
    rounds: int,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, list[Batch]]:
    """Every way once a round, forwards and backwards by turns (A-B-B-A), after one round unmeasured."""
    found: dict[str, list[Batch]] = {name: [] for name in ways}
    for number, order in enumerate(orders(list(ways), rounds + 1)):
        tell(f"round {number} of {rounds}")
        for name in order:
            batch = await ways[name]()
            if number:
                found[name].append(batch)
    return found


def orders(names: Sequence[str], rounds: int) -> list[list[str]]:
    """The order of each round: every other one is reversed, so that a drift favours nobody."""
    return [list(names) if number % 2 else list(reversed(names)) for number in range(rounds)]


def ratio(over: Sequence[float], under: Sequence[float]) -> Ratio:
    """Median of one by median of the other, with a percentile bootstrap over rounds.

    Rounds are drawn in pairs, because what slows a round down slows both ways.

    Args:
        over: One number a round.
        under: The other way's, of the same rounds.
    """
    if len(over) != len(under) or not over:
        raise ValueError(f"{len(over)} and {len(under)} rounds; need the same number, at least 1")
    first, second = np.asarray(over, float), np.asarray(under, float)
    value = float(np.median(first) / np.median(second))
    if len(first) == 1:
        return Ratio(value)
    from scipy.stats import bootstrap

    def quotient(a: Floats, b: Floats, axis: int) -> Floats:
        return np.asarray(np.median(a, axis=axis) / np.median(b, axis=axis))

    drawn = bootstrap(
        (first, second),
        quotient,
        paired=True,
        vectorized=True,
        method="percentile",
        confidence_level=LEVEL,
        rng=np.random.default_rng(SEED),
    )
    return Ratio(value, float(drawn.confidence_interval.low), float(drawn.confidence_interval.high))


def faster(ours: Sequence[Batch], peers: Sequence[Batch]) -> Ratio:
    """How many times as long a run of the peer takes, by the medians of rounds."""
    return ratio([b.middle_s for b in peers], [b.middle_s for b in ours])


def more(ours: Sequence[Batch], peers: Sequence[Batch]) -> Ratio:
    """How many times as much we get done in the same time."""
    return ratio([b.per_second for b in ours], [b.per_second for b in peers])


def spread(batches: Sequence[Batch]) -> Spread:
    """Median and 95th percentile of the latencies of all rounds together."""
    every = np.concatenate([b.latencies_s for b in batches]) * 1000
    p50, p95 = np.quantile(every, [0.5, 0.95])
    return Spread(float(p50), float(p95))


def rate(batches: Sequence[Batch]) -> float:
    """Median over rounds of runs in a second."""
    return float(np.median([b.per_second for b in batches]))


def machine(load: float) -> dict[str, object]:
    """What a reader must know of the machine; `load` is the one-minute average at the start."""
    return {
        "load_at_start": round(load, 2),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def quiet_load(*, force: bool) -> float:
    """The load average of the last minute, if it lets a measurement mean something.

    Raises:
        MeasurementRefused: If it is over 1.5, unless `force`.
    """
    load = os.getloadavg()[0]
    if load > MOST_LOAD and not force:
        raise MeasurementRefused(
            f"the load average is {load:.2f}, over {MOST_LOAD}, so that a measurement would be of the "
            "neighbours; wait until the machine is quiet, or pass --force to see figures all the same"
        )
    return load


def markdown(sheets: Sequence[Sheet], lines: Sequence[str] = ()) -> str:
    """Tables for the docs, with what must be said beside them."""
    parts = [line + "\n" for line in lines]
    for sheet in sheets:
        head = ["| " + " | ".join(sheet.columns) + " |", "|" + "---|" * len(sheet.columns)]
        rows = ["| " + " | ".join(map(_cell, row)) + " |" for row in sheet.rows]
        parts.append("\n".join([f"### {sheet.title}", "", *head, *rows]) + "\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def show(sheets: Sequence[Sheet], lines: Sequence[str] = ()) -> None:
    """The same on the terminal, to stderr: standard output is for `--json`."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(stderr=True, width=None if sys.stderr.isatty() else 120)
    for sheet in sheets:
        table = Table(*sheet.columns, title=sheet.title, title_justify="left")
        for row in sheet.rows:
            table.add_row(*map(Text, row))
        console.print(table)
    for line in lines:
        console.print(Text(line))


def write_markdown(path: Path | None, sheets: Sequence[Sheet], lines: Sequence[str]) -> None:
    """Put the tables into a file, where one is wanted."""
    if path is not None:
        path.write_text(markdown(sheets, lines), encoding="utf-8")


def about(machine: Mapping[str, object], targets: Sequence[Target]) -> list[str]:
    """The machine in one line, then each target."""
    return [", ".join(f"{name} {value}" for name, value in machine.items()), *map(str, targets)]


def as_json(targets: Sequence[Target]) -> list[dict[str, object]]:
    """Targets for programs."""
    return [asdict(target) for target in targets]


def tell(line: str) -> None:
    """Progress, to stderr."""
    print(line, file=sys.stderr, flush=True)
