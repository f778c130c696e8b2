"""A graph of 50 steps under one way of durability, alone or 32 at once, for `codojo bench durable`.

It runs in an interpreter that holds LangGraph and what the way needs: `SqliteSaver` in an environment of
its own, codojo's journal in codojo's. Called with two files, the order and where the answer goes:
`{"way", "rollouts", "steps", "folder", "root"}` and `{"wall_s", "steps_s", "bytes", "resume_s"}`.

Called as `peer_durable.py kill ORDER`, it begins or goes on with one rollout until it is killed or
done; each performed step adds its number to the file `world` in the folder, so whoever kills it can
count what happened twice.
"""

import asyncio
import contextlib
import json
import operator
import os
import sqlite3
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph

AGENTS = ("planner", "coder", "tester", "critic", "builder")
TEXT = 2000
"""Characters that each step adds to the state."""


class State(TypedDict, total=False):
    """A number, and a list that grows with each step."""

    n: int
    said: Annotated[list[str], operator.add]


def said(n: int) -> str:
    """What a step says: the same text for the same step."""
    return f"{n:08d}".ljust(TEXT, "x")


class World:
    """Where steps have their effect: a line in a file that is always appended to, and a pause."""

    def __init__(self, folder: Path | None = None, pause_s: float = 0) -> None:
        self.pause_s = pause_s
        self.times: list[float] = []
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self.fd = os.open(folder / "world", flags, 0o600) if folder else None

    def happen(self, n: int) -> str:
        """Perform step n."""
        if self.fd is not None:
            os.write(self.fd, b"%d\n" % n)
        return said(n)


def wired(nodes: dict[str, Any], steps: int, saver: Any = None) -> Any:
    """The five nodes in a circle, until so many steps are done."""
    graph: Any = StateGraph(State)
    for name, function in nodes.items():
        graph.add_node(name, function)
    graph.add_edge(START, AGENTS[0])
    for before, after in pairwise(AGENTS):
        graph.add_edge(before, after)
    graph.add_conditional_edges(AGENTS[-1], lambda s: AGENTS[0] if s["n"] < steps else END)
    return graph.compile(checkpointer=saver)


def plain_nodes(world: World) -> dict[str, Any]:
    """Nodes that just do it."""

    def work(state: State) -> State:
        world.times.append(time.perf_counter())
        if world.pause_s:
            time.sleep(world.pause_s)
        return {"n": state["n"] + 1, "said": [world.happen(state["n"])]}

    return dict.fromkeys(AGENTS, work)


def async_nodes(world: World) -> dict[str, Any]:
    """The same for `ainvoke`."""

    async def work(state: State) -> State:
        world.times.append(time.perf_counter())
        if world.pause_s:
            await asyncio.sleep(world.pause_s)
        return {"n": state["n"] + 1, "said": [world.happen(state["n"])]}

    return dict.fromkeys(AGENTS, work)


def journal_nodes(world: World) -> dict[str, Any]:
    """Nodes that ask for their effect through codojo's journal."""
    from codojo.graphs.node import node
    from codojo.trajectories.journal import ask

    def named(name: str) -> Any:
        @node
        async def work(state: State) -> State:
            n = state["n"]
            world.times.append(time.perf_counter())

            async def perform() -> str:
                if world.pause_s:
                    await asyncio.sleep(world.pause_s)
                return world.happen(n)

            answer = await ask("reply", {"agent": name, "n": n}, perform)
            return {"n": n + 1, "said": [answer.value]}

        return work

    return {name: named(name) for name in AGENTS}


def config(steps: int, thread: str = "") -> Any:
    """LangGraph's, with a thread where something is saved."""
    return {"recursion_limit": steps + 10, "configurable": {"thread_id": thread} if thread else {}}


def many_threads(order: dict[str, Any], run: Callable[[int, World], None]) -> list[World]:
    """Rollouts in a thread each, as the synchronous saver wants them."""
    worlds = [World() for _ in range(order["rollouts"])]
    with ThreadPoolExecutor(order["rollouts"]) as pool:
        list(pool.map(run, range(order["rollouts"]), worlds))
    return worlds


async def many_tasks(
    order: dict[str, Any], run: Callable[[int, World], Awaitable[None]]
) -> list[World]:
    """Rollouts side by side in one event loop."""
    worlds = [World() for _ in range(order["rollouts"])]
    await asyncio.gather(*(run(n, world) for n, world in enumerate(worlds)))
    return worlds


GIVEN: State = {"n": 0, "said": []}


def bare_threads(order: dict[str, Any]) -> list[World]:
    """LangGraph alone, `invoke` in threads."""

    def run(n: int, world: World) -> None:
        wired(plain_nodes(world), order["steps"]).invoke(GIVEN, config(order["steps"]))

    return many_threads(order, run)


def bare_tasks(order: dict[str, Any]) -> list[World]:
    """LangGraph alone, `ainvoke` in one loop."""

    async def run(n: int, world: World) -> None:
        await wired(async_nodes(world), order["steps"]).ainvoke(GIVEN, config(order["steps"]))

    return asyncio.run(many_tasks(order, run))


