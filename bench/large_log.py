"""One figure of a large log at a time, for `codojo bench log`: `large_log.py PART FOLDER EVENTS ROOT`.

Prints one JSON object. Each part is a process of its own, so that no cache of another one helps it; what
the kernel keeps of the files helps all of them.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

sys.path.insert(0, sys.argv[4])

SEGMENT = 100_000
EFFECTS = 50
UNFINISHED = 32
TEXT = "def double(x):\n    return x + x  # of an answer\n" * 40


def lines_of(rollout: str, events: list[Any]) -> Iterator[tuple[str, str, Any]]:
    """The events of a rollout under another id."""
    for event in events:
        yield event.kind, rollout, event.data


def write(log: Path, number: int, events: Iterator[tuple[str, str | None, Any]]) -> None:
    """A segment, without waiting for the disk."""
    from codojo.trajectories.framing import OPENED, SCHEMA, frame

    log.mkdir(parents=True, exist_ok=True)
    with (log / f"{number:06d}.jsonl").open("wb") as file:
        file.write(frame(0, 0.0, OPENED, None, {"schema": SCHEMA, "pid": 0}))
        for seq, (kind, rollout, data) in enumerate(events, 1):
            file.write(frame(seq, time.time(), kind, rollout, data))


def make(folder: Path, events: int) -> dict[str, float]:
    """A log of finished rollouts, each of 50 effects of 2 KB."""
    first = asyncio.run(played(folder / "first", ["first"], EFFECTS + 1))["first"]
    per_rollout, n = len(first), 0

    def all_of_it(count: int) -> Iterator[tuple[str, str | None, Any]]:
        nonlocal n
        for _ in range(count):
            event = first[n % per_rollout]
            yield event.kind, f"ROLLOUT{n // per_rollout:08d}", event.data
            n += 1

    log = folder / "log"
    for number in range(1, 1 + -(-events // SEGMENT)):
        write(log, number, all_of_it(min(SEGMENT, events - n) - 1))
    return {"log_bytes": float(size(log))}


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def read(folder: Path, events: int) -> dict[str, float]:
    """Every event as data."""
    from codojo.trajectories.log import read_log

    began = time.perf_counter()
    count = sum(1 for _ in read_log(folder / "log"))
    assert count > events * 0.9, "the log is not all there"
    return {"read_s": time.perf_counter() - began}


def verify(folder: Path, events: int) -> dict[str, float]:
    """Everything checked, and what it took of memory."""
    from codojo.trajectories.verify import verify as check

    began = time.perf_counter()
    check(folder / "log")
    took = time.perf_counter() - began
    said = Path("/proc/self/status").read_text().split()
    return {"verify_s": took, "verify_mb": int(said[said.index("VmHWM:") + 1]) / 1024}


def index(folder: Path, events: int) -> dict[str, float]:
    """The index made, then the log packed, and the index brought up to that."""
    from codojo.trajectories.index import Index
    from codojo.trajectories.segments import pack_log

    began = time.perf_counter()
    with Index(folder / "log"):
        pass
    took = time.perf_counter() - began
    sizes = {"index_bytes": float(size(folder / "index"))}
    pack_log(folder / "log")
    with Index(folder / "log"):
        pass
    return {"index_s": took, "packed_bytes": float(size(folder / "log")), **sizes}


def open_it(folder: Path, events: int) -> dict[str, float]:
    """From nothing loaded to the newest rollout, whole."""
    began = time.perf_counter()
    from codojo.trajectories.index import Index

    with Index(folder / "log") as found:
        last = found.rollouts(limit=50)[-1]
        found.trajectory(last.id)
    return {"open_s": time.perf_counter() - began}


def follow(folder: Path, events: int) -> dict[str, float]:
    """Median time from an acknowledgement to a follower in another thread, which looks every 10 ms."""
    import threading

    from codojo.trajectories.follow import follow as followed
    from codojo.trajectories.log import Log

    told: dict[int, float] = {}
    seen: dict[int, float] = {}
    follower = followed(folder / "log", from_start=False, poll_s=0.01)

    def watch() -> None:
        for event in follower:
            if event.kind == "tick":
                seen[event.data["n"]] = time.perf_counter()

    watcher = threading.Thread(target=watch)
    with Log(folder / "log") as log:
        watcher.start()
        for n in range(100):
            log.append("tick", {"n": n}).result()
            told[n] = time.perf_counter()
            time.sleep(0.01)
        time.sleep(0.1)
        follower.stop()
        watcher.join()
    delays = sorted(seen[n] - told[n] for n in seen)
    return {"follow_ms": 1000 * delays[len(delays) // 2]}


class State(TypedDict, total=False):
    """What solo and team have, as far as a rollout needs it."""

    brief: Any
    proposals: list[Any]
    chosen: int | None


class Reached(Exception):
    """The first new effect was asked for."""


def graph(stop_at: int, ended: type[Exception]) -> Any:
    """A graph of one node that asks for effects of 2 KB and then cannot go on."""
    from langgraph.graph import END, START, StateGraph

    from codojo.graphs.node import node
    from codojo.trajectories.journal import ask

    @node
    async def work(state: State) -> State:
        for n in range(EFFECTS + 1):

            async def perform(n: int = n) -> object:
                if n >= stop_at:
                    raise ended("the first new effect")
                return {"n": n, "text": TEXT}

            await ask("bench", {"n": n}, perform)
        return {"proposals": [], "chosen": None}

    wired: Any = StateGraph(State)
    wired.add_node("work", work)
    wired.add_edge(START, "work")
    wired.add_edge("work", END)
    return wired.compile()


def parts() -> Any:
    """Parts without a model or a sandbox: nothing here asks for either."""
    from codojo.graphs.parts import Parts
    from codojo.graphs.replay import SilentModel
    from codojo.settings import Settings

    settings = Settings()
    team = settings.team.model_copy(update={"parallel": UNFINISHED})
    settings = settings.model_copy(update={"team": team})
    return Parts(model=lambda agent: SilentModel(model_name="none"), judge=None, settings=settings)


def task(name: str) -> Any:
    """A task that nothing can judge."""
    from codojo.tasks.schema import Task

    return Task(task_id=name, suite="", family=name, prompt="Double it", entry_point="double")


async def played(folder: Path, names: list[str], stop_at: int) -> dict[str, list[Any]]:
    """Run rollouts, and give their events by task; those that stop before their end stay unfinished."""
    from codojo.errors import CodojoError, EngineUnavailable
    from codojo.graphs.rollout import GRAPHS
    from codojo.graphs.run import open_run
    from codojo.settings import Settings
    from codojo.trajectories.log import Log, read_log

    GRAPHS["bench"] = lambda parts: graph(stop_at, EngineUnavailable)
    try:
        with (
            Log(folder / "log") as log,
            open_run(folder, log, "run", {}, Settings()) as run,
        ):
            await run.stage("run", [task(name) for name in names], parts(), graph="bench")
    except CodojoError:
        pass
    found: dict[str, list[Any]] = {}
    names_of: dict[str, str] = {}
    for event in read_log(folder / "log"):
        if event.kind == "rollout_started":
            names_of[str(event.rollout)] = event.data["brief"]["task_id"]
        if event.rollout in names_of:
            found.setdefault(names_of[event.rollout], []).append(event)
    return found


def make_run(folder: Path, events: int) -> dict[str, float]:
    """A run of so many records: 32 rollouts stopped after 50 effects, all others finished."""
    from codojo.trajectories.log import read_log

    names = [f"unfinished-{n}" for n in range(UNFINISHED)]
    asyncio.run(played(folder, names, EFFECTS))
    first = asyncio.run(played(folder / "first", ["first"], EFFECTS + 1))["first"]
    run = next(e.data["run"] for e in read_log(folder / "log") if e.kind == "run_started")
    here = sum(1 for _ in read_log(folder / "log"))
    rollouts = (events - here) // len(first)

    def all_of_it() -> Iterator[tuple[str, str | None, Any]]:
        for n in range(rollouts):
            for event in first:
                data = event.data
                if event.kind == "rollout_started":
                    brief = {**data["brief"], "task_id": f"finished-{n}"}
                    data = {**data, "run": run, "brief": brief}
                yield event.kind, f"FINISHED{n:08d}", data

    write(folder / "log", 2, all_of_it())
    return {"run_records": float(here + rollouts * len(first)), "run_rollouts": float(rollouts)}


def resume(folder: Path, events: int) -> dict[str, float]:
    """From knowing the folder to the first effect that no earlier process had asked for."""
    began = time.perf_counter()
    from codojo.graphs.rollout import GRAPHS
    from codojo.graphs.run import find_run, open_run
    from codojo.settings import Settings
    from codojo.trajectories.log import Log

    imported, cpu = time.perf_counter(), time.process_time()
    GRAPHS["bench"] = lambda parts: graph(EFFECTS, Reached)
    record = find_run(folder, "run")
    names = [f"unfinished-{n}" for n in range(UNFINISHED)]
    names += [f"finished-{n}" for n in range(record.rollouts - UNFINISHED)]

    async def go_on() -> None:
        with (
            Log(folder / "log") as log,
            open_run(folder, log, "run", {}, Settings(), resume=record) as run,
        ):
            await run.stage("run", [task(name) for name in names], parts(), graph="bench")

    try:
        asyncio.run(go_on())
    except Reached:
        return {
            "resume_s": time.perf_counter() - imported,
            "resume_cpu_s": time.process_time() - cpu,
            "resume_import_s": imported - began,
        }
    raise AssertionError("nothing new was asked for")


def resume_unindexed(folder: Path, events: int) -> dict[str, float]:
    """The same where no index was made yet."""
    from codojo.trajectories.derived import discard

    discard(folder / "log")
    return {"resume_unindexed_s": resume(folder, events)["resume_s"]}


PARTS = {
    "make": make,
    "read": read,
    "verify": verify,
    "index": index,
    "open": open_it,
    "follow": follow,
    "make-run": make_run,
    "resume-unindexed": resume_unindexed,
    "resume": resume,
}


if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))))
