"""Whether a log still says what was written: checksums, numbers without gaps, chains of steps, artifacts.

Reads everything, one line at a time; of what was read it keeps eight bytes or so for each model call.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from codojo.errors import LogDamaged, LogTooNew
from codojo.trajectories.artifacts import Artifacts
from codojo.trajectories.framing import LOST, OPENED, artifacts_of, is_whole, skim, unframe
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.packed import FRAME_MAGIC, Frame, frames
from codojo.trajectories.segments import PACKED, open_segment, refuse_newer, segments, writer_of

Kind = Literal[
    "damaged",
    "torn",
    "gap",
    "order",
    "newer",
    "chain",
    "missing artifact",
    "damaged artifact",
    "unused artifact",
]
HARMLESS: tuple[Kind, ...] = ("torn", "unused artifact")
"""What a crash may leave: the next writer or the next rewrite clears it away."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it should be."""

    kind: Kind
    path: Path
    offset: int | None
    """Byte of the segment, in a packed one of the file itself where a frame cannot be unpacked."""
    detail: str

    def __str__(self) -> str:
        place = "" if self.offset is None else f" at byte {self.offset}"
        return f"{self.kind}: {self.path.name}{place}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check found."""

    segments: int
    events: int
    artifacts: int
    problems: tuple[Problem, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong but what is harmless."""
        return all(problem.kind in HARMLESS for problem in self.problems)


def verify(folder: Path) -> Verified:
    """Check a whole log; writers may go on meanwhile.

    Raises:
        LogError: If it cannot be read at all.
    """
    check = _Check(folder)
    found = segments(folder)
    for number, path in found:
        check.segment(number, path)
    check.chains()
    check.artifacts()
    return Verified(len(found), check.events, len(check.named), tuple(check.problems))


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a segment that follow one another: one whole line, or damage up to the next whole line."""

    offset: int
    """Of its first byte; of damage in a packed segment, in the file itself."""
    content: bytes
    is_line: bool


def pieces(path: Path) -> Iterator[Piece]:
    """A segment as whole lines and what is damaged between them; a torn last line counts as damage.

    A line whose newline was damaged swallows the next one; that is found again.
    """
    if path.name.endswith(PACKED):
        yield from _packed_pieces(path)
        return
    with open_segment(path) as file:
        yield from _pieces_of(file, 0)


def _pieces_of(file: BinaryIO, start: int) -> Iterator[Piece]:
    bad, at = b"", start
    offset = start
    for line in file:
        whole = len(line) if _is_record(line) else _whole_tail(line)
        head = line[: len(line) - whole]
        if head:
            at = at if bad else offset
            bad += head
        if whole:
            if bad:
                yield Piece(at, bad, is_line=False)
                bad = b""
            yield Piece(offset + len(head), line[len(head) :], is_line=True)
        offset += len(line)
    if bad:
        yield Piece(at, bad, is_line=False)


_MOST_TRIED = 64 << 20
"""Bytes; what a model wrote may look like a record's beginning any number of times."""


def _whole_tail(line: bytes) -> int:
    """Length of the whole record at the end of a damaged line; 0: there is none."""
    at, tried = 0, 0
    while tried < _MOST_TRIED:
        at = line.find(b'{"at":', at + 1)
        if at < 0:
            return 0
        if _is_record(line[at:]):
            return len(line) - at
        tried += len(line) - at
    return 0


def _is_record(line: bytes) -> bool:
    return is_whole(line) and (skim(line) is not None or unframe(line, 0) is not None)


def _packed_pieces(path: Path) -> Iterator[Piece]:
    import zstandard

    with path.open("rb") as file:
        table, sound = _table(path, file)
        start = 0
        for frame in table:
            file.seek(frame.at)
            packed = file.read(frame.size)
            try:
                content = zstandard.ZstdDecompressor().decompress(packed)
            except zstandard.ZstdError:
                content = _what_unpacks(packed)
                rest = list(_pieces_of(io.BytesIO(content), start))
                yield from (piece for piece in rest if piece.is_line)
                yield Piece(frame.at, packed, is_line=False)
            else:
                yield from _pieces_of(io.BytesIO(content), start)
                sound = sound and len(content) == frame.length
            start += len(content)
        if not sound:
            end = table[-1].at + table[-1].size if table else 0
            file.seek(end)
            yield Piece(end, file.read() or b"\n", is_line=False)


def _table(path: Path, file: BinaryIO) -> tuple[list[Frame], bool]:
    """The frames of a packed segment, and whether its own table told them."""
    try:
        return frames(path, file), True
    except LogDamaged:
        return list(_frames_by_magic(file)), False


def _frames_by_magic(file: BinaryIO) -> Iterator[Frame]:
    """Frames of a file whose table is lost, as far as they begin like one; their lengths are unknown."""
    import zstandard

    file.seek(0)
    content = file.read()
    starts = []
    at = content.find(FRAME_MAGIC)
    while at >= 0:
        starts.append(at)
        at = content.find(FRAME_MAGIC, at + 1)
    at = 0
    for begin in starts:
        if begin < at:
            continue  # inside the frame before
        unpacker = zstandard.ZstdDecompressor().decompressobj()
        try:
            unpacker.decompress(content[begin:])
        except zstandard.ZstdError:
            later = [s for s in starts if s > begin]
            yield Frame(begin, (later[0] if later else len(content)) - begin, 0, 0)
            continue
        at = len(content) - len(unpacker.unused_data)
        yield Frame(begin, at - begin, 0, 0)


def _what_unpacks(packed: bytes) -> bytes:
    """The beginning of a damaged frame, as far as it can be unpacked."""
    import zstandard

    found = b""
    reader = zstandard.ZstdDecompressor().stream_reader(packed)
    try:
        while piece := reader.read(4096):
            found += piece
    except zstandard.ZstdError:
        pass
    return found


class _Check:
    """What is known so far of a log under check."""

    def __init__(self, folder: Path) -> None:
        self.problems: list[Problem] = []
        self.events = 0
        self.named: dict[str, tuple[Path, int]] = {}
        self._artifacts = Artifacts.of(folder)
        self._steps: set[int] = set()
        self._wanted: dict[int, tuple[Path, int, str]] = {}

    def segment(self, number: int, path: Path) -> None:
        """Read one segment."""
        try:
            with open_segment(path) as file:
                refuse_newer(path, file.readline())
        except LogTooNew as err:
            self._problem("newer", path, 0, str(err))
            return
        except LogDamaged:
            pass  # its pieces say where
        expected = 0
        for piece in pieces(path):
            if not piece.is_line:
                self._damaged(path, piece)
                continue
            event = unframe(piece.content, number)
            assert event is not None, "pieces are whole lines"
            if event.seq > expected:
                detail = f"{event.seq - expected} records before number {event.seq} are not here"
                self._problem("gap", path, piece.offset, detail)
            elif event.seq < expected:
                detail = f"number {event.seq} comes where {expected} or more must"
                self._problem("order", path, piece.offset, detail)
            elif event.seq == 0 and event.kind != OPENED:
                self._problem("gap", path, piece.offset, "the segment has no opening record")
            expected = event.seq + (event.data["records"] if event.kind == LOST else 1)
            self.events += 1
            for name in artifacts_of(piece.content).values():
                self.named.setdefault(name, (path, piece.offset))
            if event.kind == EFFECT and event.data.get("effect") == "reply":
                self._step(path, piece.offset, event.data)

    def chains(self) -> None:
        """Every step that another goes on from must be in the log."""
        for key, (path, offset, step) in self._wanted.items():
            if key not in self._steps:
                self._problem(
                    "chain", path, offset, f"it goes on from step {step[:40]}, which is not here"
                )

    def artifacts(self) -> None:
        """What is named must be there and hash right."""
        for name, (path, offset) in self.named.items():
            try:
                self._artifacts.read(name)
            except LogDamaged as err:
                kind: Kind = "damaged artifact"
                if "is missing" in str(err):
                    kind = "missing artifact"
                self._problem(kind, path, offset, f"it names {name[:80]}")
        for name in self._artifacts.names():
            if name not in self.named:
                self._problem(
                    "unused artifact", self._artifacts.path(name), None, "no record names it"
                )

    def _step(self, path: Path, offset: int, data: dict[str, object]) -> None:
        self._steps.add(_short(data.get("key")))
        asked = data.get("input")
        parent = asked.get("parent") if isinstance(asked, dict) else None
        if isinstance(parent, dict):
            key = _short(parent.get("step"))
            if key not in self._steps:
                self._wanted.setdefault(key, (path, offset, str(parent.get("step"))))

    def _damaged(self, path: Path, piece: Piece) -> None:
        plain = not path.name.endswith(PACKED)
        if plain and not piece.content.endswith(b"\n") and _is_tail(path, piece):
            if writer_of(path) is None:
                self._problem(
                    "torn",
                    path,
                    piece.offset,
                    f"{len(piece.content)} bytes of an unfinished record",
                )
            return
        self._problem("damaged", path, piece.offset, f"{len(piece.content)} bytes cannot be read")

    def _problem(self, kind: Kind, path: Path, offset: int | None, detail: str) -> None:
        self.problems.append(Problem(kind, path, offset, detail))


def _is_tail(path: Path, piece: Piece) -> bool:
    return piece.offset + len(piece.content) >= path.stat().st_size and b"\n" not in piece.content


def _short(key: object) -> int:
    """A key in few bytes; good enough to tell a million of them apart."""
    return hash(key)
