"""An orderly stop: what is under way ends and is logged, nothing new begins."""

import asyncio
from dataclasses import dataclass, field


@dataclass
class Stop:
    """Shared by the journals of a run. Once `reason` is set no further effect is performed.

    A rollout that asks for one waits, without an error: an exception in one node would make
    LangGraph cancel its neighbours, whose answers are on their way and paid for.
    """

    reason: str = ""
    busy: int = 0
    """Effects under way."""
    left: int = 0
    """Effects that were under way when the time was over."""
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _asked: asyncio.Event = field(default_factory=asyncio.Event)

    def request(self, reason: str) -> None:
        """Let nothing new begin; call it from the event loop."""
        self.reason = self.reason or reason
        self._asked.set()
        self._look()

    def began(self) -> None:
        """An effect is under way."""
        self.busy += 1

    def ended(self) -> None:
        """An effect is logged, or failed."""
        self.busy -= 1
        self._look()

    async def requested(self) -> None:
        """Wait until somebody wants to stop."""
        await self._asked.wait()

    async def idle(self) -> None:
        """Wait until a stop was requested and no effect is under way."""
        await self._idle.wait()

    async def park(self) -> None:
        """Wait for the end that is coming."""
        await asyncio.get_running_loop().create_future()

    def _look(self) -> None:
        if self.reason and not self.busy:
            self._idle.set()
