"""`codojo bench cage`: from Python text to its result, behind walls.

The peers run the same interpreter with the same code. `bwrap ...` is the plain command line with the
very walls and filter that codojo's own backends use, but without their limits and supervision; the
local executors of other projects, and `subprocess`, have no walls at all and are floors.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from codojo.bench.cages import proved_cages
from codojo.bench.environments import PeerMissing, ask, environment
from codojo.bench.fresh import command_line
from codojo.bench.rounds import (
    ROUNDS,
    Batch,
    Ratio,
    Sheet,
    Target,
    about,
    as_json,
    faster,
    interleave,
    machine,
    quiet_load,
    rate,
    show,
    spread,
    tell,
    write_markdown,
)
from codojo.errors import SandboxError
from codojo.sandboxes.bubblewrap import Bubblewrap
from codojo.sandboxes.contract import Limits, Sandbox
from codojo.sandboxes.workspace import execute
from codojo.settings import SandboxSettings

RUNS = 112
"""Of `print(1)`, for each way and round; with nine rounds about 1,000. Of the unittest a fifth."""
PARALLEL = (1, 2, 8)
PEER = "bwrap, python -I"
TIMES_FASTER = 10.0
TAIL = 3.0
"""What p95 may be of p50."""
NOT_RUN = {"nsjail": "its package needs Python 3.12 or later"}
LOCAL_PEERS = {
    "swe-rex": ("swe-rex==1.4.0", "swe-rex, local"),
    "inspect-ai": ("inspect-ai==0.3.285", "inspect-ai, local"),
    "smolagents": ("smolagents==1.26.0", "smolagents, local interpreter"),
}


class Workload(NamedTuple):
    """Code, and what its output must hold."""

    name: str
    code: str
    expect: str
    share: int
    """One run for so many of the first workload."""


WORKLOADS = (
    Workload("print(1)", "print(1)", "1", 1),
    Workload(
        "unittest, 3 asserts",
        """import unittest

class Sums(unittest.TestCase):
    def test_small(self):
        self.assertEqual(1 + 1, 2)

    def test_list(self):
        self.assertIn(3, [1, 2, 3])

    def test_raises(self):
        with self.assertRaises(ZeroDivisionError):
            1 / 0

unittest.main(argv=["sums"])
""",
        "OK",
        5,
    ),
)

Measure = Callable[[Workload, int, int], Awaitable[Batch]]
"""Workload, runs, how many at a time."""
Command = Callable[[str], subprocess.CompletedProcess[bytes]]
"""Runs Python text by a command line."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run Python text."""

    name: str
    walls: str
    measure: Measure


@dataclass(frozen=True, slots=True)
class Row:
    """What one way did with one workload."""

    workload: str
    parallel: int
    way: str
    walls: str
    runs: int
    p50_ms: float
    p95_ms: float
    per_second: float
    times_peer: Ratio | None
    """How many times as long the peer takes; None for the peer itself."""


def main(
    *, rounds: int = ROUNDS, runs: int = RUNS, force: bool = False, markdown: Path | None = None
) -> dict[str, object]:
    """Measure and print the tables; returns everything for `--json`.

    Raises:
        MeasurementRefused: On a busy machine, unless `force`.
    """
    load = quiet_load(force=force)
    return asyncio.run(_measured(rounds, runs, load, markdown))


async def _measured(
    rounds: int, runs: int, load: float, markdown: Path | None
) -> dict[str, object]:
    skipped = dict(NOT_RUN)
    local = list(_local_peers(skipped))
    async with proved_cages() as cages:
        fresh = cages.fresh
        ways = [_ours(fresh), _ours(cages.warm)]
        ways += [
            _command(PEER, "all but limits", _in_bwrap(fresh, "-I")),
            _command(f"{PEER} -S", "all but limits", _in_bwrap(fresh, "-I", "-S")),
            _command("subprocess, python -I -S", "none", _bare(_host_python(fresh))),
        ]
        rows = await _rows([*ways, *local], rounds, runs, skipped)
    targets = judge_targets(rows)
    about_machine = {**machine(load), "interpreter": _version(fresh), "rounds": rounds}
    sheets = [sheet(rows, workload.name) for workload in WORKLOADS]
    lines = [*about(about_machine, targets), f"left behind after all runs: {cages.left}"]
    lines += [f"not measured: {name} ({why})" for name, why in skipped.items()]
    show(sheets, lines)
    write_markdown(markdown, sheets, lines)
    return {
        "machine": about_machine,
        "barriers": {each.level: [asdict(b) for b in each.barriers] for each in cages.proved},
        "rows": [asdict(row) for row in rows],
        "targets": as_json(targets),
        "left_behind": cages.left,
        "not_measured": skipped,
    }


