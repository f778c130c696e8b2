"""Changing what a log already holds: the one way to forget, or to redact afterwards.

All segments that change are written aside and synced first; a file that says so (`.rewrite`) makes the
change certain; then they are renamed into place and artifacts that nobody names any more are removed. A
crash before that file leaves everything as it was; after it, the next writer or the next rewrite goes on.
An event that is removed leaves a line of kind `removed` with its number, so that nothing looks lost.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from io import BufferedWriter
from pathlib import Path

from codojo.errors import Busy, LogError
from codojo.trajectories.artifacts import Artifacts, lift
from codojo.trajectories.files import sync_folder, write_aside
from codojo.trajectories.framing import (
    LOST,
    OPENED,
    REMOVED,
    Event,
    artifacts_of,
    frame,
    unframe,
)
from codojo.trajectories.segments import (
    PACKED,
    PLAIN,
    alone,
    among_writers,
    cut_torn_tails,
    open_segment,
    read_segment,
    segments,
)

logger = logging.getLogger(__name__)

INTENT = ".rewrite"
DAMAGED = "damaged"
"""Folder in a log where repair keeps bytes that it could not read."""

OWN = (OPENED, REMOVED, LOST)
"""Kinds that the log itself writes: a rewrite does not ask about them."""

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What a rewrite did, all of it."""

    events: int
    """Looked at."""
    changed: int
    removed: int
    segments: tuple[int, ...]
    """Numbers of those that were written anew."""
    artifacts_removed: tuple[str, ...]
    kept_aside: tuple[Path, ...]
    """Damaged bytes that a repair kept: nobody can read events there, so they were not asked about."""


def rewrite(folder: Path, change: Callable[[Event], Event | None]) -> Rewritten:
    """Give every event of a log to `change`, and keep what it returns: all of it, or nothing.

    Events keep their segment and number. The index is removed, as it may hold what the log no longer
    does; it is made again when it is next needed.

    Args:
        folder: Of the log.
        change: Returns the event as it was, another in its place, or None to remove it; it leaves the
            event that it is given as it is. It is not asked about what the log itself wrote (openings of
            segments, and what stands for events that are gone).

    Raises:
        Busy: While a process writes to the log; the message names it.
        LogDamaged: If the log cannot be read; nothing is changed.
        LogError: If the disk refuses; nothing is changed, or, once it is certain, the next call goes on.
    """
    if not folder.is_dir():
        return Rewritten(0, 0, 0, (), (), ())
    try:
        with alone(folder):
            finish(folder)
            cut_torn_tails(folder)
            return _rewrite(folder, change)
    except OSError as err:
        raise LogError(
            f"cannot rewrite the log in {folder}: {err.strerror}; free some space or check the disk, then try again"
        ) from err


def enter(folder: Path) -> int:
    """Hold the log's lock together with other writers, once no rewrite is half done.

    Raises:
        Busy: If one is under way for longer than some seconds.
    """
    for _ in range(_ATTEMPTS):
        fd = among_writers(folder)
        if not (folder / INTENT).exists():
            return fd
        os.close(fd)
        try:
            with alone(folder):
                finish(folder)
        except Busy:
            continue  # another process finishes it
    raise Busy(
        f"the log in {folder} waits for an interrupted rewrite to end, and other processes write to it; stop them"
    )


@contextmanager
def among(folder: Path) -> Iterator[None]:
    """For the block nobody may change what is written; writers may go on.

    Raises:
        Busy: If somebody is at it for longer than some seconds.
    """
    fd = enter(folder)
    try:
        yield
    finally:
        os.close(fd)


def _rewrite(folder: Path, change: Callable[[Event], Event | None]) -> Rewritten:
    events = changed = removed = 0
    anew: dict[int, str] = {}
    artifacts = Artifacts.of(folder)
    with ExitStack() as undo:
        for number, path in segments(folder):
            with _Draft(path) as draft:
                undo.callback(_aside(path).unlink, missing_ok=True)
                for offset, line, event in read_segment(path, number):
                    if event.kind in OWN:
                        draft.keep(line)
                        continue
                    after = change(event)
                    events += 1
                    if after is event or after == event:
                        draft.keep(line)
                        continue
                    changed += after is not None
                    removed += after is None
                    draft.replace(offset, _reframed(event, after, artifacts))
            if draft.differs:
                anew[number] = path.name
        if not anew:
            return Rewritten(events, 0, 0, (), (), _kept_aside(folder))
        sync_folder(folder)
        write_aside(folder / INTENT, json.dumps(sorted(anew.values())).encode())
        sync_folder(folder)
        undo.pop_all()
    gone = finish(folder)
    return Rewritten(
        events, changed, removed, tuple(sorted(anew)), tuple(gone), _kept_aside(folder)
    )


