"""What every backend promises about limits, tried on the one that has walls."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codojo.errors import SandboxError
from codojo.sandboxes import ExecResult, Judge, Limits, Sandbox, cgroups, open_sandbox
from codojo.sandboxes.contract import CageEnded
from codojo.sandboxes.sources import Program
from codojo.sandboxes.workspace import PYTHON, execute, open_workspace
from codojo.settings import SandboxSettings
from codojo.tasks.cases import make_case
from codojo.tasks.schema import Candidate, Check, TestFiles, Tests

ROOT = Path(__file__).parents[2]
Run = Callable[[str], Coroutine[Any, Any, ExecResult]]

FORK_BOMB = """
import os, time
for _ in range(2000):
    try:
        if os.fork() == 0:
            time.sleep(60)
    except OSError:
        time.sleep(0.01)
time.sleep(60)
"""
THREAD_BOMB = """
import threading, time
threading.stack_size(65536)
for _ in range(5000):
    try:
        threading.Thread(target=time.sleep, args=(60,)).start()
    except RuntimeError:
        time.sleep(0.01)
"""


@pytest.mark.backends
async def test_program_gets_its_input_files_and_an_exit_code(sandbox: Sandbox) -> None:
    code = "import sys; print(open('a/b.txt').read(), sys.stdin.read()); sys.exit(7)"
    argv = [PYTHON, "-I", "-c", code]
    ran = await execute(sandbox, argv, stdin=b"typed", files={"a/b.txt": "hé"})
    assert (ran.stdout, ran.returncode, ran.ended) == ("hé typed\n".encode(), 7, "exited")
    assert not ran.truncated


@pytest.mark.backends
async def test_bytes_of_any_kind_come_back_as_they_were(run: Run) -> None:
    ran = await run(r"import os; os.write(1, b'\0\xff\x1b]0;x\x07 no newline')")
    assert ran.stdout == b"\0\xff\x1b]0;x\x07 no newline"


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", ""])
async def test_file_outside_the_working_directory_is_refused(sandbox: Sandbox, path: str) -> None:
    with pytest.raises(ValueError, match="relative path"):
        await execute(sandbox, ["/usr/bin/true"], files={path: "x"})


@pytest.mark.backends
async def test_missing_program_is_a_result_of_the_program(sandbox: Sandbox) -> None:
    ran = await execute(sandbox, ["/usr/bin/no-such-program"])
    assert ran.returncode == 127
    assert b"no-such-program" in ran.stderr


@pytest.mark.backends
@pytest.mark.row("A1")
@pytest.mark.row("A2")
async def test_fork_bomb_is_stopped_while_the_host_keeps_forking(run: Run) -> None:
    bomb = asyncio.create_task(run(FORK_BOMB))
    while not bomb.done():
        probe = await asyncio.create_subprocess_exec("/usr/bin/true")
        assert await probe.wait() == 0
        await asyncio.sleep(0.02)
    assert bomb.result().ended == "pids"
    assert bomb.result().duration_s < 2


@pytest.mark.backends
@pytest.mark.row("A14")
async def test_threads_count_as_processes(run: Run) -> None:
    assert (await run(THREAD_BOMB)).ended == "pids"


@pytest.mark.backends
@pytest.mark.row("A3")
async def test_one_process_cannot_hold_more_than_its_memory(run: Run) -> None:
    ran = await run("held = [bytearray(20_000_000) for _ in range(100)]; print('held')")
    assert b"held" not in ran.stdout
    assert ran.ended == "memory" or b"MemoryError" in ran.stderr


@pytest.mark.backends
@pytest.mark.row("A4")
async def test_memory_of_many_processes_is_added_up(sandbox: Sandbox) -> None:
    """None of the six is near the cap, nor are they where each counts by itself."""
    code = (
        "import os, time\n"
        "for _ in range(6):\n"
        "    if os.fork() == 0: held = b'x' * 80_000_000; time.sleep(60)\n"
        "time.sleep(60)"
    )
    limits = replace(sandbox.limits, memory_mb=150, wall_s=20)
    ran = await execute(sandbox, ["-c"], code=code, limits=limits)
    assert ran.ended == "memory"


FULL = """
import ctypes, os
def full():
    file = os.open('/dev/shm/x', os.O_CREAT | os.O_WRONLY)
    try:
        while True: os.write(file, bytes(1 << 16))
    except OSError: pass
