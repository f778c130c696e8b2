"""What one execution could leave for the next of the same parent, and what breaks the trust in one."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from codojo.sandboxes import Sandbox, open_sandbox
from codojo.sandboxes.contract import CageEnded
from codojo.sandboxes.process import Caged
from codojo.sandboxes.sources import Program
from codojo.sandboxes.supervisor import children, tree
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
    """A warm sandbox that has proved its walls, and so has a parent at hand."""
    async with open_sandbox(settings) as sandbox:
        yield sandbox


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


async def test_keeper_that_is_killed_takes_its_child_with_it_and_its_parent_out_of_use(
    warm: Sandbox, runs: Callable[[int], bool]
) -> None:
    """Whoever kills it, say for want of memory: nobody would watch the child any more."""
    async with warm.open(SLEEPER) as process:
        assert isinstance(process, Caged)
        await process.receive()
        keeper = process.watched.pid
        (child,) = children(keeper)
        (parent,) = (
            pid
            for guard in children(os.getpid())
            for pid in children(guard)
            if keeper in children(pid)
        )
        os.kill(keeper, signal.SIGKILL)
        with pytest.raises(CageEnded):
            await asyncio.wait_for(process.receive(), 2)
    assert not runs(child)
    assert not runs(parent)
    assert (await execute(warm, ["-c"], code="print('next')")).stdout == b"next\n"


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


async def test_child_has_no_way_to_speak_as_its_keeper(warm: Sandbox) -> None:
    """What it sends are frames on its own channel; descriptors that it sends are dropped."""
    opened = _descriptors()
    async with warm.open(Program("liar", SENT)) as process:
        assert await process.receive() == b'{"ready": true}'
        assert await process.receive() == b'{"status": 0}'
        # Only the channel's own.
        assert _descriptors() <= opened + 4
    assert (await execute(warm, ["-c"], code="print('next')")).stdout == b"next\n"


async def test_stopped_or_silent_parent_is_given_up(
    warm: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await execute(warm, ["-c"], code="")
    monkeypatch.setattr("codojo.sandboxes.warm.START_S", 0.3)
    guard = children(os.getpid())[0]
    (parent,) = children(guard)
    os.kill(parent, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(Exception, match="does not answer"):
        await execute(warm, ["-c"], code="")
    assert time.monotonic() - began < 3
    assert tree(os.getpid()).pids == [] or parent not in tree(os.getpid()).pids
    assert (await execute(warm, ["-c"], code="print('next')")).stdout == b"next\n"
