"""Repair: make a damaged log readable again, losing only what is damaged, and say so first.

`plan` reads and says what would be done; `repair` does it. Records on both sides of damage stay byte for
byte; where some were lost stands one record of kind `lost` that says how many and where their bytes are
kept (`<log>/damaged/`). A record whose artifact is gone is lost too. A torn tail is cut, as the next
writer would.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from codojo.errors import LogDamaged, LogError
from codojo.trajectories.artifacts import Artifacts
from codojo.trajectories.derived import discard
from codojo.trajectories.files import make_folder, sync_folder, write_aside
from codojo.trajectories.framing import LOST, OPENED, SCHEMA, artifacts_of, frame, unframe
from codojo.trajectories.rewrite import DAMAGED, finish, recounted
from codojo.trajectories.segments import (
    PACKED,
    PLAIN,
    alone,
    cut_torn_tails,
    open_segment,
    refuse_newer,
    segments,
)
from codojo.trajectories.verify import Piece, pieces


@dataclass(frozen=True, slots=True)
class Step:
    """What repair does to one segment."""

    path: Path
    lost: int
    """Records; 0 where only bytes between records are damaged, or a tail is torn."""
    kept_aside: int
    """Bytes that go to `damaged/`."""
    cut: int
    """Bytes of a torn tail, which was never acknowledged."""

    def __str__(self) -> str:
        if self.cut and not self.lost and not self.kept_aside:
            return f"{self.path.name}: cut {self.cut} bytes of an unfinished record, which nobody relied on"
        return (
            f"{self.path.name}: keep {self.kept_aside} damaged bytes in {DAMAGED}/, put a record in place of "
            f"{self.lost} lost ones, and leave all others as they are"
        )


class Kept(NamedTuple):
    """Damaged bytes and their place."""

    offset: int
    content: bytes


def plan(folder: Path) -> list[Step]:
    """What `repair` would do, without doing it.

    Raises:
        LogTooNew: If a newer codojo wrote a segment.
    """
    return [step for number, path in segments(folder) if (step := _Repair(path, number).step)]


def repair(folder: Path) -> list[Step]:
    """Mend every segment that needs it; returns what was done. The index is made anew when next needed.

    Raises:
        Busy: While a process writes to the log.
        LogTooNew: If a newer codojo wrote a segment; nothing is changed.
        LogError: If the disk refuses.
    """
    done = []
    try:
        with alone(folder):
            finish(folder)
            for step in plan(folder):
                if step.lost or step.kept_aside:
                    number = int(step.path.name.partition(".")[0])
                    _Repair(step.path, number).carry_out()
                done.append(step)
            cut_torn_tails(folder)
            if done:
                discard(folder)
    except OSError as err:
        raise LogError(
            f"cannot repair the log in {folder}: {err.strerror}; free some space or check the disk, then try again"
        ) from err
    return done


class _Repair:
    """One segment: its whole lines, and records in place of what is lost."""

    def __init__(self, path: Path, number: int) -> None:
        self.path, self.number = path, number
        self._artifacts = Artifacts.of(path.parent)
        self._kept: list[Kept] = []
        self._unsaid: list[Kept] = []
        """What is kept and stands in no record of the mended segment yet."""
        self._lost = self._cut = 0
        with suppress(LogDamaged), open_segment(path) as file:
            refuse_newer(path, file.readline())

    @property
    def step(self) -> Step | None:
        """What is to be done; None: nothing."""
        for _ in self._lines():
            pass
        if not (self._kept or self._cut or self._lost):
            return None
        return Step(self.path, self._lost, sum(len(k.content) for k in self._kept), self._cut)

    def carry_out(self) -> None:
        """Keep the damaged bytes, then put the mended segment in place of the old one."""
        aside = self.path.with_name(f".{self.path.name}.new")
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as out:
            for line in self._lines():
                out.write(line)
            out.flush()
            os.fsync(out.fileno())
        kept = self.path.parent / DAMAGED
        make_folder(kept)
        for offset, content in self._kept:
            write_aside(kept / _kept_name(self.path, offset), content)
        sync_folder(kept)
        target = self.path.with_name(f"{self.number:06d}{PLAIN}")
        aside.replace(target)
        sync_folder(self.path.parent)
        if target != self.path:
            self.path.unlink()
            sync_folder(self.path.parent)

    def _lines(self) -> Iterator[bytes]:
        """The mended segment. What was lost is counted and kept on the way."""
        self._kept, self._unsaid, self._lost, self._cut = [], [], 0, 0
        expected, at = 0, 0.0
        for piece in pieces(self.path):
            event = unframe(piece.content, self.number) if piece.is_line else None
            if event is None or not self._has_artifacts(piece):
                self._set_aside(piece)
                continue
            if event.seq > expected:
                yield from self._in_place_of(expected, event.seq - expected, at or event.at)
            expected = event.seq + (event.data["records"] if event.kind == LOST else 1)
            at = event.at
            opening = event.kind == OPENED and event.seq == 0
            yield recounted(piece.content) if opening else piece.content
        if self._unsaid:
            count = sum(kept.content.count(b"\n") for kept in self._unsaid)
            yield from self._in_place_of(expected, max(1, count), at)

    def _has_artifacts(self, piece: Piece) -> bool:
        return all(self._artifacts.is_whole(name) for name in artifacts_of(piece.content).values())

    def _set_aside(self, piece: Piece) -> None:
        torn = b"\n" not in piece.content and not piece.is_line
        if torn and not self.path.name.endswith(PACKED) and self._is_last(piece):
            self._cut = len(piece.content)
        else:
            kept = Kept(piece.offset, piece.content)
            self._kept.append(kept)
            self._unsaid.append(kept)

    def _is_last(self, piece: Piece) -> bool:
        return piece.offset + len(piece.content) >= self.path.stat().st_size

    def _in_place_of(self, seq: int, count: int, at: float) -> Iterator[bytes]:
        """Records for numbers that are not here any more, the first line of a segment included.

        What is lost at the end is counted by its line ends, at least one.
        """
        self._lost += count
        if seq == 0:
            yield frame(0, at, OPENED, None, {"schema": SCHEMA, "pid": 0, "rewritten": 1})
            seq, count = 1, count - 1
        if count:
            names = [f"{DAMAGED}/{_kept_name(self.path, kept.offset)}" for kept in self._unsaid]
            data = {"records": count, "kept": names}
            self._unsaid = []
            yield frame(seq, at, LOST, None, data)


def _kept_name(path: Path, offset: int) -> str:
    return f"{path.name}.{offset}"
