"""Writers that append events to one store for a while, each waiting until its event is durable.

For `codojo bench log`: it runs in an interpreter that holds what the way needs. Called with two files,
the order and where the answer goes: `{"way", "writers", "seconds", "folder", "root"}` and `{"wall_s",
"acks_s", "bytes", "cpu_s"}`. Writers are threads of one process, or coroutines for the way `codojo,
coroutines`. No other way looks for secrets, so codojo does only in the way `codojo, redacting`.
"""

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEXT = "def double(x):\n    return x + x  # of an answer\n" * 40
"""About 2 KB."""
BUSY_S = 60
AHEAD = 1 << 22
"""Bytes that are written ahead at once."""


def event(writer: int, n: int) -> dict[str, Any]:
    """What is written: about 2 KB, never twice the same."""
    return {"key": f"{writer}-{n}", "effect": "reply", "path": ["code@1"], "output": TEXT}


Write = Callable[[int, dict[str, Any]], None]
"""Appends an event of a writer and returns once it is durable."""


def our_log(folder: Path, *, redacting: bool = False) -> Any:
    """One log for all writers, their syncs shared."""
    from codojo.settings import RedactionSettings
    from codojo.trajectories.log import Log
    from codojo.trajectories.redact import Redactor

    return Log(folder / "log", Redactor(RedactionSettings(enabled=redacting)))


def codojo_log(*, redacting: bool) -> Callable[[Path], Any]:
    """Our log by threads."""

    @contextlib.contextmanager
    def opened(folder: Path) -> Any:
        with our_log(folder, redacting=redacting) as log:
            yield lambda writer, data: log.put("effect", data, f"rollout-{writer}")

    return opened


def sqlite(synchronous: str) -> Callable[[Path], Any]:
    """A table in one SQLite file, a connection and a transaction for each writer and event."""

    @contextlib.contextmanager
    def opened(folder: Path) -> Any:
        here = threading.local()

        def connect() -> sqlite3.Connection:
            db = sqlite3.connect(folder / "events.sqlite", timeout=BUSY_S, isolation_level=None)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {synchronous}")
            return db

        first = connect()
        first.execute(
            "CREATE TABLE events (id INTEGER PRIMARY KEY, at REAL, kind TEXT, rollout TEXT, data TEXT)"
        )

        def write(writer: int, data: dict[str, Any]) -> None:
            if not hasattr(here, "db"):
                here.db = connect()
            row = (time.time(), "effect", f"rollout-{writer}", json.dumps(data))
            here.db.execute("BEGIN IMMEDIATE")
            here.db.execute("INSERT INTO events (at, kind, rollout, data) VALUES (?, ?, ?, ?)", row)
            here.db.execute("COMMIT")

        yield write
        first.close()

    return opened


@contextlib.contextmanager
def json_lines(folder: Path) -> Any:
    """Lines in one file, a lock around each write and its sync."""
    fd = os.open(folder / "events.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    lock = threading.Lock()

    def write(writer: int, data: dict[str, Any]) -> None:
        line = json.dumps({"at": time.time(), "rollout": writer, "data": data}).encode() + b"\n"
        with lock:
            os.write(fd, line)
            os.fdatasync(fd)

    yield write
    os.close(fd)


@contextlib.contextmanager
def written_ahead(folder: Path) -> Any:
    """The same over blocks that are there already, as SQLite's are: what a sync costs at the least."""
    fd = os.open(folder / "events.jsonl", os.O_WRONLY | os.O_CREAT, 0o600)
    lock = threading.Lock()
    end = ready = 0

    def write(writer: int, data: dict[str, Any]) -> None:
        nonlocal end, ready
        line = json.dumps({"at": time.time(), "rollout": writer, "data": data}).encode() + b"\n"
        with lock:
            if end + len(line) > ready:
                ready = end + AHEAD
                os.pwrite(fd, bytes(AHEAD), end)
                os.fsync(fd)
            os.pwrite(fd, line, end)
            os.fdatasync(fd)
            end += len(line)

    yield write
    os.close(fd)


@contextlib.contextmanager
def langgraph_store(folder: Path) -> Any:
    """LangGraph's SqliteStore, as its documentation opens it, made durable."""
    from langgraph.store.sqlite import SqliteStore

    with SqliteStore.from_conn_string(str(folder / "store.sqlite")) as store:
        store.setup()
        store.conn.execute("PRAGMA synchronous = FULL")
        lock = threading.Lock()

        def write(writer: int, data: dict[str, Any]) -> None:
            with lock:  # one connection
                store.put(("events", str(writer)), data["key"], data)

        yield write


WAYS: dict[str, Callable[[Path], Any]] = {
    "codojo": codojo_log(redacting=False),
    "codojo, redacting": codojo_log(redacting=True),
    "sqlite3, FULL": sqlite("FULL"),
    "sqlite3, NORMAL": sqlite("NORMAL"),
    "JSON Lines, fdatasync": json_lines,
    "JSON Lines, blocks written ahead": written_ahead,
    "LangGraph SqliteStore": langgraph_store,
}


def by_threads(order: dict[str, Any]) -> list[float]:
    """Latencies of all events that threads wrote until the time was over."""
    acks: list[list[float]] = [[] for _ in range(order["writers"])]
    with WAYS[order["way"]](Path(order["folder"])) as write:
        ready = threading.Barrier(order["writers"])

        def work(writer: int) -> None:
            ready.wait()
            until = time.perf_counter() + order["seconds"]
            n = 0
            while (began := time.perf_counter()) < until:
                write(writer, event(writer, n))
                acks[writer].append(time.perf_counter() - began)
                n += 1

        threads = [threading.Thread(target=work, args=(w,)) for w in range(order["writers"])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return [ack for each in acks for ack in each]


def by_coroutines(order: dict[str, Any]) -> list[float]:
    """The same by coroutines of one loop, as rollouts write."""
    acks: list[float] = []

    async def work(log: Any, writer: int) -> None:
        until = time.perf_counter() + order["seconds"]
        n = 0
        while (began := time.perf_counter()) < until:
            await log.write("effect", event(writer, n), f"rollout-{writer}")
            acks.append(time.perf_counter() - began)
            n += 1

    async def all_of_them() -> None:
        with our_log(Path(order["folder"])) as log:
            await asyncio.gather(*(work(log, writer) for writer in range(order["writers"])))

    asyncio.run(all_of_them())
    return acks


def main() -> None:
    """Read the order, write, answer."""
    order = json.loads(Path(sys.argv[1]).read_text())
    if order["root"]:
        sys.path.insert(0, order["root"])
    Path(order["folder"]).mkdir(parents=True)
    try:
        began, cpu = time.perf_counter(), time.process_time()
        acks = by_coroutines(order) if "coroutines" in order["way"] else by_threads(order)
        found: dict[str, Any] = {
            "wall_s": time.perf_counter() - began,
            "cpu_s": time.process_time() - cpu,
            "acks_s": acks,
            "bytes": sum(p.stat().st_size for p in Path(order["folder"]).rglob("*") if p.is_file()),
        }
    except BaseException as err:
        found = {"error": f"{type(err).__name__} {err}"[:200].strip()}
    Path(sys.argv[2]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
