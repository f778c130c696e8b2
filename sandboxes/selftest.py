"""Proves each wall of a sandbox by trying to climb it.

A layer that is silently missing is worse than none, because people trust it. So nothing is assumed
from a version or an exit code: a probe runs in a real cage, tries, and reports; what the outside
can see for itself (a connection, a file, a process) is looked at from outside.
"""

import asyncio
import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from codojo.errors import SandboxError
from codojo.sandboxes import cgroups, seccomp
from codojo.sandboxes.contract import (
    Barrier,
    Capabilities,
    ExecResult,
    Fitted,
    Fittings,
    Limits,
    Sandbox,
)
from codojo.sandboxes.workspace import execute, open_workspace

PROBE_LIMITS = Limits(
    wall_s=10, cpu_s=10, memory_mb=128, processes=12, tmp_mb=2, output_bytes=65536
)
PROBE = Path(__file__).with_name("probe.py")
ENVIRONMENT = {"PWD", "LC_CTYPE", "LD_LIBRARY_PATH"}
"""All that a program may find in its environment, beside what the backend says is its own."""
PROBED_CALLS = (
    "ptrace",
    "keyctl",
    "add_key",
    "memfd_create",
    "inotify_init1",
    "unshare",
    "io_uring_setup",
)
"""Refused by the filter, where an ordinary user's call would get as far as its arguments."""

_HOG = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        held = bytearray(60_000_000)
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(60)
time.sleep(60)
"""
_DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
os.wait()
"""

_proved: dict[tuple[str, str, str], Capabilities] = {}


async def require(sandbox: Sandbox) -> Capabilities:
    """The capabilities of a sandbox, proved once per process.

    Raises:
        SandboxError: If a barrier does not hold; the message names each one.
    """
    known = sandbox.capabilities
    key = (type(sandbox).__qualname__, known.level, known.image)
    if key not in _proved:
        try:
            proved = await prove(sandbox)
        except SandboxError as err:
            raise SandboxError(
                f"the {known.level} sandbox cannot be started here: {err}; allow what it asks for, set "
                "sandbox.backend to another, or pass --unsafe-no-sandbox to run candidates without walls"
            ) from err
        if proved.failed:
            what = "; ".join(f"{barrier.name}: {barrier.how}" for barrier in proved.failed)
            raise SandboxError(
                f"the {proved.level} sandbox does not hold here ({what}); fix that and check with "
                "'codojo sandbox selftest', or pass --unsafe-no-sandbox to run candidates without walls"
            )
        _proved[key] = proved
    return _proved[key]


async def prove(sandbox: Sandbox) -> Capabilities:
    """Try every wall and say which ones held. Takes three cages, about 0.3 s with bubblewrap."""
    fittings = sandbox.fittings if isinstance(sandbox, Fitted) else Fittings()
    with _bait(fittings) as bait:
        try:
            async with asyncio.TaskGroup() as group:
                probe = group.create_task(_probe(sandbox, bait))
                hog = group.create_task(_run(sandbox, _HOG))
                daemon = group.create_task(_run(sandbox, _DAEMON))
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        seen = probe.result()
        barriers = [
            *_judge_probe(seen, bait),
            _memory_of_tree(hog.result()),
            _no_survivor(daemon.result()),
        ]
    return replace(sandbox.capabilities, barriers=tuple(barriers))


@dataclass(frozen=True)
class _Bait:
    """What the probe is told to go for."""

    port: int
    abstract: str
    canary: str
    pid: int
    descriptor: int
    fittings: Fittings

    def arguments(self) -> Mapping[str, object]:
        # A small number is also the number of a process in the cage.
        pid = self.pid if self.pid > 100 else 2**22 - 1
        calls = {name: seccomp.number(name) for name in PROBED_CALLS}
        return {
            "port": self.port,
            "abstract": self.abstract,
            "canary": self.canary,
            "pid": pid,
            "calls": {name: number for name, number in calls.items() if number is not None},
            # A path of the cage's own must be another file than the host's of that name.
            "own": {path: _identity(path) for path in sorted(self.fittings.paths)},
        }


def _identity(path: str) -> list[int]:
    """Which file it is: device and number, which a bind mount keeps. Empty if there is none."""
    try:
        seen = Path(path).stat()
    except OSError:
        return []
    return [seen.st_dev, seen.st_ino]


