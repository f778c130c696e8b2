"""Following a log while others write to it: every event of every process, as soon as it is whole."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from codojo.trajectories.artifacts import Artifacts
from codojo.trajectories.framing import Event, unframe
from codojo.trajectories.segments import damage, open_segment, refuse_newer, segments

POLL_S = 0.1


class Follower:
    """The events of a log from now on, or from its start; an iterator, and an asynchronous one.

    Events of one segment come in their order, each once, also while segments are compressed or
    rewritten. Events of several processes come as they are found. What is found was written; whether it
    is on disk already, only its writer knows. It ends when `stop` is called, not before.

    Args:
        folder: Of the log; it may not exist yet.
        from_start: Whether what is there already comes first.
        poll_s: Seconds between two looks.

    Raises:
        LogDamaged, LogTooNew: When iterating, as `read_log` does.
    """

    def __init__(self, folder: Path, *, from_start: bool = True, poll_s: float = POLL_S) -> None:
        self.folder = folder
        self._poll_s = poll_s
        self._stopped = False
        self._places: dict[int, _Place] = {}
        self._load = Artifacts.of(folder).text
        if not from_start:
            for _ in self.news():
                pass

    def stop(self) -> None:
        """End the iteration at its next look; also from another thread."""
        self._stopped = True

    def news(self) -> Iterator[Event]:
        """What has come since the last look; does not wait."""
        for number, path in segments(self.folder):
            place = self._places.setdefault(number, _Place())
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue  # packed just now: the next look finds it
            state = (path.name, stat.st_ino, stat.st_size)
            if state == place.state:
                continue
            with open_segment(path) as file:
                first = file.readline()
                if not first.endswith(b"\n"):
                    continue
                if first != place.first:
                    refuse_newer(path, first)
                    place.first, place.offset = (
                        first,
                        0,
                    )  # new, or rewritten: known numbers are skipped
                file.seek(place.offset)
                for line in file:
                    event = unframe(line, number, self._load)
                    if event is None:
                        if line.endswith(b"\n"):
                            raise damage(path, place.offset)
                        break
                    place.offset += len(line)
                    if event.seq > place.seq:
                        place.seq = event.seq
                        yield event
            place.state = state

    def __iter__(self) -> Iterator[Event]:
        while not self._stopped:
            yield from self.news()
            time.sleep(self._poll_s)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while not self._stopped:
            for event in await asyncio.to_thread(lambda: list(self.news())):
                yield event
            await asyncio.sleep(self._poll_s)


class _Place:
    """How far a segment was read."""

    first: bytes = b""
    offset: int = 0
    seq: int = -1
    state: tuple[str, int, int] | None = None


def follow(folder: Path, *, from_start: bool = True, poll_s: float = POLL_S) -> Follower:
    """Events of all processes as they come: `for event in follow(log)`, `async for ...`; see `Follower`."""
    return Follower(folder, from_start=from_start, poll_s=poll_s)
