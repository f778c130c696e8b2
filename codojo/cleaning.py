"""Cleaning: secrets that an older codojo, or one with redaction off, logged are taken out afterwards."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from codojo.learnt import adapters_from, drop_memory_index, pages_of, remove, rows_of
from codojo.memory.schema import MEMORY_WRITTEN, entry_of, written
from codojo.serving.registry import AdapterRegistry
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import Event, read_log
from codojo.trajectories.redact import Redactor, without_tokens
from codojo.trajectories.rekey import Rekeying
from codojo.trajectories.rewrite import Rewritten, rewrite
from codojo.trajectories.schema import STARTED
from codojo.trajectories.segments import alone


@dataclass(frozen=True)
class Cleaned:
    """What was taken out, or would be."""

    findings: dict[str, int]
    """Secrets by kind. One that stands in many events counts in each."""
    events: int
    rollouts: tuple[str, ...]
    adapters: tuple[str, ...]
    """Adapters that learnt from these rollouts. They may say the secret; nothing but forgetting retires them."""
    removed: tuple[Path, ...]
    """Folders of pages and rows that were made from them."""
    left: int = 0
    """Events that still hold a secret afterwards."""
    rewritten: Rewritten | None = None


def clean(dojo: Path, redactor: Redactor, *, dry_run: bool = False) -> Cleaned:
    """Take secrets out of all that is logged, and remove what was made from it.

    Steps of a rollout that changes lose their token ids and log-probabilities, keys follow what they are
    made of, and entries of memory get the ids of what they now say.

    Args:
        dry_run: Only say what would change.

    Raises:
        Busy, MemoryStoreError: If another process uses the log or memory; nothing is changed.
    """
    log = dojo / "log"
    change = _Change(redactor)
    runs: dict[str, str] = {}
    for event in read_log(log):
        change.look(event)
        if event.kind == STARTED and event.rollout:
            runs[event.rollout] = event.data["run"]
    for event in read_log(log) if change.rollouts else ():
        change.note(event)
    touched = [id for id in runs if id in change.rollouts]
    of_runs = {runs[id] for id in touched} | (change.rollouts - runs.keys())
    registry = AdapterRegistry(dojo / "adapters", log)
    planned = Cleaned(
        dict(sorted(change.findings.items())),
        change.events,
        tuple(touched),
        tuple(adapters_from(registry, read_log(log), touched, of_runs)),
        (*pages_of(dojo, sorted(of_runs)), *rows_of(dojo, touched)),
    )
    if dry_run or not change.events:
        return planned
    with alone(log):
        drop_memory_index(dojo)
    remove(planned.removed)
    rewritten = rewrite(log, change)
    left = sum(bool(redactor.redact(event.data).findings) for event in read_log(log))
    return replace(planned, rewritten=rewritten, left=left)


class _Change:
    """What a rewrite asks about each event, once all were looked at and then noted."""

    def __init__(self, redactor: Redactor) -> None:
        self.findings: Counter[str] = Counter()
        self.events = 0
        self.rollouts: set[str] = set()
        self._redactor = redactor
        self._rekeying = Rekeying()

    def look(self, event: Event) -> None:
        """First reading: which rollouts change."""
        found = self._redactor.redact(event.data).findings
        self.findings.update(found)
        self.events += bool(found)
        if found and event.rollout:
            self.rollouts.add(event.rollout)

    def note(self, event: Event) -> None:
        """Second reading: keys of the rollouts that change."""
        if event.rollout in self.rollouts:
            self._rekeying.note(self._redacted(event))

    def __call__(self, event: Event) -> Event:
        return self._rekeying.follow(self._redacted(event))

    def _redacted(self, event: Event) -> Event:
        data = self._redactor.redact(event.data).value
        if event.kind == EFFECT and event.rollout in self.rollouts:
            data = without_tokens(data)
        if data == event.data:
            return event
        if event.kind == MEMORY_WRITTEN:
            kind = type(entry_of(event.data))
            data = written(kind.model_validate(data["entry"]))
        return replace(event, data=data)


def said(done: Cleaned) -> list[str]:
    """What was done, or would be, in lines for a person."""
    if not done.events:
        return ["no secrets are logged"]
    would = done.rewritten is None
    kinds = ", ".join(f"{count} {kind}" for kind, count in done.findings.items())
    lines = [
        f"{'would take' if would else 'took'} secrets out of {done.events} events of {len(done.rollouts)} rollouts: "
        f"{kinds}"
    ]
    if done.removed:
        lines.append(f"made from them, removed: {', '.join(map(str, done.removed))}")
    if done.adapters:
        lines.append(
            f"adapters that learnt from them and may say them: {', '.join(done.adapters)}; "
            "'codojo trajectories forget' of the rollouts retires these"
        )
    if not would:
        lines.append(
            "read the whole log again: no secret is left. What was exported before still holds them"
            if not done.left
            else f"LEFT in {done.left} events: the log was written meanwhile; clean again"
        )
    return lines
