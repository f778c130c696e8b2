"""The warm backend: bubblewrap's walls, made once; each execution is a fork behind walls of its own.

What a fresh cage costs is nearly all its interpreter's start. Here a parent that has started one, and that holds no secret and no candidate's text, forks a child for each execution into fresh
mount, process and IPC namespaces with small file systems of its own (`warm_parent.py`). A parent
has one child at a time, and the next order only when everything of the last one is gone.

What executions have in common: the read-only `/usr`; the address layout and hash seed of their
parent; its network namespace, of which the filter of system calls leaves them Unix sockets only, and
those end with their process; the nodes of a few devices, whose times only the host can set. Every path
a candidate could leave a mark on is new or closed.
"""

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self

from codojo.errors import SandboxError
from codojo.sandboxes import selftest
from codojo.sandboxes.bubblewrap import DEVICES, PYTHON_OPTIONS, Bubblewrap
from codojo.sandboxes.cgroups import Cgroup
from codojo.sandboxes.contract import Capabilities, Limits
from codojo.sandboxes.leftovers import sweep
from codojo.sandboxes.process import (
    GRACE_S,
    START_S,
    Caged,
    end_tree,
    grouped,
    process_limits,
    uncancelled,
)
from codojo.sandboxes.sources import NAMES, Program, program, shared_modules
from codojo.sandboxes.supervisor import INODE_BYTES, SUPERVISOR, Watched

IMPORTS = (
    *("array", "base64", "bisect", "builtins", "collections", "collections.abc", "copy"),
    *("dataclasses", "datetime", "enum", "functools", "hashlib", "heapq", "itertools", "json"),
    *("math", "operator", "os", "random", "re", "select", "signal", "stat", "string", "struct"),
    *("sys", "time", "types", "typing"),
)
"""What our programs and most candidates import."""
OWN_PROCESSES = 2
"""The parent and the keeper, which a user's count of processes includes."""


class Warm:
    """Cages by forking. Enter it once; then any number of programs may run at a time."""

    sealed = True

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.capabilities = Capabilities("warm")
        self._walls = Bubblewrap(limits)
        self._idle: list[_Parent] = []
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
        parent = await self._parent()
        try:
            caged = await parent.start(program, limits)
        except BaseException:
            await uncancelled(parent.close())
            raise
        try:
            yield caged
        finally:
            await uncancelled(self._take_back(parent, caged))

    async def _parent(self) -> "_Parent":
        while self._idle:
            parent = self._idle.pop()
            if parent.alive:
                return parent
            await parent.close()
        starting = asyncio.ensure_future(_start_parent(self._walls))
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


class _Said(NamedTuple):
    """A message from the cage's trusted side, and the host's id of the process that sent it."""

    what: dict[str, Any]
    pid: int


class _Parent:
    """One warm parent, as the host holds it."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._group: Cgroup | None = None

    @property
    def alive(self) -> bool:
        """Whether it can take an order, as far as is known."""
        return self._process.returncode is None

    async def start(self, program: Program, limits: Limits) -> Caged:
        """Have it fork a child that runs the program.

        Raises:
            SandboxError: If it did not; the parent is of no use then.
        """
        if self._group is not None:
            self._group.limit(limits, more_processes=OWN_PROCESSES + 1)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            try:
                await self._order(_order(program, limits), theirs.fileno())
            finally:
                theirs.close()
            said = await self._hear()
            if "started" not in said.what:
                raise SandboxError(f"the cage did not start: {said.what.get('failed', said.what)}")
            watched = Watched(said.pid, limits, time.monotonic() + limits.wall_s, sealed=True)
        except ProcessLookupError:
            ours.close()
            raise SandboxError("the cage ended while it was started") from None
        except BaseException:
            ours.close()
            raise
        watched.tmpfs = True
        watched.cgroup = self._group
        SUPERVISOR.watch(watched)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        return Caged(reader, writer, watched, limits)

    async def finish(self, caged: Caged) -> bool:
        """End what it runs and wait until all of it is gone; whether it can take another order.

        Without its status the child may be alive: something killed its keeper, which is no end of it.
        """
        heard: set[str] = set()
        try:
            await end_tree(caged.watched)
            async with asyncio.timeout(GRACE_S):
                while "ready" not in heard:
                    heard |= (await self._hear()).what.keys()
        except (SandboxError, TimeoutError):
            return False
        finally:
            caged.watched.close()
            caged.writer.close()
        return "status" in heard

    async def prepare(self, walls: Bubblewrap) -> None:
        """Hand over what every child needs."""
        order = {
            "programs": {name: program(name).text for name in NAMES},
            "shared": shared_modules(),
            "imports": IMPORTS,
            "filter": walls.filter().hex(),
        }
        await self._order(order)
        await self._hear()
        # Once, because it takes the kernel milliseconds; children are in it from their birth.
        self._group = await grouped(
            self._process.pid, walls.limits, more_processes=OWN_PROCESSES + 1
        )

    async def _order(self, order: dict[str, Any], descriptor: int | None = None) -> None:
        data = json.dumps(order).encode()
        try:
            if descriptor is None:
                self._control.send(data)
            else:
                socket.send_fds(self._control, [data], [descriptor])
        except OSError as err:
            raise SandboxError(f"the warm cage takes no orders: {err.strerror}") from err

    async def _hear(self) -> _Said:
        """The next message.

        Raises:
            SandboxError: If the parent is gone or silent.
        """
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._control.fileno(), heard.set)
        try:
            async with asyncio.timeout(START_S):
                await heard.wait()
        except TimeoutError:
            raise SandboxError("the warm cage does not answer") from None
        finally:
            loop.remove_reader(self._control.fileno())
        size = socket.CMSG_SPACE(struct.calcsize("3i"))
        data, ancillary, _, _ = self._control.recvmsg(4096, size)
        if not data:
            raise SandboxError("the warm cage has ended")
        pid, _, _ = struct.unpack("3i", ancillary[0][2])
        return _Said(json.loads(data), pid)

    async def close(self) -> None:
        """End it, and with it everything below it."""
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        if self._group is not None:
            await self._group.close()


def _order(program: Program, limits: Limits) -> dict[str, Any]:
    order: dict[str, Any] = {
        "name": program.name,
        "limits": process_limits(limits, processes=limits.processes + OWN_PROCESSES),
        "tmp_mb": limits.tmp_mb,
        "devices": DEVICES,
        "inodes": (limits.tmp_mb << 20) // INODE_BYTES // 2,
    }
    if program.name not in NAMES:
        order["text"] = program.text
    return order


async def _start_parent(walls: Bubblewrap) -> _Parent:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    text = program("warm_parent").text
    argv = [walls.bwrap, *walls.walls(walls.limits), "--cap-add", "ALL", "--remount-ro", "/"]
    argv += ["--as-pid-1", "--", walls.python, *PYTHON_OPTIONS, "-c", text]
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            str(theirs.fileno()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            cwd="/",
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
            user=walls.uid,
            group=walls.uid,
            extra_groups=None if walls.uid is None else [],
        )
    except OSError as err:
        ours.close()
        raise SandboxError(f"cannot start {walls.bwrap}: {err.strerror or err}") from err
    finally:
        theirs.close()
    parent = _Parent(process, ours)
    try:
        await parent.prepare(walls)
    except BaseException:
        await parent.close()
        raise
    return parent