def sqlite_threads(order: dict[str, Any]) -> list[World]:
    """`SqliteSaver`, a database each or one for all."""
    from langgraph.checkpoint.sqlite import SqliteSaver

    def run(n: int, world: World) -> None:
        name = "all.db" if order.get("one_file") else f"{n}.db"
        path = Path(order["folder"]) / name
        with contextlib.closing(sqlite3.connect(path, check_same_thread=False)) as connection:
            graph = wired(plain_nodes(world), order["steps"], SqliteSaver(connection))
            graph.invoke(GIVEN, config(order["steps"], f"t{n}"), durability=order["durability"])

    return many_threads(order, run)


def sqlite_tasks(order: dict[str, Any]) -> list[World]:
    """`AsyncSqliteSaver`, a database each."""
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async def run(n: int, world: World) -> None:
        path = str(Path(order["folder"]) / f"{n}.db")
        async with AsyncSqliteSaver.from_conn_string(path) as saver:
            graph = wired(async_nodes(world), order["steps"], saver)
            await graph.ainvoke(
                GIVEN, config(order["steps"], f"t{n}"), durability=order["durability"]
            )

    return asyncio.run(many_tasks(order, run))


def journal_tasks(order: dict[str, Any]) -> list[World]:
    """codojo's journal, one log for all."""
    from codojo.trajectories.log import read_log

    folder = Path(order["folder"])
    held: defaultdict[str | None, list[Any]] = defaultdict(list)
    for event in read_log(folder) if order.get("resume") else ():
        held[event.rollout].append(event)

    async def run_all() -> list[World]:
        with unredacted(folder) as log:

            async def run(n: int, world: World) -> None:
                await journalled(order, log, f"r{n}", held[f"r{n}"], world)

            return await many_tasks(order, run)

    return asyncio.run(run_all())


async def journalled(
    order: dict[str, Any], log: Any, rollout: str, recorded: list[Any], world: World
) -> None:
    """One rollout under the journal, on what its log holds of it."""
    from codojo.graphs.node import namespace
    from codojo.trajectories.journal import Journal, Scope, scope

    journal = Journal(log, rollout, recorded, namespace=namespace)
    with scope(Scope(journal)):
        graph = wired(journal_nodes(world), order["steps"])
        await graph.ainvoke(GIVEN, config(order["steps"]))
    journal.finish()


WAYS: dict[str, Callable[[dict[str, Any]], list[World]]] = {
    "bare, threads": bare_threads,
    "bare, tasks": bare_tasks,
    "SqliteSaver": sqlite_threads,
    "AsyncSqliteSaver": sqlite_tasks,
    "journal": journal_tasks,
}


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """Wall time, time between steps, bytes left, and for the journal a resume of all that is finished."""
    way = WAYS[order["way"]]
    way({**order, "rollouts": 1, "steps": 5, "folder": f"{order['folder']}-warm"})
    began = time.perf_counter()
    worlds = way(order)
    wall_s = time.perf_counter() - began
    size = sum(path.stat().st_size for path in Path(order["folder"]).rglob("*") if path.is_file())
    resume_s = None
    if order["way"] == "journal":
        began = time.perf_counter()
        again = way({**order, "resume": True})
        resume_s = time.perf_counter() - began
        assert [len(world.times) for world in again] == [order["steps"]] * order["rollouts"]
    gaps = [b - a for world in worlds for a, b in pairwise(world.times)]
    assert len(gaps) == order["rollouts"] * (order["steps"] - 1)
    return {"wall_s": wall_s, "steps_s": gaps, "bytes": size, "resume_s": resume_s}


def unredacted(folder: Path) -> Any:
    """A log that redacts nothing, as its peers do; `codojo.bench.redaction` measures what that costs."""
    from codojo.settings import RedactionSettings
    from codojo.trajectories.log import Log
    from codojo.trajectories.redact import Redactor

    return Log(folder, Redactor(RedactionSettings(enabled=False)))


def begin_or_go_on(order: dict[str, Any]) -> None:
    """One rollout in a folder that may hold the beginning of it."""
    folder = Path(order["folder"])
    world = World(folder, order["pause_s"])
    if order["way"] == "journal":
        from codojo.trajectories.log import read_log

        async def run() -> None:
            recorded = [e for e in read_log(folder / "log") if e.rollout == "r0"]
            with unredacted(folder / "log") as log:
                await journalled(order, log, "r0", recorded, world)

        asyncio.run(run())
        return
    from langgraph.checkpoint.sqlite import SqliteSaver

    with contextlib.closing(sqlite3.connect(folder / "0.db", check_same_thread=False)) as db:
        graph = wired(plain_nodes(world), order["steps"], SqliteSaver(db))
        settings = config(order["steps"], "t0")
        saved = graph.get_state(settings)
        # A step whose result is saved and not yet applied is no longer named as the next one.
        begun = saved.next or saved.values
        graph.invoke(None if begun else GIVEN, settings, durability=order["durability"])


def main() -> None:
    """Read the order, run, write the answer."""
    kill = sys.argv[1] == "kill"
    order = json.loads(Path(sys.argv[2] if kill else sys.argv[1]).read_text())
    if order.get("root"):
        sys.path.insert(0, order["root"])
    if kill:
        begin_or_go_on(order)
        return
    try:
        for name in (order["folder"], f"{order['folder']}-warm"):
            Path(name).mkdir(parents=True, exist_ok=True)
        found = measure(order)
    except BaseException as err:
        found = {"error": f"{type(err).__name__} {err}"[:200].strip()}
    Path(sys.argv[2]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
