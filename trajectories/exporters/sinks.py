"""Where records go: a file of lines, or a file for each; hashed while they are written."""

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from codojo.trajectories.exporters.formats import JsonObject

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


class Part(NamedTuple):
    """One part of the data, such as `train` or `validation`."""

    rows: int
    sha256: str


class Sink(Protocol):
    """Takes the records of one part."""

    def add(self, record: JsonObject, name: str) -> None:
        """Take one record; `name` is for sinks that make a file of each.

        Raises:
            NotExpressible: If this kind of file cannot hold it.
        """

    def close(self) -> Part:
        """Finish, sync, and say what was written."""

    def abandon(self) -> None:
        """Let go without finishing."""


class HashedFile:
    """A file that is only written to, front to back; looks enough like a file for pyarrow."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=1 << 20)
        self._digest = hashlib.sha256()
        self._size = 0

    @property
    def closed(self) -> bool:
        """Whether nothing more can be written."""
        return self._file.closed

    def write(self, data: Any) -> int:
        """Append bytes."""
        self._digest.update(data)
        written = self._file.write(data)
        self._size += written
        return written

    def tell(self) -> int:
        """Bytes so far."""
        return self._size

    def flush(self) -> None:
        """Nothing: `finish` does it once."""

    def close(self) -> None:
        """Let go of the file; its content may be unfinished."""
        with contextlib.suppress(OSError):
            self._file.close()

    def finish(self) -> str:
        """Sync and close; returns the SHA-256 of the content."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._digest.hexdigest()


class Lines:
    """One JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._file = HashedFile(path)
        self._rows = 0

    def add(self, record: JsonObject, name: str) -> None:
        """Write one line."""
        self._file.write(to_json(record) + b"\n")
        self._rows += 1

    def close(self) -> Part:
        """Finish and sync."""
        return Part(self._rows, self._file.finish())

    def abandon(self) -> None:
        """Close as it is."""
        self._file.close()


class Files:
    """A folder with one file for each record; its hash is that of the lines `<sha256>  <name>`."""

    def __init__(self, path: Path, suffix: str) -> None:
        self._path = path
        self._suffix = suffix
        self._rows = 0
        self._digest = hashlib.sha256()
        path.mkdir()

    def add(self, record: JsonObject, name: str) -> None:
        """Write one file.

        Raises:
            ValueError: If the name is not safe (`writing.safe_name` makes it so), or taken.
        """
        if not _SAFE.fullmatch(name):
            raise ValueError(f"{name!r} is no safe file name; make it with safe_name")
        target = self._path / f"{name}{self._suffix}"
        if target.exists():
            raise ValueError(f"two items are called {name!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        text = to_json(record) + b"\n"
        write_synced(target, text)
        digest = hashlib.sha256(text).hexdigest()
        self._digest.update(f"{digest}  {name}{self._suffix}\n".encode())
        self._rows += 1

    def close(self) -> Part:
        """Sync the folders."""
        for folder in (self._path, *(p for p in self._path.rglob("*") if p.is_dir())):
            sync(folder)
        return Part(self._rows, self._digest.hexdigest())

    def abandon(self) -> None:
        """Nothing is open."""


class Nowhere:
    """Counts and hashes what `Lines` would write."""

    def __init__(self) -> None:
        self._rows = 0
        self._digest = hashlib.sha256()

    def add(self, record: JsonObject, name: str) -> None:
        """Count one record."""
        self._digest.update(to_json(record) + b"\n")
        self._rows += 1

    def close(self) -> Part:
        """Say what was counted."""
        return Part(self._rows, self._digest.hexdigest())

    def abandon(self) -> None:
        """Nothing is open."""


def to_json(record: JsonObject) -> bytes:
    """A record as UTF-8 on one line, keys as they stand; a lone surrogate, which models do produce, becomes `?`.

    Raises:
        ValueError: For NaN and infinities, which JSON cannot say.
    """
    try:
        return orjson.dumps(record)
    except (orjson.JSONEncodeError, TypeError):
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode("utf-8", "replace")


def write_synced(path: Path, data: bytes) -> None:
    """A new file, on disk when this returns."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Make names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
