"""Rows of a whole log, task by task, in flat memory."""

import hashlib
import json
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import orjson
from pydantic_core import from_json

from codojo.trajectories.rows import PromptCompletion, Row, RowSource, Unpaired
from codojo.trajectories.schema import Message
from codojo.trajectories.spill import Spill

R = TypeVar("R", bound=Row)

SPREAD = 256
"""Parts that tasks are spread over by hash; one is in memory at a time."""
HELD_BYTES = 32_000_000


class Groups(Generic[R]):
    """Takes rows in any order and gives those of one task after the other. Use as a context manager.

    Tasks come in the order of a hash of suite and id, which mixes them; rows of one task in the order they
    were added. Beyond `held_bytes` rows wait in a temporary file as large as they are.
    """

    def __init__(self, kind: type[R], *, held_bytes: int = HELD_BYTES) -> None:
        self._kind = kind
        self._limit = held_bytes
        self._size = 0
        self._held: list[list[bytes]] = [[] for _ in range(SPREAD)]
        self._spill = Spill()
        self._digests: dict[tuple[str, str], bytes] = {}

    def add(self, row: R) -> None:
        """Keep a row for later.

        Raises:
            LogError: If a temporary file cannot be written.
        """
        digest = self._digest(row)
        line = digest + _to_json(row)
        self._held[digest[0] % SPREAD].append(line)
        self._size += len(line)
        if self._size > self._limit:
            for part, lines in enumerate(self._held):
                self._spill.put(part, _join(lines))
                lines.clear()
            self._size = 0

    def _digest(self, row: R) -> bytes:
        """A hash of the row's task; the last ones are kept, because rows of a task come together."""
        task = (row.source.suite, row.source.task_id)
        if task not in self._digests:
            if len(self._digests) == _KEPT_DIGESTS:
                self._digests.clear()
            name = "\n".join(task).encode("utf-8", "surrogatepass")
            self._digests[task] = hashlib.sha256(name).digest()[:_DIGEST]
        return self._digests[task]

    def __iter__(self) -> Iterator[list[R]]:
        for part, lines in enumerate(self._held):
            tasks: dict[bytes, list[bytes]] = {}
            for line in [*_split(self._spill.take(part)), *lines]:
                tasks.setdefault(line[:_DIGEST], []).append(line)
            lines.clear()
            for digest in sorted(tasks):
                found = tasks.pop(digest)
                yield [_read(self._kind, line[_DIGEST:]) for line in found]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._spill.__exit__(kind, error, trace)


_DIGEST = 16
_KEPT_DIGESTS = 10_000


def _to_json(row: Row) -> bytes:
    """The row as `_read` takes it; a lone surrogate, which no file format has, becomes `?`."""
    try:
        return orjson.dumps(row.__dict__, default=vars)
    except TypeError:
        return json.dumps(row.model_dump(), ensure_ascii=False).encode("utf-8", "replace")


def _read(kind: type[R], line: bytes) -> R:
    """The row again. Plain ones are put together without another check; they come from where they were made."""
    if kind not in _PLAIN or _CALLS in line:
        return kind.model_validate_json(line)
    raw = from_json(line, cache_strings="keys")
    raw["source"] = RowSource.trusted(**raw["source"])
    raw["prompt"] = tuple([_message(message) for message in raw["prompt"]])
    raw["completion"] = tuple([_message(message) for message in raw["completion"]])
    raw["tools"] = tuple(raw["tools"])
    return kind.trusted(**raw)


def _message(raw: dict[str, Any]) -> Message:
    raw["tool_calls"] = ()
    return Message.trusted(**raw)


_PLAIN: tuple[type[Row], ...] = (PromptCompletion, Unpaired)
_CALLS = b'"tool_calls":[{'


def _join(lines: list[bytes]) -> bytes:
    return b"".join(len(line).to_bytes(4, "big") + line for line in lines)


def _split(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : end]
        at = end
