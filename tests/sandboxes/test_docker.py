"""What is Docker's own: its image, its leftovers, and walls that are built otherwise."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from codojo.errors import SandboxError
from codojo.sandboxes import ExecResult, Judge, Limits, Sandbox
from codojo.sandboxes.contract import CageEnded
from codojo.sandboxes.docker import Docker
from codojo.sandboxes.docker_client import OWNER, connect, is_podman, owner, sweep
from codojo.sandboxes.docker_image import NAME, build_image
from codojo.sandboxes.selftest import prove
from codojo.sandboxes.sources import Program
from codojo.settings import SandboxSettings
from codojo.tasks.cases import make_case
from codojo.tasks.schema import Candidate, Tests, Verdict

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("docker_host")]

ROOT = Path(__file__).parents[2]
Run = Callable[[str], Coroutine[Any, Any, ExecResult]]
Judged = Callable[..., Coroutine[Any, Any, Verdict]]


@pytest.fixture
def backend() -> str:
    return "docker"


@pytest.fixture
def client(docker_host: None) -> Iterator[Any]:
    connected = connect()
    yield connected
    connected.close()


def ours(client: Any) -> list[str]:
    """Ids of the running containers of this process."""
    found = client.containers(filters={"label": f"{OWNER}={owner()}"})
    return [container["Id"] for container in found]


@pytest.fixture
def canary() -> Iterator[str]:
    """A file on the host that anybody may read."""
    with tempfile.NamedTemporaryFile("w", prefix="canary-") as file:
        Path(file.name).chmod(0o644)
        yield file.name


@pytest.mark.row("A20")
@pytest.mark.row("G15")
async def test_search_of_all_files_finds_the_image_and_no_canary(run: Run, canary: str) -> None:
    ran = await run(
        "import os\n"
        f"print(os.path.exists({canary!r}), os.path.exists('/work'), os.listdir('/sys'))\n"
        "skip = {'usr', 'lib', 'lib64', 'bin', 'proc', 'sys', 'dev'}\n"
        "for folder, below, files in os.walk('/'):\n"
        "    below[:] = [b for b in below if folder != '/' or b not in skip]\n"
        "    for name in files: print(os.path.join(folder, name))"
    )
    first, *found = ran.stdout.decode().splitlines()
    assert first == "False False []"
    made = {"hosts", "hostname", "resolv.conf", "mtab", "passwd", "group"}
    markers = {"/.dockerenv", "/run/.containerenv"}
    assert set(found) <= markers | {f"/etc/{name}" for name in made}


@pytest.mark.row("A21")
@pytest.mark.row("A22")
async def test_proc_shows_its_own_processes_and_holds_no_secret_of_ours(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_PASSWORD", "planted-secret")
    ran = await run(
        "import glob, os\n"
        "print(sorted(os.environ))\n"
        "print(all(int(n) < 20 for n in os.listdir('/proc') if n.isdigit()))\n"
        "texts = {}\n"
        "for path in glob.glob('/etc/*') + glob.glob('/proc/*') + glob.glob('/proc/[0-9]*/*') + glob.glob('/proc/sys/*/*'):\n"
        "    try: texts[path] = open(path, 'rb').read(100_000)\n"
        "    except OSError: pass\n"
        "print([path for path, text in texts.items() if b'-'.join([b'planted', b'secret']) in text])\n"
        "hidden = '/proc/cmdline /proc/version /proc/kallsyms /etc/hosts /etc/resolv.conf'.split()\n"
        "print([path for path in hidden if texts[path]])\n"
        "print([p for p in texts if p.startswith('/proc/1/') and p.split('/')[3] in ('environ', 'maps', 'mem')])\n"
        "tried = ('/proc/sys/kernel/hostname', '/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger', '/proc/kcore')\n"
        "for path in tried:\n"
        "    try: open(path, 'r+b').write(b'x'); print('written', path)\n"
        "    except OSError: pass\n"
        "print(texts['/proc/sys/kernel/hostname'])"
    )
    names, *rest = ran.stdout.decode().splitlines()
    assert set(eval(names)) <= {"PATH", "LC_CTYPE"}
    assert rest == ["True", "[]", "[]", "[]", r"b'cage\n'"]


async def test_filter_looks_at_all_that_the_kernel_reads_of_an_argument(run: Run) -> None:
    ran = await run(
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(*given):\n"
        "    done = libc.syscall(*map(ctypes.c_ulong, given))\n"
        "    return ctypes.get_errno() if done == -1 else 'done'\n"
        "import platform\n"
        "clone, clone3, ioctl, socket = (56, 435, 16, 41) if platform.machine() == 'x86_64' "
        "else (220, 435, 29, 198)\n"
        "high = 1 << 32\n"
        "print(call(clone, 0x10000000 | 17, 0, 0, 0, 0), call(clone3, 0, 0),\n"
        "      call(ioctl, 0, 0x5412, 0), call(ioctl, 0, high | 0x5412, 0),\n"
        "      call(socket, 16, 3, 0), call(socket, 38, 5, 0), call(socket, high | 16, 3, 0))"
    )
    assert ran.stdout.split() == [b"1", b"38", b"1", b"1", b"97", b"97", b"97"]


class Leaky(Docker):
    """Containers that lack walls without saying so."""

    def __init__(self, walls: dict[str, Any], entrypoint: list[str]) -> None:
        super().__init__(Limits.of(SandboxSettings()), NAME)
        self._leaks = walls
        self._entrypoint = entrypoint

    def container(self, limits: Limits, arguments: Any) -> dict[str, Any]:
        whole = super().container(limits, arguments)
        whole["Entrypoint"] = [*self._entrypoint, *whole["Entrypoint"][len(self._entrypoint) :]]
        return {**whole, "NetworkDisabled": False, "Env": ["SECRET=x"]}

    def walls(self, limits: Limits) -> dict[str, Any]:
        return {**super().walls(limits), **self._leaks}


@pytest.mark.row("A41")
@pytest.mark.parametrize(
    ("walls", "entrypoint", "barriers"),
    [
        (
            {"NetworkMode": "host", "PidMode": "host", "SecurityOpt": ["no-new-privileges"]},
            [],
            {"network", "host processes", "system calls"},
        ),
        (
            {"Binds": ["/etc:/etc:ro"], "ReadonlyRootfs": False, "CapDrop": [], "MaskedPaths": []},
            ["/usr/bin/env", "--"],
            {"host files", "environment"},
        ),
    ],
    ids=["namespaces", "files"],
)
async def test_missing_wall_is_noticed_at_the_start(
    walls: dict[str, Any], entrypoint: list[str], barriers: set[str]
) -> None:
    leaky = Leaky(walls, entrypoint)
    assert barriers <= {failed.name for failed in (await prove(leaky)).failed}
    with pytest.raises(SandboxError, match=r"does not hold here.*--unsafe-no-sandbox"):
        async with leaky:
            pass


@pytest.mark.row("A44")
def test_killed_harness_leaves_a_container_that_the_next_start_removes(
    client: Any, alive: Callable[[str], list[int]]
) -> None:
    marker = f"orphan-{os.getpid()}-{time.monotonic_ns()}"
    harness = (
        "import asyncio, sys\n"
        "from codojo.sandboxes.docker import Docker\n"
        "from codojo.sandboxes.sources import Program\n"
        "from codojo.sandboxes import Limits\n"
        "from codojo.settings import SandboxSettings\n"
        "async def main():\n"
        "    box = Docker(Limits.of(SandboxSettings(wall_s=60)), 'codojo-sandbox')\n"
        "    text = 'import time; time.sleep(60)  # ' + sys.argv[1]\n"
        "    async with box.open(Program('sleeper', text)):\n"
        "        print('open', flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    path = os.pathsep.join([str(ROOT), *sys.path])
    command = [sys.executable, "-c", harness, marker]
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        assert sweep(client) == 0
        process.send_signal(signal.SIGKILL)
    assert sweep(client) == 1
    assert alive(marker) == []


@pytest.mark.row("A44")
def test_sweep_touches_nothing_of_others(client: Any) -> None:
    mine = owner()
    view, pid, started = mine.rsplit("/", 2)
    labels = {
        "alive": mine,
        "dead": f"{view}/{pid}/{int(started) - 1}",
        "other boot": f"x{view}/{2**22 - 1}/1",
        "unreadable": "latest",
        "not ours": None,
    }
    made = {}
    for name, label in labels.items():
        config = {"Image": NAME, "Cmd": ["true"], "Labels": {OWNER: label} if label else {}}
        made[client.create_container_from_config(config)["Id"]] = name
    try:
        sweep(client)
        left = {made[c["Id"]] for c in client.containers(all=True) if c["Id"] in made}
    finally:
        for id in made:
            if made[id] != "dead":
                client.remove_container(id)
    assert left == labels.keys() - {"dead"}


@pytest.mark.row("A42")
@pytest.mark.parametrize(("kills", "status"), [(1, "passed"), (2, "error")])
async def test_container_that_is_killed_under_us_is_replaced_once(
    judged: Judged, client: Any, kills: int, status: str
) -> None:
    running = asyncio.create_task(
        judged("import time\ndef add(a, b): time.sleep(1); return a + b", cases=1)
    )
    killed: set[str] = set()
    while len(killed) < kills and not running.done():
        await asyncio.sleep(0.05)
        for id in set(ours(client)) - killed:
            killed.add(id)
            await asyncio.sleep(0.3)
            client.kill(id)
    assert (await running).status == status
    assert ours(client) == []


async def test_first_process_that_dies_for_want_of_memory_says_so(
    sandbox: Sandbox, client: Any
) -> None:
    limits = replace(sandbox.limits, memory_mb=64, tmp_mb=128)
    # Pages of a tmpfs are nobody's address space; only the container's own limit counts them.
    filling = (
        "import os\n"
        "file = os.open('/dev/shm/x', os.O_CREAT | os.O_WRONLY)\n"
        "while True: os.write(file, bytes(1 << 20))"
    )
    async with sandbox.open(Program("filling", filling), limits=limits) as process:
        with pytest.raises(CageEnded) as ended:
            await process.receive()
    # Podman may not know who killed it.
    assert ended.value.ended in ({"memory", "killed"} if is_podman(client) else {"memory"})


async def test_tag_that_moves_changes_nothing_for_an_open_sandbox(client: Any) -> None:
    id = client.inspect_image(NAME)["Id"]
    client.tag(id, "codojo-moving", "latest")
    sandbox = Docker(Limits.of(SandboxSettings()), "codojo-moving")
    client.remove_image("codojo-moving")
    async with sandbox:
        assert sandbox.capabilities.image == id


def test_image_is_built_once_for_the_same_content(client: Any) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "codojo", "sandbox", "build-image"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.strip() == build_image(client) == client.inspect_image(NAME)["Id"]


def test_image_that_cannot_be_used_is_refused_with_what_to_do(client: Any) -> None:
    limits = Limits.of(SandboxSettings())
    with pytest.raises(SandboxError, match=r"no image 'nowhere'.*codojo sandbox build-image"):
        Docker(limits, "nowhere")
    client.import_image_from_data(bytes(1024), "codojo-volumes", changes=["VOLUME /data"])
    try:
        with pytest.raises(SandboxError, match="declares volumes \\(/data\\)"):
            Docker(limits, "codojo-volumes")
    finally:
        client.remove_image("codojo-volumes")


async def test_image_without_python_cannot_start_and_says_why(client: Any) -> None:
    client.import_image_from_data(bytes(1024), "codojo-empty")
    try:
        with pytest.raises(SandboxError, match="/usr/bin/env"):
            async with Docker(Limits.of(SandboxSettings()), "codojo-empty"):
                pass
    finally:
        client.remove_image("codojo-empty")
    assert client.containers(all=True, filters={"label": f"{OWNER}={owner()}"}) == []


async def test_many_at_once_leave_nothing(settings: SandboxSettings, client: Any) -> None:
    tests = Tests(source="sealed", cases=(make_case("a", (1, 2), 3),))
    right = Candidate.of("def add(a, b): return a + b")
    assert ours(client) == []
    before = open_sockets()
    async with Docker(Limits.of(settings), NAME) as sandbox:
        judge = Judge(sandbox, settings.model_copy(update={"parallel": 6}))
        verdicts = await asyncio.gather(*(judge.verdict(right, "add", tests) for _ in range(12)))
    assert all(verdict.passed for verdict in verdicts)
    assert client.containers(all=True, filters={"label": f"{OWNER}={owner()}"}) == []
    # The watch may be asking its last question.
    assert open_sockets() <= before + 1


def open_sockets() -> int:
    """How many this process has."""
    return len(psutil.Process().net_connections(kind="unix"))
