"""Reading along from the log: the past, and what other processes write while one looks."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from codojo.graphs.events import RunError, RunFinished, TeamEvent
from codojo.graphs.translate import Translator
from codojo.trajectories.follow import Follower
from codojo.trajectories.log import Event, read_log

POLL_S = 0.1


def past(log: Path, run: str = "") -> Iterator[TeamEvent]:
    """Everything the log tells, or what it tells of one run, oldest first."""
    rollouts = {run}
    logged = (e for e in read_log(log) if not run or _belongs(e, run, rollouts))
    yield from Translator().of_log(logged)


async def follow(log: Path, run: str = "", *, poll_s: float = POLL_S) -> AsyncIterator[TeamEvent]:
    """The same, and then what is written from now on; with a run, until that run ends.

    A run that ended unfinished and was resumed is followed to its last end so far.
    """
    tail, translator = Follower(log), Translator()
    rollouts = {run}
    while True:
        ended = False
        for event in await asyncio.to_thread(_look, tail):
            if not run or _belongs(event, run, rollouts):
                for made in translator.of_log([event]):
                    ended = _is_end(made) or (ended and made.type != "run_started")
                    yield made
        if run and ended:
            return
        await asyncio.sleep(poll_s)


def _look(tail: Follower) -> list[Event]:
    return list(tail.news())


def _belongs(event: Event, run: str, rollouts: set[str]) -> bool:
    if event.kind == "rollout_started" and event.data["run"] == run and event.rollout:
        rollouts.add(event.rollout)
    return event.rollout in rollouts or event.data.get("run") == run


def _is_end(event: TeamEvent) -> bool:
    return isinstance(event, RunFinished | RunError)