def crash(): ctypes.string_at(0)
"""
"""What fills the cage's memory by calls that are refused, and what dies by a signal."""
CRASHES = {
    "value": Tests(source="sealed", cases=(make_case("c", (1, 2), 3),)),
    "check": Tests(source="sealed", check=Check(source="def check(f): assert f(1, 2) == 3")),
    "files": Tests(
        source="sealed",
        files=TestFiles(
            files={
                "add_test.py": "import unittest\nfrom add import add\n"
                "class AddTest(unittest.TestCase):\n"
                "    def test_add(self): self.assertEqual(add(1, 2), 3)\n"
            },
            target="add.py",
        ),
    ),
}


@pytest.mark.backends
@pytest.mark.row("A3")
@pytest.mark.parametrize("way", CRASHES)
async def test_death_at_the_cap_of_memory_is_told_from_an_abort(
    sandbox: Sandbox, settings: SandboxSettings, backend: str, way: str
) -> None:
    """The kernel lets a program at its cap die by any signal; only its counts say why."""
    if backend != "docker" and cgroups.find() is None:
        pytest.skip("no control group counts memory here")
    small = settings.model_copy(
        update={"memory_mb": 160, "tmp_mb": 512, "wall_s": 20, "total_s": 60}
    )
    judge = Judge(sandbox, small)

    async def reason(body: str) -> tuple[str, str]:
        candidate = Candidate.of(f"{FULL}\ndef add(a, b): {body}")
        verdict = await judge.verdict(candidate, "add", CRASHES[way])
        return verdict.status, verdict.reason

    assert await reason("full(); crash()") == ("resource_limit", "memory")
    assert await reason("crash()") == ("error", "abort")


@pytest.mark.backends
@pytest.mark.row("A5")
@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])
async def test_files_in_memory_are_capped(run: Run, folder: str) -> None:
    ran = await run(
        "total = 0\n"
        "try:\n"
        f"  for n in range(40): total += open(f'{folder}/{{n}}', 'wb', 0).write(bytes(1 << 20))\n"
        "except OSError as err: print(err.errno)\n"
        "print(total >> 20)"
    )
    assert ran.stdout.split() == [b"28", b"4"]


@pytest.mark.backends
@pytest.mark.row("A7")
async def test_many_small_files_are_bounded_and_gone_in_no_time(sandbox: Sandbox) -> None:
    """A cage with a file system of its own caps its files; elsewhere they count as memory."""
    before = os.statvfs("/dev/shm").f_ffree
    code = (
        "import os\ntry:\n"
        "  for n in range(100_000): os.close(os.open(f'/tmp/{n}', os.O_CREAT))\n"
        "except OSError as err: print(err.errno)\n"
        "else: print('all')\n"
    )
    limits = replace(sandbox.limits, memory_mb=64, wall_s=30)
    async with open_workspace(sandbox, limits=limits) as workspace:
        ran = await workspace.exec(["-c"], code=code)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert ran.ended == "memory" or ran.stdout in (b"28\n", b"12\n"), ran
    assert os.statvfs("/dev/shm").f_ffree >= before - 100


@pytest.mark.backends
@pytest.mark.row("A7")
async def test_deep_folders_and_long_names_end_with_the_cage(run: Run) -> None:
    ran = await run(
        "import os\nfor _ in range(500): os.mkdir('d' * 200); os.chdir('d' * 200)\nprint('made')"
    )
    assert ran.stdout == b"made\n"
    assert ran.duration_s < 5


