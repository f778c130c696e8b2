"""The journal: every effect of a rollout happens once, however often the rollout is run.

An effect is anything that is not a pure function of what came before: a model's reply, an execution,
a recall, a verdict, a person's answer. Code asks for it through `ask`. The first time it is performed
and its result is on disk before anyone acts on it; when the rollout runs again from the start, after
a crash or for a replay, the log answers. So graph code between effects must be pure.

Secrets are taken out of an effect's input before its key is made, and out of its result before it is
logged and used (see `redact`): what a resumed rollout reads is what the first one acted on.

How an effect is found again is told in `places`. What does not fit is said, never mixed in:

- a rollout that asks for something new at a place that the log has left behind, or leaves a node
  without having asked for all that the log holds of it, has another graph than the one that was logged;
- a key that two branches ask for, or a node that no scope knows of, would get another's answer;
- an effect that was cancelled while the rollout went on (a time limit around it, a neighbour that
  failed) is logged as `cancelled`: on replay it does not answer, as it did not then.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic
from typing import Any, NamedTuple

from codojo.canonical import as_read
from codojo.errors import CodojoError, LogEnds, ReplayDiverged, RequestRefused
from codojo.trajectories.budget import Budget
from codojo.trajectories.log import Event, Log
from codojo.trajectories.places import Place, Scope, current_scope, lane, scope, step_of
from codojo.trajectories.redact import Redactor, together, without_tokens
from codojo.trajectories.stopping import Stop
from codojo.trajectories.watching import PERSON, performing, tell

__all__ = ["Answer", "Journal", "Scope", "ask", "current_scope", "lane", "scope"]

logger = logging.getLogger(__name__)

OUTCOMES: dict[str, type[CodojoError]] = {"RequestRefused": RequestRefused}
"""Errors that graph code may handle: they are logged as the effect's outcome and raised again on replay."""

ASKED, EFFECT, CANCELLED = "asked", "effect", "cancelled"

SETTLE_TURNS = 1000
"""Turns of the event loop that a replay gives other branches before it says that an effect is missing:
in the live pass one of them may have ended the rollout first."""


class Answer(NamedTuple):
    """What an effect gave."""

    key: str
    value: Any
    """Plain JSON data, of the same shape live and replayed."""
    replayed: bool
    copied: bool = False
    """It was another rollout's, before this one was forked from it: nobody paid for it here."""
    redacted: bool = False
    """A secret was taken out of what was asked or given."""


