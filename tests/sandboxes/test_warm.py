"""What one execution could leave for the next of the same parent, and what breaks the trust in one."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from codojo.errors import SandboxError
from codojo.sandboxes import Sandbox, open_sandbox
from codojo.sandboxes.contract import CageEnded
from codojo.sandboxes.process import Caged
from codojo.sandboxes.sources import Program
from codojo.sandboxes.supervisor import children
from codojo.sandboxes.workspace import execute
from codojo.settings import SandboxSettings

SLEEPER = Program("sleeper", "import os, time; os.write(1, bytes(4)); time.sleep(60)")


@pytest.fixture
def settings() -> SandboxSettings:
    return SandboxSettings(
        backend="warm", wall_s=2, total_s=20, memory_mb=192, processes=24, tmp_mb=4, output_kb=64
    )


@pytest.fixture
async def warm(settings: SandboxSettings) -> AsyncIterator[Sandbox]:
    """A warm sandbox that has one parent at hand, however many were left from proving its walls."""
    async with open_sandbox(settings):
        pass
    _others.clear()
    _others.update(children(os.getpid()))
    async with open_sandbox(settings) as sandbox:
        await execute(sandbox, ["-c"], code="")
        yield sandbox


_others: set[int] = set()
"""What this process has started apart from the sandbox."""


MARKS = {
    "files": "for p in ('/tmp/x', '/tmp/work/x', '/dev/shm/x', '/x', '/dev/x', '/opt/x', '/usr/x'):\n    open(p, 'w').close()",
    "nodes": "for n in ('null', 'random', 'urandom'):\n    os.utime(f'/dev/{n}')",
    "modes": "for n in ('null', 'random', 'urandom'):\n    os.chmod(f'/dev/{n}', 0o600)",
    "xattrs": "for p in ('/', '/tmp', '/dev/null', '/usr', '/dev'):\n    os.setxattr(p, 'user.x', b'1')",
    "times": "for p in ('/', '/tmp', '/dev', '/usr', '/etc/ld.so.cache'):\n    os.utime(p, (1, 1))",
    "reads": "for n in sorted(os.listdir('/usr/share'))[:20]:\n    open('/usr/lib/os-release').read(); os.listdir(f'/usr/share/{n}')",
    "segments": "libc.shmget(4711, 4096, 0o1666); libc.semget(4711, 1, 0o1666); libc.msgget(4711, 0o1666)",
    "queues": "libc.mq_open(b'/x', 0o102, 0o600, None)",
    "keyrings": "libc.syscall(248, b'user', b'x', b'y', 1, -4)",
    "sockets": "s = socket.socket(socket.AF_UNIX); s.bind(b'\\0mark'); s.listen(); time.sleep(.05)",
    "ports": "s = socket.socket(); s.bind(('127.0.0.1', 7777)); s.listen()\n"
    "c = socket.create_connection(('127.0.0.1', 7777)); a, _ = s.accept(); a.close(); c.close()",
    "locks": "f = open('/usr/bin/python3'); fcntl.flock(f, fcntl.LOCK_EX); n = open('/dev/null'); fcntl.flock(n, fcntl.LOCK_EX)",
    "limits": "for r in range(16):\n    resource.setrlimit(r, (1, 1)) if r not in (7, 9) else None",
    "priority": "os.nice(5)\nfor k in (0, 1, 2): os.setpriority(k, 0, 15)",
    "processor": "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))",
    "signals": "signal.signal(signal.SIGCHLD, signal.SIG_IGN); signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\n"
    "for pid in (0, -1, 1, os.getppid()): os.kill(pid, signal.SIGUSR1)",
    "timers": "signal.setitimer(signal.ITIMER_REAL, 60); signal.alarm(1)",
    "name": "socket.sethostname('marked')",
    "mask": "os.umask(0o777); os.chdir('/usr'); os.environ['MARK'] = '1'; sys.path.insert(0, '/tmp')",
    "modules": "import builtins; builtins.mark = 1; json.mark = 1; sys.modules['mark'] = json",
    "stopping": "os.kill(1, signal.SIGSTOP); os.kill(os.getppid(), signal.SIGSTOP)",
}
"""Each tries to change something; what it could change must be as it was, for the next one."""
LOOK = """
import ctypes, fcntl, json, os, resource, signal, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def times(path):
    s = os.stat(path); return (path, s.st_mode, s.st_mtime_ns, s.st_atime_ns, s.st_ctime_ns)
def free(call):
    try: call(); return True
    except OSError as err: return err.errno
def lock(path):
    with open(path) as f: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
def bind(name):
    with socket.socket(socket.AF_UNIX) as s: s.bind(name)
