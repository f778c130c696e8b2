"""JSON for the browser. Text of a model may hold lone surrogates, which no strict reader takes: they become `?`."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from codojo.graphs.hub import Hub

BEAT_S = 15.0
"""A sign of life after so many silent seconds, so that a dead connection is noticed."""


def encode(value: Any) -> bytes:
    """One line of JSON."""
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace")


async def stream(hub: Hub, start: int) -> AsyncIterator[bytes]:
    """Server-sent events of a hub, from a number on; each carries its number, to go on after a break.

    A reader that is slow is waited for by its own connection alone, and holds nothing but its place.
    """
    events = hub.read(start)
    coming: asyncio.Task[Any] | None = None
    yield b": hello\n\n"
    try:
        while True:
            coming = coming or asyncio.create_task(anext(events, None))
            await asyncio.wait({coming}, timeout=BEAT_S)
            if not coming.done():
                yield b": still here\n\n"
                continue
            found, coming = coming.result(), None
            if found is None:
                return
            number, event = found
            data = encode(event.model_dump(mode="python"))
            yield b"id: %d\ndata: %s\n\n" % (number, data)
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})
        await events.aclose()  # type: ignore[attr-defined]  # a generator