class Journal:
    """The effects of one rollout: those the log holds, and those still to happen.

    Args:
        log: Where new effects go.
        rollout: Id of the rollout; part of every key.
        recorded: Events of this rollout from an earlier run, in order.
        copies: Records that a fork takes over (see `codojo.trajectories.fork`).
        replay_only: Never perform anything; what the log does not hold is an error.
        stop: Shared with the run: once it is requested, nothing new is performed.
        namespace: Which node of a graph is running, in LangGraph's words; effects of a node that
            no scope was made for are then refused.
    """

    def __init__(
        self,
        log: Log | None,
        rollout: str,
        recorded: Iterable[Event] = (),
        *,
        copies: Iterable[dict[str, Any]] = (),
        budget: Budget | None = None,
        replay_only: bool = False,
        stop: Stop | None = None,
        namespace: Callable[[], str] | None = None,
    ) -> None:
        self.rollout = rollout
        self.budget = budget or Budget()
        self.reasked = 0
        """How often an effect was asked for again, in all processes, because one ended while it was under way."""
        self.redactor = log.redactor if log else Redactor()
        """Whoever hands text to the outside within an effect cleans it with this first."""
        self._log = log
        self._replay_only = replay_only
        self._stop = stop or Stop()
        self._namespace = namespace
        self._owners: dict[str, str] = {}
        self._cleaned: dict[str, dict[str, int]] = {}
        """Secrets that were taken out of the input, by key, until the effect is performed."""
        self._running: dict[str, asyncio.Event] = {}
        self._dropped: dict[str, tuple[Place, str]] = {}
        self._told: set[str] = set()
        self._answers: dict[str, dict[str, Any]] = {record["key"]: record for record in copies}
        self._in_flight: Counter[str] = Counter()
        """How often what has no outcome yet was asked for."""
        self._cancelled: Counter[str] = Counter()
        for event in recorded:
            if event.kind == ASKED:
                self._in_flight[event.data["key"]] += 1
            elif event.kind == EFFECT:
                self._answers[event.data["key"]] = event.data
            elif event.kind == CANCELLED:
                self._cancelled[event.data["key"]] += 1
        self._in_flight -= self._cancelled
        for key in self._answers.keys() & self._in_flight.keys():
            self.reasked += self._in_flight.pop(key) - 1
        own = {key: r for key, r in self._answers.items() if "origin" not in r}
        self._copies = _Copies(r for r in self._answers.values() if "origin" in r)
        self._unused = _Unused({key: tuple(r["path"]) for key, r in own.items()})
        steps = [step for r in own.values() if (step := step_of(tuple(r["path"]))) is not None]
        self._frontier = max(steps, default=0) if not self._copies else 0

    @property
    def unused(self) -> int:
        """Recorded effects that this pass has not asked for; not 0 at the end means divergence."""
        return len(self._unused.paths)

    @property
    def records(self) -> list[dict[str, Any]]:
        """Every effect of the rollout so far, recorded and new, as the log holds it."""
        return [as_read(record) for record in self._answers.values()]

    def require_all_used(self) -> None:
        """Raise where the log holds effects that this pass never asked for."""
        self._require_used(self._unused.paths)

    def leave(self, path: tuple[str, ...]) -> None:
        """A node has returned: raise where the log holds effects of it that it did not ask for."""
        if self._unused.at[path]:
            self._require_used(k for k, p in self._unused.paths.items() if p[: len(path)] == path)

    def _require_used(self, keys: Iterable[str]) -> None:
        left = list(keys)
        if left:
            places = sorted(
                {
                    f"{self._answers[k]['effect']} at {'/'.join(self._answers[k]['path'])}"
                    for k in left
                }
            )
            raise ReplayDiverged(
                f"rollout {self.rollout} holds {len(left)} effects ({', '.join(places[:3])}) that were not asked "
                "for again: the graph or its settings changed since; start a new run instead of --resume"
            )

    def finish(self) -> None:
        """The rollout ends here: raise if it diverged, and log what it went on without.

        Raises:
            ReplayDiverged: If the log holds effects that were never asked for.
        """
        self.require_all_used()
        self._log_dropped(list(self._dropped))

    def claim(self, place: Place, owner: str) -> None:
        """Note who asks for a key.

        Raises:
            ReplayDiverged: If another branch asked for it in this pass.
        """
        if self._owners.setdefault(place.key, owner) != owner:
            raise ReplayDiverged(
                f"two branches asked for the same thing at {place.where}; give each a lane of its own"
            )

    async def ask(
        self,
        effect: str,
        input: Any,
        perform: Callable[[], Awaitable[Any]],
        scope: Scope,
        under: Any = None,
    ) -> Answer:
        """See the function `ask`. Between the call and the key there is no `await`."""
        clean = self.redactor.redact(input)
        input = clean.value
        place = scope.place(effect, input, under)
        if clean.findings:
            self._cleaned[place.key] = clean.findings
        if self._namespace and self._namespace() != scope.owner:
            raise ReplayDiverged(
                f"'{effect}' was asked for in a node that has no place in the rollout; wrap nodes with "
                "codojo.graphs.node.node, and a graph that is added as a node with codojo.graphs.node.subgraph"
            )
        if under is None:
            self.claim(place, scope.owner)
        return await self.ask_at(place, effect, input, perform, scope.owner)

    async def ask_at(
        self,
        place: Place,
        effect: str,
        input: Any,
        perform: Callable[[], Awaitable[Any]],
        owner: str,
    ) -> Answer:
        """The same for a place that is known."""
        if self._cancelled[place.key]:
            self._cancelled[place.key] -= 1
            self._unused.discard(place.key)
            await self._stop.park()
        found = self._copies.find(place, effect) if self._copies else None
        found = found or place.key
        while found not in self._answers:
            if place.key not in self._running:
                return await self._perform(place, effect, input, perform, owner)
            await self._running[place.key].wait()
        self._unused.discard(found)
        record = self._answers[found]
        if found not in self._told:
            self._told.add(found)
            tell(ASKED, self.rollout, _asked(effect, input, place, found), replayed=True)
            tell(EFFECT, self.rollout, record, replayed=True)
        copied, redacted = "origin" in record, bool(record.get("redacted"))
        return Answer(found, _result(record), replayed=True, copied=copied, redacted=redacted)

    async def _perform(
        self,
        place: Place,
        effect: str,
        input: Any,
        perform: Callable[[], Awaitable[Any]],
        owner: str,
    ) -> Answer:
        log = await self._may_perform(place, effect, owner)
        self.reasked += self._in_flight.pop(place.key, 0)
        done = None
        if place.under is not None:  # only these can be asked for by two at once
            self._running[place.key] = done = asyncio.Event()
        self._stop.began()
        try:
            asked = _asked(effect, input, place, place.key)
            write = log.append if effect == PERSON else log.note  # a question may be long
            write(ASKED, asked, self.rollout)
            tell(ASKED, self.rollout, asked)
            with performing(self.rollout, place.key):
                record = self._redacted(await _perform(effect, input, perform, place))
            alone = self._stop.busy == 1
            await log.write(EFFECT, record, self.rollout, redacted=True, alone=alone)
            self._told.add(place.key)
            tell(EFFECT, self.rollout, record)
        except asyncio.CancelledError:
            self._dropped[place.key] = (place, owner)
            raise
        finally:
            self._stop.ended()
            if done is not None:
                del self._running[place.key]
                done.set()
        self._answers[place.key] = record
        redacted = bool(record.get("redacted"))
        return Answer(place.key, _result(record), replayed=False, redacted=redacted)

    def _redacted(self, record: dict[str, Any]) -> dict[str, Any]:
        """A record without the secrets of its outcome, and how many of which kind were found.

        Where the input held one, the tokens go too: they are an answer to another text, or that text.
        """
        outcome = {name: record[name] for name in ("output", "error") if name in record}
        found, asked = self.redactor.redact(outcome), self._cleaned.pop(record["key"], {})
        if not found.findings and not asked:
            return record
        kept = without_tokens(found.value) if asked else found.value
        return {**record, **kept, "redacted": together([asked, found.findings])}

    async def _may_perform(self, place: Place, effect: str, owner: str) -> Log:
        """The log to write to, once it is sure that this effect is new."""
        if self._replay_only or self._log is None:
            for _ in range(SETTLE_TURNS):
                await asyncio.sleep(0)
            raise LogEnds(f"the log holds no '{effect}' at {place.where} of rollout {self.rollout}")
        if self._stop.reason:
            await self._stop.park()
        step = step_of(place.path)
        if step is not None and step < self._frontier:
            raise ReplayDiverged(
                f"rollout {self.rollout} asks for a '{effect}' at {place.where} that the log does not hold, "
                "although the log is past that place: the graph, its prompts or its settings changed since; "
                "start a new run instead of --resume"
            )
        if self._dropped:
            self._log_dropped(
                key
                for key, (dropped, whose) in self._dropped.items()
                if whose == owner or step_of(dropped.path) != step
            )
        return self._log

    def _log_dropped(self, keys: Iterable[str]) -> None:
        """Log as cancelled what the rollout goes on without; a later event is on disk only with these."""
        for key in list(keys):
            del self._dropped[key]
            if self._log is not None:
                self._log.note(CANCELLED, {"key": key}, self.rollout)


