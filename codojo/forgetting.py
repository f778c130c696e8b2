"""Forgetting: everything of a rollout, or of a text, goes from a dojo, and every byte is searched to show it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from codojo.graphs.run import RUN_STARTED
from codojo.learnt import adapters_from, drop_memory_index, pages_of, remove, rows_of
from codojo.memory.schema import MEMORY_WRITTEN
from codojo.reports.page import plural
from codojo.serving.registry import AdapterRegistry
from codojo.trajectories.byte_search import MAX_LINES, Proof, Searched, proof, search
from codojo.trajectories.feedback import FEEDBACK, FEEDBACK_REVOKED
from codojo.trajectories.feedback import FORGOTTEN as CHAT_FORGOTTEN
from codojo.trajectories.forget import (
    FORGOTTEN,
    GONE,
    Doomed,
    doomed_by_id,
    doomed_by_session,
    doomed_by_text,
    forms,
    holds,
    is_about,
    without_quotes,
)
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import Event, Log, read_log
from codojo.trajectories.redact import without_tokens
from codojo.trajectories.rekey import Rekeying
from codojo.trajectories.rewrite import Rewritten, rewrite
from codojo.trajectories.segments import alone

NOTHING = Proof((), 0)


@dataclass(frozen=True)
class Forgotten:
    """What was forgotten, or would be."""

    doomed: Doomed
    events: int
    """Events of the rollouts and of what memory learnt from them."""
    changed: int
    """Events that stay without a text of theirs."""
    memories: tuple[str, ...] = ()
    """Entries of memory that learnt from them, as `kind id`."""
    adapters: tuple[str, ...] = ()
    """Adapters that learnt from them; they are retired."""
    champion: str = ""
    """The champion afterwards, where it was one of these."""
    removed: tuple[Path, ...] = ()
    """Folders of pages and rows that were made from them."""
    proof: Proof = NOTHING
    rewritten: Rewritten | None = None
    searched: Searched | None = None

    @property
    def is_proved(self) -> bool:
        """Whether the search found nothing."""
        return self.searched is not None and not self.searched.left


def forget(
    dojo: Path,
    ids: Sequence[str] = (),
    *,
    match: str = "",
    session: str = "",
    dry_run: bool = False,
) -> Forgotten:
    """Forget rollouts (or all of a run) by their ids, whatever holds a text, or a whole conversation.

    In this order, so that a crash leaves nothing that a second call does not finish: a note of each id
    and of each adapter that is retired, what was made from the log, the log itself, the search.

    Args:
        dry_run: Only say what would go.

    Raises:
        LogError: If nothing is meant by an id, or the log cannot be rewritten.
        Busy, MemoryStoreError: If another process uses the log or memory; nothing is changed.
    """
    log = dojo / "log"
    events = partial(read_log, log)
    if session:
        doomed = doomed_by_session(events, session)
    else:
        doomed = doomed_by_text(events, match) if match else doomed_by_id(events, ids)
    change = Change(doomed)
    planned = _planned(dojo, events, doomed, change)
    if dry_run:
        return planned
    with alone(log):
        drop_memory_index(dojo)
    champion = _note(dojo, log, planned)
    remove(planned.removed)
    rewritten = rewrite(log, change)
    found = search(dojo, planned.proof.lines, base64=[match] if match else ())
    return replace(planned, champion=champion, rewritten=rewritten, searched=found)


def _planned(dojo: Path, events: Any, doomed: Doomed, change: "Change") -> Forgotten:
    change.prepare(events)
    gone = changed = 0
    memories = []
    for event in events():
        after = change(event)
        gone += after is None
        changed += after is not None and after is not event
        if after is None and event.kind == MEMORY_WRITTEN:
            memories.append(f"{event.data['kind']} {event.data['id'][:12]}")
    registry = AdapterRegistry(dojo / "adapters", dojo / "log")
    adapters = adapters_from(registry, events(), doomed.rollouts, doomed.runs)
    return Forgotten(
        doomed,
        gone,
        changed,
        tuple(memories),
        tuple(name for name in adapters if name not in registry.retired()),
        removed=(*pages_of(dojo, doomed.runs), *rows_of(dojo, doomed.rollouts)),
        proof=proof(events, doomed, change),
    )


def _note(dojo: Path, log: Path, planned: Forgotten) -> str:
    """Log what is forgotten and retired; returns the champion where it had to change."""
    registry, champion = AdapterRegistry(dojo / "adapters", log), ""
    known = {event.data["id"] for event in read_log(log) if event.kind == FORGOTTEN}
    said = {event.data["session"] for event in read_log(log) if event.kind == CHAT_FORGOTTEN}
    with Log(log) as pen:
        if planned.doomed.session and planned.doomed.session not in said:
            pen.append(CHAT_FORGOTTEN, {"session": planned.doomed.session}).result()
        for id in planned.doomed.rollouts:
            if id not in known:
                pen.append(FORGOTTEN, {"id": id}).result()
        for name in planned.adapters:
            was = registry.champion()
            registry.retire(name, pen, reason="it learnt from a rollout that is forgotten")
            if was == name:
                champion = registry.champion() or "base"
    return champion


@dataclass
class Change:
    """What a rewrite asks about each event: `Doomed` put to work. Call `prepare` first."""

    doomed: Doomed
    _rekeying: Rekeying = field(default_factory=Rekeying)

    def __post_init__(self) -> None:
        self._rollouts = frozenset(self.doomed.rollouts)
        self._held = forms(self.doomed.match) if self.doomed.match else ()
        self._said: set[str] = set()

    def prepare(self, events: "Any") -> None:
        """Read the log for the keys of what stays and changes."""
        changed = {
            event.rollout
            for event in events()
            if event.rollout not in self._rollouts and self._without(event) is not event
        }
        self._said = {
            event.data["id"] for event in events() if event.kind == FEEDBACK and self._goes(event)
        }
        for event in self._of(events(), changed - {None}):
            self._rekeying.note(self._without(event) or event)

    @staticmethod
    def _of(events: Iterator[Event], rollouts: set[str | None]) -> Iterator[Event]:
        return (event for event in events if event.rollout in rollouts) if rollouts else iter(())

    def __call__(self, event: Event) -> Event | None:
        """The event without what is to be forgotten; None where nothing of it stays."""
        if event.kind == FORGOTTEN:
            return event
        if event.kind == CHAT_FORGOTTEN and is_about(event, self.doomed):
            return _tomb(event)
        if self._goes(event):
            return None
        after = self._without(event)
        return None if after is None else self._rekeying.follow(after)

    def _goes(self, event: Event) -> bool:
        """Whether an event is of a rollout that goes, or of what people did and said there."""
        if event.kind == FEEDBACK_REVOKED and event.data["id"] in self._said:
            return True
        of_it = event.kind == FEEDBACK and event.data["rollout"] in self._rollouts
        return of_it or event.rollout in self._rollouts or is_about(event, self.doomed)

    def _without(self, event: Event) -> Event | None:
        data = event.data
        if event.kind == MEMORY_WRITTEN and self._learnt(data):
            return None
        if event.kind == RUN_STARTED and data["run"] in self.doomed.emptied:
            data = {**data, "args": _blank(data["args"])}
        data = self._cut(data)
        if data == event.data:
            return event
        if event.kind == EFFECT:
            data = without_tokens(data)
        return replace(event, data=data)

    def _learnt(self, data: dict[str, Any]) -> bool:
        provenance = data["entry"].get("provenance") or {}
        return provenance.get("rollout") in self._rollouts or holds(data, self._held)

    def _cut(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._cut_text(value)
        if isinstance(value, list):
            return [self._cut(item) for item in value]
        if isinstance(value, dict):
            return {self._cut_text(name): self._cut(item) for name, item in value.items()}
        return value

    def _cut_text(self, text: str) -> str:
        for form in self._held:
            text = text.replace(form, GONE)
        if "(rollout " in text:
            for id in self._rollouts:
                text = without_quotes(text, id)
        return text


def _tomb(event: Event) -> Event:
    """That a conversation was forgotten, and nothing else of it."""
    bare = {"session": event.data["session"]}
    return event if event.data == bare else replace(event, data=bare)


def _blank(value: Any) -> Any:
    """Arguments of a run without their texts; their names stay, so that the run can be listed."""
    if isinstance(value, str):
        return GONE if value else value
    if isinstance(value, list):
        return []
    if isinstance(value, dict):
        return {name: _blank(item) for name, item in value.items()}
    return value


def said(done: Forgotten) -> list[str]:
    """What was done, or would be, in lines for a person."""
    would = done.rewritten is None
    doomed = done.doomed
    ids = f"{', '.join(doomed.rollouts[:8])}{', ...' if len(doomed.rollouts) > 8 else ''}"
    what = f"{plural(len(doomed.rollouts), 'rollout')} with {plural(done.events, 'event')}"
    if doomed.session:
        what = f"the conversation {doomed.session}, what was said of its answers, and {what}"
    lines = [f"{'would forget' if would else 'forgot'} {what}{f': {ids}' if ids else ''}"]
    if done.changed:
        lines.append(
            f"their text {'would be' if would else 'was'} taken out of {plural(done.changed, 'other event')}"
        )
    if done.memories:
        lines.append(f"memory that learnt from them, gone: {', '.join(done.memories)}")
    if done.adapters:
        lines.append(
            f"adapters that learnt from them, {'to be ' if would else ''}retired: {', '.join(done.adapters)}"
        )
    if done.champion:
        lines.append(f"the champion was one of them; it is now: {done.champion}")
    if done.removed:
        lines.append(f"made from them, removed: {', '.join(map(str, done.removed))}")
    if done.proof.shared:
        lines.append(
            f"also in rollouts that stay (the same task, the same answer): {plural(done.proof.shared, 'line')} of theirs"
        )
    if done.searched is not None:
        lines.append(_proved(done, done.searched))
    return lines


def _proved(done: Forgotten, searched: Searched) -> str:
    looked = (
        f"searched all {plural(searched.files, 'file')} ({searched.bytes:,} bytes unpacked) for {plural(len(done.proof.lines), 'line')} "
        f"that only they had{' (the longest)' if len(done.proof.lines) >= MAX_LINES else ''}"
    )
    if not searched.left:
        return f"{looked}: nothing is left. Files exported elsewhere are not known here; make them again"
    places = ", ".join(f"{path} ({n})" for path, n in searched.left.items())
    return f"{looked}: LEFT in {places}; nothing of ours writes these: remove them by hand"
