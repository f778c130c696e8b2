"""The index: finds rollouts and their events, and is never trusted over the log."""

import json
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codojo.errors import Busy, LogDamaged, LogError, LogTooNew
from codojo.tasks.schema import Brief, Candidate, Tests, Verdict
from codojo.trajectories.derived import folder_of
from codojo.trajectories.framing import frame
from codojo.trajectories.index import Index
from codojo.trajectories.journal import ASKED, EFFECT
from codojo.trajectories.log import Log, read_log
from codojo.trajectories.rewrite import rewrite
from codojo.trajectories.schema import (
    FINISHED,
    STARTED,
    Choice,
    Cost,
    Message,
    Proposal,
    RolloutEnd,
    RolloutStart,
    StepInput,
    StepOutput,
    load_trajectories,
)
from codojo.trajectories.search import search
from codojo.trajectories.segments import pack_log


def start(n: int, *, run: str = "RUN1", task: str = "katas/add") -> dict[str, object]:
    brief = Brief(
        task_id=task,
        suite="katas",
        family="f",
        split="train",
        prompt=f"Add number {n} to what is given",
        entry_point="add",
        starter="def add(a):",
        visible=Tests(source="visible"),
    )
    record = RolloutStart(
        run=run,
        stage="run",
        brief=brief,
        task_hash="h",
        graph="solo" if n % 2 else "team",
        graph_version="v",
        models={"all": "tiny"},
    )
    return record.model_dump(mode="json")


def reply(key: str, text: str) -> dict[str, object]:
    asked = StepInput(
        agent="coder",
        model="tiny",
        template="t",
        parent=None,
        messages=(Message(role="user", content="please write it"),),
        sampling={},
    )
    said = StepOutput(model="tiny", choices=(Choice(text=text),))
    return {
        "key": key,
        "effect": "reply",
        "path": ["code@1"],
        "nth": 0,
        "input_hash": "i",
        "input": asked.model_dump(mode="json"),
        "output": said.model_dump(mode="json"),
        "duration_s": 0.1,
    }


def end(n: int) -> dict[str, object]:
    verdict = Verdict(status="passed" if n % 2 else "failed", tests="sealed")
    proposal = Proposal(
        candidate=Candidate.of(f"def add(a):\n    return a + {n}\n"), verdict=verdict
    )
    record = RolloutEnd(
        proposals=(proposal,),
        chosen=0,
        verdict=verdict,
        cost=Cost(prompt_tokens=10, completion_tokens=n, calls=1),
    )
    return record.model_dump(mode="json")


def write_rollouts(
    folder: Path, rollouts: int, *, effects: int = 2, unfinished: int = 0, first: int = 0
) -> None:
    """Rollouts side by side, as a run logs them."""
    with Log(folder) as log:
        ids = [(n, f"ROLL{n:06d}") for n in range(first, first + rollouts)]
        for n, id in ids:
            log.append(STARTED, start(n), id)
        for number in range(effects):
            for n, id in ids:
                log.append(ASKED, {"key": f"{n}-{number}", "effect": "reply"}, id)
                log.append(EFFECT, reply(f"{n}-{number}", f"answer {number} of rollout_{n}"), id)
        for n, id in ids[: rollouts - unfinished]:
            log.append(FINISHED, end(n), id)
        log.append("run_finished", {"run": "RUN1"}).result()


