"""How one event becomes one line of a segment, and a line an event again.

A line is JSON with sorted keys and a checksum as its last member:

    {"at":...,"data":{...},"kind":"effect","rollout":"01J...","seq":7,"sum":"9ae0daaf"}

`sum` is the CRC-32 of the line without it. A text that moved to the artifact store leaves null in
`data`, and its place and name in `large`, beside `data`: nothing inside `data` can pass for it.
"""

import json
import re
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic_core import from_json

from codojo.canonical import quick_json

SCHEMA = 2
"""Version of the format, in the first event of every segment. Version 1 knew no `large`."""

OPENED = "segment_opened"
"""Kind of the first event of a segment."""
REMOVED, LOST = "removed", "lost"
"""Kinds of what stands where an event was taken out on purpose, and where damage took some."""

_TAIL_BYTES = 19
_END_BYTES = 400
_END = re.compile(
    rb',"kind":("(?:[^"\\]|\\.)*")(,"large":\{[^{}]*\})?'
    rb',"rollout":(null|"(?:[^"\\]|\\.)*"),"seq":(\d+),"sum":"[0-9a-f]{8}"\}\n\Z'
)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log."""

    segment: int
    seq: int
    at: float
    kind: str
    rollout: str | None
    data: dict[str, Any]


class Skimmed(NamedTuple):
    """What stands behind an event's data."""

    kind: str
    rollout: str | None
    seq: int


def now() -> float:
    """Seconds since 1970, UTC, to the microsecond."""
    return time.time_ns() // 1000 / 1e6


def frame(
    seq: int,
    at: float,
    kind: str,
    rollout: str | None,
    data: object,
    large: Mapping[str, str] | None = None,
) -> bytes:
    """The line that stores an event, newline included.

    Args:
        large: Name of the artifact for each place in `data` (a JSON pointer) that holds null for it.
    """
    raw = {"seq": seq, "at": at, "kind": kind, "rollout": rollout, "data": data}
    if large:
        raw["large"] = large
    body = quick_json(raw)
    return body[:-1] + _tail(body)


def is_whole(line: bytes) -> bool:
    """Whether the line is what was written, by its checksum."""
    return line[-_TAIL_BYTES:] == _tail(line[:-_TAIL_BYTES] + b"}")


def unframe(line: bytes, segment: int, load: Callable[[str], str] | None = None) -> Event | None:
    """The event of a line with its newline, or None where the line is not what was written.

    Args:
        load: Gives the text of an artifact by its name; None leaves its place null.

    Raises:
        LogDamaged: From `load`, where an artifact is missing or damaged.
    """
    if not is_whole(line):
        return None
    raw = _object(line)
    if raw is None:
        return None
    data = raw["data"]
    try:
        if load is not None:
            for pointer, name in raw.get("large", {}).items():
                data = _put(data, pointer, load(name))
        return Event(segment, raw["seq"], raw["at"], raw["kind"], raw["rollout"], data)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError):
        return None


def artifacts_of(line: bytes) -> dict[str, str]:
    """What a whole line has in the artifact store: names by their places in `data`."""
    if b'"large":' not in line:
        return {}
    raw = _object(line) or {}
    large: dict[str, str] = raw.get("large", {})
    return large


def skim(line: bytes) -> Skimmed | None:
    """Kind, rollout and number of an event without reading its data; None: read the line whole.

    They stand behind the data, so that nothing in it can pass for them.
    """
    found = _END.search(line, max(0, len(line) - _END_BYTES))
    if found is None:
        return None
    kind, _, rollout, seq = found.groups()
    return Skimmed(json.loads(kind), json.loads(rollout), int(seq))


def _object(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line whose checksum held; None where it is none of ours."""
    try:
        raw = from_json(line, cache_strings="keys")
    except ValueError:  # lone surrogates, which it does not let pass
        try:
            raw = json.loads(line.decode("utf-8", "surrogatepass"))
        except ValueError:
            return None
    return raw if isinstance(raw, dict) and raw.keys() >= _MEMBERS else None


_MEMBERS = {"at", "data", "kind", "rollout", "seq"}


def _tail(body: bytes) -> bytes:
    """What stands in a line in place of the body's closing brace."""
    return b',"sum":"%08x"}\n' % zlib.crc32(body)


def _put(data: Any, pointer: str, text: str) -> Any:
    """The data with a text at the place that a JSON pointer (RFC 6901) names."""
    if not pointer:
        return text
    *path, last = (p.replace("~1", "/").replace("~0", "~") for p in pointer[1:].split("/"))
    inner = data
    for part in path:
        inner = inner[int(part)] if isinstance(inner, list) else inner[part]
    inner[int(last) if isinstance(inner, list) else last] = text
    return data