def port():
    with socket.socket() as s: s.bind(('127.0.0.1', 7777))
def look():
    return {
        'files': {p: sorted(os.listdir(p)) for p in ('/', '/tmp', '/tmp/work', '/dev', '/dev/shm')},
        'times': [times(f'/dev/{n}') for n in ('null', 'random', 'urandom')]
            + [times(p) for p in ('/', '/dev', '/usr', '/usr/share', '/usr/bin/python3', '/etc/ld.so.cache')],
        'xattrs': {p: free(lambda: os.getxattr(p, 'user.x')) for p in ('/', '/tmp', '/dev/null', '/usr', '/dev')},
        'ipc': [libc.shmget(4711, 1, 0), libc.semget(4711, 1, 0), libc.msgget(4711, 0)],
        'bound': [free(lambda: bind(b'\\0mark')), free(port)],
        'locks': [free(lambda: lock(p)) for p in ('/usr/bin/python3', '/dev/null')],
        'limits': [resource.getrlimit(r) for r in range(16)],
        'priority': [os.getpriority(0, 0), sorted(os.sched_getaffinity(0)), os.sched_getscheduler(0)],
        'signals': [sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), sorted(signal.sigpending())]
            + [str(signal.getsignal(n)) for n in range(1, 32)],
        'timers': [signal.getitimer(k) for k in (0, 1, 2)],
        'name': socket.gethostname(), 'mask': os.umask(0o22), 'cwd': os.getcwd(), 'env': dict(os.environ),
        'path': sys.path, 'modules': sorted(sys.modules), 'fds': os.listdir('/dev/fd') if os.path.exists('/dev/fd') else 0,
        'json': sorted(vars(json)), 'pids': [os.getpid(), os.getppid()],
    }
"""


@pytest.mark.row("A34")
@pytest.mark.row("G9")
async def test_nothing_is_left_for_the_next_execution_of_the_same_parent(warm: Sandbox) -> None:
    see = LOOK + "print(json.dumps(look()))"
    # The first of these starts the parent, and may fill caches of the machine.
    for _ in range(2):
        before = (await execute(warm, ["-c"], code=see)).stdout
    parents = set(children(os.getpid()))
    assert before, (await execute(warm, ["-c"], code=see)).stderr
    for name, mark in MARKS.items():
        lines = "\n    ".join(mark.split("\n"))
        ran = await execute(
            warm, ["-c"], code=f"{LOOK}\ntry:\n    {lines}\nexcept OSError as e: print(e)"
        )
        assert ran.ended in ("exited", "timeout"), (name, ran)
        after = (await execute(warm, ["-c"], code=see)).stdout
        assert after == before, name
    assert set(children(os.getpid())) == parents


def _guards() -> list[int]:
    return [pid for pid in children(os.getpid()) if pid not in _others]


def _parents() -> list[int]:
    return [pid for guard in _guards() for pid in children(guard)]


def _living(parent: int) -> list[int]:
    pids = children(parent)
    return [pid for pid in pids if " Z " not in Path(f"/proc/{pid}/stat").read_text()]


async def _waiting() -> list[int]:
    """The child of each parent, once all have one."""
    found: list[list[int]] = [[]]
    while not all(found):
        await asyncio.sleep(0.01)
        found = [_living(parent) for parent in _parents()]
    return [child for (child,) in found]


async def test_a_child_does_not_outlive_its_parent(
    warm: Sandbox, runs: Callable[[int], bool]
) -> None:
    """Whoever kills it, say for want of memory: nobody would reap the child any more."""
    async with warm.open(SLEEPER) as process:
        assert isinstance(process, Caged)
        await process.receive()
        child = process.watched.pid
        (parent,) = (pid for pid in _parents() if child in children(pid))
        os.kill(parent, signal.SIGKILL)
        with pytest.raises(CageEnded):
            await asyncio.wait_for(process.receive(), 2)
    assert not runs(child)
    assert (await execute(warm, ["-c"], code="print('next')")).stdout == b"next\n"


async def test_a_running_program_is_the_only_child_of_its_parent(warm: Sandbox) -> None:
    """What waits for the next program is made when this one is gone, so neither can touch the other."""
    async with warm.open(SLEEPER) as process:
        assert isinstance(process, Caged)
        await process.receive()
        (parent,) = (pid for pid in _parents() if process.watched.pid in children(pid))
        assert children(parent) == [process.watched.pid]


@pytest.mark.parametrize("settled_s", [0, 0.2])
@pytest.mark.parametrize("victims", ["children", "parents", "guards"])
async def test_what_dies_before_it_has_a_program_is_replaced(
    warm: Sandbox, victims: str, settled_s: float, runs: Callable[[int], bool]
) -> None:
    """Be it sealed by then, or not yet."""
    waiting = await _waiting()
    below = waiting if victims == "children" else [*waiting, *_parents(), *_guards()]
    chosen = {"children": waiting, "parents": _parents(), "guards": _guards()}[victims]
    assert len(chosen) == 1
    await asyncio.sleep(settled_s)
    for pid in chosen:
        os.kill(pid, signal.SIGKILL)
    assert not any(map(runs, below))
    for _ in range(len(chosen) + 1):
        ran = await execute(warm, ["-c"], code="print('next')")
        assert (ran.ended, ran.stdout) == ("exited", b"next\n")


async def test_a_child_made_for_other_limits_is_not_used(warm: Sandbox) -> None:
    code = (
        "import os, resource as r; s = os.statvfs('/tmp')\n"
        "print(r.getrlimit(r.RLIMIT_AS)[0] >> 20, r.getrlimit(r.RLIMIT_CPU)[0],"
        " s.f_blocks * s.f_frsize >> 20)"
    )
    small = replace(warm.limits, memory_mb=160, cpu_s=1, tmp_mb=2)
    for limits in (warm.limits, small, small, warm.limits):
        ran = await execute(warm, ["-c"], code=code, limits=limits)
        wanted = f"{limits.memory_mb} {limits.cpu_s} {limits.tmp_mb}\n"
        assert ran.stdout.decode() == wanted, ran.stderr


async def test_time_that_a_child_waits_is_not_its_program_s(warm: Sandbox) -> None:
    limits = replace(warm.limits, wall_s=0.4)
    await execute(warm, ["-c"], code="", limits=limits)
    await asyncio.sleep(0.6)
    for _ in _parents():
        ran = await execute(warm, ["-c"], code="print(1)", limits=limits)
        assert ran.ended == "exited"


async def test_nothing_that_waits_is_left_when_the_sandbox_is_closed(
    settings: SandboxSettings, runs: Callable[[int], bool]
) -> None:
    # The event loop opens descriptors of its own for its first child process.
    async with open_sandbox(settings):
        pass
    before = _descriptors()
    _others.update(children(os.getpid()))
    async with open_sandbox(settings) as sandbox:
        await execute(sandbox, ["-c"], code="")
        started = [*_parents(), *await _waiting()]
        assert len(started) >= 2
    assert not any(runs(pid) for pid in started)
    assert _descriptors() == before


SENT = """
import os, socket, struct
for number in range(3, 1024):
    try: os.fstat(number)
    except OSError: continue
    print('open', number)
