"""codojo judge: rates, results that survive an interruption, and what it says of tricks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from codojo.judging import Judged
from tests.cli.test_bad_input import codojo, complaint

ADD = {
    "task_id": "add/1",
    "prompt": "def add(a, b):\n",
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate('a', 'b') == 'ab'\n",
}
ANSWERS = [
    "def add(a, b): return a + b",
    "def add(a, b): return 3",
    "import os\ndef add(a, b): os._exit(0)",
    "def add(a, b): return b + a",
]
FOLDER = {
    "two-fer/prompt.md": "One for you, one for me.",
    "two-fer/two_fer.py": "def two_fer(name='you'):\n    pass\n",
    "two-fer/two_fer_test.py": (
        "import unittest\nfrom two_fer import two_fer\n\n\nclass TwoFerTest(unittest.TestCase):\n"
        "    def test_no_name(self):\n        self.assertEqual(two_fer(), 'One for you, one for me.')\n"
        "    def test_name(self):\n        self.assertEqual(two_fer('Al'), 'One for Al, one for me.')\n"
    ),
    "two-fer/.meta/example.py": "def two_fer(name='you'):\n    return f'One for {name}, one for me.'\n",
}


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return lines(tmp_path / "add.jsonl", ADD)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    rows = [{"task_id": "add/1", "solution": answer} for answer in ANSWERS]
    return lines(tmp_path / "samples.jsonl", *rows)


def judge(suite: Path, samples: Path, *more: object) -> list[dict[str, object]]:
    done = codojo("judge", "--suite", suite, "--samples", samples, "--json", *more)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.row("G19")
@pytest.mark.parametrize("backend", ["bubblewrap", "warm"])
def test_rates_statuses_and_tricks_are_counted(suite: Path, samples: Path, backend: str) -> None:
    *each, summary = judge(suite, samples, "--backend", backend)
    assert [row["status"] for row in each] == ["passed", "failed", "error", "failed"]
    assert {row["isolation"] for row in each} == {backend}
    assert (summary["pass@1"], summary["attempts"]) == (0.25, {"abort": 1})
    assert summary["attempts_per_1000"] == 250
    said = codojo("judge", "--suite", suite, "--samples", samples, "--backend", backend).stdout
    assert "abort 1 (250.0 per 1,000 candidates)" in said and "look at these samples" in said


@pytest.mark.row("G18")
def test_an_answer_that_depends_on_luck_is_flaky_and_no_pass(tmp_path: Path, suite: Path) -> None:
    # Strings hash differently in each interpreter; seven runs agree in one of 64 cases.
    lucky = "def add(a, b): return a + b if hash('salt') % 2 else None"
    samples = lines(tmp_path / "s.jsonl", {"task_id": "add/1", "solution": lucky})
    for backend in ("bubblewrap", "warm"):
        row, summary = judge(suite, samples, "--repeat", "7", "--backend", backend)
        if row["status"] == "passed":
            pytest.skip("all seven interpreters drew the same order, as one in 64 does")
        assert summary["pass@1"] == 0
        assert row["flaky"] or row["status"] == "failed"


def test_what_is_judged_is_not_judged_again(tmp_path: Path, suite: Path, samples: Path) -> None:
    results = tmp_path / "verdicts.jsonl"
    first = judge(suite, samples, "--results", results)
    kept = [Judged.model_validate_json(line) for line in results.read_text().splitlines()]
    assert len(kept) == len(ANSWERS)
    # As a killed run leaves it: two verdicts, and half of a third.
    whole = results.read_text().splitlines(keepends=True)
    results.write_text("".join(whole[:2]) + whole[2][:40])
    again = judge(suite, samples, "--results", results)
    assert [row["status"] for row in again[:-1]] == [row["status"] for row in first[:-1]]
    after = results.read_text().splitlines()
    assert len(after) == len(ANSWERS)
    assert after[:2] == [line.rstrip("\n") for line in whole[:2]]


def test_another_answer_in_the_same_place_is_judged(tmp_path: Path, suite: Path) -> None:
    results = tmp_path / "verdicts.jsonl"
    for answer, status in (("def add(a, b): return a + b", "passed"), ("x = 1", "error")):
        samples = lines(tmp_path / "s.jsonl", {"task_id": "add/1", "solution": answer})
        assert judge(suite, samples, "--results", results)[0]["status"] == status


def test_a_folder_of_exercises_is_a_suite(tmp_path: Path) -> None:
    for path, text in FOLDER.items():
        file = tmp_path / "exercises" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    right = FOLDER["two-fer/.meta/example.py"]
    several = {
        "two_fer.py": "from helper import one\ntwo_fer = one\n",
        "helper.py": right.replace("two_fer", "one"),
    }
    samples = lines(
        tmp_path / "s.jsonl",
        {"task_id": "two-fer", "solution": right},
        {"task_id": "two-fer", "files": several},
        {"task_id": "two-fer", "solution": FOLDER["two-fer/two_fer.py"]},
        {"task_id": "two-fer", "solution": "import os; os._exit(0)"},
    )
    *each, summary = judge(tmp_path / "exercises", samples, "--backend", "warm")
    assert [row["status"] for row in each] == ["passed", "passed", "failed", "error"]
    assert {row["integrity"] for row in each} == {"shared_process"}
    assert summary["pass@1"] == 0.5


def test_bad_input_is_one_line(tmp_path: Path, suite: Path, samples: Path) -> None:
    stray = lines(tmp_path / "stray.jsonl", {"task_id": "sub/1", "solution": "x"})
    assert "sub/1" in complaint(codojo("judge", "--suite", suite, "--samples", stray))
    keyless = lines(tmp_path / "keyless.jsonl", {"task_id": "add/1", "text": "x"})
    assert "line 1" in complaint(codojo("judge", "--suite", suite, "--samples", keyless))
    (tmp_path / "empty").mkdir()
    said = complaint(codojo("judge", "--suite", tmp_path / "empty", "--samples", samples))
    assert "holds no tasks" in said
    assert "is no results file" in complaint(
        codojo("judge", "--suite", suite, "--samples", samples, "--results", suite)
    )


def test_an_interrupted_judge_leaves_no_process(tmp_path: Path, suite: Path) -> None:
    rows = [{"task_id": "add/1", "solution": "while True: pass"}] * 4
    samples = lines(tmp_path / "s.jsonl", *rows)
    command = [sys.executable, "-m", "codojo", "judge", "--suite", str(suite)]
    with subprocess.Popen(
        [*command, "--samples", str(samples)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=3)
        process.terminate()
        assert process.wait(timeout=20) != 0
