"""Kill points of a graph of steps that each leave a line in a file, under one way of durability.

The same for codojo's journal and for LangGraph's SqliteSaver: strace kills the process as it enters the
n-th call on a file of the store, and the file of the steps says what happened twice.
"""

import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from codojo.bench.durable import Way
from tests.trajectories.crashpoints import ROOT, strace_command


@dataclass
class Twice:
    """What kills cost a graph of steps that each leave a line in a file."""

    way: str
    kills: int
    acted_on: int
    """Steps that happened again although the next had begun before the kill."""
    in_flight: int
    """Steps that happened again and that nothing had followed yet."""


GRAPH_STEPS = 10
MOST = 65_535
"""strace counts no further; here it stands for: never."""
GRAPH_CALLS = ("write", "pwrite64", "fdatasync", "fsync", "openat", "unlink")


def sweep_graph(way: Way, python: Path, folder: Path, most: int) -> Twice:
    """Kill points of a graph under one way of durability, at most so many of each call, evenly spread."""
    result = Twice(way.name, 0, 0, 0)
    for call in GRAPH_CALLS:
        total = _graph(way, python, folder / "count", call, MOST)[1]
        for n in sorted({1 + i * total // most for i in range(min(most, total))}):
            before, _ = _graph(way, python, folder / "it", call, n)
            after, _ = _graph(way, python, folder / "it", "", 0)
            counts = Counter(after)
            assert set(counts) == set(range(GRAPH_STEPS))
            again = {step for step, count in counts.items() if count > 1}
            last = set(before[-1:])
            result.kills += 1
            result.acted_on += len(again - last)
            result.in_flight += len(again & last)
            shutil.rmtree(folder / "it")
    return result


def _graph(way: Way, python: Path, folder: Path, call: str, n: int) -> tuple[list[int], int]:
    """Run or go on with the graph; the steps that happened, and how often the call was made."""
    folder.mkdir(exist_ok=True)
    order, trace = folder / "order.json", folder / "trace"
    order.write_text(
        json.dumps(
            {
                "way": way.way,
                "durability": way.durability,
                "steps": GRAPH_STEPS,
                "folder": str(folder),
                "root": str(ROOT) if way.ours else "",
                "pause_s": 0,
            }
        )
    )
    command = [str(python), str(ROOT / "bench" / "peer_durable.py"), "kill", str(order)]
    if call:
        log = folder / "log"
        stored = [
            log,
            log / "000001.jsonl",
            *(folder / f"0.db{end}" for end in ("", "-wal", "-journal")),
        ]
        traced = ["strace", "-f", *strace_command(call, n, stored, trace)[1:]]
        traced[traced.index("-e") + 1] = f"trace={','.join(GRAPH_CALLS)}"
        command = [*traced, *command]
    subprocess.run(command, check=not call, capture_output=True)
    world = folder / "world"
    steps = [int(line) for line in world.read_text().split()] if world.exists() else []
    if not call:
        return steps, 0
    made = Counter(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    if n == MOST:
        shutil.rmtree(folder)
    return steps, made[call]
