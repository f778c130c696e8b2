"""Files of other programs, read as JSON values under caps: everything in them is hostile."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from codojo.errors import ImportRefused

MAX_DOCUMENT = 256 << 20
"""Bytes of a file that is one JSON document, and of all event files of one folder."""
MAX_LINE = 64 << 20
"""Bytes of one line of JSON Lines."""
MAX_DEPTH = 100
"""Levels of objects and lists in one value."""
MAX_EVENTS = 50_000
"""Event files of one folder."""
MAX_INT = 2**63

EVENT_FILE = re.compile(r"event-(\d{5,})-[0-9a-zA-Z-]+\.json")
"""What OpenHands calls the files of a conversation."""


class Value(NamedTuple):
    """One JSON value of a file."""

    value: Any
    sha256: str
    """Of its bytes."""
    line: int | None
    """Counted from 1; None where it is the whole file."""


@dataclass(frozen=True)
class Source:
    """A file or folder that was looked at."""

    path: Path
    sha256: str
    values: int
    """How many JSON values it holds."""


def look_at(path: Path) -> Source:
    """Read it once to the end.

    Raises:
        ImportRefused: If it is no readable file or folder of events, or beyond a cap.
    """
    if path.is_dir():
        files = _event_files(path)
        return Source(path, _folder_hash(files), 1)
    digest = hashlib.sha256()
    values = 0
    with _opened(path) as file:
        is_lines = _is_lines(file)
        for line in _lines(file, path, MAX_LINE if is_lines else MAX_DOCUMENT):
            digest.update(line)
            values += bool(line.strip())
    return Source(path, digest.hexdigest(), values if is_lines else min(values, 1))


def values(path: Path, refused: Callable[[ImportRefused], None] | None = None) -> Iterator[Value]:
    """The JSON values of a file in order: each line of JSON Lines, or the one document; or a folder's events.

    Args:
        refused: Gets what is wrong with a line, which is then left out.

    Raises:
        ImportRefused: With file and line, at the first value that cannot be read.
    """
    if path.is_dir():
        yield _folder(path)
        return
    with _opened(path) as file:
        if not _is_lines(file):
            data = b"".join(_lines(file, path, MAX_DOCUMENT))
            yield Value(parse(data, path), hashlib.sha256(data).hexdigest(), None)
            return
        for number, line in enumerate(_lines(file, path, MAX_LINE), 1):
            stripped = line.strip()
            if not stripped:
                continue
            try:
                value = parse(stripped, path, number)
            except ImportRefused as err:
                if refused is None:
                    raise
                refused(err)
                continue
            yield Value(value, hashlib.sha256(stripped).hexdigest(), number)


def place(path: Path, line: int | None) -> str:
    """A file and a line as people write them."""
    return str(path) if line is None else f"{path}, line {line}"


def parse(data: bytes, path: Path, line: int | None = None) -> Any:
    """JSON that the log can hold: no NaN, nothing too deep, no number beyond 64 bits.

    Raises:
        ImportRefused: With file and line.
    """
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=_constant)
    except json.JSONDecodeError as err:
        if not data.strip():
            raise ImportRefused(f"{place(path, line)} is empty") from None
        at = err.lineno if line is None else line
        raise ImportRefused(
            f"{place(path, at)} is no JSON: {err.msg} at column {err.colno}"
        ) from None
    except RecursionError:
        raise ImportRefused(
            f"{place(path, line)} is nested more than {MAX_DEPTH} levels deep"
        ) from None
    except UnicodeDecodeError as err:
        raise ImportRefused(
            f"{place(path, line)} is no UTF-8: {err.reason} at byte {err.start}"
        ) from None
    except (ValueError, ImportRefused) as err:
        raise ImportRefused(f"{place(path, line)} cannot be read: {err}") from None
    try:
        _check(value)
    except ImportRefused as err:
        raise ImportRefused(f"{place(path, line)} {err}") from None
    return value


def _constant(name: str) -> NoReturn:
    raise ImportRefused(f"{name} is no JSON number")


def _check(root: Any) -> None:
    """Depth and numbers, without recursion."""
    level = [root]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                deeper += value.values()
            elif isinstance(value, list):
                deeper += value
            elif isinstance(value, float) and not math.isfinite(value):
                raise ImportRefused("holds a number that is too large for JSON readers")
            elif isinstance(value, int) and not -MAX_INT <= value < MAX_INT:
                raise ImportRefused("holds a whole number of more than 64 bits")
        if not deeper:
            return
        level = deeper
    raise ImportRefused(f"is nested more than {MAX_DEPTH} levels deep")


def _opened(path: Path) -> IO[bytes]:
    if path.exists() and not path.is_file():
        raise ImportRefused(f"{path} is neither a file nor a folder")
    try:
        return path.open("rb")
    except OSError as err:
        raise ImportRefused(f"cannot read {path}: {err.strerror}") from err


def _is_lines(file: IO[bytes]) -> bool:
    """Whether the first line is a whole object or list and more follows; else the file is one document."""
    file.seek(0)
    first = b""
    while not first.strip():
        first = file.readline(MAX_LINE)
        if not first:
            return False
    rest = b" "
    while rest and not rest.strip():
        rest = file.read(4096)
    file.seek(0)
    try:
        return bool(rest) and isinstance(json.loads(first.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        # A broken first line of JSON Lines: what stands on the second tells.
        return first[:1] == b"{" and first.strip() != b"{" and rest.lstrip()[:1] == b"{"


def _lines(file: IO[bytes], path: Path, cap: int) -> Iterator[bytes]:
    """Lines, none longer than the cap; of one document, all of it."""
    total = 0
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        total += len(line)
        if len(line) > MAX_LINE and cap == MAX_LINE:
            raise ImportRefused(
                f"{place(path, number)} is longer than {MAX_LINE >> 20} MiB; split it, or leave it out"
            )
        if cap == MAX_DOCUMENT and total > cap:
            raise ImportRefused(
                f"{path} is one JSON document of more than {MAX_DOCUMENT >> 20} MiB; split it into JSON Lines"
            )
        yield line


def _event_files(folder: Path) -> list[Path]:
    inner = folder / "events"
    place = inner if inner.is_dir() else folder
    found = sorted(
        (path for path in place.iterdir() if EVENT_FILE.fullmatch(path.name)),
        key=lambda path: (int(path.name.split("-")[1][:18]), path.name),
    )
    if not found:
        raise ImportRefused(
            f"{folder} is a folder without event files (event-00000-ID.json); name the files in it instead"
        )
    if len(found) > MAX_EVENTS:
        raise ImportRefused(f"{folder} holds more than {MAX_EVENTS:,} events")
    return found


def _folder_hash(files: list[Path]) -> str:
    lines = []
    for path in files:
        with _opened(path) as file:
            lines.append(f"{hashlib.sha256(file.read(MAX_DOCUMENT)).hexdigest()}  {path.name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _folder(folder: Path) -> Value:
    """All events of a conversation, and its base state where that lies beside them."""
    files = _event_files(folder)
    events = []
    size = 0
    for path in files:
        with _opened(path) as file:
            data = file.read(MAX_DOCUMENT + 1)
        size += len(data)
        if size > MAX_DOCUMENT:
            raise ImportRefused(f"the events of {folder} are more than {MAX_DOCUMENT >> 20} MiB")
        events.append(parse(data, path))
    state: Any = {}
    for path in (folder / "base_state.json", folder.parent / "base_state.json"):
        if path.is_file():
            with _opened(path) as file:
                state = parse(file.read(MAX_DOCUMENT), path)
            break
    return Value({"events": events, "base_state": state}, _folder_hash(files), None)
