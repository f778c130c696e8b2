"""`codojo bench durable`: what it costs that no step of a graph is lost, and what a kill costs.

A graph of five nodes in a circle, 50 steps, each adding 2,000 characters to a list in the state, runs
alone and 32 times at once: bare, with the journal (an effect per step, on disk before its node goes
on), and with LangGraph's SqliteSaver in an environment of its own, where `sync` is the mode that
promises the same. Every way runs in a child process that takes its own times.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import codojo
from codojo.bench.environments import PeerMissing, ask, environment
from codojo.bench.rounds import (
    ROUNDS,
    Batch,
    Ratio,
    Sheet,
    Target,
    about,
    as_json,
    interleave,
    machine,
    quiet_load,
    ratio,
    show,
    spread,
    tell,
    write_markdown,
)
from codojo.trajectories.redact import Redactor

STEPS = 50
MANY = 32
KILLS = 20
PAUSE_S = 0.002
"""What a step takes where processes are killed; microseconds would flatter nobody's lag."""
SCRIPT = "peer_durable.py"
PEER = ("langgraph-checkpoint-sqlite==3.1.2", "langgraph==1.2.22")
LESS_ALONE, LESS_MANY, LESS_BYTES = 3.0, 10.0, 10.0
LINEAR = 1.1
"""What bytes per step at 100 steps may be of those at 25."""


class Way(NamedTuple):
    """One way to run the graph."""

    name: str
    way: str
    durability: str = ""
    one_file: bool = False
    bare: str = "LangGraph alone"
    """What it is compared with: LangGraph alone, called in the same manner."""

    @property
    def ours(self) -> bool:
        """Whether it runs in codojo's environment."""
        return self.way in ("journal", "bare, tasks")


BARE = Way("LangGraph alone", "bare, tasks")
BARE_THREADS = Way("LangGraph alone, invoke in threads", "bare, threads")
JOURNAL = Way("codojo's journal", "journal")
SYNC = Way("SqliteSaver, sync", "SqliteSaver", "sync", bare=BARE_THREADS.name)
SYNC_ONE = Way("SqliteSaver, sync, one file", "SqliteSaver", "sync", True, BARE_THREADS.name)
SYNC_TASKS = Way("AsyncSqliteSaver, sync", "AsyncSqliteSaver", "sync")
LAGGING = Way("SqliteSaver, async", "SqliteSaver", "async", bare=BARE_THREADS.name)
AT_EXIT = Way("SqliteSaver, exit", "SqliteSaver", "exit", bare=BARE_THREADS.name)
WAYS = (BARE, BARE_THREADS, JOURNAL, SYNC, SYNC_TASKS, LAGGING, AT_EXIT)
WAYS_MANY = (*WAYS[:4], SYNC_ONE, *WAYS[4:])
KILLED = (JOURNAL, SYNC, LAGGING)


@dataclass(frozen=True, slots=True)
class Row:
    """What one way did."""

    way: str
    rollouts: int
    p50_ms: float
    """Time from step to step in one rollout."""
    p95_ms: float
    wall_ms: float
    """Time of all rollouts by all their steps."""
    added_ms: float | None
    """What it adds to LangGraph alone: alone by p50, at 32 by wall time."""
    bytes_per_step: float
    resume_ms: float | None
    """To run all rollouts again from their logs."""


@dataclass(frozen=True, slots=True)
class Killed:
    """What kills at random times cost one way."""

    way: str
    kills: int
    repeated: int
    """Steps performed again although the next one had begun: somebody had acted on them."""
    in_flight: int
    """Steps performed again that nobody had acted on yet."""
    unfinished: int
    """Rollouts that did not come to their end after a resume."""


class Measured(NamedTuple):
    """Batches of one way, with what is not a time."""

    batches: list[Batch]
    bytes_per_step: float
    resume_ms: float | None


def main(
    *,
    rounds: int = ROUNDS,
    kills: int = KILLS,
    force: bool = False,
    markdown: Path | None = None,
) -> dict[str, object]:
    """Measure, show, and return everything.

    Raises:
        MeasurementRefused: On a busy machine, unless forced.
    """
    import asyncio

    load = quiet_load(force=force)
    peer = environment(*PEER)
    alone = asyncio.run(_measure(WAYS, 1, rounds, peer))
    many = asyncio.run(_measure(WAYS_MANY, MANY, rounds, peer))
    rows = [*_rows(WAYS, alone, 1), *_rows(WAYS_MANY, many, MANY)]
    grown = {steps: _bytes(steps, peer) for steps in (25, 100)}
    killed = [_kill(way, kills, peer) for way in KILLED] if kills else []
    targets = _targets(alone, many, grown)
    lines = [*about(machine(load), targets), _growth(grown), *_redaction()]
    sheets = [_sheet(rows, 1), _sheet(rows, MANY)] + ([_kill_sheet(killed)] if killed else [])
    show(sheets, lines)
    write_markdown(markdown, sheets, lines)
    return {
        "rows": [asdict(row) for row in rows],
        "kills": [asdict(row) for row in killed],
        "targets": as_json(targets),
        "machine": machine(load),
    }


