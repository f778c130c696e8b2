"""Suites that are folders, end to end: solved and scored; and not improved on, which is said at once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from codojo.tasks.loaders import load_suite
from codojo.trajectories.schema import load_trajectories

CODOJO = [sys.executable, "-m", "codojo"]
TEXT = {
    "func": ("def {name}(x):\n    pass\n", "def {name}(x):\n    return x + {n}\n", "{name}(1)"),
    "kind": (
        "class {name}:\n    def up(self, x):\n        pass\n",
        "class {name}:\n    def up(self, x):\n        return x + {n}\n",
        "{name}().up(1)",
    ),
}
"""Starter, reference, and a call, of an exercise that asks for a function, and for a class."""


@pytest.fixture
def exercises(tmp_path: Path) -> Path:
    """Eight exercises as collections keep them, and a script that solves them."""
    root, rules = tmp_path / "exercises", []
    for n in range(8):
        kind = "func" if n % 2 else "kind"
        name = f"{kind}{chr(97 + n)}"
        starter, reference, call = (part.format(name=name, n=n) for part in TEXT[kind])
        place = root / name
        (place / ".docs").mkdir(parents=True)
        (place / ".docs" / "instructions.md").write_text(f"# Instructions\n\nAdd {n}.\n")
        (place / f"{name}.py").write_text(starter)
        (place / f"{name}_test.py").write_text(
            f"import unittest\nfrom {name} import {name}\n\n\n"
            f"class NameTest(unittest.TestCase):\n"
            f"    def test_one(self):\n        self.assertEqual({call}, {1 + n})\n"
        )
        rules.append({"match": rf"{name}\b", "replies": [f"```python\n{reference}```"]})
    script = {"rules": [*rules, {"match": "", "replies": ["I do not know."]}]}
    (tmp_path / "script.json").write_text(json.dumps(script))
    return root


def codojo(*args: object, ok: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*CODOJO, *map(str, args)], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == ok, done.stderr
    return done


@pytest.mark.parametrize("graph", ["solo", "team"])
def test_a_run_solves_functions_and_classes_and_says_how_they_were_judged(
    tmp_path: Path, exercises: Path, graph: str
) -> None:
    engine = ("engine.kind=scripted", f"engine.model={tmp_path / 'script.json'}")
    codojo(
        *("run", "--suite", exercises, "--graph", graph, "--samples", 1, "--dojo", tmp_path / "d"),
        *("--set", engine[0], "--set", engine[1], "--set", "sandbox.backend=warm"),
    )
    found = load_trajectories(tmp_path / "d" / "log")
    tasks = load_suite(str(exercises)).split("train")
    assert sorted(t.brief.task_id for t in found.values()) == sorted(t.task_id for t in tasks)
    assert {t.brief.task_id[:4] for t in found.values()} == {"func", "kind"}
    for trajectory in found.values():
        verdict = trajectory.verdict
        assert verdict is not None and verdict.passed, verdict
        assert (verdict.tests, verdict.integrity) == ("sealed", "shared_process")


@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["improve", "dry run"])
def test_improving_on_it_is_refused_before_anything_is_spent(
    tmp_path: Path, exercises: Path, more: list[str]
) -> None:
    command: list[Any] = ["improve", "--suite", exercises, "--dojo", tmp_path / "d", *more]
    script = ("--set", "engine.kind=scripted", "--set", f"engine.model={tmp_path / 'script.json'}")
    done = codojo(*command, *script, ok=False)
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert "shared_process" in line and "codojo judge" in line
    assert not load_trajectories(tmp_path / "d" / "log")
