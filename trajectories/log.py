"""The append-only log: the only truth of a dojo; everything else can be rebuilt from it.

A log is a folder of segments, `000001.jsonl`, `000002.jsonl`, ... Each writer makes a new segment
and holds a lock on it, so several processes can write to one dojo at once. One line is one event:

    {"at":...,"data":{...},"kind":"effect","rollout":"01J...","seq":7,"sum":"9ae0daaf"}

`sum` is the CRC-32 of the line without it. Events are ordered by segment number, then by `seq`;
`at` (seconds since 1970, UTC) is for people and decides nothing.

Durability: an event is acknowledged when `fdatasync` has returned. Appends that arrive while a
sync is under way share the next one. After a failed write or sync nothing is acknowledged any more.
A line cut short by a crash at the end of a segment was never acknowledged: readers leave it out, the
next writer cuts it off and says so. Damage anywhere else is an error with its offset.
"""

import fcntl
import json
import logging
import os
import queue
import threading
import time
import zlib
from asyncio import wrap_future
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from codojo.canonical import canonical_json
from codojo.errors import LogDamaged, LogError

logger = logging.getLogger(__name__)

SCHEMA = 1
"""Version of the event format, written as the first event of every segment."""

_TAIL_BYTES = 19


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log."""

    segment: int
    seq: int
    at: float
    kind: str
    rollout: str | None
    data: dict[str, Any]


def frame(seq: int, at: float, kind: str, rollout: str | None, data: object) -> bytes:
    """The line that stores an event, newline included."""
    body = canonical_json(
        {"seq": seq, "at": round(at, 6), "kind": kind, "rollout": rollout, "data": data}
    )
    return body[:-1] + _tail(body)


def unframe(line: bytes, segment: int) -> Event | None:
    """The event of a line with its newline, or None where the line is not what was written."""
    body, tail = line[:-_TAIL_BYTES] + b"}", line[-_TAIL_BYTES:]
    if tail != _tail(body):
        return None
    raw = json.loads(body.decode("utf-8", "surrogatepass"))
    return Event(segment, raw["seq"], raw["at"], raw["kind"], raw["rollout"], raw["data"])


def _tail(body: bytes) -> bytes:
    """What stands in a line in place of the body's closing brace."""
    return b',"sum":"' + f"{zlib.crc32(body):08x}".encode() + b'"}\n'


class Log:
    """One process's pen: appends events to a segment of its own.

    Use as a context manager. Appending is thread-safe; one background thread writes and syncs.

    Raises:
        LogError: If the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._queue: queue.SimpleQueue[tuple[bytes, Future[None]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._seq = 0
        self._failure: LogError | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            cut_torn_tails(folder)
            self.segment, self._fd = _new_segment(folder)
        except OSError as err:
            raise LogError(
                f"cannot write to {folder}: {err.strerror}; check its permissions and the free space"
            ) from err
        self._thread = threading.Thread(target=self._write_forever, name="codojo-log", daemon=True)
        self._thread.start()
        self.append("segment_opened", {"schema": SCHEMA, "pid": os.getpid()})

    def append(self, kind: str, data: object, rollout: str | None = None) -> Future[None]:
        """Queue an event; the future is done once it is on disk, or holds the `LogError`."""
        done: Future[None] = Future()
        with self._lock:
            if self._failure:
                done.set_exception(self._failure)
                return done
            line = frame(self._seq, time.time(), kind, rollout, data)
            self._seq += 1
            self._queue.put((line, done))
        return done

    async def write(self, kind: str, data: object, rollout: str | None = None) -> None:
        """Append an event and return once it is on disk.

        Raises:
            LogError: If it could not be written; nothing is acknowledged after that.
        """
        await wrap_future(self.append(kind, data, rollout))

    def close(self) -> None:
        """Write what is queued and let go of the segment."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
            os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write_forever(self) -> None:
        closing = False
        while not closing:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            lines = [item for item in batch if item is not None]
            closing = len(lines) < len(batch)
            if lines:
                self._commit(lines)

    def _commit(self, batch: list[tuple[bytes, Future[None]]]) -> None:
        """Write a batch with one sync. A log that failed once never acknowledges again."""
        if self._failure is None:
            offset = os.lseek(self._fd, 0, os.SEEK_END)
            try:
                _write_all(self._fd, b"".join(line for line, _ in batch))
                os.fdatasync(self._fd)
            except OSError as err:
                with self._lock:
                    self._failure = LogError(
                        f"cannot write to the log in {self.folder}: {err.strerror}; free some space "
                        "or check the disk, then go on with --resume"
                    )
                _roll_back(self._fd, offset)
        for _, done in batch:
            if self._failure:
                done.set_exception(self._failure)
            else:
                done.set_result(None)


def read_log(folder: Path) -> Iterator[Event]:
    """All events of a log in order; a torn last line of a segment is left out.

    Raises:
        LogDamaged: Where bytes before the end of a segment are not what was written.
    """
    for number, path in segments(folder):
        yield from read_segment(path, number)


def read_segment(path: Path, number: int) -> Iterator[Event]:
    """The events of one segment, in order."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            event = unframe(line, number)
            if event is None:
                if not line.endswith(b"\n"):
                    return
                raise LogDamaged(
                    f"{path} is damaged at byte {offset}: the record there fails its checksum; "
                    "restore the file from a copy, or move the segment aside to go on without it"
                )
            offset += len(line)
            yield event


def segments(folder: Path) -> list[tuple[int, Path]]:
    """Numbered segments of a log in order; empty where there is no log yet."""
    found = [(int(path.stem), path) for path in folder.glob("*.jsonl") if path.stem.isdigit()]
    return sorted(found)


def cut_torn_tails(folder: Path) -> int:
    """Cut lines that a crash left unfinished, in segments nobody writes; returns the bytes cut."""
    total = 0
    for _, path in segments(folder):
        with path.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            torn = _torn_bytes(file.fileno())
            if torn:
                os.ftruncate(file.fileno(), os.fstat(file.fileno()).st_size - torn)
                os.fsync(file.fileno())
                logger.warning("cut %d bytes of an unfinished record off %s", torn, path)
            total += torn
    return total


def _torn_bytes(fd: int) -> int:
    """Bytes after the last newline of a file."""
    size = os.fstat(fd).st_size
    step = 65536
    end = size
    while end > 0:
        start = max(0, end - step)
        at = os.pread(fd, end - start, start).rfind(b"\n")
        if at >= 0:
            return size - (start + at + 1)
        end = start
    return size


def _new_segment(folder: Path) -> tuple[int, int]:
    """Create the next segment and lock it; two processes that race get two numbers."""
    while True:
        number = max((n for n, _ in segments(folder)), default=0) + 1
        path = folder / f"{number:06d}.jsonl"
        try:
            fd = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
        except FileExistsError:
            continue
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _sync_folder(folder)
        return number, fd


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _roll_back(fd: int, offset: int) -> None:
    """Take half-written bytes off again, where the disk still lets us."""
    try:
        os.ftruncate(fd, offset)
    except OSError:
        logger.warning("could not take back an unfinished record; the next writer will cut it")