@pytest.mark.backends
@pytest.mark.row("A9")
@pytest.mark.parametrize("streams", [(1,), (2,), (1, 2)], ids=["stdout", "stderr", "both"])
async def test_output_flood_is_cut_and_its_writer_killed(
    run: Run, streams: tuple[int, ...]
) -> None:
    ran = await run(f"import os\nwhile True:\n  for n in {streams}: os.write(n, b'x' * 4096)")
    assert (ran.ended, ran.truncated) == ("output", True)
    assert max(len(ran.stdout), len(ran.stderr)) == 64 * 1024
    assert min(len(ran.stdout), len(ran.stderr)) >= 60 * 1024 * (len(streams) - 1)


@pytest.mark.row("A9")
def test_output_flood_grows_our_memory_by_less_than_twice_its_cap(
    sandbox: Sandbox, settings: SandboxSettings
) -> None:
    """In a process of its own, whose peak nothing else has raised before."""
    harness = (
        "import asyncio, resource\n"
        "from codojo.sandboxes import open_sandbox\n"
        "from codojo.sandboxes.workspace import execute\n"
        "from codojo.settings import SandboxSettings\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "async def main():\n"
        f"    box = open_sandbox(SandboxSettings(backend={settings.backend!r}, output_kb=16384, wall_s=60))\n"
        "    await execute(box, ['-c'], code='print(1)')\n"
        "    before = peak()\n"
        "    flood = 'import os\\nwhile True: os.write(1, b\"x\" * 65536)'\n"
        "    ran = await execute(box, ['-c'], code=flood)\n"
        "    print(ran.ended, len(ran.stdout), peak() - before)\n"
        "asyncio.run(main())\n"
    )
    path = os.pathsep.join([str(ROOT), *sys.path])
    environment = {"PYTHONPATH": path, "PATH": os.defpath}
    said = subprocess.run([sys.executable, "-c", harness], env=environment, capture_output=True)
    ended, size, grown_kb = said.stdout.split()
    assert (ended, int(size)) == (b"output", 16384 << 10), said
    # What is returned is a copy of what was collected.
    assert int(grown_kb) < 2 * 16384 + 4096, said


@pytest.mark.backends
@pytest.mark.row("A11")
@pytest.mark.row("A12")
@pytest.mark.row("A13")
@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time; time.sleep(9999)",
        "import signal, time\n"
        "for n in set(range(1, 65)) - {9, 19, 32, 33}: signal.signal(n, signal.SIG_IGN)\n"
        "while True: pass",
        "import os, signal, time\n"
        "for n in set(range(1, 65)) - {9, 19, 32, 33}: signal.signal(n, lambda *x: None)\n"
        "for _ in range(3): os.fork()\n"
        "while True: time.sleep(0.01)",
    ],
    ids=["loop", "sleep", "deaf", "handled by a whole tree"],
)
async def test_time_limit_ends_whatever_the_program_does(sandbox: Sandbox, code: str) -> None:
    limits = replace(Limits.of(SandboxSettings()), wall_s=0.5)
    ran = await execute(sandbox, [PYTHON, "-I", "-c", code], limits=limits)
    assert ran.ended == "timeout"
    assert ran.duration_s < 1.5


@pytest.mark.backends
async def test_time_limit_holds_while_the_event_loop_is_busy(sandbox: Sandbox) -> None:
    limits = replace(Limits.of(SandboxSettings()), wall_s=0.3)
    argv = [PYTHON, "-I", "-c", "import time; time.sleep(1); print('late')"]
    running = asyncio.create_task(execute(sandbox, argv, limits=limits))
    await asyncio.sleep(0.25)
    time.sleep(1.5)  # noqa: ASYNC251  # a blocked loop is the point
    ran = await running
    assert (ran.ended, ran.stdout) == ("timeout", b"")


@pytest.mark.backends
async def test_processor_time_is_limited(sandbox: Sandbox) -> None:
    limits = replace(Limits.of(SandboxSettings()), cpu_s=1, wall_s=60)
    ran = await execute(sandbox, [PYTHON, "-I", "-c", "while True: pass"], limits=limits)
    assert ran.ended != "timeout"
    assert ran.returncode != 0


