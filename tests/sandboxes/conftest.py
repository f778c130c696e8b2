"""A proved sandbox with small limits, and a judge in it.

Tests marked `backends` run in a cage of every backend that has walls; the others in bubblewrap's.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from codojo.errors import SandboxError
from codojo.sandboxes import ExecResult, Judge, Sandbox, open_sandbox
from codojo.sandboxes.docker_client import connect
from codojo.sandboxes.docker_image import build_image
from codojo.sandboxes.workspace import execute
from codojo.settings import SandboxSettings
from codojo.tasks.cases import make_case
from codojo.tasks.schema import Candidate, Tests, TestSource, Verdict

Run = Callable[[str], Coroutine[Any, Any, ExecResult]]
Judged = Callable[..., Coroutine[Any, Any, Verdict]]

SETTINGS = SandboxSettings(
    wall_s=2, total_s=20, memory_mb=192, processes=24, tmp_mb=4, output_kb=64, parallel=2
)


# No network and no firewall: the containers have none, and nothing of the machine is changed.
DOCKERD = ("dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none")
START_S = 60


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What uses a sandbox runs in every kind of cage here, and in containers where it is marked so."""
    of_one = metafunc.definition.get_closest_marker("docker")
    if of_one or "backend" not in metafunc.fixturenames:
        return
    kinds: list[Any] = ["bubblewrap", "warm"]
    if metafunc.definition.get_closest_marker("backends"):
        kinds.append(pytest.param("docker", marks=pytest.mark.docker))
    metafunc.parametrize("backend", kinds, indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "bubblewrap"))


@pytest.fixture
def settings(backend: str, request: pytest.FixtureRequest) -> SandboxSettings:
    if backend == "docker":
        request.getfixturevalue("docker_host")
    return SETTINGS.model_copy(update={"backend": backend})


@pytest.fixture(scope="session")
def engine_address() -> Iterator[str]:
    """Socket of a container engine that has our image: the one that answers, else one started here."""
    with ExitStack() as stack:
        try:
            address = ""
            client = connect()
        except SandboxError as err:
            if os.geteuid() != 0 or not shutil.which("dockerd"):
                pytest.skip(f"{err}; as root, with dockerd installed, one would be started")
            address = stack.enter_context(started_dockerd())
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("DOCKER_HOST", address)
                client = connect()
        build_image(client)
        client.close()
        yield address


@pytest.fixture
def docker_host(engine_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`DOCKER_HOST` as it must be to reach the engine."""
    if engine_address:
        monkeypatch.setenv("DOCKER_HOST", engine_address)


@contextmanager
def started_dockerd() -> Iterator[str]:
    """An engine of our own, with everything of it in a folder that is removed."""
    # A short path: that of a Unix socket has at most 107 bytes.
    place = Path(tempfile.mkdtemp(prefix="codojo-dockerd-", dir="/tmp"))
    address = f"unix://{place}/s"
    folders = [f"--data-root={place}/data", f"--exec-root={place}/exec", f"--pidfile={place}/pid"]
    try:
        with (place / "log").open("wb") as log:
            for driver in ([], ["--storage-driver=vfs"]):
                command = [*DOCKERD, *folders, *driver, "-H", address]
                with subprocess.Popen(
                    command, stdout=log, stderr=log, env=dict(os.environ)
                ) as engine:
                    try:
                        if answers(engine, address):
                            yield address
                            return
                    finally:
                        engine.terminate()
        said = (place / "log").read_text(errors="replace")[-400:]
        pytest.skip(f"dockerd does not start here: {said}")
    finally:
        # It leaves mounts of its folder behind.
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(f"{place}/")]):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(place)


def answers(engine: "subprocess.Popen[bytes]", address: str) -> bool:
    """Whether it does, before it ends or its time is over."""
    deadline = time.monotonic() + START_S
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", address)
        while engine.poll() is None and time.monotonic() < deadline:
            try:
                connect().close()
            except SandboxError:
                time.sleep(0.1)
            else:
                return True
    return False


@pytest.fixture
async def sandbox(settings: SandboxSettings) -> AsyncIterator[Sandbox]:
    try:
        opened = open_sandbox(settings)
    except SandboxError as err:
        pytest.skip(str(err))
    async with opened:
        pass  # the first of a process tries the walls, and has parents left from that
    async with open_sandbox(settings) as entered:
        yield entered


@pytest.fixture
def run(sandbox: Sandbox) -> Run:
    """Runs Python code in a cage of its own."""

    async def ran(code: str) -> ExecResult:
        return await execute(sandbox, ["-c"], code=code)

    return ran


@pytest.fixture
def judged(sandbox: Sandbox, settings: SandboxSettings) -> Judged:
    """The verdict on code that should define `add(a, b)`."""
    judge = Judge(sandbox, settings)

    async def verdict(code: str, *, cases: int = 3, source: TestSource = "sealed") -> Verdict:
        made = tuple(make_case(f"c{n}", (n, n + 1), 2 * n + 1) for n in range(cases))
        return await judge.verdict(Candidate.of(code), "add", Tests(source=source, cases=made))

    return verdict


@pytest.fixture
def alive() -> Callable[[str], list[int]]:
    """Processes of this machine whose command line holds a marker, 1 s after the question."""

    def found(marker: str) -> list[int]:
        deadline = time.monotonic() + 1
        while pids := list(_with_marker(marker.encode())):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return pids

    return found


@pytest.fixture
def runs() -> Callable[[int], bool]:
    """Whether a process still runs 1 s after the question; one that waits to be reaped does not."""

    def still(pid: int) -> bool:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                return False
            if state == "Z":
                return False
            time.sleep(0.02)
        return True

    return still


def _with_marker(marker: bytes) -> list[int]:
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (folder / "cmdline").read_bytes():
                pids.append(int(folder.name))
        except OSError:
            continue
    return pids
