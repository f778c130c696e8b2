"""The journal: every effect of a rollout happens once, however often the rollout is run.

An effect is anything that is not a pure function of what came before: a model's reply, an execution,
a recall, a verdict, a person's answer. Code asks for it through `ask`. The first time it is performed
and its result is on disk before anyone acts on it; when the rollout runs again from the start, after
a crash or for a replay, the log answers. So graph code between effects must be pure.

The key of an effect is a hash of the rollout, the place in the graph (`Scope.path`), the input, and how
often that same input was asked at that place before. Where the place comes from: `codojo.graphs.node`
adds a segment for each node that runs; `lane` adds one for chains that run side by side inside a node.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple

from codojo.canonical import canonical_json, content_hash
from codojo.errors import CodojoError, ReplayDiverged, RequestRefused
from codojo.trajectories.budget import Budget
from codojo.trajectories.log import Event, Log

logger = logging.getLogger(__name__)

OUTCOMES: dict[str, type[CodojoError]] = {"RequestRefused": RequestRefused}
"""Errors that graph code may handle: they are logged as the effect's outcome and raised again on replay."""

ASKED, EFFECT = "asked", "effect"


class Answer(NamedTuple):
    """What an effect gave."""

    key: str
    value: Any
    """Plain JSON data, of the same shape live and replayed."""
    replayed: bool


class Journal:
    """The effects of one rollout: those the log holds, and those still to happen.

    Args:
        log: Where new effects go.
        rollout: Id of the rollout; part of every key.
        recorded: Events of this rollout from an earlier run, in order.
        replay_only: Never perform anything; what the log does not hold is an error.
    """

    def __init__(
        self,
        log: Log | None,
        rollout: str,
        recorded: Iterable[Event] = (),
        *,
        budget: Budget | None = None,
        replay_only: bool = False,
    ) -> None:
        self.rollout = rollout
        self.budget = budget or Budget()
        self.reasked = 0
        self._log = log
        self._replay_only = replay_only
        self._owners: dict[str, str] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._in_flight: set[str] = set()
        for event in recorded:
            if event.kind == ASKED:
                self._in_flight.add(event.data["key"])
            elif event.kind == EFFECT:
                self._answers[event.data["key"]] = event.data
        self._in_flight -= self._answers.keys()
        self._unused = set(self._answers)

    @property
    def unused(self) -> int:
        """Recorded effects that this pass has not asked for; not 0 at the end means divergence."""
        return len(self._unused)

    @property
    def records(self) -> list[dict[str, Any]]:
        """Every effect of the rollout so far, recorded and new, as the log holds it."""
        return list(self._answers.values())

    def require_all_used(self) -> None:
        """Raise where the log holds effects that this pass never asked for."""
        if self._unused:
            names = sorted({self._answers[key]["effect"] for key in self._unused})
            raise ReplayDiverged(
                f"rollout {self.rollout} holds {len(self._unused)} effects ({', '.join(names)}) that were not asked "
                "for again: the graph or its settings changed since; start a new run instead of --resume"
            )

    async def ask(
        self, effect: str, input: Any, perform: Callable[[], Awaitable[Any]], scope: "Scope"
    ) -> Answer:
        """See the function `ask`. Between the call and the key there is no `await`."""
        place = scope.place(effect, input)
        if self._owners.setdefault(place.key, scope.owner) != scope.owner:
            raise ReplayDiverged(
                f"two branches asked for the same '{effect}' at {'/'.join(scope.path)}; give each a lane of its own"
            )
        if place.key in self._answers:
            self._unused.discard(place.key)
            return Answer(place.key, _result(self._answers[place.key]), replayed=True)
        if self._replay_only or self._log is None:
            raise ReplayDiverged(
                f"the log holds no '{effect}' at {'/'.join(scope.path)} of rollout {self.rollout}"
            )
        self.reasked += place.key in self._in_flight
        self._log.append(ASKED, {"key": place.key, "effect": effect}, self.rollout)
        record = await _perform(effect, input, perform, place)
        await self._log.write(EFFECT, record, self.rollout)
        self._answers[place.key] = record
        return Answer(place.key, _result(record), replayed=False)


