"""The Docker backend: a fresh container for every program, from an image pinned by its content.

Beside what a container is anyway (namespaces, cgroups, files of its own) each has:

- no network, no capability, no way to gain one, and a user that is nobody;
- a read-only root; `/tmp` and `/dev/shm` are small tmpfs and count as its memory;
- caps of processes and memory for the whole tree, and of each process as in other backends;
- our filter of system calls in place of Docker's, and an empty environment;
- no `/sys`, and of `/proc` what says nothing about the host but its processors and memory.

Not held here: the kernel is shared, as in every container, and whoever may use the engine's socket
is root, codojo included. The engine's own log and disk are spared: output is not logged.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import struct
import tempfile
import time
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from codojo.errors import SandboxError
from codojo.sandboxes import seccomp, selftest
from codojo.sandboxes.contract import CageEnded, Capabilities, Ended, Fittings, Limits, Signal
from codojo.sandboxes.docker_client import (
    OWNER,
    asking,
    connect,
    failures,
    is_podman,
    owner,
    pinned,
    remove,
    sweep,
)
from codojo.sandboxes.docker_watch import Watch
from codojo.sandboxes.process import BOOT, START_S, process_limits, uncancelled
from codojo.sandboxes.sources import Program

USER = "65534:65534"
WORK = "/tmp/work"  # noqa: S108  # a path inside the cage, on its own tmpfs
PATH = "/usr/local/bin:/usr/bin:/bin"
"""Where the image's Python is looked for. The one variable that a program finds."""
SHUT = "import ctypes\nctypes.CDLL(None).prctl(4, 0, 0, 0, 0)"
"""Not dumpable: else a candidate's process, which is the same user's, could write the memory of the first
process and take its pipes through `/proc/1`."""
BOOT_IN_WORK = f"import os\nos.mkdir({WORK!r})\nos.chdir({WORK!r})\n{SHUT}\n{BOOT}"
MIN_PIDS = 10
"""What the engine's own start needs; a smaller cap is held by the watch alone."""
GONE_S = 2
"""How long an engine may take to notice that a container has ended."""
OOM_TOLD_S = 0.5
"""How much later than of a death the engine may hear that it was for want of memory."""
COMPLAINT_BYTES = 2000
MASKED = (
    *("/sys", "/dev/mqueue", "/dev/pts", "/etc/hosts", "/etc/resolv.conf"),
    *(f"/proc/{name}" for name in ("acpi", "asound", "bus", "driver", "fs", "irq", "scsi", "sysvipc")),
    *(f"/proc/{name}" for name in ("buddyinfo", "cmdline", "config.gz", "diskstats", "interrupts")),
    *(f"/proc/{name}" for name in ("iomem", "ioports", "kallsyms", "kcore", "keys", "key-users")),
    *(f"/proc/{name}" for name in ("kmsg", "kpagecount", "kpageflags", "latency_stats", "locks")),
    *(f"/proc/{name}" for name in ("modules", "mtrr", "pagetypeinfo", "partitions", "sched_debug")),
    *(f"/proc/{name}" for name in ("schedstat", "slabinfo", "softirqs", "swaps", "sysrq-trigger")),
    *(f"/proc/{name}" for name in ("timer_list", "timer_stats", "version", "vmallocinfo", "zoneinfo")),
)  # fmt: skip
"""Hidden: what is the machine's and not the container's."""

logger = logging.getLogger(__name__)


