"""The backend `none`: a plain process with time and output limits and no walls at all.

For machines where no cage can be built, and only where a person asked for it. A candidate can read
and write whatever the person can, reach the network, and outlive its step by leaving its session.
"""

import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from codojo.sandboxes.contract import Capabilities, Limits
from codojo.sandboxes.process import Caged, Launch, started
from codojo.sandboxes.sources import Program


class Plain:
    """Programs without walls, under the same contract."""

    sealed = False

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.capabilities = Capabilities("none")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to close."""

    @asynccontextmanager
    async def open(self, program: Program, *, limits: Limits | None = None) -> AsyncIterator[Caged]:
        """Run a program in a temporary folder and talk to it in frames."""
        place = tempfile.mkdtemp(prefix="codojo-plain-")
        try:
            launch = Launch([sys.executable, "-I", "-S", "-B"], sealed=False, cwd=place)
            async with started(launch, limits or self.limits, program) as caged:
                yield caged
        finally:
            shutil.rmtree(place, ignore_errors=True)