async def _rows(ways: list[Way], rounds: int, runs: int, skipped: dict[str, str]) -> list[Row]:
    rows: list[Row] = []
    for workload in WORKLOADS:
        able = [way for way in ways if await _can(way, workload, skipped)]
        count = max(runs // workload.share, 1)
        for parallel in PARALLEL:
            tell(f"{workload.name}, {parallel} at a time")
            work = {way.name: partial(way.measure, workload, count, parallel) for way in able}
            measured = await interleave(work, rounds, tell)
            rows += [_row(workload, parallel, way, measured) for way in able]
    return rows


async def _can(way: Way, workload: Workload, skipped: dict[str, str]) -> bool:
    """Whether the way can do the workload at all; a peer that cannot is named with its reason."""
    try:
        await way.measure(workload, 1, 1)
    except PeerMissing as err:
        skipped[f"{way.name}, {workload.name}"] = str(err)
        return False
    return True


def _row(workload: Workload, parallel: int, way: Way, measured: dict[str, list[Batch]]) -> Row:
    batches = measured[way.name]
    where = spread(batches)
    return Row(
        workload=workload.name,
        parallel=parallel,
        way=way.name,
        walls=way.walls,
        runs=sum(batch.runs for batch in batches),
        p50_ms=round(where.p50_ms, 2),
        p95_ms=round(where.p95_ms, 2),
        per_second=round(rate(batches), 1),
        times_peer=None if way.name == PEER else faster(batches, measured[PEER]),
    )


def sheet(rows: list[Row], workload: str) -> Sheet:
    """The rows of one workload as a table, the losers too."""
    columns = (
        "at a time",
        "way",
        "walls",
        "p50 ms",
        "p95 ms",
        "runs/s",
        f"times as fast as {PEER}",
    )
    return Sheet(
        title=f"{workload}, from text to result",
        columns=columns,
        rows=tuple(
            (
                str(row.parallel),
                row.way,
                row.walls,
                f"{row.p50_ms:.1f}",
                f"{row.p95_ms:.1f}",
                f"{row.per_second:.1f}",
                str(row.times_peer or "1"),
            )
            for row in rows
            if row.workload == workload
        ),
    )


def judge_targets(rows: list[Row]) -> list[Target]:
    """The claims on `print(1)`, one at a time."""
    warm = next(
        row
        for row in rows
        if (row.way, row.parallel, row.workload) == ("codojo warm", 1, WORKLOADS[0].name)
    )
    assert warm.times_peer is not None
    tail = warm.p95_ms / warm.p50_ms
    return [
        Target(
            f"codojo warm at least {TIMES_FASTER:.0f} times as fast as {PEER}",
            str(warm.times_peer),
            warm.times_peer.value >= TIMES_FASTER,
        ),
        Target(f"p95 of codojo warm at most {TAIL:.0f} times its p50", f"{tail:.2f}", tail <= TAIL),
    ]


def _ours(sandbox: Sandbox) -> Way:
    """A backend of codojo."""

    async def measure(workload: Workload, runs: int, parallel: int) -> Batch:
        latencies: list[float] = []
        left = iter(range(runs))

        async def worker() -> None:
            for _ in left:
                began = time.perf_counter()
                ran = await execute(sandbox, ["-c"], code=workload.code)
                latencies.append(time.perf_counter() - began)
                if ran.returncode or workload.expect.encode() not in ran.stdout + ran.stderr:
                    raise SandboxError(f"a run of the benchmark ended otherwise: {ran}")

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(parallel):
                group.create_task(worker())
        return Batch(runs, time.perf_counter() - began, tuple(latencies))

    return Way(f"codojo {sandbox.capabilities.level}", "all", measure)


def _command(name: str, walls: str, run: Command) -> Way:
    """A plain command line, by threads that wait for it."""

    def once(workload: Workload) -> float:
        began = time.perf_counter()
        ran = run(workload.code)
        took = time.perf_counter() - began
        if ran.returncode or workload.expect.encode() not in ran.stdout + ran.stderr:
            raise SandboxError(f"{name} ended otherwise: {ran.stderr[-300:]!r}")
        return took

    async def measure(workload: Workload, runs: int, parallel: int) -> Batch:
        with ThreadPoolExecutor(parallel) as pool:
            began = time.perf_counter()
            work = [pool.submit(once, workload) for _ in range(runs)]
            latencies = await asyncio.to_thread(lambda: [each.result() for each in work])
            return Batch(runs, time.perf_counter() - began, tuple(latencies))

    return Way(name, walls, measure)


def _in_bwrap(walls: Bubblewrap, *options: str) -> Command:
    """bwrap's command line with the walls and the filter of codojo's backends."""

    def run(code: str) -> subprocess.CompletedProcess[bytes]:
        with command_line(walls, *options) as line:
            return _run([*line.argv, "-c", code], **line.popen)

    return run


def _bare(python: str) -> Command:
    """The interpreter as it is."""
    return lambda code: _run([python, "-I", "-S", "-c", code], env={}, cwd="/")


def _run(argv: list[str], **more: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, **more)


def _host_python(walls: Bubblewrap) -> str:
    """The cage's interpreter as a path out here."""
    return walls.python.replace("/opt/python", sys.base_prefix, 1)


def _version(walls: Bubblewrap) -> str:
    ran = subprocess.run([_host_python(walls), "--version"], capture_output=True, text=True)
    return f"{walls.python} ({ran.stdout.strip()})"


def _local_peers(skipped: dict[str, str]) -> Iterator[Way]:
    """Local executors of other projects, where they install."""
    python = _host_python(Bubblewrap(Limits.of(SandboxSettings())))
    for peer, (requirement, name) in LOCAL_PEERS.items():
        try:
            yield _local(peer, name, environment(requirement), python)
        except PeerMissing as err:
            skipped[name] = str(err)


def _local(peer: str, name: str, environment: Path, python: str) -> Way:
    async def measure(workload: Workload, runs: int, parallel: int) -> Batch:
        order = {
            "peer": peer,
            "python": python,
            "code": workload.code,
            "expect": workload.expect,
            "runs": runs,
            "parallel": parallel,
        }
        said = await asyncio.to_thread(ask, environment, "peer_cage.py", order)
        return Batch(runs, said["wall_s"], tuple(said["latencies_s"]))

    return Way(name, "none", measure)
