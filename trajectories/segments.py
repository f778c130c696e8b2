"""The segments of a log: which there are, how they are read, cut, locked and packed.

Two locks, both by `flock`, so that the kernel lets go of them however a process ends: each writer holds
its segment for itself, and `.lock` in the log's folder together with all other writers. Who changes
what is already written (`rewrite`, `repair`) holds `.lock` alone. Readers hold nothing.
"""

import fcntl
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from codojo.errors import Busy, LogDamaged, LogError, LogTooNew
from codojo.trajectories.artifacts import Artifacts
from codojo.trajectories.files import sync_folder
from codojo.trajectories.framing import OPENED, SCHEMA, Event, is_whole, unframe

logger = logging.getLogger(__name__)

PLAIN, PACKED = ".jsonl", ".jsonl.zst"
PACK_BYTES = 1 << 20
"""A segment that nobody writes is packed when it is larger."""
LOCK = ".lock"
WAIT_S = 10.0
"""How long a new writer waits for one who changes what is written."""

_SEGMENT = re.compile(r"(\d+)\.jsonl(\.zst)?")


def segments(folder: Path) -> list[tuple[int, Path]]:
    """Numbered segments of a log in order; empty where there is no log yet.

    Of one that a crash left both plain and packed, the plain file.

    Raises:
        LogError: If the folder cannot be read.
    """
    found: dict[int, Path] = {}
    try:
        for path in folder.iterdir() if folder.is_dir() else ():
            match = _SEGMENT.fullmatch(path.name)
            if match and (match[2] is None or int(match[1]) not in found):
                found[int(match[1])] = path
    except OSError as err:
        raise LogError(f"cannot read {folder}: {err.strerror}; check its permissions") from err
    return sorted(found.items())


def open_segment(path: Path) -> BinaryIO:
    """A segment as a file of its lines, packed or not; also where it is packed just now.

    Raises:
        LogDamaged: If it is packed and the table of its frames is not whole.
        LogError: If it cannot be read.
    """
    from codojo.trajectories.packed import open_packed

    stem = path.name.partition(".")[0]
    plain, packed = path.with_name(stem + PLAIN), path.with_name(stem + PACKED)
    for attempt in (plain, packed, plain):
        try:
            return attempt.open("rb") if attempt == plain else open_packed(packed)
        except FileNotFoundError:
            continue
        except OSError as err:
            raise LogError(f"cannot read {attempt}: {err.strerror}; check its permissions") from err
    raise LogError(f"{path} is gone; was the dojo moved meanwhile?")


def read_segment(path: Path, number: int, start: int = 0) -> Iterator[tuple[int, bytes, Event]]:
    """The events of one segment in order, each with its place and line; a torn last line is left out.

    Args:
        start: Place of a line's first byte, in a packed segment counted before packing.

    Raises:
        LogDamaged: Where bytes before the end are not what was written, or an artifact is missing.
        LogTooNew: If a newer codojo wrote it.
    """
    load = Artifacts.of(path.parent).text
    with open_segment(path) as file:
        refuse_newer(path, file.readline())
        file.seek(start)
        offset = start
        for line in file:
            event = unframe(line, number, load)
            if event is None:
                if not line.endswith(b"\n"):
                    return
                raise damage(path, offset)
            yield offset, line, event
            offset += len(line)


def refuse_newer(path: Path, line: bytes) -> None:
    """Raise where the first line of a segment says that a newer version wrote it.

    Raises:
        LogTooNew: With both versions and what to do.
    """
    first = unframe(line, 0)
    schema = first.data.get("schema") if first and first.kind == OPENED else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise LogTooNew(
            f"{path} was written in version {schema} of the log's format and this codojo reads up to "
            f"{SCHEMA}; use the newer codojo, or another dojo"
        )


def damage(path: Path, offset: int) -> LogDamaged:
    """The error for bytes that are not what was written."""
    return LogDamaged(
        f"{path} is damaged at byte {offset}: the record there fails its checksum; restore the file from "
        "a copy, or see with 'codojo trajectories repair' what can be saved"
    )


def new_segment(folder: Path) -> tuple[int, int]:
    """Create the next segment and lock it; two processes that race get two numbers."""
    while True:
        number = max((n for n, _ in segments(folder)), default=0) + 1
        path = folder / f"{number:06d}{PLAIN}"
        try:
            fd = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
        except FileExistsError:
            continue
        fcntl.flock(fd, fcntl.LOCK_EX)  # somebody may be looking whether it is held
        if path.with_name(f"{number:06d}{PACKED}").exists():
            path.unlink()
            os.close(fd)
            continue
        sync_folder(folder)
        return number, fd


