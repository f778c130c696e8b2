"""One untrusted program from its start to the death of its whole tree, whatever the walls are."""

import asyncio
import contextlib
import secrets
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from codojo.errors import SandboxError
from codojo.sandboxes import cgroups
from codojo.sandboxes.cgroups import Cgroup
from codojo.sandboxes.contract import CageEnded, Ended, Limits
from codojo.sandboxes.sources import Program
from codojo.sandboxes.supervisor import SUPERVISOR, Role, Watched, tree

T = TypeVar("T")

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


def process_limits(limits: Limits, *, processes: int | None) -> dict[str, int]:
    """The limits that the kernel holds for each process, by their name in `resource`.

    Args:
        processes: Counted for each user of each user namespace, so only for cages that have one.
    """
    pairs = {
        "RLIMIT_AS": limits.memory_mb << 20,
        "RLIMIT_CPU": limits.cpu_s,
        "RLIMIT_FSIZE": limits.tmp_mb << 20,
        "RLIMIT_NOFILE": 128,
        # Not 0: the kernel pipes a core to a handler of the host all the same, except at 1.
        "RLIMIT_CORE": 1,
        # Counted for the user as a whole, outside included.
        "RLIMIT_SIGPENDING": 256,
    }
    return pairs if processes is None else {**pairs, "RLIMIT_NPROC": processes}


@dataclass(slots=True)
class Caged:
    """A running program behind its walls, spoken to in frames. Implements `OpenProcess`."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    watched: Watched
    limits: Limits

    async def send(self, frame: bytes) -> None:
        """Hand over one frame."""
        try:
            self.writer.write(struct.pack(">I", len(frame)) + frame)
            await self.writer.drain()
        except (ConnectionError, RuntimeError) as err:
            raise CageEnded(self.ended, "the program no longer reads") from err

    async def receive(self) -> bytes:
        """The next frame; its length is checked before anything of it is read."""
        try:
            (size,) = struct.unpack(">I", await self.reader.readexactly(4))
            if size > self.limits.output_bytes:
                self.watched.end("output")
                raise CageEnded("output", f"a frame of {size} bytes")
            return await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as err:
            raise CageEnded(self.ended, "the program ended without an answer") from err

    @property
    def ended(self) -> Ended:
        """How it ended, as far as we had a hand in it."""
        group = self.watched.cgroup
        if self.watched.ended is None and group is not None and group.lacked_memory():
            self.watched.ended = "memory"
        return self.watched.ended or "exited"

    async def lacked_memory(self) -> bool:
        """Whether a control group proves that memory was refused."""
        return self.watched.cgroup is not None and self.watched.cgroup.lacked_memory()


async def readable(*descriptors: int) -> None:
    """Wait until one has something to read, be it its end; a pidfd has when its process has ended."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    for descriptor in descriptors:
        loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        for descriptor in descriptors:
            loop.remove_reader(descriptor)


async def end_tree(watched: Watched) -> None:
    """End a tree and wait until it is gone, whoever still holds its pipes."""
    SUPERVISOR.release(watched)
    watched.end("exited" if watched.exited() else "killed")
    try:
        async with asyncio.timeout(GRACE_S):
            await readable(watched.pidfd)
    except TimeoutError:
        watched.kill()
        await readable(watched.pidfd)


async def uncancelled(ending: Awaitable[T]) -> T:
    """Finish something even where the caller is cancelled meanwhile; then pass that on."""
    task = asyncio.ensure_future(ending)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


@asynccontextmanager
async def started(launch: Launch, limits: Limits, program: Program) -> AsyncIterator[Caged]:
    """A Python program that got past its walls and limits; leaving kills its tree.

    Raises:
        SandboxError: If it could not be started, with what the backend said.
    """
    marker = secrets.token_hex(8)
    held = process_limits(limits, processes=limits.processes if launch.sealed else None)
    pairs = " ".join(f"{name}={value}" for name, value in held.items())
    argv = [*launch.argv, "-c", BOOT, marker, pairs, program.whole()]
    spawning = asyncio.ensure_future(_spawn(launch, argv))
    try:
        process = await asyncio.shield(spawning)
    except asyncio.CancelledError:
        # Never cancelled itself: asyncio (3.11) waits for ever if its pipes are half connected.
        with contextlib.suppress(SandboxError):
            process = await spawning
            process.kill()
            await _reaped(process)
        raise
    assert process.stdin is not None and process.stdout is not None
    try:
        role: Role = "guard" if launch.sealed else "leader"
        watched = Watched(process.pid, limits, time.monotonic() + START_S, role)
    except ProcessLookupError:
        await process.wait()
        raise SandboxError(f"the cage did not start: {await _complaint(process)}") from None
    caged = Caged(process.stdout, process.stdin, watched, limits)
    try:
        SUPERVISOR.watch(watched)
        await _await_marker(process, caged, marker.encode())
        # Nothing of the candidate's runs yet: the program waits for its first frame.
        if launch.sealed:
            watched.cgroup = await grouped(process.pid, limits, more_processes=1)
        watched.tmpfs = launch.sealed
        watched.deadline = time.monotonic() + limits.wall_s
        yield caged
    finally:
        await uncancelled(_end(process, watched))


async def grouped(pid: int, limits: Limits, *, more_processes: int) -> Cgroup | None:
    """A control group with a process and all below it; None where the machine has none for us."""
    group = cgroups.make(limits, more_processes=more_processes)
    if group is None:
        return None
    try:
        for member in [pid, *tree(pid).pids]:
            await asyncio.to_thread(group.add, member)  # the kernel may take some milliseconds
    except OSError:
        await group.close()
        return None
    return group


async def _end(process: asyncio.subprocess.Process, watched: Watched) -> None:
    await end_tree(watched)
    await _reaped(process)
    watched.close()
    if watched.cgroup is not None:
        await watched.cgroup.close()


async def _reaped(process: asyncio.subprocess.Process) -> None:
    """Wait for a process that is dead or dying.

    Its pipes may hold data that nobody reads any more, and `wait` needs their end. Closing the
    whole transport now would reap the process behind asyncio's back, which logs a warning.
    """
    transport = process._transport  # type: ignore[attr-defined]  # no public way to it
    for number in (0, 1, 2):
        transport.get_pipe_transport(number).close()
    await process.wait()
    transport.close()
    # It was gone before it read: told elsewhere, and Python warns of an error that nobody took.
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        await process.stdin.wait_closed()


async def _spawn(launch: Launch, argv: Sequence[str]) -> asyncio.subprocess.Process:
    """Start the guard; its program waits until it is told that it is watched."""
    try:
        return await asyncio.create_subprocess_exec(
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


async def _await_marker(process: asyncio.subprocess.Process, caged: Caged, marker: bytes) -> None:
    try:
        caged.writer.write(b"\n")
        if await caged.reader.readexactly(len(marker)) == marker:
            return
        said = "it did not say that it started"
    except asyncio.IncompleteReadError:
        said = await _complaint(process)
    raise SandboxError(f"the cage did not start ({caged.ended}): {said}")


async def _complaint(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    said = (await process.stderr.read(2000)).decode(errors="replace")
    return said.strip() or f"it gave no reason (exit code {process.returncode})"
