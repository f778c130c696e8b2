# Every module imported here is paid for by every cage.
"""Frames between judge and cage, for the programs inside: four bytes of length, a line of JSON, a body.

Sent as source, so standard library only, down to Python 3.9.
"""

from __future__ import annotations

import json
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def claim_pipes() -> tuple[int, int]:
    """Standard input and output, moved away from the numbers that programs write to."""
    source, target = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    return source, target


def read_frame(source: int) -> bytes | None:
    """The next frame; None at the end."""
    head = _read_exactly(source, 4)
    return None if head is None else _read_exactly(source, struct.unpack(">I", head)[0])


def read_question(source: int) -> tuple[dict[str, Any], bytes] | None:
    """The next frame as its line of JSON and its body; None at the end."""
    frame = read_frame(source)
    if frame is None:
        return None
    line, _, body = frame.partition(b"\n")
    return json.loads(line), body


def write_frame(target: int, head: dict[str, Any], body: bytes = b"") -> None:
    """Write a frame whole."""
    data = json.dumps(head).encode() + b"\n" + body
    view = memoryview(struct.pack(">I", len(data)) + data)
    while view:
        view = view[os.write(target, view) :]


def _read_exactly(source: int, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(source, min(size - len(data), 1 << 20))
        if not chunk:
            return None
        data += chunk
    return bytes(data)
