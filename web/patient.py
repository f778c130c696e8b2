"""An HTTP connection that waits for a whole head only so long; uvicorn alone would wait for ever."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""Seconds in which the head of a request must have arrived, from the opening of the connection on."""


class Patient(H11Protocol):
    """uvicorn's, with an end to its patience."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Somebody connects."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Bytes have come; they may be a whole head, or one more byte of an endless one."""
        super().data_received(data)
        if self._has_head():
            self._let_go()
        elif self._patience is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Somebody has gone."""
        self._let_go()
        super().connection_lost(exc)

    def _has_head(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._patience = self.loop.call_later(HEAD_S, self._too_long)

    def _let_go(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _too_long(self) -> None:
        self._patience = None
        if not self._has_head() and not self.transport.is_closing():
            self.transport.close()
