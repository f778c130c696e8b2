"""`codojo bench log`: durable events in a second, beside SQLite and others; and what a large log costs to open.

Writers each append events of about 2 KB for some seconds and wait until each is durable: threads of one
process, all on one store. codojo looks for secrets only in a way of its own, as the others do not. Then
a log of many events is made, and read, checked, indexed, opened, and gone on with. Every way runs in a
child process that takes its own times.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
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
    more,
    quiet_load,
    rate,
    show,
    tell,
    write_markdown,
)

WRITERS = (1, 8, 32)
SECONDS = 3.0
EVENTS = 1_000_000
RECORDS = 100_000
SCRIPT, LARGE = "peer_log.py", "large_log.py"
STORE = ("langgraph-checkpoint-sqlite==3.1.2", "langgraph==1.2.22")
OURS, COROUTINES, REDACTING = "codojo", "codojo, coroutines", "codojo, redacting"
FULL = "sqlite3, FULL"
TIMES_ALONE, TIMES_MANY = 1.5, 20.0
OPEN_S, RESUME_S = 2.0, 1.0


class Way(NamedTuple):
    """One way to keep events."""

    name: str
    durable: str
    """What an acknowledged event survives."""
    python: Path


@dataclass(frozen=True, slots=True)
class Row:
    """What one way did with so many writers."""

    writers: int
    way: str
    durable: str
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Of the whole process, for each event."""
    bytes_each: float
    times_full: Ratio | None


def main(
    *,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    events: int = EVENTS,
    force: bool = False,
    markdown: Path | None = None,
) -> dict[str, object]:
    """Measure and print the tables; returns everything for `--json`.

    Raises:
        MeasurementRefused: On a busy machine, unless `force`.
    """
    load = quiet_load(force=force)
    skipped: dict[str, str] = {"mlflow-skinny": "its file store writes no durable events"}
    ways = _ways(skipped)
    rows = asyncio.run(_rates(ways, rounds, seconds))
    large = _large(events) if events else {}
    about_machine = {**machine(load), "rounds": rounds, "seconds": seconds}
    targets = [*_targets(rows), *_large_targets(large)]
    sheets = [_sheet(rows), *([_large_sheet(large)] if large else [])]
    lines = [*about(about_machine, targets)]
    lines += [f"not measured: {name} ({why})" for name, why in skipped.items()]
    show(sheets, lines)
    write_markdown(markdown, sheets, lines)
    return {
        "machine": about_machine,
        "rows": [asdict(row) for row in rows],
        "large": large,
        "targets": as_json(targets),
        "not_measured": skipped,
    }


def _ways(skipped: dict[str, str]) -> list[Way]:
    here = Path(sys.executable)
    ways = [
        Way(OURS, "power cut", here),
        Way(COROUTINES, "power cut", here),
        Way(REDACTING, "power cut", here),
        Way(FULL, "power cut", here),
        Way("sqlite3, NORMAL", "kill only", here),
        Way("JSON Lines, fdatasync", "power cut", here),
        Way("JSON Lines, blocks written ahead", "power cut", here),
    ]
    try:
        ways.append(Way("LangGraph SqliteStore", "power cut", environment(*STORE)))
    except PeerMissing as err:
        skipped["LangGraph SqliteStore"] = str(err)
    return ways


async def _rates(ways: Sequence[Way], rounds: int, seconds: float) -> list[Row]:
    rows = []
    for writers in WRITERS:
        tell(f"{writers} writers")
        extra: dict[str, list[dict[str, Any]]] = {}

        def runner(
            way: Way, writers: int = writers, extra: Any = extra
        ) -> Callable[[], Awaitable[Batch]]:
            async def run() -> Batch:
                said = await asyncio.to_thread(_write, way, writers, seconds)
                extra.setdefault(way.name, []).append(said)
                return Batch(len(said["acks_s"]), said["wall_s"], tuple(said["acks_s"]))

            return run

        found = await interleave({way.name: runner(way) for way in ways}, rounds, tell)
        for way in ways:
            batches, said = found[way.name], extra[way.name][1:]
            acks = 1000 * np.concatenate([batch.latencies_s for batch in batches])
            total = sum(batch.runs for batch in batches)
            rows.append(
                Row(
                    writers=writers,
                    way=way.name,
                    durable=way.durable,
                    per_second=round(rate(batches), 1),
                    p50_ms=float(np.quantile(acks, 0.5)),
                    p99_ms=float(np.quantile(acks, 0.99)),
                    cpu_us=1e6 * sum(one["cpu_s"] for one in said) / total,
                    bytes_each=sum(one["bytes"] for one in said) / total,
                    times_full=None if way.name == FULL else more(batches, found[FULL]),
                )
            )
    return rows


