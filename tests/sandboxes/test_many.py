"""Very many executions: every verdict is right, and nothing is left of any of them."""

import asyncio
import gc
import os
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from codojo.sandboxes import Judge, Sandbox, cgroups, open_sandbox
from codojo.sandboxes.cgroups import PREFIX
from codojo.sandboxes.sources import Program
from codojo.sandboxes.supervisor import tree
from codojo.settings import SandboxSettings
from codojo.tasks.cases import make_case
from codojo.tasks.schema import Candidate, Check, Tests

WIDE = 16
CASES = Tests(source="sealed", cases=(make_case("a", (1, 2), 3), make_case("b", (2, 2), 4)))
CHECK = Tests(source="sealed", check=Check(source="def check(f): assert f(1, 2) == 3"))
KINDS = [
    ("def add(a, b): return a + b", CASES, "passed"),
    ("def add(a, b): return a - b", CASES, "failed"),
    ("def add(a, b): return a + b", CHECK, "passed"),
    ("import os\ndef add(a, b): os._exit(0)", CASES, "error"),
    (
        "import os\ndef add(a, b):\n  if os.fork() == 0: os.setsid()\n  return a + b",
        CHECK,
        "passed",
    ),
    ("def add(a, b) return", CASES, "error"),
    ("open('/tmp/x', 'w').close()\ndef add(a, b): return a + b", CASES, "passed"),
    ("import os\ndef add(a, b): os.kill(0, 9); os._exit(0)", CHECK, "error"),
    ("def add(a, b): return [0] * 10**6", CASES, "resource_limit"),
]


def _held() -> tuple[list[int], int, list[str], list[str], list[str]]:
    """Processes below us, open descriptors, mounts, what lies among the temporary files, our groups."""
    gc.collect()
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    ours = sorted(path.name for path in Path(tempfile.gettempdir()).iterdir())
    found = cgroups.find()
    places = found.folders if found else ()
    groups = sorted(str(p) for place in places for p in place.glob(f"{PREFIX}{os.getpid()}-*"))
    return tree(os.getpid()).pids, len(list(Path("/proc/self/fd").iterdir())), mounts, ours, groups


@pytest.mark.row("A43")
@pytest.mark.parametrize(
    "count", [150, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
async def test_many_judged_side_by_side_leave_nothing(
    sandbox: Sandbox,
    settings: SandboxSettings,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # Time enough for sixteen of them on two cores; what stops the greedy ones are other limits.
    settings = settings.model_copy(update={"parallel": WIDE, "wall_s": 30, "total_s": 120})
    before = _held()
    async with open_sandbox(settings) as wide:
        judge = Judge(wide, settings)
        kinds = [KINDS[n % len(KINDS)] for n in range(count)]
        verdicts = await asyncio.gather(
            *(judge.verdict(Candidate.of(code), "add", tests) for code, tests, _ in kinds)
        )
    wrong = [
        (code, verdict)
        for (code, _, status), verdict in zip(kinds, verdicts, strict=True)
        if verdict.status != status
    ]
    assert wrong == []
    assert _held() == before


ECHO = """
import os, struct
while head := os.read(0, 4):
    data = os.read(0, struct.unpack('>I', head)[0])
    os.write(1, struct.pack('>I', len(data)) + data[::-1])
"""


@pytest.mark.row("A43")
@pytest.mark.parametrize(
    "count", [12, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
async def test_many_cages_open_at_once_are_apart_and_leave_nothing(
    sandbox: Sandbox,
    settings: SandboxSettings,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("codojo.sandboxes.process.START_S", 300)
    monkeypatch.setattr("codojo.sandboxes.warm.START_S", 300)
    settings = settings.model_copy(update={"wall_s": 600})
    before = _held()
    async with open_sandbox(settings) as wide, AsyncExitStack() as stack:
        echo = Program("echo", ECHO)
        opening = [stack.enter_async_context(wide.open(echo)) for _ in range(count)]
        opened = await asyncio.gather(*opening)
        assert len(tree(os.getpid()).pids) >= len(before[0]) + 2 * count
        for said in ("one", "two"):
            await asyncio.gather(*(p.send(f"{said}{n}".encode()) for n, p in enumerate(opened)))
            heard = await asyncio.gather(*(process.receive() for process in opened))
            assert heard == [f"{said}{n}"[::-1].encode() for n in range(count)]
    assert _held() == before