def _reframed(before: Event, after: Event | None, artifacts: Artifacts) -> bytes:
    """The line that takes an event's place; its artifacts are on disk.

    Raises:
        ValueError: If the event shall move.
    """
    if after is None:
        after = replace(before, kind=REMOVED, rollout=None, data={})
    elif (after.segment, after.seq) != (before.segment, before.seq):
        raise ValueError("a rewrite cannot move an event; keep its segment and seq")
    lifted = lift(after.data)
    artifacts.put(lifted.contents)
    return frame(after.seq, after.at, after.kind, after.rollout, lifted.data, lifted.large)


class _Draft:
    """A segment's new file, begun at its first line that differs; the others stay byte for byte."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._out: BufferedWriter | None = None
        self._write: Callable[[bytes], object] = lambda line: None
        self._finish: Callable[[], None] = lambda: None

    @property
    def differs(self) -> bool:
        """Whether there is a new file."""
        return self._out is not None

    def keep(self, line: bytes) -> None:
        """The next line stays."""
        self._write(line)

    def replace(self, offset: int, line: bytes) -> None:
        """Another line takes the place of the next one, which begins there."""
        if self._out is None:
            self._begin(offset)
        self._write(line)

    def _begin(self, offset: int) -> None:
        """Open the file and write what stands before the place, with one more in the count of rewrites."""
        from codojo.trajectories.packed import PackWriter

        fd = os.open(
            _aside(self._path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        self._out = os.fdopen(fd, "wb")
        self._write = self._out.write
        if self._path.name.endswith(PACKED):
            packer = PackWriter(self._out)
            self._write, self._finish = packer.write, packer.finish
        with open_segment(self._path) as file:
            at = 0
            for line in file:
                if at >= offset:
                    break
                self._write(line if at else recounted(line))
                at += len(line)

    def __enter__(self) -> "_Draft":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._out is not None:
            with self._out:
                if kind is None:
                    self._finish()
                    self._out.flush()
                    os.fsync(self._out.fileno())


def recounted(line: bytes) -> bytes:
    """The first line of a segment, saying that it was rewritten once more."""
    first = unframe(line, 0)
    if first is None or first.kind != OPENED:
        return line
    data = {**first.data, "rewritten": first.data.get("rewritten", 0) + 1}
    return frame(first.seq, first.at, first.kind, first.rollout, data)


def finish(folder: Path) -> list[str]:
    """Put a rewrite that is certain into place; returns the artifacts that went. Nothing, where there is none."""
    from codojo.trajectories.derived import discard

    intent = folder / INTENT
    if not intent.exists():
        for pattern in (".*.new", ".*.part"):
            for path in folder.glob(pattern):
                path.unlink()
        return []
    for name in json.loads(intent.read_bytes()):
        path = folder / name
        if _aside(path).exists():
            _aside(path).replace(path)
        twin = path.with_name(path.name.partition(".")[0] + PACKED)
        if path.name.endswith(PLAIN):
            twin.unlink(missing_ok=True)  # a crash left it both plain and packed
    sync_folder(folder)
    gone = Artifacts.of(folder).remove_all_but(named(folder))
    discard(folder)
    intent.unlink()
    sync_folder(folder)
    return gone


def named(folder: Path) -> set[str]:
    """All artifacts that lines of a log name."""
    found: set[str] = set()
    for _, path in segments(folder):
        with open_segment(path) as file:
            found.update(name for line in file for name in artifacts_of(line).values())
    return found


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _kept_aside(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted((folder / DAMAGED).glob("*"))) if (folder / DAMAGED).is_dir() else ()