@contextmanager
def _bait(fittings: Fittings) -> Iterator[_Bait]:
    """A listener on loopback, one on an abstract address, a readable file, an inheritable pipe."""
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(b"\0codojo-%d-%d" % (os.getpid(), tcp.getsockname()[1]))
        unix.listen()
        canary = stack.enter_context(tempfile.NamedTemporaryFile(prefix="codojo-canary-"))
        Path(canary.name).chmod(0o644)
        reader, writer = os.pipe()
        for descriptor in (reader, writer):
            os.set_inheritable(descriptor, True)
            stack.callback(os.close, descriptor)
        abstract = unix.getsockname()
        port = tcp.getsockname()[1]
        yield _Bait(port, abstract[1:].decode(), canary.name, os.getpid(), reader, fittings)


async def _run(sandbox: Sandbox, code: str) -> ExecResult:
    return await execute(sandbox, ["-c"], code=code, limits=PROBE_LIMITS)


async def _probe(sandbox: Sandbox, bait: _Bait) -> dict[str, object]:
    async with open_workspace(sandbox, limits=PROBE_LIMITS) as workspace:
        code = PROBE.read_text()
        ran = await workspace.exec(["-c", json.dumps(bait.arguments())], code=code)
        try:
            seen: dict[str, object] = json.loads(ran.stdout)
        except ValueError:
            said = ran.stderr.decode(errors="replace")[-400:].strip()
            raise SandboxError(
                f"the self-test ended ({ran.ended}) without a report: {said}"
            ) from None
        # Apart, because whoever reaches the cap of processes may be killed there.
        bomb = await workspace.exec(["-c", "processes"], code=code)
    # What it said last may be lost with the cage.
    capped = PROBE_LIMITS.processes if bomb.ended == "pids" else 0
    alive = max(map(int, bomb.stdout.split()), default=0)
    seen["processes"] = max(alive, capped)
    return seen


def _judge_probe(seen: Mapping[str, object], bait: _Bait) -> Iterator[Barrier]:
    """Barriers from what the probe saw; it reports `{name: [what got through, ...]}`."""
    for name in (
        "network",
        "host files",
        "host processes",
        "writes outside /tmp",
        "privileges",
        "system calls",
    ):
        through = seen.get(name)
        proved = through == []
        yield Barrier(
            name, proved, "every attempt was refused" if proved else f"not refused: {through}"
        )
    environment = seen.get("environment")
    allowed = ENVIRONMENT | bait.fittings.environment
    extra = sorted(set(environment) - allowed) if isinstance(environment, list) else ["?"]
    yield Barrier("environment", not extra, f"holds {extra or 'nothing of ours'}")
    descriptors = seen.get("descriptors")
    yield Barrier("descriptors", descriptors == [0, 1, 2], f"open: {descriptors}")
    yield _bounded("processes", seen, PROBE_LIMITS.processes, "processes and threads")
    yield _bounded("memory", seen, PROBE_LIMITS.memory_mb, "MB in one process")
    yield _bounded("/tmp", seen, PROBE_LIMITS.tmp_mb, "MB")  # noqa: S108  # a name
    yield _bounded("/dev/shm", seen, PROBE_LIMITS.tmp_mb, "MB")  # noqa: S108  # a name
    uid = seen.get("uid")
    yield Barrier("user", isinstance(uid, int) and uid != 0, f"user id {uid}")


def _bounded(name: str, seen: Mapping[str, object], cap: int, unit: str) -> Barrier:
    got = seen.get(name)
    proved = isinstance(got, int) and 0 < got <= cap
    return Barrier(name, proved, f"stopped at {got} {unit}, the cap is {cap}")


def _memory_of_tree(ran: ExecResult) -> Barrier:
    held = ran.ended == "memory"
    how = "six processes of 60 MB were killed" if held else f"six processes of 60 MB: {ran.ended}"
    group = cgroups.find()
    by = f"a control group (v{group.version})" if group else "the supervisor, every 30 ms"
    cap = f"the cap is {PROBE_LIMITS.memory_mb}, counted by {by}"
    return Barrier("memory of the tree", held, f"{how}, {cap}")


def _no_survivor(ran: ExecResult) -> Barrier:
    """Its output ends only when nobody holds the pipe, so an early end means an early death."""
    held = ran.ended == "exited" and ran.duration_s < 30
    return Barrier("no survivors", held, f"a daemon lived {ran.duration_s:.2f} s")
