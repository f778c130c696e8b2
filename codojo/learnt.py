"""What was made from rollouts and is no event: adapters, memory's index, pages, rows of a training run."""

import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from codojo.errors import MemoryStoreError
from codojo.finetune.recipe import MANIFEST, Manifest
from codojo.memory.store import claim, owner_of
from codojo.serving.registry import AdapterRegistry
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import Event


def adapters_from(
    registry: AdapterRegistry,
    events: Iterable[Event],
    rollouts: Collection[str],
    runs: Collection[str],
) -> list[str]:
    """The adapters that learnt from some rollouts, by name.

    A manifest names the rollouts of its rows. One of an older codojo does not: then every adapter that
    was trained in a run of theirs counts, because a run trains on all that it has solved.
    """
    found = set()
    trained_in = {
        e.data["output"]["name"]: e.rollout
        for e in events
        if e.kind == EFFECT and e.data["effect"] == "train" and e.data.get("output")
    }
    for name in registry.names():
        try:
            made = Manifest.model_validate_json((registry.path(name) / MANIFEST).read_bytes())
        except (OSError, ValueError):
            continue
        named = not set(rollouts).isdisjoint(made.rollouts)
        if named or (not made.rollouts and trained_in.get(name) in runs):
            found.add(name)
    return sorted(found)


def drop_memory_index(dojo: Path) -> bool:
    """Delete the index of memory; whoever opens memory next makes it again from the log.

    Deleting single entries would leave their text in free pages of its files.

    Raises:
        MemoryStoreError: If another process owns it.
    """
    folder = dojo / "memory"
    if not (folder / "chroma").exists():
        return False
    lock = claim(folder)
    if lock is None:
        raise MemoryStoreError(
            f"the memory in {folder} is in use by process {owner_of(folder)}; end it, then try again"
        )
    try:
        shutil.rmtree(folder / "chroma")
    finally:
        os.close(lock)
    return True


def pages_of(dojo: Path, runs: Iterable[str]) -> list[Path]:
    """Folders of pages that were drawn from some runs."""
    return [page for run in runs if (page := dojo / "reports" / run).exists()]


def rows_of(dojo: Path, rollouts: Iterable[str]) -> list[Path]:
    """Folders that an interrupted training left with rows of some rollouts."""
    ids = [id.encode() for id in rollouts]
    return [
        rows.parent
        for rows in sorted((dojo / "training").glob("*.partial/rows.jsonl"))
        if any(id in rows.read_bytes() for id in ids)
    ]


def remove(paths: Iterable[Path]) -> list[Path]:
    """Delete folders whole; returns those that were there."""
    gone = [path for path in paths if path.exists()]
    for path in gone:
        shutil.rmtree(path)
    return gone