async def _measure(
    ways: Sequence[Way], rollouts: int, rounds: int, peer: Path
) -> dict[str, Measured]:
    sizes: dict[str, float] = {}
    resumes: dict[str, list[float]] = {}

    def batch_of(way: Way) -> Callable[[], Awaitable[Batch]]:
        async def run() -> Batch:
            answer = _run(way, rollouts, STEPS, peer)
            sizes[way.name] = answer["bytes"] / (rollouts * STEPS)
            if answer["resume_s"] is not None:
                resumes.setdefault(way.name, []).append(answer["resume_s"])
            return Batch(rollouts * STEPS, answer["wall_s"], tuple(answer["steps_s"]))

        return run

    found = await interleave({way.name: batch_of(way) for way in ways}, rounds, tell)
    return {
        name: Measured(
            batches,
            sizes[name],
            1000 * float(np.median(resumes[name])) if name in resumes else None,
        )
        for name, batches in found.items()
    }


def _run(way: Way, rollouts: int, steps: int, peer: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="codojo-bench-") as folder:
        order = _order(way, steps, Path(folder) / "it") | {"rollouts": rollouts}
        try:
            return ask(_python(way, peer), SCRIPT, order)
        except PeerMissing as err:
            raise RuntimeError(f"{way.name}: {err}") from err


def _order(way: Way, steps: int, folder: Path) -> dict[str, Any]:
    return {
        "way": way.way,
        "durability": way.durability,
        "one_file": way.one_file,
        "steps": steps,
        "folder": str(folder),
        "root": str(Path(str(codojo.__file__)).parent.parent) if way.ours else "",
    }


def _python(way: Way, peer: Path) -> Path:
    return Path(sys.executable) if way.ours else peer


def _bytes(steps: int, peer: Path) -> dict[str, float]:
    """Bytes per step of a rollout of another length."""
    return {way.name: float(_run(way, 1, steps, peer)["bytes"]) / steps for way in (JOURNAL, SYNC)}


def _per_step(batches: Sequence[Batch], rollouts: int) -> list[float]:
    """Seconds of a step in each round: the median alone, the wall time of many."""
    return [b.middle_s if rollouts == 1 else b.wall_s / b.runs for b in batches]


def _added(found: dict[str, Measured], way: Way, rollouts: int) -> list[float]:
    with_it = _per_step(found[way.name].batches, rollouts)
    without = _per_step(found[way.bare].batches, rollouts)
    return [a - b for a, b in zip(with_it, without, strict=True)]


def _rows(ways: Sequence[Way], found: dict[str, Measured], rollouts: int) -> list[Row]:
    rows = []
    for way in ways:
        batches, size, resume_ms = found[way.name]
        times = spread(batches)
        bare = way in (BARE, BARE_THREADS)
        rows.append(
            Row(
                way=way.name,
                rollouts=rollouts,
                p50_ms=times.p50_ms,
                p95_ms=times.p95_ms,
                wall_ms=1000 * float(np.median([b.wall_s / b.runs for b in batches])),
                added_ms=None if bare else 1000 * float(np.median(_added(found, way, rollouts))),
                bytes_per_step=size,
                resume_ms=resume_ms,
            )
        )
    return rows


def _targets(
    alone: dict[str, Measured],
    many: dict[str, Measured],
    grown: dict[int, dict[str, float]],
) -> list[Target]:
    """Against the fastest of LangGraph's ways to the same promise."""
    targets = []
    for found, rollouts, peers, least in (
        (alone, 1, (SYNC, SYNC_TASKS), LESS_ALONE),
        (many, MANY, (SYNC, SYNC_ONE, SYNC_TASKS), LESS_MANY),
    ):
        best = min(peers, key=lambda way: float(np.median(_added(found, way, rollouts))))
        times = ratio(_added(found, best, rollouts), _added(found, JOURNAL, rollouts))
        claim = f"{rollouts} rollout{'s' * (rollouts > 1)}: durability adds >= {least:g} times less than {best.name}"
        targets.append(Target(claim, str(times), times.value >= least))
    sizes = [alone[way.name].bytes_per_step for way in (SYNC, JOURNAL)]
    fewer = Ratio(sizes[0] / sizes[1])
    claim = f"bytes per step <= 1/{LESS_BYTES:g} of SqliteSaver's"
    targets.append(Target(claim, f"1/{fewer.value:.1f}", fewer.value >= LESS_BYTES))
    growth = grown[100][JOURNAL.name] / grown[25][JOURNAL.name]
    claim = f"and linear: at 100 steps <= {LINEAR:g} times those at 25"
    targets.append(Target(claim, f"{growth:.3f} times", growth <= LINEAR))
    return targets


