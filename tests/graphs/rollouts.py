"""Any LangGraph graph as a rollout over a log, run again as a resume or a replay would."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codojo.graphs.node import namespace
from codojo.graphs.people import Person, drive
from codojo.trajectories.journal import Journal, Scope, ask, scope
from codojo.trajectories.log import Log, read_log

ROLLOUT = "R"


@dataclass
class World:
    """Where effects happen: how often each did, and what it gave."""

    performed: Counter[str] = field(default_factory=Counter)

    async def effect(
        self,
        name: str,
        perform: Callable[[], Awaitable[Any]] | None = None,
        under: object = None,
    ) -> Any:
        """Ask for an effect of that name; each performance gives another number."""

        async def counted() -> Any:
            self.performed[name] += 1
            given = await perform() if perform else None
            return {"given": given, "number": sum(self.performed.values())}

        return (await ask("test", name, counted, under=under)).value


@dataclass
class Played:
    """What one pass came to."""

    final: Any
    journal: Journal
    performed: Counter[str]


async def play(
    folder: Path,
    graph: Any,
    world: World,
    *,
    given: Any = None,
    person: Person | None = None,
    replay_only: bool = False,
) -> Played:
    """One pass of a graph as rollout R, on what the log holds of it."""
    recorded = [event for event in read_log(folder) if event.rollout == ROLLOUT]
    before = Counter(world.performed)
    with Log(folder) as log:
        journal = Journal(log, ROLLOUT, recorded, replay_only=replay_only, namespace=namespace)
        with scope(Scope(journal)):
            final = await drive(graph, given or {}, person)
        journal.finish()
    return Played(final, journal, world.performed - before)


async def play_twice(folder: Path, graph: Any, world: World, **more: Any) -> Played:
    """A live pass, and a replay that must come to the same without performing anything."""
    live = await play(folder, graph, world, **more)
    replayed = await play(folder, graph, world, replay_only=True, **more)
    assert replayed.final == live.final
    assert not replayed.performed and not replayed.journal.unused
    return live
