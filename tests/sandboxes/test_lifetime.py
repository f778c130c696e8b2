"""Nothing outlives its owner: cancelled, killed, or run as another user."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from codojo.sandboxes import Sandbox
from codojo.sandboxes.bubblewrap import find_bwrap
from codojo.sandboxes.leftovers import sweep
from codojo.sandboxes.process import Caged
from codojo.sandboxes.sources import Program
from codojo.sandboxes.supervisor import children, tree
from codojo.sandboxes.workspace import PYTHON, execute

ROOT = Path(__file__).parents[2]
Alive = Callable[[str], list[int]]


async def test_cancelling_leaves_no_process(sandbox: Sandbox, alive: Alive) -> None:
    marker = f"cancelled-{os.getpid()}-{time.monotonic_ns()}"
    code = "import os, time; os.fork(); os.fork(); time.sleep(60)"
    for delay in (0, 0.005, 0.02, 0.1, 0.3):
        running = asyncio.create_task(execute(sandbox, [PYTHON, "-c", code, marker]))
        await asyncio.sleep(delay)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert alive(marker) == []


async def test_leaving_an_open_process_kills_it(
    sandbox: Sandbox, runs: Callable[[int], bool]
) -> None:
    forker = Program("forker", "import os, time; os.fork(); os.fork(); time.sleep(60)")
    started: list[int] = []
    with pytest.raises(KeyError):
        async with sandbox.open(forker) as process:
            assert isinstance(process, Caged)
            watched = process.watched
            processes = 4 + (watched.role == "guard")
            while len(started) < processes:
                started = tree(watched.pid, itself=True).pids
                await asyncio.sleep(0.01)
            raise KeyError
    assert not any(runs(pid) for pid in started)


@pytest.mark.row("A44")
def test_killed_harness_leaves_nothing(alive: Alive) -> None:
    marker = f"orphan-{os.getpid()}-{time.monotonic_ns()}"
    harness = (
        "import asyncio, sys\n"
        "from codojo.sandboxes.bubblewrap import Bubblewrap\n"
        "from codojo.sandboxes import Limits\n"
        "from codojo.sandboxes.workspace import execute\n"
        "from codojo.settings import SandboxSettings\n"
        "box = Bubblewrap(Limits.of(SandboxSettings(wall_s=60)))\n"
        "code = 'import os, time\\nif os.fork() == 0: os.setsid(); os.fork()\\ntime.sleep(60)'\n"
        "asyncio.run(execute(box, ['python', '-c', code, sys.argv[1]]))\n"
    )
    path = os.pathsep.join([str(ROOT), *sys.path])
    command = [sys.executable, "-c", harness, marker]
    with subprocess.Popen(command, env={"PYTHONPATH": path, "PATH": os.defpath}) as process:
        deadline = time.monotonic() + 20
        # The harness itself and the program's three.
        while len(alive(marker)) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        started = len(alive(marker))
        process.send_signal(signal.SIGKILL)
    assert started >= 4
    assert alive(marker) == []


@pytest.mark.row("A44")
def test_a_cage_whose_starter_died_before_it_stood_is_swept() -> None:
    """bwrap waits on a descriptor here as it waits for its starter in the gap that is swept."""
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    walls = [
        "--unshare-all",
        "--ro-bind",
        "/usr",
        "/usr",
        "--block-fd",
        str(reader),
        "/usr/bin/true",
    ]
    bwrap = find_bwrap(None)
    outer = subprocess.Popen([bwrap, *walls, "codojo"], close_fds=False)
    try:
        while not (inner := children(outer.pid)):
            time.sleep(0.01)
        outer.kill()
        outer.wait()
        young = set(inner) & set(sweep())
        assert not young, "one that has just begun may still be somebody's"
        assert set(inner) <= set(sweep(older_than_s=0))
    finally:
        os.close(writer)
        os.close(reader)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user to try it")
@pytest.mark.row("A2")
@pytest.mark.timeout(700)
def test_the_same_holds_for_a_user_without_rights() -> None:
    """Runs a core of this folder again as `nobody`, with a home of its own."""
    python = sys.executable
    if not _anyone_can_run(Path(python)):
        python = "/usr/bin/python3"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        if Path(python).resolve().name != f"python{version}":
            pytest.skip(f"neither {sys.executable} nor a system Python {version} runs as nobody")
    nobody = pwd.getpwnam("nobody")
    home = Path(tempfile.mkdtemp(prefix="codojo-nobody-"))
    try:
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        packages = [entry for entry in sys.path if entry.endswith("site-packages")]
        core = "fork_bomb or added_up or flood or deaf or daemon or signals or selftest_proves"
        core += " or killed_harness or before_it_has_a_program or cancelling or kill or forged or right_answer or gained"
        core += " or one_process or threads_count or of_the_host or traced or greedy or outlive"
        core += " or are_refused or belongs_to_no_process or next_execution or carried"
        core += (
            " or files_in_memory or keep_in_sockets or nobody_of_ours or of_ours or core_is_left"
        )
        ran = subprocess.run(
            [
                *(
                    python,
                    "-m",
                    "pytest",
                    "-q",
                    "-p",
                    "no:cacheprovider",
                    "-p",
                    "no:randomly",
                    "-k",
                    core,
                ),
                *("-m", "not docker and not slow"),
                *("-o", "asyncio_default_fixture_loop_scope=function"),
                *("--basetemp", str(home / "pytest"), "tests/sandboxes"),
            ],
            cwd=ROOT,
            env={
                "HOME": str(home),
                "PATH": os.defpath,
                "PYTHONPATH": os.pathsep.join([str(ROOT), *packages]),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=600,
        )
    finally:
        shutil.rmtree(home, ignore_errors=True)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
    skipped = [line for line in ran.stdout.splitlines() if line.startswith("SKIPPED")]
    allowed = ("no control group", "so low a priority")
    assert [s for s in skipped if not any(why in s for why in allowed)] == [], ran.stdout[-1000:]


def _anyone_can_run(path: Path) -> bool:
    parents = path.resolve().parents
    return all(parent.stat().st_mode & 0o001 for parent in parents)