class Place(NamedTuple):
    """Where and what an effect is: everything its key is made of."""

    key: str
    path: tuple[str, ...]
    input_hash: str
    nth: int


@dataclass(frozen=True)
class Scope:
    """A place in a running rollout."""

    journal: Journal
    path: tuple[str, ...] = ()
    owner: str = ""
    """Changes with every execution of a node, constant over its attempts."""
    counts: dict[str, int] = field(default_factory=dict)

    def place(self, effect: str, input: Any) -> Place:
        """The place of the next effect asked here, and count it."""
        input_hash = content_hash([effect, input])
        count = self.counts.get(input_hash, 0)
        self.counts[input_hash] = count + 1
        key = content_hash([self.journal.rollout, list(self.path), input_hash, count])[:32]
        return Place(key, self.path, input_hash, count)


_SCOPE: ContextVar[Scope | None] = ContextVar("codojo_scope", default=None)


def current_scope() -> Scope | None:
    """The place that the running code is at; None outside a rollout."""
    return _SCOPE.get()


@contextmanager
def scope(entered: Scope) -> Iterator[Scope]:
    """Run the block at that place."""
    token = _SCOPE.set(entered)
    try:
        yield entered
    finally:
        _SCOPE.reset(token)


@contextmanager
def lane(name: str, owner: str | None = None) -> Iterator[None]:
    """Run the block one segment deeper; for chains that run side by side. No-op outside a rollout."""
    here = _SCOPE.get()
    if here is None:
        yield
        return
    with scope(Scope(here.journal, (*here.path, name), here.owner if owner is None else owner)):
        yield


async def ask(effect: str, input: Any, perform: Callable[[], Awaitable[Any]]) -> Answer:
    """The result of an effect: from the log where it holds it, else performed and logged first.

    Args:
        effect: What kind: `reply`, `execution`, `recall`, `verdict`, ...
        input: JSON data that says what is asked; equal inputs at one place are told apart by order.
        perform: Does it; returns JSON data. A timeout belongs inside, so that it is an outcome.

    Raises:
        RequestRefused: As an outcome, live and on replay alike.
        ReplayDiverged: On replay, where the log holds no such effect.
        LogError: If the result could not be made durable; it is then not returned.
    """
    here = _SCOPE.get()
    if here is not None:
        return await here.journal.ask(effect, input, perform, here)
    _warn_unjournalled()
    record = await _perform(effect, input, perform, Place("", (), "", 0))
    return Answer("", _result(record), replayed=False)


async def _perform(
    effect: str, input: Any, perform: Callable[[], Awaitable[Any]], place: Place
) -> dict[str, Any]:
    """Run an effect into the record the log keeps, in the shape a replay will see."""
    started = monotonic()
    outcome: dict[str, Any]
    try:
        outcome = {"output": await perform()}
    except tuple(OUTCOMES.values()) as err:
        outcome = {"error": {"type": type(err).__name__, "message": str(err)}}
    record = {
        "key": place.key,
        "path": list(place.path),
        "nth": place.nth,
        "input_hash": place.input_hash,
        "effect": effect,
        "input": input,
        "duration_s": round(monotonic() - started, 4),
        **outcome,
    }
    shaped: dict[str, Any] = json.loads(canonical_json(record).decode("utf-8", "surrogatepass"))
    return shaped


def _result(record: dict[str, Any]) -> Any:
    error = record.get("error")
    if error is not None:
        raise OUTCOMES[error["type"]](error["message"])
    return record["output"]


_warned = False


def _warn_unjournalled() -> None:
    global _warned
    if not _warned:
        logger.warning(
            "effects run outside a rollout: nothing is journalled, nothing can be resumed"
        )
        _warned = True
