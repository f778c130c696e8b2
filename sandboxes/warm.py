"""The warm backend: bubblewrap's walls, made once; each execution is a fork behind walls of its own.

What a fresh cage costs is nearly all its interpreter's start. Here a parent that has started one, and that holds no secret and no candidate's text, forks a child for each execution into fresh
mount, process and IPC namespaces with small file systems of its own (`warm_parent.py`). It does so
ahead: as soon as everything of one execution is gone, the next child is made, gives up all rights
and waits for its program, which comes over a channel of its own. A parent never has two children.

What executions have in common: the read-only `/usr`; the address layout and hash seed of their
parent; its network namespace, of which the filter of system calls leaves them Unix sockets only, and
those end with their process; the nodes of a few devices, whose times only the host can set. Every path
a candidate could leave a mark on is new or closed.
"""

import asyncio
import contextlib
import json
import math
import os
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self

from codojo.errors import SandboxError
from codojo.sandboxes import selftest
from codojo.sandboxes.bubblewrap import DEVICES, PYTHON_OPTIONS, Bubblewrap
from codojo.sandboxes.cgroups import Cgroup
from codojo.sandboxes.contract import CageEnded, Capabilities, Limits
from codojo.sandboxes.leftovers import sweep
from codojo.sandboxes.process import (
    START_S,
    Caged,
    end_tree,
    grouped,
    process_limits,
    readable,
    uncancelled,
)
from codojo.sandboxes.sources import NAMES, Program, program, shared_modules
from codojo.sandboxes.supervisor import INODE_BYTES, SUPERVISOR, Watched, children

IMPORTS = (
    *("array", "base64", "bisect", "builtins", "collections", "collections.abc", "copy"),
    *("dataclasses", "datetime", "enum", "functools", "hashlib", "heapq", "itertools", "json"),
    *("math", "operator", "os", "random", "re", "select", "signal", "stat", "string", "struct"),
    *("sys", "time", "types", "typing"),
)
"""What our programs and most candidates import."""
OWN_PROCESSES = 1
"""The parent, which a user's count of processes includes."""


class Warm:
    """Cages by forking. Enter it once; then any number of programs may run at a time."""

    sealed = True

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.capabilities = Capabilities("warm")
        self._walls = Bubblewrap(limits)
        self._idle: deque[_Parent] = deque()
        """The one that has rested longest is first: its child is the likeliest to be ready."""
        self._closed = False

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(sweep)
        try:
            self.capabilities = await selftest.require(self)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    @asynccontextmanager
    async def open(self, program: Program, *, limits: Limits | None = None) -> AsyncIterator[Caged]:
        """Run a program as the first process of a fresh child and talk to it in frames."""
        limits = limits or self.limits
        parent = await self._parent(limits)
        try:
            caged = await parent.start(program, limits)
        except BaseException:
            await uncancelled(parent.close())
            raise
        try:
            yield caged
        finally:
            await uncancelled(self._take_back(parent, caged))

    async def _parent(self, limits: Limits) -> "_Parent":
        """One whose child waits for a program."""
        while self._idle:
            parent = self._idle.popleft()
            try:
                await parent.ready(limits)
                return parent
            except _Lost:
                await parent.close()
            except BaseException:
                await uncancelled(parent.close())
                raise
        starting = asyncio.ensure_future(_start_parent(self._walls, limits))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            with contextlib.suppress(SandboxError):
                await (await starting).close()
            raise

    async def _take_back(self, parent: "_Parent", caged: Caged) -> None:
        if await parent.finish(caged) and not self._closed:
            self._idle.append(parent)
        else:
            await parent.close()


class _Lost(SandboxError):
    """A parent or its waiting child is gone; nothing of a candidate had reached it, so another will do."""


class _Said(NamedTuple):
    """A message from the cage's trusted side, and the host's id of the process that sent it."""

    what: dict[str, Any]
    pid: int


