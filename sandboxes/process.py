"""One untrusted program from its start to the death of its whole tree, whatever the walls are."""

import asyncio
import contextlib
import secrets
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from codojo.errors import SandboxError
from codojo.sandboxes.contract import CageEnded, Ended, Limits
from codojo.sandboxes.supervisor import SUPERVISOR, Watched

START_S = 20.0
"""Seconds a cage may take to start on a crowded machine; it does so in about 0.03."""
GRACE_S = 2.0

BOOT = """
import os, resource, sys
marker, limits, source = sys.argv[1:4]
os.read(0, 1)
for pair in limits.split():
    name, value = pair.split("=")
    name = getattr(resource, name, None)
    if name is not None:
        value, hard = int(value), resource.getrlimit(name)[1]
        value = value if hard < 0 else min(value, hard)
        resource.setrlimit(name, (value, value))
os.write(1, marker.encode())
sys.argv = ["<codojo>"]
exec(compile(source, "<codojo>", "exec"), {"__name__": "__main__"})
"""
"""First code in the cage: waits until it is watched, sets the limits of each process, says that it
got there, and goes on."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a backend starts the interpreter behind its walls."""

    argv: Sequence[str]
    """Everything up to and including the interpreter's own options."""
    sealed: bool
    """Whether the program gets a pid namespace and tmpfs of its own."""
    uid: int | None = None
    """Real user and group to become before anything is started; None: stay who we are."""
    cwd: str | None = None
    pass_fds: Sequence[int] = ()


def process_limits(limits: Limits, *, count_processes: bool) -> str:
    """The limits that the kernel holds for each process, for `BOOT`."""
    pairs = {
        "RLIMIT_AS": limits.memory_mb << 20,
        "RLIMIT_CPU": limits.cpu_s,
        "RLIMIT_FSIZE": limits.tmp_mb << 20,
        "RLIMIT_NOFILE": 128,
        "RLIMIT_CORE": 0,
    }
    if count_processes:
        # Counted for each user of each user namespace, so for this cage alone.
        pairs["RLIMIT_NPROC"] = limits.processes
    return " ".join(f"{name}={value}" for name, value in pairs.items())


@dataclass(slots=True)
class Caged:
    """A started program, its pipes and its guard. Implements `OpenProcess`."""

    process: asyncio.subprocess.Process
    watched: Watched
    limits: Limits
    started_at: float = field(default_factory=time.monotonic)

    async def send(self, frame: bytes) -> None:
        """Hand over one frame."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(struct.pack(">I", len(frame)) + frame)
            await self.process.stdin.drain()
        except (ConnectionError, RuntimeError) as err:
            raise CageEnded(self.ended, "the program no longer reads") from err

    async def receive(self) -> bytes:
        """The next frame; its length is checked before anything of it is read."""
        assert self.process.stdout is not None
        try:
            (size,) = struct.unpack(">I", await self.process.stdout.readexactly(4))
            if size > self.limits.output_bytes:
                self.watched.end("output")
                raise CageEnded("output", f"a frame of {size} bytes")
            return await self.process.stdout.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as err:
            raise CageEnded(self.ended, "the program ended without an answer") from err

    @property
    def ended(self) -> Ended:
        """How it ended, as far as we had a hand in it."""
        return self.watched.ended or "exited"

    async def _gone(self) -> None:
        """Wait until the process we started has ended, whoever still holds its pipes."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.watched.pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self.watched.pidfd)

    async def kill(self) -> None:
        """End the tree and wait until it is gone; safe to call while cancelled."""
        ending = asyncio.ensure_future(self._end())
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await ending
            raise

    async def _end(self) -> None:
        SUPERVISOR.release(self.watched)
        self.watched.end("exited" if self.watched.exited() else "killed")
        try:
            async with asyncio.timeout(GRACE_S):
                await self._gone()
        except TimeoutError:
            self.watched.kill_guard()
            await self._gone()
        # The pipes may hold data that nobody reads any more, and `wait` needs their end. Closing the
        # whole transport now would reap the process behind asyncio's back, which logs a warning.
        transport = self.process._transport  # type: ignore[attr-defined]  # no public way to it
        for number in (0, 1, 2):
            transport.get_pipe_transport(number).close()
        await self.process.wait()
        transport.close()
        self.watched.close()


@asynccontextmanager
async def started(launch: Launch, limits: Limits, source: str) -> AsyncIterator[Caged]:
    """A Python program that got past its walls and limits; leaving kills its tree.

    Raises:
        SandboxError: If it could not be started, with what the backend said.
    """
    marker = secrets.token_hex(8)
    pairs = process_limits(limits, count_processes=launch.sealed)
    argv = [*launch.argv, "-c", BOOT, marker, pairs, source]
    spawning = asyncio.ensure_future(_spawn(launch, limits, argv))
    try:
        caged = await asyncio.shield(spawning)
    except asyncio.CancelledError:
        # Never cancelled itself: asyncio (3.11) waits for ever if its pipes are half connected.
        with contextlib.suppress(SandboxError):
            await (await spawning).kill()
        raise
    try:
        SUPERVISOR.watch(caged.watched)
        await _await_marker(caged, marker.encode())
        caged.started_at = time.monotonic()
        caged.watched.tmpfs = launch.sealed
        caged.watched.deadline = caged.started_at + limits.wall_s
        yield caged
    finally:
        await caged.kill()


async def _spawn(launch: Launch, limits: Limits, argv: Sequence[str]) -> Caged:
    """Start the guard; its program waits until it is told that it is watched."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={},
            cwd=launch.cwd or "/",
            close_fds=True,
            pass_fds=tuple(launch.pass_fds),
            start_new_session=True,
            user=launch.uid,
            group=launch.uid,
            extra_groups=None if launch.uid is None else [],
        )
    except OSError as err:
        raise SandboxError(f"cannot start {argv[0]}: {err.strerror or err}") from err
    try:
        watched = Watched(process.pid, limits, time.monotonic() + START_S, launch.sealed)
    except ProcessLookupError:
        await process.wait()
        raise SandboxError(f"the cage did not start: {await _complaint(process)}") from None
    return Caged(process, watched, limits)


async def _await_marker(caged: Caged, marker: bytes) -> None:
    assert caged.process.stdout is not None and caged.process.stdin is not None
    try:
        caged.process.stdin.write(b"\n")
        if await caged.process.stdout.readexactly(len(marker)) == marker:
            return
        said = "it did not say that it started"
    except asyncio.IncompleteReadError:
        said = await _complaint(caged.process)
    raise SandboxError(f"the cage did not start ({caged.ended}): {said}")


async def _complaint(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    said = (await process.stderr.read(2000)).decode(errors="replace")
    return said.strip() or f"it gave no reason (exit code {process.returncode})"
