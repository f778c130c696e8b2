"""Where an effect happens in a rollout, and the key that this gives it.

A key is a hash of the rollout, the place in the graph, the input, and how often that same input was asked
at that place before. It has to be the same on every run of the rollout, so a place is made only of what
LangGraph keeps stable over re-runs (see `codojo.graphs.node`), never of its task ids. An effect that
depends on nothing but its input and stated conditions (an execution under given limits) is keyed by those
alone: wherever in the rollout it is asked again, it is the same effect.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from codojo.canonical import content_hash

if TYPE_CHECKING:
    from codojo.trajectories.journal import Journal

KEYS = 2
"""Version of how keys are made. 2: executions and verdicts by content."""

LAST = 1 << 60
"""Step of what comes after the graph."""


class Place(NamedTuple):
    """Where and what an effect is: everything its key is made of."""

    key: str
    path: tuple[str, ...]
    input_hash: str
    nth: int
    call: int
    """How many effects of its kind were asked at the place before: what a fork goes by."""
    under: Any = None
    """The conditions of an effect that is keyed by content; None: keyed by its place."""

    @property
    def where(self) -> str:
        """The path for a person."""
        return "/".join(self.path) or "the rollout"


@dataclass(frozen=True)
class Scope:
    """A place in a running rollout."""

    journal: "Journal"
    path: tuple[str, ...] = ()
    owner: str = ""
    """LangGraph's namespace of the node that runs: it changes with every execution of a node, and is
    constant over its attempts."""
    counts: dict[str, int] = field(default_factory=dict)

    def place(self, effect: str, input: Any, under: Any = None) -> Place:
        """The place of the next effect asked here, and count it."""
        input_hash = content_hash([effect, input])
        nth, call = self._count(input_hash), self._count(effect)
        key = key_of(self.journal.rollout, self.path, input_hash, nth, under)
        return Place(key, self.path, input_hash, nth, call, under)

    def _count(self, name: str) -> int:
        count = self.counts.get(name, 0)
        self.counts[name] = count + 1
        return count


def key_of(
    rollout: str, path: tuple[str, ...], input_hash: str, nth: int, under: Any = None
) -> str:
    """The key of an effect: by its place, or by content where there are conditions."""
    made_of = (
        [rollout, list(path), input_hash, nth] if under is None else [rollout, input_hash, under]
    )
    return content_hash(made_of)[:32]


def recorded_key(rollout: str, record: Mapping[str, Any]) -> str:
    """The key that a record of the log should have, computed anew from what it says."""
    input_hash = content_hash([record["effect"], record["input"]])
    path = tuple(record["path"])
    return key_of(rollout, path, input_hash, record["nth"], record.get("under"))


def step_of(path: tuple[str, ...]) -> int | None:
    """The super-step of a path's node; None where it has none and no order follows.

    >>> step_of(("code@2#1", "lane0")), step_of(("finish",)) == LAST, step_of(("round-1",))
    (2, True, None)
    """
    name, at, rest = path[0].partition("@") if path else ("", "", "")
    number = rest.partition("#")[0]
    if at and number.isdigit():
        return int(number)
    return LAST if name == FINISH else None


FINISH = "finish"
"""Lane of what happens once the graph has ended: the judge, and what the team keeps."""

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
def lane(name: str) -> Iterator[None]:
    """Run the block one segment deeper; for chains that run side by side. No-op outside a rollout."""
    here = _SCOPE.get()
    if here is None:
        yield
        return
    with scope(Scope(here.journal, (*here.path, name), here.owner)):
        yield
