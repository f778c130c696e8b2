"""Compressed segments: Zstandard frames of about a mebibyte with a table of where each begins.

The table is that of Zstandard's seekable format (`contrib/seekable_format` of its sources): a skippable
frame at the end, so that `zstd -d` and any streaming reader read the file as if it were not there.
Frames end where lines end. Places in a packed segment are counted in the bytes that were packed, so
that packing moves nothing.
"""

import io
import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from codojo.errors import LogDamaged

FRAME_BYTES = 1 << 20
FRAME_MAGIC = b"\x28\xb5\x2f\xfd"

_LEVEL = 3
_TABLE_MAGIC, _FOOTER_MAGIC = 0x184D2A5E, 0x8F92EAB1
_FOOTER = struct.Struct("<IBI")
_ENTRY = struct.Struct("<II")
_HEADER = struct.Struct("<II")


class Frame(NamedTuple):
    """Where one frame lies."""

    at: int
    """In the file."""
    size: int
    start: int
    """In what was packed."""
    length: int


class PackWriter:
    """Writes lines as frames, with their table at the end."""

    def __init__(self, file: BinaryIO) -> None:
        import zstandard

        self._file = file
        self._packer = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        self._lines: list[bytes] = []
        self._size = 0
        self._entries: list[bytes] = []

    def write(self, line: bytes) -> None:
        """Add a line with its newline."""
        self._lines.append(line)
        self._size += len(line)
        if self._size >= FRAME_BYTES:
            self._end_frame()

    def finish(self) -> None:
        """Write the last frame and the table."""
        if self._lines:
            self._end_frame()
        size = len(self._entries) * _ENTRY.size + _FOOTER.size
        self._file.write(_HEADER.pack(_TABLE_MAGIC, size) + b"".join(self._entries))
        self._file.write(_FOOTER.pack(len(self._entries), 0, _FOOTER_MAGIC))

    def _end_frame(self) -> None:
        packed = self._packer.compress(b"".join(self._lines))
        self._file.write(packed)
        self._entries.append(_ENTRY.pack(len(packed), self._size))
        self._lines, self._size = [], 0


def open_packed(path: Path) -> io.BufferedReader:
    """A packed segment as a file of what was packed: read, iterate, seek.

    Raises:
        LogDamaged: If its table is not whole; and when reading, with the place of the frame.
    """
    return io.BufferedReader(_Unpacked(path, path.open("rb")), FRAME_BYTES)


class _Unpacked(io.RawIOBase):
    """The bytes that were packed; one frame of them is held at a time."""

    def __init__(self, path: Path, file: io.BufferedReader) -> None:
        import zstandard

        self._path, self._file = path, file
        self._unpacker = zstandard.ZstdDecompressor()
        self._place = 0
        self._held = (-1, b"")
        try:
            self._frames = frames(path, file)
        except BaseException:
            file.close()
            raise
        self._starts = [frame.start for frame in self._frames]
        last = self._frames[-1] if self._frames else Frame(0, 0, 0, 0)
        self._end = last.start + last.length

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._end}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        if self._place >= self._end:
            return 0
        number = bisect_right(self._starts, self._place) - 1
        content = self._frame(number)
        piece = memoryview(content)[self._place - self._starts[number] :][: len(buffer)]
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def _frame(self, number: int) -> bytes:
        import zstandard

        if self._held[0] != number:
            frame = self._frames[number]
            self._file.seek(frame.at)
            try:
                content = self._unpacker.decompress(self._file.read(frame.size))
            except zstandard.ZstdError as err:
                raise packed_damage(self._path, frame.at, str(err)) from err
            if len(content) != frame.length:
                raise packed_damage(
                    self._path, frame.at, "it has another length than the table says"
                )
            self._held = (number, content)
        return self._held[1]

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def frames(path: Path, file: BinaryIO) -> list[Frame]:
    """The frames of a packed segment, by its table.

    Raises:
        LogDamaged: If the table is not whole.
    """
    size = file.seek(0, os.SEEK_END)
    end = size - _FOOTER.size
    if end >= _HEADER.size:
        file.seek(end)
        count, flags, magic = _FOOTER.unpack(file.read(_FOOTER.size))
        entry = _ENTRY.size + 4 * (flags >> 7)
        start = end - count * entry - _HEADER.size
        if magic == _FOOTER_MAGIC and start >= 0:
            file.seek(start)
            header = file.read(_HEADER.size)
            found = list(_walk(file.read(count * entry), entry))
            whole = _HEADER.pack(_TABLE_MAGIC, size - start - _HEADER.size)
            if header == whole and sum(frame.size for frame in found) == start:
                return found
    raise packed_damage(path, max(end, 0), "the table of its frames is not whole")


def _walk(table: bytes, entry: int) -> Iterator[Frame]:
    at = start = 0
    for place in range(0, len(table), entry):
        size, length = _ENTRY.unpack_from(table, place)
        yield Frame(at, size, start, length)
        at, start = at + size, start + length


def packed_damage(path: Path, at: int, how: str) -> LogDamaged:
    """The error for a packed segment that cannot be unpacked."""
    return LogDamaged(
        f"{path} is damaged in the frame at byte {at}: {how}; restore the file from a copy, or see with "
        "'codojo trajectories repair' what can be saved"
    )