@pytest.mark.backends
@pytest.mark.row("A13")
async def test_processor_time_is_limited_where_its_signal_is_handled(sandbox: Sandbox) -> None:
    limits = replace(Limits.of(SandboxSettings()), cpu_s=1, wall_s=60)
    code = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    ran = await execute(sandbox, [PYTHON, "-I", "-c", code], limits=limits)
    assert ran.returncode == -9


@pytest.mark.row("A38")
@pytest.mark.parametrize("skew_s", [-7200.0, 7200.0])
async def test_time_limit_holds_while_the_clock_of_the_machine_is_set(
    sandbox: Sandbox, skew_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wall clock and date jump as they do for whoever asks them here; deadlines ask another clock."""
    now = time.time
    limits = replace(Limits.of(SandboxSettings()), wall_s=1)
    sleeping = execute(sandbox, [PYTHON, "-I", "-c", "import time; time.sleep(60)"], limits=limits)
    running = asyncio.create_task(sleeping)
    await asyncio.sleep(0.3)
    monkeypatch.setattr(time, "time", lambda: now() + skew_s)
    ran = await running
    assert ran.ended == "timeout"
    assert 0.9 < ran.duration_s < 2


@pytest.mark.backends
@pytest.mark.row("A15")
async def test_daemon_dies_with_its_step(
    sandbox: Sandbox, alive: Callable[[str], list[int]]
) -> None:
    marker = f"daemon-{os.getpid()}-{time.monotonic_ns()}"
    code = (
        "import os, sys, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0: os.execv(sys.executable, [sys.executable, '-c', "
        "'import time; time.sleep(77)', sys.argv[1]])\n"
        "    os._exit(0)\n"
        "time.sleep(0.3)"
    )
    running = asyncio.create_task(execute(sandbox, [PYTHON, "-I", "-c", code, marker]))
    ran = await running
    assert ran.ended == "exited"
    assert alive(marker) == []


@pytest.mark.backends
@pytest.mark.row("A16")
async def test_grandchild_that_holds_the_output_does_not_hold_us(run: Run) -> None:
    ran = await run("import os, time\nif os.fork() == 0: time.sleep(77)\nprint('parent')")
    assert (ran.ended, ran.stdout) == ("exited", b"parent\n")
    assert ran.duration_s < 2


@pytest.mark.backends
async def test_open_process_speaks_in_frames_until_it_breaks_the_framing(sandbox: Sandbox) -> None:
    source = (
        "import os, struct\n"
        "def read():\n"
        "    size, = struct.unpack('>I', os.read(0, 4)); return os.read(0, size)\n"
        "for _ in range(2): data = read(); os.write(1, struct.pack('>I', len(data)) + data[::-1])\n"
        "os.write(1, b'\\xff\\xff\\xff\\xff' + b'x' * 100)\n"
        "read()\n"
    )
    async with sandbox.open(Program("frames", source)) as process:
        for word in (b"one", b"two"):
            await process.send(word)
            assert await process.receive() == word[::-1]
        with pytest.raises(CageEnded) as ended:
            await process.receive()
        assert ended.value.ended == "output"


@pytest.mark.backends
async def test_open_process_that_ends_says_so(sandbox: Sandbox) -> None:
    async with sandbox.open(Program("quitter", "import os; os._exit(0)")) as process:
        with pytest.raises(CageEnded) as ended:
            await process.receive()
        assert ended.value.ended == "exited"


async def test_backend_none_needs_the_flag_and_holds_time_and_output() -> None:
    with pytest.raises(SandboxError, match="--unsafe-no-sandbox"):
        open_sandbox(SandboxSettings(backend="none"))
    settings = SandboxSettings(backend="none", unsafe_no_sandbox=True, wall_s=0.5, output_kb=1)
    async with open_sandbox(settings) as sandbox:
        assert sandbox.capabilities.level == "none"
        slow = await execute(sandbox, [PYTHON, "-c", "import time; time.sleep(60)"])
        loud = await execute(sandbox, [PYTHON, "-c", "while True: print('x' * 1000)"])
    assert (slow.ended, loud.ended, len(loud.stdout)) == ("timeout", "output", 1024)