def _growth(grown: dict[int, dict[str, float]]) -> str:
    told = ", ".join(
        f"{way.name} {grown[25][way.name]:,.0f} and {grown[100][way.name]:,.0f}"
        for way in (JOURNAL, SYNC)
    )
    return f"bytes per step at 25 and 100 steps: {told}"


def _redaction() -> list[str]:
    """What redaction adds, on a line of its own: the targets are measured without it."""
    redactor = Redactor()
    text = "def f(x):\n    return x + 1  # some code\n" * 50
    began, turns = time.perf_counter(), 50
    for _ in range(turns):
        redactor.redact(text)
    per_kb = (time.perf_counter() - began) / turns / (len(text) / 1024)
    step = 1000 * per_kb * 2000 / 1024
    return [
        f"redaction: {1000 * per_kb:.3f} ms per KB, so {step:.3f} ms for a step; not in the times above"
    ]


def _kill(way: Way, kills: int, peer: Path) -> Killed:
    """Kill a rollout at a random time, resume it, and see what happened twice."""
    tell(f"{kills} kills: {way.name}")
    draw = random.Random(20_251)
    repeated = in_flight = unfinished = 0
    for _ in range(kills):
        before, after = _until(way, peer, draw.randrange(1, STEPS - 1), draw.random() * 2 * PAUSE_S)
        counts = Counter(before + after)
        again = {n for n, count in counts.items() if count > 1}
        repeated += len(again - {before[-1]})
        in_flight += before[-1] in again
        unfinished += set(counts) != set(range(STEPS))
    return Killed(way.name, kills, repeated, in_flight, unfinished)


def _until(way: Way, peer: Path, steps: int, more_s: float) -> tuple[list[int], list[int]]:
    """Steps performed before a kill, which comes a while after so many of them, and after a resume."""
    with tempfile.TemporaryDirectory(prefix="codojo-bench-") as name:
        folder = Path(name) / "it"
        folder.mkdir()
        order = Path(name) / "order.json"
        order.write_text(json.dumps(_order(way, STEPS, folder) | {"pause_s": PAUSE_S}))
        command = [
            str(_python(way, peer)),
            str(Path(__file__).with_name(SCRIPT)),
            "kill",
            str(order),
        ]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
            while process.poll() is None and len(_world(folder)) < steps:
                time.sleep(0.0005)
            time.sleep(more_s)
            process.kill()
        before = _world(folder)
        subprocess.run(command, stdin=subprocess.DEVNULL, check=True)
        return before, _world(folder)[len(before) :]


def _world(folder: Path) -> list[int]:
    try:
        return [int(line) for line in (folder / "world").read_text().split()]
    except FileNotFoundError:
        return []


def _sheet(rows: Sequence[Row], rollouts: int) -> Sheet:
    columns = (
        "way",
        "p50 ms",
        "p95 ms",
        "wall ms per step",
        "added ms",
        "bytes per step",
        "resume ms",
    )
    shown = tuple(
        (
            row.way,
            f"{row.p50_ms:.3f}",
            f"{row.p95_ms:.3f}",
            f"{row.wall_ms:.3f}",
            "" if row.added_ms is None else f"{row.added_ms:.3f}",
            f"{row.bytes_per_step:,.0f}",
            "" if row.resume_ms is None else f"{row.resume_ms:.0f}",
        )
        for row in rows
        if row.rollouts == rollouts
    )
    many = "rollout" if rollouts == 1 else "rollouts in one process"
    return Sheet(f"{rollouts} {many}, {STEPS} steps each", columns, shown)


def _kill_sheet(killed: Sequence[Killed]) -> Sheet:
    columns = ("way", "kills", "acted on, then repeated", "in flight, repeated", "unfinished")
    shown = tuple(
        (row.way, str(row.kills), str(row.repeated), str(row.in_flight), str(row.unfinished))
        for row in killed
    )
    return Sheet(
        f"SIGKILL at a random time, then a resume; {1000 * PAUSE_S:g} ms a step", columns, shown
    )
