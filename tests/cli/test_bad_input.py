"""Nonsense at the command line: one clear line, a non-zero exit code, nothing lost."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from codojo.trajectories.log import read_log

SCRIPTED = ("--set", "engine.kind=scripted", "--set")


def codojo(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "codojo", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that says what is wrong; progress may stand before it."""
    assert done.returncode not in (0, None), done.stdout
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("codojo: "), done.stderr
    return last


def test_missing_file(tmp_path: Path) -> None:
    said = complaint(codojo("run", tmp_path / "no.jsonl", "--dojo", tmp_path / "d"))
    assert "no.jsonl" in said


def test_unknown_suite(tmp_path: Path) -> None:
    said = complaint(codojo("run", "--suite", "kattas", "--dojo", tmp_path / "d"))
    assert "kattas" in said and "katas" in said


def test_broken_json_says_the_line(tmp_path: Path) -> None:
    good = {
        "task_id": "a",
        "prompt": "def f(x):\n",
        "entry_point": "f",
        "test": "def check(candidate):\n    assert True",
    }
    lines = [json.dumps(good | {"task_id": f"t{n}"}) for n in range(6)] + ['{"task_id": ']
    (tmp_path / "tasks.jsonl").write_text("\n".join(lines))
    said = complaint(codojo("run", tmp_path / "tasks.jsonl", "--dojo", tmp_path / "d"))
    assert "7" in said and "tasks.jsonl" in said


def test_external_engine_that_does_not_answer(tmp_path: Path) -> None:
    engine = ("--set", "engine.kind=external", "--set", "engine.url=http://127.0.0.1:9/v1")
    said = complaint(codojo("run", "Write f(x)", "--dojo", tmp_path / "d", *engine))
    assert "127.0.0.1:9" in said


def test_engine_that_dies_at_start(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"rules": 3}')
    script = f"engine.model={tmp_path / 'broken.json'}"
    said = complaint(codojo("run", "Write f(x)", "--dojo", tmp_path / "d", *SCRIPTED, script))
    assert "broken.json" in said


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--set", "team.samples"], "team.samples=8"),
        (["--set", "team.sample=3"], "team.sample"),
        (["--set", "sampling.temperature=9"], "sampling.temperature"),
        (["--graph", "trio"], "trio"),
        (["--resume", "last"], "no unfinished run"),
    ],
)
def test_wrong_options(tmp_path: Path, options: list[str], named: str) -> None:
    said = complaint(codojo("run", "Write f(x)", "--dojo", tmp_path / "d", *options))
    assert named in said


def test_full_disk_leaves_a_readable_log(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    noise = random.Random(7).randbytes(900_000).hex()  # what a log compresses still takes its room
    reply = "```python\ndef f(x):\n    return x\n```" + noise
    script.write_text(json.dumps({"rules": [{"match": "", "replies": [reply]}]}))
    small = tmp_path / "small"
    small.mkdir()
    if os.getuid() == 0:
        spaces, plain = ["-m"], ""
    else:  # mount as a user: in a user namespace, whose rights the command itself must not have
        spaces = ["-Um", "--map-current-user", "--keep-caps"]
        plain = "setpriv --ambient-caps=-all --inh-caps=-all"
    command = (
        f"mount -t tmpfs -o size=512k tmpfs {small} && {plain} {sys.executable} -m codojo run 'Write f(x)' "
        f"--dojo {small}/d --set engine.kind=scripted --set engine.model={script} --samples 4; "
        f"code=$?; cp -r {small}/d/log {tmp_path}/kept; exit $code"
    )
    done = subprocess.run(
        ["unshare", *spaces, "sh", "-c", command], capture_output=True, text=True, check=False
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"cannot make a small file system here: {done.stderr.strip()}")
    assert "No space left on device" in complaint(done)
    assert [e.kind for e in read_log(tmp_path / "kept")][:2] == ["segment_opened", "run_started"]


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = codojo("run", "--suite", "kattas", "--dojo", tmp_path / "d", "--debug")
    assert "Traceback" in done.stderr and done.returncode != 0
