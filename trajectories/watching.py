"""What happens in a rollout, told to whoever watches while it happens.

A watcher is told what the log is told, in the same words, and beside it the text of answers as it
arrives (`DELTA`), which is shown to people and never logged or acted on. Where the log answers an
effect, on a resume, the watcher is told the same again, marked as replayed. Nothing here knows who
watches: the watcher travels with the context of the running code.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

DELTA = "delta"
"""Kind of a piece of an answer under way: `key`, `choice`, `attempt`, `text`."""

PERSON = "person"
"""Kind of the effect that a person's answer is."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that happened: what an event of the log says, or a `DELTA`."""

    kind: str
    rollout: str | None
    data: Mapping[str, Any]
    replayed: bool = False
    """The log had it already, from an earlier process."""
    at: float = field(default_factory=time.time)


Watcher = Callable[[Seen], None]
"""Is called in the event loop of what it watches; it must neither block nor raise."""

_WATCHER: ContextVar[Watcher | None] = ContextVar("codojo_watcher", default=None)
_PERFORMING: ContextVar[tuple[str, str] | None] = ContextVar("codojo_performing", default=None)


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Tell that watcher what happens in the block, and in the tasks that start there."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def is_watched() -> bool:
    """Whether anybody watches the running code."""
    return _WATCHER.get() is not None


def tell(
    kind: str, rollout: str | None, data: Mapping[str, Any], *, replayed: bool = False
) -> None:
    """Tell the watcher, if there is one."""
    watcher = _WATCHER.get()
    if watcher is not None:
        watcher(Seen(kind, rollout, data, replayed))


@contextmanager
def performing(rollout: str, key: str) -> Iterator[None]:
    """The block performs that effect: what `tell_delta` says belongs to it."""
    token = _PERFORMING.set((rollout, key))
    try:
        yield
    finally:
        _PERFORMING.reset(token)


def tell_delta(choice: int, text: str, attempt: int = 1) -> None:
    """Tell a piece of an answer.

    Args:
        attempt: Counted from 1. A higher one begins the answer anew: what came before is void.
    """
    here = _PERFORMING.get()
    if here is not None and is_watched():
        rollout, key = here
        tell(DELTA, rollout, {"key": key, "choice": choice, "attempt": attempt, "text": text})