def writer_of(path: Path) -> int | None:
    """The process that writes a segment, as its first line says; None: nobody does."""
    try:
        with path.open("rb") as file:
            if _locked(file.fileno()):
                return None
            first = unframe(file.readline(), 0)
    except FileNotFoundError:
        return None
    return int(first.data.get("pid", 0)) if first else 0


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else writes to the log or changes it during the block.

    Raises:
        Busy: If somebody does; the message names them.
    """
    fd = _open_lock(folder)
    try:
        writers = [w for _, path in segments(folder) if (w := writer_of(path)) is not None]
        if writers or not _locked(fd):
            names = ", ".join(str(w or "unknown") for w in writers) or _holder(fd)
            raise Busy(f"the log in {folder} is in use by process {names}; stop it, then try again")
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)


def among_writers(folder: Path, wait_s: float = WAIT_S) -> int:
    """Hold the log's lock together with other writers; close what is returned to let go.

    Raises:
        Busy: If somebody who changes what is written holds it for longer than `wait_s`.
    """
    fd = _open_lock(folder)
    until = time.monotonic() + wait_s
    while not _locked(fd, fcntl.LOCK_SH):
        if time.monotonic() > until:
            holder = _holder(fd)
            os.close(fd)
            raise Busy(f"the log in {folder} is being changed by process {holder}; wait for it")
        time.sleep(0.02)
    return fd


def _open_lock(folder: Path) -> int:
    return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _holder(fd: int) -> str:
    return os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"


def _locked(fd: int, how: int = fcntl.LOCK_EX) -> bool:
    """Take a lock if nobody is in the way."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def cut_torn_tails(folder: Path) -> int:
    """Cut lines that a crash left unfinished, in segments nobody writes; returns the bytes cut."""
    total = 0
    for _, path in segments(folder):
        if path.name.endswith(PACKED):
            continue
        try:
            file = path.open("r+b")
        except FileNotFoundError:
            continue  # packed just now
        with file:
            if not _locked(file.fileno()):
                continue
            torn = torn_bytes(file.fileno())
            if torn:
                os.ftruncate(file.fileno(), os.fstat(file.fileno()).st_size - torn)
                os.fsync(file.fileno())
                logger.warning("cut %d bytes of an unfinished record off %s", torn, path)
            total += torn
    return total


def torn_bytes(fd: int) -> int:
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


def pack_log(
    folder: Path, *, over: int = PACK_BYTES, go_on: Callable[[], bool] = lambda: True
) -> list[Path]:
    """Compress segments that nobody writes; returns the new files. Whoever calls it is among the writers, so
    that nobody changes meanwhile what is written.

    Args:
        over: Only segments of more bytes.
        go_on: Asked now and then; when it says no, the segment under way is left as it was.

    Raises:
        OSError: If the disk refuses; what was there is still there.
    """
    done = []
    for _, path in segments(folder):
        with suppress(FileNotFoundError):  # another process packs too
            if not path.name.endswith(PACKED) and path.stat().st_size > over and go_on():
                packed = _pack_segment(path, go_on)
                done += [packed] if packed else []
    return done


def _pack_segment(path: Path, go_on: Callable[[], bool]) -> Path | None:
    """Pack one segment: write aside, sync, rename, and only then unlink; None where it is left as it is."""
    from codojo.trajectories.packed import PackWriter

    target = path.with_name(path.name.partition(".")[0] + PACKED)
    aside = path.with_name(f".{target.name}.part")
    with path.open("r+b") as file:
        if not _locked(file.fileno()) or not _same(file, path) or torn_bytes(file.fileno()):
            return None
        if target.exists():  # a crash came between the rename and the unlink
            if not _same_lines(file, target):
                logger.warning("not packed: %s and %s hold different records", path, target.name)
                return None
        else:
            try:
                with aside.open("wb") as out:
                    os.fchmod(out.fileno(), 0o600)
                    writer = PackWriter(out)
                    for line in _checked(file, path):
                        if not go_on():
                            return None
                        writer.write(line)
                    writer.finish()
                    out.flush()
                    os.fsync(out.fileno())
                aside.rename(target)
            except LogDamaged as err:
                logger.warning("not packed: %s", err)
                return None
            finally:
                aside.unlink(missing_ok=True)
        sync_folder(path.parent)
        path.unlink()
        sync_folder(path.parent)
    return target


def _same(file: BinaryIO, path: Path) -> bool:
    """Whether the open file still is the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _same_lines(file: BinaryIO, packed: Path) -> bool:
    from codojo.trajectories.packed import open_packed

    try:
        with open_packed(packed) as other:
            same = all(line == other.readline() for line in file) and not other.read(1)
    except LogDamaged:
        same = False
    file.seek(0)
    return same


def _checked(file: BinaryIO, path: Path) -> Iterator[bytes]:
    offset = 0
    for line in file:
        if not is_whole(line):
            raise damage(path, offset)
        yield line
        offset += len(line)
