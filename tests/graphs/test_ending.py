"""Runs that end before their time, are taken up twice, or cannot begin: through the command line."""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from codojo.errors import Stopped
from codojo.graphs.ending import ending_in_order
from codojo.graphs.policies import spread
from codojo.graphs.run import RUN_STARTED, RUN_STOPPED, open_run, runs
from codojo.settings import Settings
from codojo.tasks.katas import load_katas
from codojo.trajectories.journal import ASKED, EFFECT
from codojo.trajectories.log import Log, read_log
from codojo.trajectories.schema import load_trajectories
from codojo.trajectories.stopping import Stop
from tests.graphs.test_run import CODOJO, codojo, outcome, run_katas
from tests.scripts import kata_script


def wait_for(log: Path, kind: str, count: int = 1, process: Any = None) -> None:
    """Until the log holds so many events of a kind."""
    while sum(event.kind == kind for event in read_log(log)) < count:
        assert process is None or process.poll() is None, "it ended before"
        time.sleep(0.02)


NO_CAGE = "--unsafe-no-sandbox"
"""What a cage costs is of no interest here."""


def slow_script(path: Path, latency_ms: int) -> Path:
    return kata_script(path, spread(load_katas().split("train"), 6), latency_ms=latency_ms)


@pytest.mark.row("C3")
def test_a_run_killed_as_soon_as_it_was_accepted_is_listed_and_can_be_resumed(
    tmp_path: Path,
) -> None:
    dojo = tmp_path / "d"
    command = [
        *CODOJO,
        *run_katas(dojo, slow_script(tmp_path / "s.json", 10), NO_CAGE, "--tasks", "2"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(dojo / "log", RUN_STARTED, 1, process)
        process.kill()
    (listed,) = json.loads(codojo("trajectories", "runs", "--dojo", dojo, "--json").stdout)
    assert listed["state"] == "accepted, not started" and listed["rollouts"] == 0
    shown = codojo("trajectories", "runs", "--dojo", dojo).stdout
    assert f"codojo run --resume {listed['id']}" in shown
    codojo("run", "--resume", "last", "--dojo", dojo)
    assert [run.state for run in runs(dojo)] == ["finished"]
    found = load_trajectories(dojo / "log")
    assert len(found) == 2 and all(t.end and t.end.verdict for t in found.values())


@pytest.mark.row("C20")
@pytest.mark.parametrize(
    "effects",
    [2, pytest.param(0, marks=pytest.mark.slow), pytest.param(11, marks=pytest.mark.slow)],
)
def test_sigterm_lets_what_is_under_way_end_and_nothing_is_asked_again(
    tmp_path: Path, effects: int
) -> None:
    script = slow_script(tmp_path / "s.json", 300)
    codojo(*run_katas(tmp_path / "whole", script, NO_CAGE))
    dojo = tmp_path / "d"
    command = [*CODOJO, *run_katas(dojo, script, NO_CAGE)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(dojo / "log", EFFECT if effects else RUN_STARTED, effects or 1, process)
        time.sleep(random.random() / 5)
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read() if process.stderr else ""
    (run,) = runs(dojo)
    assert process.returncode == 143, said
    assert (
        f"codojo: stopped by SIGTERM; what ended is in the log: go on with 'codojo run --resume {run.id}'"
        in said
    )
    events = list(read_log(dojo / "log"))
    asked, ended = ({e.data["key"] for e in events if e.kind == kind} for kind in (ASKED, EFFECT))
    assert asked == ended, "what was asked has been answered and logged"
    assert [e.data["cut_short"] for e in events if e.kind == RUN_STOPPED] == [0]
    codojo("run", "--resume", "last", "--dojo", dojo)
    found = load_trajectories(dojo / "log")
    assert sum(t.end.reasked for t in found.values() if t.end) == 0
    assert outcome(found) == outcome(load_trajectories(tmp_path / "whole" / "log"))


@pytest.mark.row("C20")
def test_after_the_grace_what_is_still_under_way_is_cut_short(tmp_path: Path) -> None:
    dojo, script = tmp_path / "d", slow_script(tmp_path / "s.json", 60_000)
    command = [*CODOJO, *run_katas(dojo, script, NO_CAGE, "--set", "team.grace_s=0.5")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(dojo / "log", ASKED, 6, process)
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read() if process.stderr else ""
    assert process.returncode == 143
    assert "6 effects were cut short" in said
    slow_script(script, 0)
    codojo("run", "--resume", "last", "--dojo", dojo)
    found = load_trajectories(dojo / "log")
    assert sum(t.end.reasked for t in found.values() if t.end) == 6


async def test_a_stop_from_a_program_ends_its_run_and_is_no_cancellation(tmp_path: Path) -> None:
    stop = Stop()
    with (
        Log(tmp_path / "log") as log,
        pytest.raises(Stopped, match="stopped by the operator"),
        open_run(tmp_path, log, "run", {}, Settings(), stop=stop) as run,
    ):
        async with ending_in_order(run, 1.0):
            stop.request("the operator")
            await asyncio.sleep(60)


RACER = """
import json, os, sys, time
from pathlib import Path
from codojo.errors import Busy
from codojo.graphs.run import find_run, open_run
from codojo.settings import Settings
from codojo.trajectories.log import Log

dojo, turns = Path(sys.argv[1]), int(sys.argv[2])
record = find_run(dojo, "run")
won, refused = 0, set()
with Log(dojo / "log") as log:
    print("ready", flush=True)
    sys.stdin.readline()
    for turn in range(turns):
        try:
            with open_run(dojo, log, "run", {}, Settings(), resume=record):
                inside = dojo / "inside"
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
                time.sleep(0.001)
                inside.unlink()
                won += 1
                raise ConnectionError
        except ConnectionError:
            time.sleep(0.0005)
        except Busy as err:
            refused.add(str(err))
            time.sleep(0.0007)
print(json.dumps([won, sorted(refused)]))
"""


@pytest.mark.row("C11")
@pytest.mark.row("C12")
def test_of_two_that_take_up_one_run_again_and_again_only_one_has_it(tmp_path: Path) -> None:
    """Two processes, 200 turns each; and a lock file left by a killed holder stops nobody."""
    with Log(tmp_path / "log") as log, open_run(tmp_path, log, "run", {}, Settings()) as run:
        holder = subprocess.Popen(["sleep", "60"])
        lock = tmp_path / "locks" / f"{run.id}.lock"
        log_copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "log", log_copy / "log")
        (log_copy / "locks").mkdir()
        (log_copy / "locks" / lock.name).write_text(str(holder.pid))
        holder.kill()
        holder.wait()
    command = [sys.executable, "-c", RACER, str(log_copy), "200"]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdout and racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    results = [json.loads(racer.communicate()[0]) for racer in racers]
    won = [count for count, _ in results]
    assert min(won) > 0 and sum(won) < 400, "both got it, and both were refused"
    for (_, refused), other in zip(results, reversed(racers), strict=True):
        assert not [message for message in refused if f"process {other.pid};" not in message]


@pytest.mark.row("C24")
@pytest.mark.parametrize("fault", ["a file in its place", "a read-only log", "a read-only dojo"])
def test_a_dojo_that_cannot_be_written_is_said_before_any_engine_starts(
    tmp_path: Path, fault: str
) -> None:
    dojo, script = tmp_path / "d", slow_script(tmp_path / "s.json", 10)
    command = [*CODOJO, *run_katas(dojo, script)]
    command.remove("--json")  # it would also be silent about an engine that starts
    if fault == "a file in its place":
        dojo.write_text("")
    else:
        codojo("init", dojo)
        (dojo / "log").mkdir()
        target = dojo if fault == "a read-only dojo" else dojo / "log"
        mounts = f"mount --bind {target} {target} && mount -o remount,ro,bind {target} && "
        words = " ".join(f"'{word}'" for word in command)
        command = ["unshare", "-Urm", "sh", "-c", textwrap.dedent(mounts + words)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": "/tmp"}
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"cannot mount read-only here: {done.stderr.strip()}")
    (line,) = done.stderr.splitlines()
    assert line.startswith("codojo: cannot ") and str(dojo) in line, done.stderr
    assert "choose another folder" in line or "check its permissions" in line
    assert done.returncode in (2, 3)


def test_the_same_program_is_executed_once_in_a_rollout(tmp_path: Path) -> None:
    """Four equal answers make one execution and one verdict, and each proposal has both."""
    task = load_katas().split("train")[0]
    script = tmp_path / "s.json"
    script.write_text(json.dumps({"rules": [{"replies": [f"```python\n{task.reference}\n```"]}]}))
    codojo(*run_katas(tmp_path / "d", script, "--tasks", "1", "--samples", "4", NO_CAGE))
    (found,) = load_trajectories(tmp_path / "d" / "log").values()
    assert len(found.proposals) == 4
    assert all(p.visible and p.verdict and p.verdict.passed for p in found.proposals)
    assert Counter(e.effect for e in found.effects) == {"reply": 1, "execution": 1, "verdict": 1}
