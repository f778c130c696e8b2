"""`codojo bench export`: training sets from a log, in megabytes of log per second, and what memory that takes.

A made log of model calls of about 2 KB becomes a set for SFT, one for DPO and one for KTO, as Parquet: the
answers that became candidates, cut to their code, equal code of one task once. Every way reads the same file in a
process of its own, and its rows are compared: a way with other rows is said to be wrong. Secrets
are redacted when a log is written, so no way redacts. Imports are not timed.

Peers: `datasets` (`from_json`, `filter`, `map`, `to_parquet`), `pandas`, and `duckdb` with SQL.
"""

import asyncio
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from codojo.bench.environments import PeerHung, PeerMissing, ask, environment
from codojo.bench.rounds import (
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
from codojo.trajectories.log import frame

SETS = ("sft", "dpo", "kto")
OURS, DATASETS = "codojo", "datasets"
PEERS = {
    DATASETS: ("datasets==5.2.0",),
    "pandas": ("pandas==3.1.1", "pyarrow==26.0.1"),
    "duckdb": ("duckdb==1.4.2", "pyarrow==26.0.1"),
}
TIMES_DATASETS = 5.0
MORE_LOG = 4
"""The log for the question of memory is so many times as large."""
FLAT = 1.25
"""Memory counts as flat if so many times the log takes at most so many times the memory."""
LIMIT_S = 1800.0


@dataclass(slots=True)
class Tally:
    """What one way did, over all rounds."""

    peak_mb: float = 0.0
    hashes: set[str] = field(default_factory=set)
    """Of the bytes it wrote; one if they were always the same."""
    rows: dict[str, str] = field(default_factory=dict)
    """Hash of the rows in any order, for each set."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way and one set."""

    set: str
    way: str
    mb_per_second: float
    over_datasets: Ratio | None
    peak_mb: float
    repeats: bool
    same_rows: bool


def main(
    *, rounds: int = 5, records: int = 100_000, force: bool = False, markdown: Path | None = None
) -> dict[str, object]:
    """Measure and print the tables; returns everything for `--json`.

    Raises:
        MeasurementRefused: On a busy machine, unless `force`.
    """
    load = quiet_load(force=force)
    with tempfile.TemporaryDirectory(prefix="codojo-bench-export-") as folder:
        return asyncio.run(_measured(Path(folder), rounds, records, load, markdown))


async def _measured(
    folder: Path, rounds: int, records: int, load: float, markdown: Path | None
) -> dict[str, object]:
    skipped: dict[str, str] = {}
    tell(f"writing a log of {records:,} model calls")
    log = make_log(folder / "dojo" / "log", records)
    size_mb = log.stat().st_size / 1e6
    ways = {OURS: Path(sys.executable), **dict(_peers(skipped))}
    rows: list[Row] = []
    for kind in SETS:
        tell(f"{kind}: {size_mb:.0f} MB of log")
        tallies = {name: Tally() for name in ways}
        runners = {
            name: _runner(name, python, log, folder / name, kind, tallies[name], size_mb)
            for name, python in ways.items()
        }
        for name in [*runners]:
            if name != OURS:
                try:
                    await runners[name]()
                except (PeerMissing, PeerHung) as err:
                    skipped[f"{name}, {kind}"] = str(err)
                    del runners[name]
        measured = await interleave(runners, rounds, tell)
        rows += _rows(kind, measured, tallies)
    default = await _runner(
        OURS, ways[OURS], log, folder / "default", "sft", Tally(), size_mb, "shape"
    )()
    small, large = await _memory(folder, log, records)
    targets = export_targets(rows, small, large)
    about_machine = {
        **machine(load),
        "rounds": rounds,
        "records": records,
        "log_mb": round(size_mb),
    }
    lines = [
        *about(about_machine, targets),
        f"codojo with its default --dedupe shape, sft: {default.per_second / 1000:.0f} MB/s",
        f"codojo's peak memory for sft: {small:.0f} MB at {records:,} calls, {large:.0f} MB at "
        f"{MORE_LOG * records:,}",
        *(f"not measured: {name} ({why})" for name, why in skipped.items()),
    ]
    sheets = [rates_sheet(rows)]
    show(sheets, lines)
    write_markdown(markdown, sheets, lines)
    return {
        "machine": about_machine,
        "rates": [asdict(row) for row in rows],
        "default_dedupe_mb_per_second": round(default.per_second / 1000, 1),
        "peak_mb": {"at_records": small, f"at_{MORE_LOG}_times": large},
        "targets": as_json(targets),
        "not_measured": skipped,
    }


def _runner(
    name: str,
    python: Path,
    log: Path,
    folder: Path,
    kind: str,
    tally: Tally,
    size_mb: float,
    dedupe: str = "text",
) -> Callable[[], Awaitable[Batch]]:
    out = folder / "rows.parquet"
    order: dict[str, Any] = {
        "peer": name,
        "log": str(log),
        "out": str(out),
        "set": kind,
        "dedupe": dedupe,
    }

    def work() -> Batch:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        said = ask(python, "peer_export.py", order, limit_s=LIMIT_S)
        tally.peak_mb = max(tally.peak_mb, said["peak_mb"])
        tally.hashes.add(hashlib.sha256(out.read_bytes()).hexdigest())
        tally.rows[kind] = rows_hash(out)
        return Batch(round(1000 * size_mb), said["wall_s"])

    async def run() -> Batch:
        return await asyncio.to_thread(work)

    return run


def rows_hash(path: Path) -> str:
    """Hash of a Parquet file's rows, in any order of rows and columns."""
    import pyarrow.parquet

    digests = sorted(
        hashlib.sha256(json.dumps(_told(row), sort_keys=True).encode()).hexdigest()
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches()
        for row in batch.to_pylist()
    )
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """A row without its empty columns, which not every way writes."""
    return {name: value for name, value in row.items() if value is not None}


def _rows(kind: str, measured: dict[str, list[Batch]], tallies: dict[str, Tally]) -> Iterator[Row]:
    for name, batches in measured.items():
        tally, other = tallies[name], measured.get(DATASETS)
        yield Row(
            set=kind,
            way=name,
            mb_per_second=round(rate(batches) / 1000, 1),
            over_datasets=more(batches, other) if other else None,
            peak_mb=round(tally.peak_mb),
            repeats=len(tally.hashes) == 1,
            same_rows=tally.rows[kind] == tallies[OURS].rows[kind],
        )


async def _memory(folder: Path, log: Path, records: int) -> tuple[float, float]:
    """Our peak memory for a log and for a larger one, in MB."""
    tell(f"memory: a log of {MORE_LOG * records:,} model calls")
    larger = make_log(folder / "larger" / "log", MORE_LOG * records)
    peaks = []
    for one in (log, larger):
        tally = Tally()
        await _runner(OURS, Path(sys.executable), one, folder / "memory", "sft", tally, 1.0)()
        peaks.append(round(tally.peak_mb, 1))
    return peaks[0], peaks[1]


def _peers(skipped: dict[str, str]) -> Iterator[tuple[str, Path]]:
    for name, requirements in PEERS.items():
        try:
            yield name, environment(*requirements)
        except PeerMissing as err:
            skipped[name] = str(err)


def rates_sheet(rows: Sequence[Row]) -> Sheet:
    """Rates as a table, the losers too."""
    columns = (
        "set",
        "way",
        "MB/s",
        f"times {DATASETS}",
        "peak MB",
        "same bytes again",
        "same rows",
    )
    return Sheet(
        "training sets from a log, as Parquet",
        columns,
        tuple(
            (
                row.set,
                row.way,
                f"{row.mb_per_second:.0f}",
                "1" if row.way == DATASETS else str(row.over_datasets or "not measured"),
                f"{row.peak_mb:.0f}",
                "yes" if row.repeats else "NO",
                "yes" if row.same_rows else "NO",
            )
            for row in rows
        ),
    )


def export_targets(rows: Sequence[Row], small_mb: float, large_mb: float) -> list[Target]:
    """The claims."""
    ours = [row for row in rows if row.way == OURS]
    targets = [
        Target(
            f"{row.set}: codojo at least {TIMES_DATASETS:.0f} times {DATASETS}",
            str(row.over_datasets),
            row.over_datasets.value >= TIMES_DATASETS,
        )
        for row in ours
        if row.over_datasets
    ]
    times = large_mb / small_mb
    return [
        *targets,
        Target("codojo writes the same bytes every time", "", all(row.repeats for row in ours)),
        Target("every way made the same rows", "", all(row.same_rows for row in rows)),
        Target(
            f"codojo's memory at {MORE_LOG} times the log at most {FLAT} times as much",
            f"{times:.2f} times",
            times <= FLAT,
        ),
    ]


def make_log(folder: Path, records: int) -> Path:
    """A log of so many model calls of about 2 KB, ten to a rollout, on 500 tasks; always the same bytes.

    Two in five pass; one in ten is a copy of another of its task.
    """
    folder.mkdir(parents=True)
    (folder.parent / "codojo.toml").touch()
    path, draw = folder / "000001.jsonl", random.Random(1)
    words = [f"w{draw.randrange(10**6):06d}" for _ in range(5000)]
    with path.open("wb", buffering=1 << 20) as file:
        for seq, event in enumerate(_events(records, draw, words)):
            file.write(frame(seq, 1.7e9 + seq, *event))
        os.fsync(file.fileno())
    return path


def _events(
    records: int, draw: random.Random, words: list[str]
) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    yield "segment_opened", None, {"schema": 1, "pid": 1}
    for number in range(-(-records // 10)):
        id, task = f"01R{number:023d}", number % 500
        prompt = f"Task {task}: " + " ".join(words[(task * 7 + i) % 5000] for i in range(80))
        brief = {
            "task_id": f"t{task}",
            "suite": "made",
            "family": f"f{task % 100}",
            "split": "train",
            "prompt": prompt,
            "entry_point": "f",
            "starter": "",
            "visible": {"source": "visible"},
        }
        start = {"run": "R", "stage": "run", "brief": brief, "task_hash": "h", "graph": "solo"}
        yield "rollout_started", id, {**start, "graph_version": "1", "models": {"all": "base"}}
        proposals = []
        for call in range(10):
            value = draw.randrange(10**9) if draw.random() < 0.9 else task
            body = " ".join(draw.choices(words, k=70)) if value != task else "the same"
            code = f"def f(x):\n    # {body}\n    return x + {value}"
            key = f"{number:024d}{call:08d}"
            yield "effect", id, _reply(key, prompt, code)
            status = "passed" if draw.random() < 0.4 else "failed"
            verdict = {"status": status, "tests": "sealed", "isolation": "bubblewrap"}
            proposals.append(
                {
                    "candidate": {"files": {"solution.py": code}},
                    "origin": {"step": key, "choice": 0},
                    "verdict": {**verdict, "outcomes": [{"id": "1", "status": status}]},
                }
            )
        yield "rollout_finished", id, {"proposals": proposals, "chosen": 0}


def _reply(key: str, prompt: str, code: str) -> dict[str, Any]:
    return {
        "key": key,
        "path": ["code", "1"],
        "nth": 0,
        "input_hash": "0" * 64,
        "effect": "reply",
        "input": {
            "agent": "coder",
            "model": "base",
            "template": "coder 1a2b3c",
            "parent": None,
            "messages": [{"role": "user", "content": prompt}],
            "sampling": {"temperature": 0.8, "n": 1},
        },
        "output": {
            "model": "base",
            "choices": [
                {
                    "text": f"Here is a solution.\n```python\n{code}\n```\nIt adds.",
                    "finish_reason": "stop",
                    "token_ids": None,
                    "logprobs": None,
                }
            ],
            "prompt_tokens": 100,
            "completion_tokens": 200,
        },
        "duration_s": 1.0,
    }