class _Unused:
    """Recorded effects that were not asked for yet, and how many there are below each path."""

    def __init__(self, paths: dict[str, tuple[str, ...]]) -> None:
        self.paths = paths
        self.at = Counter(path[:n] for path in paths.values() for n in range(1, len(path) + 1))

    def discard(self, key: str) -> None:
        """It was asked for."""
        path = self.paths.pop(key, ())
        for n in range(1, len(path) + 1):
            self.at[path[:n]] -= 1


class _Copies:
    """What a fork took over. It answers by place and order of asking, whatever is asked there now:
    a fork may ask with other settings, but what happened before it stays what it was."""

    def __init__(self, records: Iterable[dict[str, Any]]) -> None:
        self._by_place: dict[tuple[tuple[str, ...], str, int], str] = {}
        self._by_input: dict[str, str] = {}
        for record in records:
            if "under" in record:
                self._by_input[record["input_hash"]] = record["key"]
            else:
                place = (tuple(record["path"]), record["effect"], record["call"])
                self._by_place[place] = record["key"]

    def __bool__(self) -> bool:
        return bool(self._by_place or self._by_input)

    def find(self, place: Place, effect: str) -> str | None:
        """The key of what answers there."""
        if place.under is not None:
            return self._by_input.get(place.input_hash)
        return self._by_place.get((place.path, effect, place.call))


async def ask(
    effect: str, input: Any, perform: Callable[[], Awaitable[Any]], *, under: Any = None
) -> Answer:
    """The result of an effect: from the log where it holds it, else performed and logged first.

    Args:
        effect: What kind: `reply`, `execution`, `recall`, `verdict`, ...
        input: JSON data that says what is asked; equal inputs at one place are told apart by order.
        perform: Does it; returns JSON data. A timeout belongs inside, so that it is an outcome.
        under: JSON data, for an effect that depends only on this and its input: an execution under
            given limits. Asked again anywhere in the rollout it is the same effect, and answered by
            the first; asked twice at once it is performed once.

    Raises:
        RequestRefused: As an outcome, live and on replay alike.
        ReplayDiverged: On replay, where the log holds no such effect.
        LogError: If the result could not be made durable; it is then not returned.
    """
    here = current_scope()
    if here is not None:
        return await here.journal.ask(effect, input, perform, here, under)
    _warn_unjournalled()
    record = await _perform(effect, input, perform, Place("", (), "", 0, 0))
    return Answer("", _result(record), replayed=False)


def _asked(effect: str, input: Any, place: Place, key: str) -> dict[str, Any]:
    """What the log says before an effect is performed; a question to a person is there in full, so
    that whoever reads along can show it."""
    asked = {"key": key, "effect": effect, "path": list(place.path)}
    return asked | {"input": input} if effect == PERSON else asked


async def _perform(
    effect: str, input: Any, perform: Callable[[], Awaitable[Any]], place: Place
) -> dict[str, Any]:
    """Run an effect into the record the log keeps, in the shape a replay will see."""
    started = monotonic()
    outcome: dict[str, Any]
    try:
        outcome = {"output": as_read(await perform())}
    except tuple(OUTCOMES.values()) as err:
        outcome = {"error": {"type": type(err).__name__, "message": str(err)}}
    return {
        "key": place.key,
        "path": list(place.path),
        "nth": place.nth,
        "call": place.call,
        "input_hash": place.input_hash,
        "effect": effect,
        "input": input,
        "duration_s": round(monotonic() - started, 4),
        **({} if place.under is None else {"under": place.under}),
        **outcome,
    }


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
