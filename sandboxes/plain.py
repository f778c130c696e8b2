"""The backend `none`: a plain process with time and output limits and no walls at all.

For machines where no cage can be built, and only where a person asked for it. A candidate can read
and write whatever the person can, reach the network, and outlive its step by leaving its session.
"""

import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from codojo.sandboxes.contract import Capabilities, ExecResult, Limits
from codojo.sandboxes.process import Caged, Launch, started


class Plain:
    """Programs without walls, under the same contract."""

    sealed = False
    python = sys.executable

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

    async def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        files: Mapping[str, str] = {},
        limits: Limits | None = None,
    ) -> ExecResult:
        """Run a program to its end in a temporary folder."""
        limits = limits or self.limits
        async with self._started(limits, "argv", argv, files) as caged:
            return await caged.run(stdin)

    @asynccontextmanager
    async def open(self, source: str, *, limits: Limits | None = None) -> AsyncIterator[Caged]:
        """Run Python source and talk to it in frames."""
        rest = ["<codojo>", source]
        async with self._started(limits or self.limits, "source", rest, {}) as caged:
            yield caged

    @asynccontextmanager
    async def _started(
        self, limits: Limits, kind: str, rest: Sequence[str], files: Mapping[str, str]
    ) -> AsyncIterator[Caged]:
        place = Path(tempfile.mkdtemp(prefix="codojo-plain-"))
        try:
            _lay_out(place, files)
            launch = Launch([self.python, "-I", "-S", "-B"], sealed=False, cwd=str(place))
            async with started(launch, limits, kind, rest) as caged:
                yield caged
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _lay_out(place: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = (place / name).resolve()
        if not path.is_relative_to(place.resolve()):
            raise ValueError(f"file {name!r} must have a relative path inside the cage")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
