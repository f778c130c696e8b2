"""What is to be forgotten: which rollouts go, and how what stays loses a text.

A rollout is forgotten with everything that holds a copy of it: its forks, what memory learnt from it, and
what other rollouts quoted from that. Of a text, every rollout that holds it is forgotten; in what belongs
to no rollout the text gives way to `[forgotten]`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from codojo.errors import LogError
from codojo.trajectories.feedback import runs_of
from codojo.trajectories.log import Event
from codojo.trajectories.schema import STARTED

FORGOTTEN = "forgotten"
"""Event that stays of a forgotten rollout: its id, and nothing else."""

GONE = "[forgotten]"
MIN_MATCH = 4
"""Characters of a text; a shorter one stands everywhere."""

Events = Callable[[], Iterator[Event]]
"""Reads the log from its start, each time it is called."""


@dataclass(frozen=True)
class Doomed:
    """What shall be forgotten."""

    rollouts: tuple[str, ...]
    """With their forks, in the order in which they began."""
    runs: tuple[str, ...]
    """Runs that had one of them."""
    emptied: tuple[str, ...]
    """Of these, the runs that have none left, and whose arguments (a request in words) go too."""
    match: str = ""
    session: str = ""
    """A conversation that goes whole: its runs, what was said of them, and that it was there."""
    whole: tuple[str, ...] = ()
    """Its runs, of which not even the beginning stays."""


def doomed_by_id(events: Events, ids: Sequence[str]) -> Doomed:
    """Rollouts by their ids, or all of a run; beginnings of ids will do where they are clear.

    Raises:
        LogError: If there is no such rollout or run, or more than one.
    """
    starts, gone = _starts(events())
    wanted: set[str] = set()
    for id in ids:
        runs = {start["run"] for start in starts.values()}
        found = sorted(name for name in {*starts, *runs, *gone} if name.startswith(id))
        if len(found) != 1 or not id:
            raise LogError(
                f"{len(found) or 'no'} rollouts or runs start with {id[:40]!r}; see the ids with 'codojo trajectories list'"
            )
        wanted |= {r for r, start in starts.items() if found[0] in (r, start["run"])} | (
            set(found) & gone
        )
    return _doomed(starts, wanted)


def doomed_by_text(events: Events, match: str) -> Doomed:
    """Every rollout that holds a text, as it stands or as JSON writes it.

    Raises:
        LogError: For a text so short that it would stand everywhere.
    """
    if len(match.strip()) < MIN_MATCH:
        raise LogError(
            f"{match!r} is too short to forget everything that holds it; give more of it"
        )
    starts, _ = _starts(events())
    held = forms(match)
    wanted = {e.rollout for e in events() if e.rollout in starts and holds(e.data, held)}
    return replace(_doomed(starts, {id for id in wanted if id}), match=match)


def doomed_by_session(events: Events, session: str) -> Doomed:
    """Everything of a conversation; its id in full."""
    starts, _ = _starts(events())
    own = tuple(runs_of(events(), session))
    wanted = {rollout for rollout, start in starts.items() if start["run"] in own}
    return replace(_doomed(starts, wanted), session=session, whole=own)


def is_about(event: Event, doomed: Doomed) -> bool:
    """Whether an event names the conversation that goes, or a run of it."""
    if not doomed.session:
        return False
    named = (event.rollout, event.data.get("run"), event.data.get("session"))
    return any(name in (doomed.session, *doomed.whole) for name in named if name)


def _starts(events: Iterable[Event]) -> tuple[dict[str, dict[str, Any]], set[str]]:
    starts: dict[str, dict[str, Any]] = {}
    gone: set[str] = set()
    for event in events:
        if event.kind == STARTED and event.rollout:
            starts[event.rollout] = {
                "run": event.data["run"],
                "parent": (event.data.get("parent") or {}).get("rollout"),
            }
        elif event.kind == FORGOTTEN:
            gone.add(event.data["id"])
    return starts, gone


def _doomed(starts: dict[str, dict[str, Any]], wanted: set[str]) -> Doomed:
    """With forks of forks; a fork begins after its parent."""
    for rollout, start in starts.items():
        if start["parent"] in wanted:
            wanted.add(rollout)
    runs = list(dict.fromkeys(starts[r]["run"] for r in starts if r in wanted))
    left = {start["run"] for r, start in starts.items() if r not in wanted}
    order = [*(r for r in starts if r in wanted), *sorted(wanted - starts.keys())]
    return Doomed(tuple(order), tuple(runs), tuple(run for run in runs if run not in left))


def without_quotes(text: str, rollout: str) -> str:
    """A prompt without what it quotes from a rollout's entry of memory (see `codojo.memory.recall`)."""
    mark = f" (rollout {rollout};"
    at = text.find(mark)
    while at >= 0:
        opened = text.find("\n", at) + 1
        lines = text[opened:].split("\n")
        end = 0
        while opened and end < len(lines) and lines[end].startswith("```"):
            fence = lines[end][: len(lines[end]) - len(lines[end].lstrip("`"))]
            closing = next(
                (n for n in range(end + 1, len(lines)) if lines[n] == fence), len(lines) - 1
            )
            end = closing + 1
        text = text[:opened] + "\n".join([GONE, *lines[end:]])
        at = text.find(mark, opened)
    return text


def forms(text: str) -> tuple[str, ...]:
    """A text as it stands, and as JSON in a text writes it; the longest first."""
    found = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


def holds(value: Any, held: Sequence[str]) -> bool:
    """Whether one of the texts stands in JSON data, in names too."""
    return any(form in text for text in texts(value) for form in held)


def texts(value: Any) -> Iterator[str]:
    """All strings of JSON data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from texts(item)
