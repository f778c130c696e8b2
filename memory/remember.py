"""How an entry gets into memory: refused or logged, then indexed; and the index made from the log."""

import logging
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from langgraph.store.base import GetOp, PutOp

from codojo.errors import ContaminationError, MemoryStoreError
from codojo.memory.embedder import Embedder
from codojo.memory.schema import MEMORY_WRITTEN, Entry, entry_of, written
from codojo.memory.store import ChromaStore, claim, open_claimed, owner_of
from codojo.trajectories.log import Event, Log

logger = logging.getLogger(__name__)


class Guard(Protocol):
    """What keeps gate and held-out text out of what guides (`codojo.tasks.contamination`)."""

    def find(self, text: str) -> Sequence[str]:
        """Ids of the gate and held-out tasks that the text gives away; empty where it is clean."""
        ...


async def remember(entry: Entry, *, log: Log, store: ChromaStore | None, guard: Guard) -> str:
    """Write an entry to the log, then index it; returns its id.

    Without a store (another process owns the index) the log still has it, and `catch_up` indexes it.

    Raises:
        ContaminationError: If the entry comes from, or gives away, a gate or held-out task.
    """
    entry = type(entry).model_validate(log.redactor.redact(entry.model_dump(mode="json")).value)
    refuse_contaminated(entry, guard)
    await log.write(MEMORY_WRITTEN, written(entry), entry.provenance.rollout)
    if store is not None:
        await store.abatch([put_of(entry)])
    return entry.id


def refuse_contaminated(entry: Entry, guard: Guard) -> None:
    """Refuse what memory may not hold.

    Raises:
        ContaminationError: If the entry comes from, or gives away, a gate or held-out task.
    """
    if not entry.from_train:
        raise ContaminationError(
            f"cannot remember {entry.kind} {entry.id[:12]}: task '{entry.task_id}' is in the split "
            f"'{entry.split}'; only 'train' may be learnt from"
        )
    found = sorted({id for text in entry.texts for id in guard.find(text)})
    if found:
        raise ContaminationError(
            f"cannot remember {entry.kind} {entry.id[:12]} of task '{entry.task_id}': it holds text of "
            f"the gate or held-out tasks {', '.join(found[:3])}; leave it out"
        )


def put_of(entry: Entry) -> PutOp:
    """How an entry is indexed: in a namespace per kind, under its id, with `steers` to filter by."""
    return PutOp(
        namespace=(f"{entry.kind}s",),
        key=entry.id,
        value={**written(entry), "steers": entry.may_steer},
        index=[f"entry.{entry.found_by}"],
    )


def entries(events: Iterable[Event]) -> dict[str, Entry]:
    """The entries the log holds, by id, in the order they were written.

    What the log should never have held, an entry of a gate or held-out task, is left out.
    """
    found: dict[str, Entry] = {}
    for event in events:
        if event.kind == MEMORY_WRITTEN:
            entry = entry_of(event.data)
            if entry.from_train:
                found[entry.id] = entry
            else:
                logger.warning("left out a memory of %s task %s", entry.split, entry.task_id)
    return found


def catch_up(store: ChromaStore, events: Iterable[Event]) -> int:
    """Index what the log holds and the index does not; returns how many entries that were.

    Entries are logged first, so a crash in between, or a process without memory, leaves some behind.
    """
    puts = [put_of(entry) for entry in entries(events).values()]
    known = store.batch([GetOp(put.namespace, put.key) for put in puts])
    missing = [put for put, item in zip(puts, known, strict=True) if item is None]
    store.batch(missing)
    return len(missing)


def rebuild(folder: Path, events: Iterable[Event], embedder: Embedder | None = None) -> int:
    """Delete the index and make it again from the log; returns the number of entries.

    Raises:
        MemoryStoreError: If another process owns the folder, or if not every entry arrived.
    """
    lock = claim(folder)
    if lock is None:
        raise MemoryStoreError(
            f"the memory in {folder} is in use by process {owner_of(folder)}; "
            "end it, then run 'codojo rebuild' again"
        )
    shutil.rmtree(folder / "chroma", ignore_errors=True)
    with open_claimed(folder, lock, embedder) as store:
        made, count = catch_up(store, events), store.count()
    if count != made:
        raise MemoryStoreError(
            f"the rebuilt index in {folder} holds {count} of {made} entries; "
            "check the free space and run 'codojo rebuild' again"
        )
    return made
