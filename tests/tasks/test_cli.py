"""`codojo tasks`, as a person meets it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from codojo.cli.tasks import app
from codojo.errors import TaskError
from codojo.tasks.katas import load_katas


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_list_shows_one_split_with_counts() -> None:
    shown = run("list", "katas", "--split", "gate")
    assert "katas/mean" in shown
    assert "katas/count_vowels" not in shown
    assert "splits: train" in shown


def test_list_as_json_gives_briefs_without_sealed_tests() -> None:
    lines = run("list", "--json").splitlines()
    first = json.loads(lines[0])
    assert first["task_id"] == "katas/add_two_numbers"
    assert "sealed" not in first
    assert "reference" not in first


def test_show_keeps_sealed_tests_and_reference_to_itself() -> None:
    shown = run("show", "count_vowels")
    assert "def count_vowels(text: str) -> int:" in shown
    assert "count_vowels('Banana') == 3" in shown
    assert "24 sealed tests, not shown" in shown
    assert "aeiouAEIOU" not in shown
    assert "sealed" not in run("show", "katas/count_vowels", "--json")


def test_show_reveals_on_request() -> None:
    shown = run("show", "count_vowels", "--reveal")
    assert "aeiouAEIOU" in shown
    assert shown.count("count_vowels(") > 20


def test_check_counts_the_references() -> None:
    count = len(load_katas())
    assert f"{count} of {count} references pass" in run("check", "katas")


def test_check_sends_foreign_code_to_the_judge(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    row = {"task_id": 1, "text": "Add.", "code": "def f():\n  1/0", "test_list": ["assert f()"]}
    path.write_text(json.dumps(row))
    with pytest.raises(TaskError, match="codojo judge"):
        run("check", str(path))


def test_unknown_splits_tasks_and_suites_are_explained() -> None:
    with pytest.raises(TaskError, match="train, gate, held_out"):
        run("list", "--split", "test")
    with pytest.raises(TaskError, match="codojo tasks list"):
        run("show", "nothing")
    with pytest.raises(TaskError, match="built in: katas"):
        run("list", "nosuch")