class _Parent:
    """One warm parent, as the host holds it, and the child that waits or runs in it."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._pidfd: int | None = None
        # Otherwise it has ended already, and its own words will say why.
        with contextlib.suppress(ProcessLookupError):
            self._pidfd = os.pidfd_open(process.pid)
        self._control = control
        self._pid = 0
        self._group: Cgroup | None = None
        self._made_for: dict[str, Any] = {}
        """The order that the child was made by."""
        self._channel: socket.socket | None = None
        """To a child that has no program yet."""
        self._watched: Watched | None = None
        """Such a child, once it has said that it is sealed."""

    async def ready(self, limits: Limits) -> None:
        """Have a child wait for a program that was made for these limits.

        Raises:
            _Lost: If that cannot be.
            SandboxError: If the parent is silent.
        """
        if self._made_for != _order(limits):
            await end_tree(await self._sealed(limits))
            self._forget()
            self._stand_by(limits)
        await self._sealed(limits)

    async def start(self, program: Program, limits: Limits) -> Caged:
        """Have its child, which is ready, run a program.

        Raises:
            SandboxError: If that cannot be; the parent is of no use then.
        """
        channel, watched = self._channel, self._watched
        assert channel is not None and watched is not None
        watched.limits, watched.deadline = limits, time.monotonic() + limits.wall_s
        if self._group is not None:
            self._group.mark()
        SUPERVISOR.watch(watched)
        reader, writer = await asyncio.open_unix_connection(sock=channel)
        caged = Caged(reader, writer, watched, limits)
        try:
            await caged.send(_what(program))
        except BaseException as err:
            writer.close()
            if isinstance(err, CageEnded):
                raise SandboxError("the cage ended as it was given its program") from err
            raise
        self._channel = self._watched = None
        return caged

    async def finish(self, caged: Caged) -> bool:
        """End what it runs, wait until all of it is gone, and ask for the next child; whether it can."""
        try:
            await end_tree(caged.watched)
        finally:
            caged.watched.close()
            caged.writer.close()
        try:
            self._stand_by(caged.limits)
        except _Lost:
            return False
        return True

    def _stand_by(self, limits: Limits) -> None:
        """Ask for a child; the last one must be gone."""
        order = _order(limits)
        if self._group is not None and self._made_for != order:
            try:
                self._group.limit(limits, more_processes=OWN_PROCESSES + 1)
            except OSError as err:
                raise _Lost(f"the warm cage cannot be limited: {err.strerror}") from err
        self._made_for = order
        self._channel, theirs = socket.socketpair()
        self._channel.setblocking(False)
        with theirs:
            self._tell(order, [theirs.fileno()])

    async def _sealed(self, limits: Limits) -> Watched:
        """Its child, sealed and waiting for a program."""
        if self._watched is None:
            said = await self._hear()
            if "started" not in said.what:
                raise _Lost(f"the cage did not start: {said.what.get('failed', said.what)}")
            try:
                # The clock begins with the program.
                self._watched = Watched(said.pid, limits, math.inf, "first")
            except ProcessLookupError:
                raise _Lost("the cage ended before it was used") from None
            self._watched.tmpfs = True
            self._watched.cgroup = self._group
            # Its number may have been another's by the time it was opened.
            if said.pid not in children(self._pid):
                raise _Lost("the cage ended before it was used")
        if self._watched.exited():
            raise _Lost("the cage ended before it was used")
        return self._watched

    def _forget(self) -> None:
        """Let go of a child that waits, or waited."""
        if self._channel is not None:
            self._channel.close()
        if self._watched is not None:
            SUPERVISOR.release(self._watched)
            self._watched.close()
        self._channel = self._watched = None

    async def prepare(self, walls: Bubblewrap, limits: Limits) -> None:
        """Hand over what every child needs, and ask for the first one."""
        order = {
            "programs": {name: program(name).text for name in NAMES},
            "shared": shared_modules(),
            "imports": IMPORTS,
            "devices": DEVICES,
            "filter": walls.filter().hex(),
        }
        self._tell(order)
        self._pid = (await self._hear()).pid
        # Once, because it takes the kernel milliseconds; children are in it from their birth.
        self._group = await grouped(self._process.pid, limits, more_processes=OWN_PROCESSES + 1)
        self._stand_by(limits)
        await self._sealed(limits)

    def _tell(self, order: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        try:
            socket.send_fds(self._control, [json.dumps(order).encode()], descriptors)
        except OSError as err:
            raise _Lost(f"the warm cage takes no orders: {err.strerror}") from err

    async def _hear(self) -> _Said:
        """The next message.

        Raises:
            _Lost: If the parent is gone, or the child that should speak.
            SandboxError: If it is silent.
        """
        speakers = [self._control, *([self._channel] if self._channel else [])]
        try:
            async with asyncio.timeout(START_S):
                # A child made ahead has mostly spoken.
                if (said := self._said()) is None:
                    await readable(*(each.fileno() for each in speakers))
                    said = self._said()
        except TimeoutError:
            raise SandboxError("the warm cage does not answer") from None
        if said is None:
            raise _Lost("the cage ended before it was sealed")
        return said

    def _said(self) -> _Said | None:
        """A message that has come."""
        try:
            size = socket.CMSG_SPACE(struct.calcsize("3i"))
            data, ancillary, _, _ = self._control.recvmsg(4096, size)
        except BlockingIOError:
            return None
        except ConnectionError:  # it ended with an order unread
            data = b""
        if not data:
            raise _Lost("the warm cage has ended")
        pid, _, _ = struct.unpack("3i", ancillary[0][2])
        return _Said(json.loads(data), pid)

    async def close(self) -> None:
        """End it, and with it everything below it."""
        self._forget()
        self._control.close()
        # Not by asyncio's own way, which reaps behind the back of its watcher what has ended already.
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            os.close(self._pidfd)
        await self._process.wait()
        if self._group is not None:
            await self._group.close()


def _order(limits: Limits) -> dict[str, Any]:
    """What a child is made by, before it is known what it will run."""
    return {
        "limits": process_limits(limits, processes=limits.processes + OWN_PROCESSES),
        "tmp_mb": limits.tmp_mb,
        "inodes": (limits.tmp_mb << 20) // INODE_BYTES // 2,
    }


def _what(program: Program) -> bytes:
    """What it will run: one of our programs, by its name, or any other as text."""
    text = "" if program.name in NAMES else program.text
    return json.dumps({"name": program.name}).encode() + b"\n" + text.encode()


async def _start_parent(walls: Bubblewrap, limits: Limits) -> _Parent:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    text = program("warm_parent").text
    argv = [walls.bwrap, *walls.walls(limits), "--cap-add", "ALL", "--remount-ro", "/"]
    argv += ["--as-pid-1", "--", walls.python, *PYTHON_OPTIONS, "-c", text]
    with os.fdopen(os.memfd_create("stderr"), "rb") as complaint:
        parent = await _spawn(argv, ours, theirs, walls.uid, complaint.fileno())
        try:
            await parent.prepare(walls, limits)
        except BaseException as err:
            await uncancelled(parent.close())
            complaint.seek(0)
            if isinstance(err, _Lost) and (said := complaint.read(2000).decode(errors="replace")):
                raise SandboxError(f"the warm cage did not start: {said.strip()}") from err
            raise
    return parent


async def _spawn(
    argv: list[str], ours: socket.socket, theirs: socket.socket, uid: int | None, stderr: int
) -> _Parent:
    """Start a parent; both ends of its control socket are closed if that fails."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            str(theirs.fileno()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
            env={},
            cwd="/",
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
        )
        return _Parent(process, ours)
    except OSError as err:
        ours.close()
        raise SandboxError(f"cannot start {argv[0]}: {err.strerror or err}") from err
    finally:
        theirs.close()
