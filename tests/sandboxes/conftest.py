"""A proved sandbox with small limits, and a judge in it."""

import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from codojo.errors import SandboxError
from codojo.sandboxes import ExecResult, Judge, Sandbox, open_sandbox
from codojo.sandboxes.workspace import execute
from codojo.settings import SandboxSettings
from codojo.tasks.cases import make_case
from codojo.tasks.schema import Candidate, Tests, TestSource, Verdict

Run = Callable[[str], Coroutine[Any, Any, ExecResult]]
Judged = Callable[..., Coroutine[Any, Any, Verdict]]

SETTINGS = SandboxSettings(
    wall_s=2, total_s=20, memory_mb=192, processes=24, tmp_mb=4, output_kb=64, parallel=2
)


@pytest.fixture(params=["bubblewrap", "warm"])
def settings(request: pytest.FixtureRequest) -> SandboxSettings:
    """Small limits, for each backend: all of them keep the same promises."""
    return SETTINGS.model_copy(update={"backend": request.param})


@pytest.fixture
async def sandbox(settings: SandboxSettings) -> AsyncIterator[Sandbox]:
    try:
        opened = open_sandbox(settings)
    except SandboxError as err:
        pytest.skip(str(err))
    async with opened as entered:
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
