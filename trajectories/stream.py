"""Finished rollouts one after the other, in memory that does not grow with the log.

`fold` gives all trajectories at once. Here each is given when its end is read and then forgotten. What waits
is only what is open at that place of the log; where that is much (rollouts that were never finished), it
waits in a temporary file.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from codojo.canonical import quick_json
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.lines import Line
from codojo.trajectories.log import Event
from codojo.trajectories.schema import (
    FINISHED,
    STARTED,
    Effect,
    RolloutEnd,
    RolloutStart,
    Trajectory,
)
from codojo.trajectories.spill import Spill

HELD_EVENTS = 20_000
"""Effects of open rollouts that wait in memory; more go to the file."""


@dataclass
class Seen:
    """What a stream has passed over so far."""

    rollouts: int = 0
    """Started, wanted or not."""
    unwanted: int = 0
    open: int = 0
    """Wanted, but without an end (yet)."""


def finished(
    events: Iterable[Event | Line],
    *,
    want: Callable[[str, RolloutStart, float], bool] = lambda id, start, at: True,
    effects: Collection[str] | None = None,
    seen: Seen | None = None,
    held_events: int = HELD_EVENTS,
) -> Iterator[Trajectory]:
    """Each finished rollout, in the order in which they end.

    Args:
        want: Given a rollout's id, beginning and time; what it refuses is never held.
        effects: Kinds of effect that are kept (`reply`, ...); default: all. A trajectory without its
            other effects is smaller and faster to read.
        seen: Counted into, if given.
    """
    seen = seen or Seen()
    with Spill() as spill:
        waiting = _Waiting(held_events, spill)
        for event in events:
            id = event.rollout
            if id is None:
                continue
            if event.kind == EFFECT:
                if id in waiting.starts and (effects is None or event.data["effect"] in effects):
                    waiting.add(id, event.data, event.at)
            elif event.kind == STARTED:
                if id in waiting.starts:
                    continue
                seen.rollouts += 1
                start = RolloutStart.model_validate(event.data)
                if want(id, start, event.at):
                    seen.open += 1
                    waiting.starts[id] = (event.at, start)
                else:
                    seen.unwanted += 1
            elif event.kind == FINISHED and id in waiting.starts:
                seen.open -= 1
                began, start = waiting.starts.pop(id)
                held = waiting.take(id)
                yield Trajectory.trusted(
                    id=id,
                    at=began,
                    start=start,
                    effects=tuple(_effect(data, at) for data, at in held.values()),
                    end=RolloutEnd.model_validate(event.data),
                )


def _effect(data: dict[str, Any], at: float) -> Effect:
    """As `read_effect`, but not checked: a journal wrote it, and `Trajectory.steps` checks what it reads."""
    return Effect.trusted(
        key=data["key"],
        effect=data["effect"],
        path=tuple(data["path"]),
        input=data["input"],
        output=data.get("output"),
        error=data.get("error"),
        duration_s=data.get("duration_s", 0.0),
        call=data.get("call", 0),
        origin=None,
        redacted={},
        at=at,
    )


class _Waiting:
    """Effects of the open rollouts."""

    def __init__(self, limit: int, spill: Spill) -> None:
        self.starts: dict[str, tuple[float, RolloutStart]] = {}
        self._limit = limit
        self._spill = spill
        self._held: dict[str, list[tuple[dict[str, Any], float]]] = {}
        self._count = 0

    def add(self, id: str, data: dict[str, Any], at: float) -> None:
        self._held.setdefault(id, []).append((data, at))
        self._count += 1
        if self._count > self._limit:
            for rollout, held in self._held.items():
                self._spill.put(rollout, b"".join(quick_json(one) + b"\n" for one in held))
            self._held.clear()
            self._count = 0

    def take(self, id: str) -> dict[str, tuple[dict[str, Any], float]]:
        """The effects of a rollout and their times by key, which are forgotten; the last of equal keys counts."""
        here = self._held.pop(id, [])
        self._count -= len(here)
        earlier = self._spill.take(id).decode("utf-8", "surrogatepass").split("\n")
        effects = [*(json.loads(line) for line in earlier if line), *here]
        return {data["key"]: (data, at) for data, at in effects}