def _write(way: Way, writers: int, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="codojo-bench-") as folder:
        order = {
            "way": way.name,
            "writers": writers,
            "seconds": seconds,
            "folder": str(Path(folder) / "it"),
            "root": str(_root()) if way.name.startswith(OURS) else "",
        }
        return ask(way.python, SCRIPT, order)


def _root() -> Path:
    return Path(str(codojo.__file__)).parent.parent


def _large(events: int) -> dict[str, float]:
    """Figures of a large log, each taken in a process of its own."""
    found: dict[str, float] = {"events": events}
    with tempfile.TemporaryDirectory(prefix="codojo-bench-") as folder:
        for part in ("make", "read", "verify", "index", "open", "follow"):
            tell(f"a log of {events:,} events: {part}")
            found |= _child(part, Path(folder) / "large", events)
        records = min(events, RECORDS)
        for part in ("make-run", "resume-unindexed", "resume"):
            tell(f"a run of {records:,} records: {part}")
            found |= _child(part, Path(folder) / "run", records)
    return found


def _child(part: str, folder: Path, events: int) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).with_name(LARGE)), part, str(folder), str(events)]
    done = subprocess.run(
        [*command, str(_root())],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return said


def _targets(rows: Sequence[Row]) -> list[Target]:
    targets = []
    for way, writers, who, least in (
        (OURS, 1, "1 writer", TIMES_ALONE),
        (COROUTINES, 32, "32 writers, coroutines as rollouts are", TIMES_MANY),
        (OURS, 32, "32 writers, threads", TIMES_MANY),
    ):
        row = next(row for row in rows if (row.way, row.writers) == (way, writers))
        assert row.times_full is not None
        claim = f"{who}: at least {least:g} times the events of {FULL}"
        targets.append(Target(claim, str(row.times_full), row.times_full.value >= least))
    return targets


def _large_targets(large: dict[str, float]) -> list[Target]:
    if not large:
        return []
    opened, resumed = large["open_s"], large["resume_s"]
    return [
        Target(
            f"a log of {large['events']:,.0f} events opens from its index within {OPEN_S:g} s",
            f"{opened:.2f} s",
            opened < OPEN_S,
        ),
        Target(
            f"a run of {large['run_records']:,.0f} records goes on within {RESUME_S:g} s",
            f"{resumed:.2f} s to its first new effect",
            resumed <= RESUME_S,
        ),
    ]


def _sheet(rows: Sequence[Row]) -> Sheet:
    columns = (
        *("writers", "way", "survives", "events/s", f"times {FULL}"),
        *("p50 ms", "p99 ms", "CPU us each", "bytes each"),
    )
    return Sheet(
        "events of about 2 KB, each waited for",
        columns,
        tuple(
            (
                str(row.writers),
                row.way,
                row.durable,
                f"{row.per_second:,.0f}",
                str(row.times_full or 1),
                f"{row.p50_ms:.2f}",
                f"{row.p99_ms:.2f}",
                f"{row.cpu_us:.0f}",
                f"{row.bytes_each:,.0f}",
            )
            for row in rows
        ),
    )


def _large_sheet(large: dict[str, float]) -> Sheet:
    events = large["events"]
    rows = (
        ("read all events", f"{large['read_s']:.1f} s, {events / large['read_s']:,.0f} events/s"),
        ("verify", f"{large['verify_s']:.1f} s, {large['verify_mb']:.0f} MB at most"),
        ("make the index", f"{large['index_s']:.1f} s"),
        ("open from the index, list, show one rollout", f"{large['open_s']:.2f} s"),
        ("follow: from an event's acknowledgement to a follower", f"{large['follow_ms']:.0f} ms"),
        ("bytes of the log; compressed; of the index", _sizes(large)),
        (
            f"a run of {large['run_records']:,.0f} records: to its first new effect",
            f"{large['resume_s']:.2f} s; {large['resume_unindexed_s']:.2f} s where nothing was indexed yet; "
            f"{large['resume_import_s']:.2f} s of imports before either",
        ),
    )
    return Sheet(f"a log of {events:,.0f} events", ("what", "figure"), rows)


def _sizes(large: dict[str, float]) -> str:
    return ", ".join(
        f"{large[name] / 1e6:,.0f} MB" for name in ("log_bytes", "packed_bytes", "index_bytes")
    )