def test_the_index_says_what_the_log_says(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_rollouts(log, 12, unfinished=2)
    found = load_trajectories(log)
    with Index(log) as index:
        rows = index.rollouts()
        assert [row.id for row in rows] == list(found)
        for row in rows:
            trajectory = found[row.id]
            assert index.trajectory(row.id) == trajectory
            assert index.events(row.id) == [e for e in read_log(log) if e.rollout == row.id]
            assert (row.finished, row.at) == (trajectory.end is not None, trajectory.at)
            verdict = trajectory.verdict
            assert row.verdict == (verdict.status if verdict else None)
            assert row.tokens == (trajectory.end.cost.tokens if trajectory.end else 0)
        assert [e.kind for e in index.marks("run_finished", "nothing")] == ["run_finished"]
        assert index.events("nobody") == []
        with pytest.raises(KeyError):
            index.trajectory("nobody")


def test_filters_and_limits(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_rollouts(log, 6)
    with Index(log) as index:
        assert (
            index.count() == 6 == index.count(run="RUN", suite="katas", split="train", model="in")
        )
        assert [r.id[-1] for r in index.rollouts(graph="team")] == ["0", "2", "4"]
        assert [r.id[-1] for r in index.rollouts(verdict="passed", limit=2)] == ["3", "5"]
        assert index.count(task="add", since=0) == 6
        assert index.count(since=time.time() + 60) == index.count(verdict="none") == 0
        assert index.count(ids=[]) == 0 and index.count(ids={"ROLL000003"}) == 1
        assert index.count(id="ROLL00000") == 6 and index.count(run="UN1") == 0


@pytest.mark.row("C17")
@pytest.mark.parametrize(
    "name", ['") OR 1=1--', "run OR 1=1", "id; DROP TABLE rollouts", "places", "", "ids"]
)
def test_a_filter_of_another_name_is_refused(tmp_path: Path, name: str) -> None:
    write_rollouts(tmp_path / "log", 2)
    with Index(tmp_path / "log") as index:
        with pytest.raises(ValueError, match="no filter is called"):
            index.count(**{name: "x"})
        assert index.count() == 2


@pytest.mark.row("C17")
@pytest.mark.parametrize(
    "value", ["' OR '1'='1", '") OR 1=1--', "%", "_", "*", "\ud800", "\0", "x" * 100_000]
)
def test_values_of_filters_and_searches_are_only_values(tmp_path: Path, value: str) -> None:
    log = tmp_path / "log"
    write_rollouts(log, 2)
    with Index(log) as index:
        for name in ("id", "run", "stage", "task", "suite", "graph", "model", "verdict"):
            assert index.count(**{name: value}) == 0, name
        assert index.rollouts(ids=[value]) == [] and index.marks(value) == [] == index.events(value)
        assert index.count() == 2
    if any(c.isalnum() for c in value):
        assert search(log, value) == set()
    for operator in (
        "add NOT given",
        "add OR nothing",
        "body:add",
        'add" OR "given',
        "ad*",
        "NEAR(add)",
    ):
        assert search(log, operator) == set(), "no word of a search is an operator"


def test_search_finds_prompts_answers_and_code(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_rollouts(log, 4)
    every = {f"ROLL{n:06d}" for n in range(4)}
    assert search(log, "please write") == every
    assert search(log, "number 2 to what") == {"ROLL000002"}
    assert search(log, "rollout_3") == search(log, "return a + 3") == {"ROLL000003"}
    assert search(log, "DEF Add") == every
    assert search(log, "write please") == set() == search(log, "rollout")
    with Log(log) as more:
        more.append(EFFECT, reply("late", "something " + "pelican " * 9000), "ROLL000001").result()
    assert search(log, "pelican") == {"ROLL000001"}, "what came since is found, large texts too"
    with pytest.raises(LogError, match="holds no word"):
        search(log, " ::() ")


def test_only_what_came_since_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_rollouts(log, 3)
    with Index(log) as index:
        assert index.refresh() == 0
        write_rollouts(log, 2, first=3)
        assert index.refresh() == 2 * (1 + 4 + 1) + 2
        assert index.count() == 5
        pack_log(log, over=0)
        assert index.refresh() == 0, "packing moves nothing"
        assert index.trajectory("ROLL000004") == load_trajectories(log)["ROLL000004"]


def test_a_record_that_is_being_written_is_read_once_it_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_rollouts(log, 1)
    line = frame(99, 1.0, STARTED, "ROLLNEW", start(9))
    for part in (line[:40], line[40:]):
        with (log / "000001.jsonl").open("ab") as file:
            file.write(part)
        with Index(log) as index:
            assert index.count() == 1 + (part == line[40:])


def test_a_rewritten_moved_or_replaced_log_is_indexed_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_rollouts(log, 3)
    assert search(log, "rollout_1")
    with Index(log) as index:
        assert index.count() == 3
    rewrite(log, lambda e: None if e.rollout == "ROLL000001" else e)
    assert not folder_of(log).exists()
    with Index(log) as index:
        assert [r.id for r in index.rollouts()] == ["ROLL000000", "ROLL000002"]
    assert search(log, "rollout_1") == set()
    write_rollouts(log, 1, first=7)
    with Index(log) as index:
        assert index.count() == 3
    (log / "000001.jsonl").unlink()
    with Index(log) as index:
        assert [r.id for r in index.rollouts()] == ["ROLL000007"]
    shutil.rmtree(log)
    write_rollouts(log, 2, first=20)
    with Index(log) as index:
        assert index.count() == 2


@pytest.mark.row("C14")
def test_an_index_that_another_process_holds_is_waited_for_and_then_named(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_rollouts(log, 2)
    with Index(log):
        pass
    write_rollouts(log, 1, first=2)
    file = folder_of(log) / "rollouts.sqlite"
    holder = (
        "import sqlite3, sys, time; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "db.execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep(float(sys.argv[2]))"
    )
    command = [sys.executable, "-c", holder, str(file)]
    with subprocess.Popen([*command, "60"], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        began = time.monotonic()
        with pytest.raises(
            Busy, match=r"another process has held .*rollouts.sqlite for more than 0.5 s"
        ):
            Index(log, busy_s=0.5)
        assert time.monotonic() - began > 0.4
        other.kill()
    with subprocess.Popen([*command, "0.3"], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        with Index(log, busy_s=60) as index:
            assert index.count() == 3
    db = sqlite3.connect(file)
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    db.close()


@pytest.mark.row("C15")
@pytest.mark.parametrize("harm", ["pages", "header", "cut", "empty", "text", "older"])
def test_a_damaged_index_is_set_aside_and_made_again(tmp_path: Path, harm: str) -> None:
    log = tmp_path / "log"
    write_rollouts(log, 60)
    with Index(log) as index:
        before = index.rollouts()
    assert search(log, "answer")
    dice = random.Random(7)
    for name in ("rollouts.sqlite", "texts.sqlite"):
        path = folder_of(log) / name
        content = bytearray(path.read_bytes())
        if harm == "pages":
            for page in dice.sample(range(1, len(content) // 4096), len(content) // 4096 // 2):
                content[page * 4096 : page * 4096 + 4096] = dice.randbytes(4096)
        elif harm == "header":
            content[:100] = dice.randbytes(100)
        elif harm == "older":
            content[60:64] = (77).to_bytes(4, "big")
        other = {"cut": content[: len(content) // 2], "empty": b"", "text": b"no database" * 500}
        path.write_bytes(bytes(other.get(harm, content)))
    with Index(log) as index:
        assert index.rollouts() == before
        assert index.trajectory(before[9].id) == load_trajectories(log)[before[9].id]
    assert len(search(log, "answer 1 of rollout_7")) == 1
    if harm in ("pages", "header", "cut", "text"):
        assert (folder_of(log) / "rollouts.damaged").exists()


@pytest.mark.row("C15")
def test_an_index_that_points_elsewhere_gives_no_wrong_events(tmp_path: Path) -> None:
    """Damage inside a value that SQLite cannot notice: the line's checksum does."""
    log = tmp_path / "log"
    write_rollouts(log, 5)
    with Index(log) as index:
        index._derived.db.execute("UPDATE events SET offset = offset + 1")
    with Index(log) as index, pytest.raises(LogDamaged):
        index.trajectory("ROLL000002")
    with Index(log) as index:
        assert index.trajectory("ROLL000002") == load_trajectories(log)["ROLL000002"]


@pytest.mark.row("C18")
def test_a_newer_segment_is_refused_and_damage_is_named(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_rollouts(log, 2)
    newer = log / "000002.jsonl"
    newer.write_bytes(frame(0, 1.0, "segment_opened", None, {"schema": 99}))
    with pytest.raises(LogTooNew):
        Index(log)
    write_rollouts(tmp_path / "other" / "log", 2)
    path = tmp_path / "other" / "log" / "000001.jsonl"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(LogDamaged, match="at byte"):
        Index(path.parent)


LOOK = """
import sys
from pathlib import Path
from codojo.trajectories.index import Index
from codojo.trajectories.search import search
log = Path(sys.argv[1])
with Index(log) as index:
    print(index.count(), len(index.events("ROLL000001")), len(search(log, "rollout_1")))
"""


@pytest.mark.row("C10")
@pytest.mark.row("C24")
@pytest.mark.parametrize("disk", ["mount -o remount,ro", "head -c 9m /dev/zero >"])
def test_a_log_beside_which_nothing_can_be_written_is_read_all_the_same(
    tmp_path: Path, disk: str
) -> None:
    """On a read-only disk, and on a full one."""
    write_rollouts(tmp_path / "made" / "log", 300)
    place = tmp_path / "small"
    place.mkdir()
    last = f"{disk} {place}" if "mount" in disk else f"{disk} {place}/rest 2>/dev/null;"
    script = (
        f"mount -t tmpfs -o size=2m tmpfs {place} && cp -r {tmp_path}/made/log {place}/log && {last} "
        f"{'&&' if 'mount' in disk else ''} {sys.executable} -c '{LOOK}' {place}/log"
    )
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"cannot make a small file system here: {done.stderr.strip()}")
    assert done.stdout.split() == ["300", "6", "1"], done.stderr
    assert "reading the whole log instead" in done.stderr


@pytest.mark.row("C19")
def test_rollouts_are_listed_in_their_order_whatever_the_clock_said(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    lines = [frame(0, 9.0, "segment_opened", None, {"schema": 2, "pid": 1})]
    lines += [frame(n, 9.0 - n, STARTED, f"R{9 - n}", start(n)) for n in range(1, 5)]
    (folder / "000001.jsonl").write_bytes(b"".join(lines))
    with Index(folder) as index:
        assert [r.id for r in index.rollouts()] == ["R8", "R7", "R6", "R5"]


def big_log(folder: Path, events: int) -> None:
    """A log of so many events in segments of 100,000, written without waiting for the disk."""
    folder.mkdir(parents=True)
    body = reply("k", "x" * 400)
    n = 0
    for segment in range(1, 1 + -(-events // 100_000)):
        with (folder / f"{segment:06d}.jsonl").open("wb") as file:
            file.write(frame(0, 0.0, "segment_opened", None, {"schema": 2, "pid": 1}))
            for seq in range(1, min(100_000, events - (segment - 1) * 100_000)):
                rollout, place = f"ROLL{n // 50:06d}", n % 50
                if place == 0:
                    file.write(frame(seq, float(n), STARTED, rollout, start(n // 50)))
                elif place == 49:
                    file.write(frame(seq, float(n), FINISHED, rollout, end(n)))
                else:
                    file.write(frame(seq, float(n), EFFECT, rollout, {**body, "key": f"k{n}"}))
                n += 1


OPENER = """
import sys, time
from pathlib import Path
from codojo.trajectories.index import Index
with Index(Path(sys.argv[1])) as index:
    last = index.rollouts(limit=1)[0]
    trajectory = index.trajectory(last.id)
print(time.process_time(), len(trajectory.effects))
"""


@pytest.mark.row("C23")
@pytest.mark.parametrize(
    "events", [10_000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_a_large_log_opens_from_its_index_within_two_seconds(tmp_path: Path, events: int) -> None:
    """Of processor time, start of Python included: neighbours do not count. `codojo bench log` has the clock's."""
    log = tmp_path / "log"
    big_log(log, events)
    with Index(log) as index:
        assert index.count() == -(-(events - events // 100_000 - (events % 100_000 > 0)) // 50)
    done = subprocess.run(
        [sys.executable, "-c", OPENER, str(log)], capture_output=True, text=True, check=True
    )
    seconds, effects = done.stdout.split()
    assert float(seconds) < 2.0 and int(effects) > 0
    checker = (
        "import sys; from pathlib import Path; from codojo.trajectories.verify import verify;"
        "found = verify(Path(sys.argv[1])); status = Path('/proc/self/status').read_text();"
        # `ru_maxrss` would start with what the process that started this one had.
        "print(found.is_sound, int(status.split('VmHWM:')[1].split()[0]) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", checker, str(log)], capture_output=True, text=True, check=True
    )
    sound, megabytes = done.stdout.split()
    assert sound == "True" and int(megabytes) < 250


def test_the_command_lists_searches_and_shows_by_the_index(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from codojo.cli.trajectories import app
    from codojo.folder import init

    init(tmp_path / "d")
    write_rollouts(tmp_path / "d" / "log", 5, unfinished=1)

    def rows(*more: str) -> list[str]:
        called = CliRunner().invoke(app, ["list", "--dojo", str(tmp_path / "d"), "--json", *more])
        assert called.exception is None, called.exception
        return [json.loads(line)["id"][-1] for line in called.output.splitlines()]

    assert rows() == ["0", "1", "2", "3", "4"]
    assert rows("--graph", "solo", "--suite", "katas") == ["1", "3"]
    assert (
        rows("--search", "rollout_2") == ["2"]
        and rows("--search", "rollout_2", "--graph", "solo") == []
    )
    assert rows("--since", "1h") == rows() and rows("--since", "2199-01-01") == []
    shown = CliRunner().invoke(app, ["show", "ROLL000003", "--dojo", str(tmp_path / "d")])
    assert "answer 0 of rollout_3" in shown.output


OPENING = """
import sys, time
from pathlib import Path
from codojo.trajectories.index import Index
while time.time() < float(sys.argv[2]): pass
Index(Path(sys.argv[1])).close()
"""


def test_several_that_open_an_index_for_the_first_time_wait_for_each_other(tmp_path: Path) -> None:
    for turn in range(4):
        folder = tmp_path / str(turn) / "log"
        with Log(folder) as log:
            log.put("event", {"n": 1})
        at = str(time.time() + 1.5)
        command = [sys.executable, "-c", OPENING, str(folder), at]
        openers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
        assert [opener.communicate()[1] for opener in openers] == [""] * 3
