"""Events of this process, for any number of readers: each sees all of them, early, late or slow."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager

from codojo.graphs.events import StepFinished, TeamEvent, TextDelta
from codojo.graphs.translate import Translator
from codojo.trajectories.watching import Seen, watched_by


class Hub:
    """One list that readers walk along at their own pace, so a slow one costs no memory of its own.

    Text deltas are taken out again once their step has finished, since the whole text is there then: what
    stays is as long as the log. Belongs to one event loop.
    """

    def __init__(self, past: Iterable[TeamEvent] = ()) -> None:
        self._events: list[TeamEvent | None] = list(past)
        self._deltas: dict[str, list[int]] = {}
        self._translator = Translator()
        self._news = asyncio.Event()
        self._closed = False
        self.listeners: list[Callable[[TeamEvent], None]] = []
        """Called with each event as it comes, in order; they must neither block nor raise."""

    def __len__(self) -> int:
        return len(self._events)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """What runs in the block is told to the readers."""
        with watched_by(self.see):
            yield

    def see(self, seen: Seen) -> None:
        """Take what a watcher is told."""
        for event in self._translator.events(seen):
            self.publish(event)

    def publish(self, event: TeamEvent) -> None:
        """Give an event to all readers."""
        if isinstance(event, TextDelta):
            self._deltas.setdefault(event.step, []).append(len(self._events))
        elif isinstance(event, StepFinished):
            for index in self._deltas.pop(event.step, ()):
                self._events[index] = None
        self._events.append(event)
        self._wake()
        for listener in self.listeners:
            listener(event)

    def close(self) -> None:
        """Let readers end once they have seen everything."""
        self._closed = True
        self._wake()

    async def read(self, start: int = 0) -> AsyncIterator[tuple[int, TeamEvent]]:
        """Every event from a place on, then those to come; ends when the hub is closed.

        Args:
            start: 0 for all of them; one more than the last number seen, to go on after a break.

        Yields:
            The event's number and the event.
        """
        at = start
        while True:
            news = self._news
            while at < len(self._events):
                event = self._events[at]
                if event is not None:
                    yield at, event
                at += 1
            if self._closed:
                return
            if news is self._news:
                await news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