lies = [b'{"ready": true}', b'{"status": 0}', b'{"started": true}', b'']
for number in (0, 1):
    try: channel = socket.socket(fileno=os.dup(number))
    except OSError: continue
    for lie in lies:
        try: socket.send_fds(channel, [struct.pack('>I', len(lie)) + lie], [0, 1, 2])
        except OSError: break
import time; time.sleep(60)
"""


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_child_has_no_way_to_speak_for_another(warm: Sandbox) -> None:
    """What it sends are frames on its own channel; descriptors that it sends are dropped."""
    opened = _descriptors()
    async with warm.open(Program("liar", SENT)) as process:
        assert await process.receive() == b'{"ready": true}'
        assert await process.receive() == b'{"status": 0}'
        # Only the channel's own.
        assert _descriptors() <= opened + 4
    assert (await execute(warm, ["-c"], code="print('next')")).stdout == b"next\n"


async def test_stopped_or_silent_parent_is_given_up(
    warm: Sandbox, monkeypatch: pytest.MonkeyPatch, runs: Callable[[int], bool]
) -> None:
    # Else the children may be those that the self-test's limits were made for.
    await asyncio.gather(*(execute(warm, ["-c"], code="") for _ in _parents()))
    await _waiting()
    monkeypatch.setattr("codojo.sandboxes.warm.START_S", 0.3)
    stopped = _parents()
    assert stopped
    for parent in stopped:
        os.kill(parent, signal.SIGSTOP)
    # The child of each still waits, and needs its parent for nothing but the next one.
    for _ in stopped:
        assert (await execute(warm, ["-c"], code="print('last')")).stdout == b"last\n"
    began = time.monotonic()
    for _ in stopped:
        with pytest.raises(SandboxError, match="does not answer"):
            await execute(warm, ["-c"], code="")
    assert time.monotonic() - began < 1 + len(stopped)
    assert not any(runs(pid) for pid in stopped)
    monkeypatch.undo()
    assert (await execute(warm, ["-c"], code="print('next')")).stdout == b"next\n"