class Docker:
    """Fresh containers of a Docker-compatible engine. Enter it once; then any number may run."""

    sealed = True
    fittings = Fittings(
        environment=frozenset({"PATH"}),
        # The first three are made by the engine; the others an image may have of its own.
        paths=frozenset(
            {"/proc", "/sys", "/etc/hostname", "/etc/passwd", "/root", "/home", "/var"}
        ),
    )

    def __init__(self, limits: Limits, image: str) -> None:
        self.limits = limits
        self._client = connect()
        self._owner = owner()
        podman = is_podman(self._client)
        self._watch = Watch(self._client, self._owner, events=not podman)
        profile = seccomp.container_profile()
        self._options = ["no-new-privileges", f"seccomp={profile}"]
        if podman:
            # It takes the name of a file, on its machine, and hides paths by an option of its own.
            file = self._as_file(profile)
            self._options = ["no-new-privileges", f"seccomp={file}", f"mask={':'.join(MASKED)}"]
        self.capabilities = Capabilities("docker", image=pinned(self._client, image))

    async def __aenter__(self) -> Self:
        if found := await asyncio.to_thread(sweep, self._client):
            logger.info("removed %d containers of processes that were killed", found)
        self.capabilities = await selftest.require(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Every container ends with the call that made it; the idle connections end here."""
        self._client.close()

    @asynccontextmanager
    async def open(
        self, program: Program, *, limits: Limits | None = None
    ) -> AsyncIterator["Contained"]:
        """Run a program as the first process of a fresh container and talk to it in frames."""
        limits = limits or self.limits
        marker = secrets.token_hex(8)
        held = process_limits(limits, processes=None)
        pairs = " ".join(f"{name}={value}" for name, value in held.items())
        config = self.container(limits, [BOOT_IN_WORK, marker, pairs, program.whole()])
        starting = asyncio.ensure_future(asyncio.to_thread(self._start, config))
        try:
            started = await asyncio.shield(starting)
        except asyncio.CancelledError:
            with contextlib.suppress(SandboxError):
                started = await starting
                started.stream.close()
                await asyncio.to_thread(remove, self._client, started.id)
            raise
        try:
            contained = await Contained.attached(self._client, started, limits)
            self._watch.add(contained)
            try:
                await contained.await_marker(marker.encode())
                contained.deadline = time.monotonic() + limits.wall_s
                yield contained
            finally:
                self._watch.discard(contained)
                contained.close()
        finally:
            await uncancelled(asyncio.to_thread(self._remove, started.id))

    def _as_file(self, content: str) -> str:
        """The name of a file that lasts as long as this object."""
        number, name = tempfile.mkstemp(prefix="codojo-seccomp-")
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(content)
        weakref.finalize(self, Path(name).unlink, missing_ok=True)
        return name

    def container(self, limits: Limits, arguments: Sequence[str]) -> dict[str, Any]:
        """What the engine is asked for; the self-test proves what it promises."""
        python = ["python3", "-I", "-S", "-B", "-c"]
        return {
            "Image": self.capabilities.image,
            # Variables of the image and of the engine end here, and are not in /proc/1/environ.
            "Entrypoint": ["/usr/bin/env", "-i", f"PATH={PATH}", *python],
            "Cmd": list(arguments),
            "Env": [],
            "User": USER,
            "Hostname": "cage",
            "WorkingDir": "/",
            "Labels": {OWNER: self._owner},
            "Healthcheck": {"Test": ["NONE"]},
            "Tty": False,
            "OpenStdin": True,
            # When codojo dies the program reads an end, and what waits for a frame goes as well.
            "StdinOnce": True,
            "NetworkDisabled": True,
            "HostConfig": self.walls(limits),
        }

    def walls(self, limits: Limits) -> dict[str, Any]:
        """The part of it that keeps things in."""
        memory, tmpfs = limits.memory_mb << 20, limits.tmp_mb << 20
        caps = {"core": 0, "fsize": tmpfs, "msgqueue": 0, "nofile": 128}
        # Of all containers together, which are one user to the kernel: each is held by PidsLimit. It is
        # named since Podman would ask for a million, which not every root may raise it to.
        caps["nproc"] = 4096
        return {
            "NetworkMode": "none",
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": self._options,
            "MaskedPaths": list(MASKED),
            "PidsLimit": max(limits.processes, MIN_PIDS),
            "Memory": memory,
            "MemorySwap": memory,
            # Executable, as in other backends: a program may bring programs.
            "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={tmpfs}"},  # noqa: S108
            "ShmSize": tmpfs,
            "Ulimits": [{"Name": name, "Soft": cap, "Hard": cap} for name, cap in caps.items()],
            "LogConfig": {"Type": "none", "Config": {}},
            "Init": False,
            "AutoRemove": False,
        }

    def _start(self, config: dict[str, Any]) -> "_Started":
        """Create, attach and start, in this order, so that no output is missed. Blocks."""
        with asking("make a container"):
            id = str(self._client.create_container_from_config(config)["Id"])
        try:
            with asking("start a container"):
                attached = {"stream": 1, "stdin": 1, "stdout": 1, "stderr": 1}
                stream = _socket_of(self._client.attach_socket(id, attached))
                try:
                    self._client.start(id)
                except BaseException:
                    stream.close()
                    raise
        except BaseException:
            self._remove(id)
            raise
        return _Started(id, stream)

    def _remove(self, id: str) -> None:
        """Never hides another error: what the engine cannot remove now is swept later."""
        try:
            remove(self._client, id)
        except SandboxError as err:
            logger.warning("%s; the next start after this process has ended tries again", err)


class _Started(NamedTuple):
    id: str
    stream: socket.socket


@dataclass(slots=True, eq=False)
class Contained:
    """A running container and the stream to its first process. Implements `OpenProcess`."""

    client: Any
    id: str
    limits: Limits
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    deadline: float
    ended: Ended | None = None
    """Set once, by whoever decided to end it."""
    output: bytearray = field(default_factory=bytearray)
    complaint: bytearray = field(default_factory=bytearray)

    @classmethod
    async def attached(cls, client: Any, started: _Started, limits: Limits) -> Self:
        """Take over the stream of a container that has been started."""
        started.stream.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=started.stream)
        return cls(client, started.id, limits, reader, writer, time.monotonic() + START_S)

    async def send(self, frame: bytes) -> None:
        """Hand over one frame."""
        try:
            self.writer.write(struct.pack(">I", len(frame)) + frame)
            await self.writer.drain()
        except (ConnectionError, RuntimeError) as err:
            raise CageEnded(await self._why(), "the program no longer reads") from err

    async def receive(self) -> bytes:
        """The next frame; its length is checked before anything of it is waited for."""
        try:
            (size,) = struct.unpack(">I", await self._exactly(4))
            if size > self.limits.output_bytes:
                await uncancelled(asyncio.to_thread(self.end, "output"))
                raise CageEnded("output", f"a frame of {size} bytes")
            return await self._exactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as err:
            raise CageEnded(await self._why(), "the program ended without an answer") from err

    async def lacked_memory(self) -> bool:
        """Whether the kernel killed something in it for that."""
        return await asyncio.to_thread(self._was_out_of_memory)

    async def await_marker(self, marker: bytes) -> None:
        """Let the program begin, and wait until it is behind its walls and limits.

        Raises:
            SandboxError: If it does not get there, with what it said.
        """
        try:
            self.writer.write(b"\n")
            if await self._exactly(len(marker)) == marker:
                return
            said = "it did not say that it started"
        except (asyncio.IncompleteReadError, ConnectionError):
            said = self.complaint.decode(errors="replace").strip() or "it gave no reason"
        raise SandboxError(f"the container did not start ({await self._why()}): {said}")

    def end(self, why: Signal) -> None:
        """Kill it; the first reason given stays. Blocks."""
        self.ended = self.ended or why
        # Refused where it is dead already, which is what was wanted.
        with contextlib.suppress(*failures()):
            self.client.kill(self.id)

    def close(self) -> None:
        """Give up the stream."""
        self.writer.transport.abort()

    async def _exactly(self, size: int) -> bytes:
        """Bytes of standard output, out of the stream that it shares with standard error.

        Reads no more than it needs, so that a flood waits in its pipe and not in our memory.
        """
        while len(self.output) < size:
            kind, length = struct.unpack(">BxxxI", await self.reader.readexactly(8))
            part = await self.reader.readexactly(length)
            if kind == 1:
                self.output += part
            else:
                self.complaint += part[: COMPLAINT_BYTES - len(self.complaint)]
        taken = bytes(self.output[:size])
        del self.output[:size]
        return taken

    async def _why(self) -> Ended:
        """How it ended: by us, for want of memory, by another hand, or by itself."""
        if self.ended is None:
            seen = await asyncio.to_thread(self._seen)
            # The watch may have decided meanwhile.
            self.ended = self.ended or seen
        return self.ended

    def _was_out_of_memory(self) -> bool:
        """What the engine knows of it; it may hear so a moment after the death. Blocks."""
        deadline = time.monotonic() + OOM_TOLD_S
        with contextlib.suppress(*failures()):
            while not self.client.inspect_container(self.id)["State"].get("OOMKilled"):
                if time.monotonic() > deadline:
                    return False
                time.sleep(OOM_TOLD_S / 10)
            return True
        return False

    def _seen(self) -> Ended:
        """How it looks from outside. Blocks."""
        try:
            self.client.wait(self.id, timeout=GONE_S)
            state = self.client.inspect_container(self.id)["State"]
        except failures():
            return "killed"
        if state.get("OOMKilled"):
            return "memory"
        if state.get("ExitCode") != 137:
            return "exited"
        return "memory" if self._was_out_of_memory() else "killed"


def _socket_of(attached: Any) -> socket.socket:
    """The stream below what docker-py gives, as a descriptor of our own.

    Raises:
        SandboxError: For TLS and SSH, where a descriptor is not the stream.
    """
    if not isinstance(attached, socket.SocketIO):
        raise SandboxError(
            "the docker backend speaks to engines over a Unix socket or plain TCP only; forward the "
            "engine's socket to this machine ('ssh -L') and set DOCKER_HOST to it"
        )
    stream = socket.socket(fileno=os.dup(attached.fileno()))
    # The response keeps the connection that the stream was taken from.
    attached._response.close()  # type: ignore[attr-defined]  # docker-py puts it there
    return stream
