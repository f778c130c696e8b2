"""Suites and samples from files in published conventions, and what is said about bad ones."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codojo.errors import TaskError
from codojo.tasks.loaders import Sample, load_samples, load_suite, solution_text
from codojo.tasks.programs import (
    compiles,
    cut_body,
    entry_point_of,
    join,
    missing_presets,
    parse,
    prelude_of,
)
from codojo.tasks.schema import Task

HUMAN_EVAL = {
    "task_id": "HumanEval/900",
    "prompt": (
        "import math\n\ndef poly(x):\n    return x * x\n\n\n"
        'def root(x: float) -> float:\n    """ Where poly is x.\n    """\n'
    ),
    "entry_point": " root ",
    "canonical_solution": "    return math.sqrt(x)\n",
    "test": "def check(candidate):\n    assert math.isclose(poly(candidate(9.0)), 9.0)\n",
}
MBPP = {
    "task_id": 901,
    "text": "Write a function to add two numbers.",
    "code": "def helper(a):\n    return a\n\ndef add(a, b):\n    return helper(a) + b",
    "test_setup_code": "import string",
    "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"],
}
EVAL_PLUS = {
    "task_id": "HumanEval/902",
    "prompt": 'def scale(xs):\n    """Twice each."""\n',
    "entry_point": "scale",
    "canonical_solution": "    return [x * 2 for x in xs]\n",
    "base_input": [[[1, 2]]],
    "plus_input": [[[0.1, 0.2]], [[]]],
    "atol": 0,
}


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run_check(task: Task, program: str) -> None:
    """The check as the judge runs it, without the cage: helpers first, the candidate's name last."""
    assert task.sealed.check is not None
    scope: dict[str, Any] = {name: __import__(name) for name in task.sealed.check.presets}
    exec(task.sealed.check.prelude, scope)
    candidate: dict[str, Any] = {}
    exec(program, candidate)
    exec(task.sealed.check.source, scope)
    check: Callable[[object], None] = scope["check"]
    scope.update({k: v for k, v in candidate.items() if k == task.entry_point or k not in scope})
    check(candidate[task.entry_point])


def test_the_katas_load_by_name() -> None:
    assert load_suite("katas").name == "katas"


@pytest.mark.parametrize(
    "row", [HUMAN_EVAL, MBPP, EVAL_PLUS], ids=["humaneval", "mbpp", "evalplus"]
)
def test_each_convention_gives_a_check_that_its_reference_passes(
    row: dict[str, Any], tmp_path: Path
) -> None:
    (task,) = load_suite(write(tmp_path / "some.jsonl", row))
    assert task.reference is not None
    run_check(task, task.reference)
    wrong = f"def {task.entry_point}(*args):\n    return 7\n"
    with pytest.raises(AssertionError):
        run_check(task, wrong)
    assert task.task_id == str(row["task_id"])
    assert task.sealed.source == "sealed"
    assert len(task.visible) == 0


def test_human_eval_keeps_the_prompts_helpers_apart_from_the_candidate(tmp_path: Path) -> None:
    (task,) = load_suite(write(tmp_path / "some.jsonl", HUMAN_EVAL))
    assert task.entry_point == "root"
    assert task.starter.endswith("def root(x: float) -> float:")
    assert task.sealed.check is not None
    assert "def poly" in task.sealed.check.prelude
    assert "root" not in task.sealed.check.prelude


def test_mbpp_finds_the_tested_function_and_its_signature(tmp_path: Path) -> None:
    (task,) = load_suite(write(tmp_path / "some.jsonl", MBPP))
    assert task.entry_point == "add"
    assert task.starter == "def add(a, b):"
    assert task.sealed.check is not None
    assert task.sealed.check.prelude == "import string"


def test_a_test_script_without_check_becomes_one(tmp_path: Path) -> None:
    row = {**HUMAN_EVAL, "test": "for i in range(3):\n    assert root(i * i) == i\n"}
    (task,) = load_suite(write(tmp_path / "some.jsonl", row))
    assert task.reference is not None
    run_check(task, task.reference)


def test_modules_nobody_imports_are_preset() -> None:
    test = "def check(candidate):\n    assert math.isclose(f(1), sys.maxsize)\n"
    assert missing_presets(test, "import sys") == ("math",)
    assert missing_presets("import math\nassert f(math.pi)", "") == ()


def test_a_helper_named_as_entry_point_is_corrected_but_builtins_are_kept() -> None:
    test = "def check(candidate):\n    assert differ(13, 9) == True\n"
    assert entry_point_of(test, "is_power", "def is_power(x):\n") == "differ"
    assert entry_point_of("def check(candidate):\n    assert sum(1, 2) == 3\n", "sum", "") == "sum"
    assert entry_point_of("def check(candidate):\n    assert check(3)\n", "rev", "") == "check"
    assert entry_point_of("def check(candidate):\n    assert len(candidate(3))\n", "f", "") == "f"


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        ('def f(x):\n    """Doc."""\n', "    return x + 1\n"),
        ("def f(x):\n    '''Doc.'''\n", "  y = x\n  return y + 1\n"),
        ("def f(x):\n    '''Doc.'''\n", "\treturn x + 1\n"),
        ("def f(x):\n    '''Doc.'''\n", "return x + 1\n"),
        ("def f(x):\n    '''Doc.'''\n", "def f(x):\n    return x + 1\n"),
        ("import math\ndef f(x):\n    '''D.'''\n", "def f(x):\n    return math.floor(x) + 1\n"),
        ('def f(x):\n    """Doc."""\n', "    return x + 1\n\nprint(f(\n"),
        ('def f(x):\n    """Doc."""\n', "    return g(x)\n\ndef g(x):\n    return x + 1\n"),
    ],
)
def test_prompt_and_completion_join_to_a_program_that_works(prompt: str, completion: str) -> None:
    scope: dict[str, Any] = {}
    exec(join(prompt, "f", completion), scope)
    assert scope["f"](2) == 3


def test_a_completion_is_cut_where_it_leaves_the_function() -> None:
    assert cut_body("    return [\n        1,\n]\n\n# done\n    x\nprint(1)\n").endswith("x\n")
    assert cut_body("\n\n    return 1\n\n\nclass A:\n    pass\n") == "\n\n    return 1\n"


def test_text_that_is_no_program_has_no_prelude() -> None:
    assert prelude_of("Write a function that adds.", "add") == ""
    assert parse("def (") is None


def test_gzip_files_load(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(HUMAN_EVAL).encode()))
    suite = load_suite(str(path))
    assert (suite.name, len(suite)) == ("some", 1)


def test_near_duplicates_share_a_family_and_so_a_split(tmp_path: Path) -> None:
    texts = [
        "Write a function to find the last digit of a given whole number.",
        "Write a function to find the last digit of a given natural number.",
        "Return the words of a text sorted by how often each vowel occurs in them.",
    ]
    rows = [{**MBPP, "task_id": i, "text": text} for i, text in enumerate(texts)]
    # Otherwise the equal solutions would join all three.
    rows[2] = {**rows[2], "code": "def add(a, b):\n    return a + b"}
    suite = load_suite(write(tmp_path / "a.jsonl", *rows))
    again = load_suite(write(tmp_path / "a.jsonl", *reversed(rows)))
    families = {task.task_id: task.family for task in suite}
    assert families == {"0": "like 0", "1": "like 0", "2": "like 2"}
    assert families == {task.task_id: task.family for task in again}
    assert suite.task("0").split == suite.task("1").split


def test_a_family_named_in_the_file_is_kept(tmp_path: Path) -> None:
    (task,) = load_suite(write(tmp_path / "a.jsonl", {**MBPP, "family": "sums"}))
    assert task.family == "sums"


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in HUMAN_EVAL.items() if name != key}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no tasks"),
        ("\n\n", "holds no tasks"),
        (json.dumps(HUMAN_EVAL) + "\n" * 6 + '{"task_id": ', r"line 7: not JSON"),
        ("[1, 2]", r"line 1: a list, not an object"),
        (json.dumps(without("test")), r"line 1: the row has none of the keys 'test'"),
        (json.dumps(without("prompt")), r"line 1: the row has no 'prompt'"),
        (json.dumps(without("task_id")), r"line 1: the row has no 'task_id'"),
        (json.dumps(HUMAN_EVAL | {"test": 3}), r"has no text under 'test'"),
        (json.dumps(MBPP | {"test_list": "assert 1"}), r"else than a list of texts"),
        (json.dumps(MBPP | {"test_list": ["assert 1 == 1"]}), r"add 'entry_point'"),
        (json.dumps(EVAL_PLUS | {"task_id": "Mbpp/2"}), r"edition of the file"),
        ((json.dumps(HUMAN_EVAL) + "\n") * 2, r"line 2: task 'HumanEval/900' is there twice"),
        ("[" * 100_000, r"line 1: not JSON"),
    ],
)
def test_bad_files_are_refused_with_file_line_and_remedy(
    text: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(TaskError, match=said) as caught:
        load_suite(str(path))
    assert str(path) in str(caught.value)


def test_unknown_names_missing_files_and_broken_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no suite is called 'nosuch'; built in: katas"):
        load_suite("nosuch")
    with pytest.raises(TaskError, match=r"cannot read .*none\.jsonl"):
        load_suite(str(tmp_path / "none.jsonl"))
    with pytest.raises(TaskError, match="holds no tasks"):
        load_suite(str(tmp_path))
    for name, raw, said in [
        ("a.jsonl.gz", b"not gzip", "gzip"),
        ("b.jsonl.gz", gzip.compress(b"{}" * 50)[:-9], "gzip"),
        ("c.jsonl", b"\xff\xfe", "UTF-8"),
    ]:
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(TaskError, match=said):
            load_suite(str(tmp_path / name))


def test_samples_load_with_solutions_and_completions(tmp_path: Path) -> None:
    path = write(
        tmp_path / "samples.jsonl",
        {"task_id": "HumanEval/900", "completion": "    return x ** 0.5\n", "model": "m"},
        {"task_id": "HumanEval/900", "solution": "def root(x):\n    return x ** 0.5\n"},
    )
    (task,) = load_suite(write(tmp_path / "some.jsonl", HUMAN_EVAL))
    samples = load_samples(path)
    assert [sample.is_whole for sample in samples] == [False, True]
    for sample in samples:
        run_check(task, solution_text(task, sample))


def test_a_completion_of_a_kata_continues_its_starter() -> None:
    task = load_suite("katas").task("katas/reverse_text")
    sample = Sample(task_id=task.task_id, text="    return text[::-1]\n", is_whole=False)
    scope: dict[str, Any] = {}
    exec(solution_text(task, sample), scope)
    assert scope["reverse_text"]("abc") == "cba"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"task_id": "a"}', "line 2: a sample needs"),
        ('{"completion": "x"}', "line 2: a sample needs"),
        ('{"task_id": "a", "solution": null}', "line 2: a sample needs"),
        ('{"task_id": "a", "solution": "x', "line 2: not JSON"),
        ("3", "line 2: a int, not an object"),
    ],
)
def test_bad_samples_are_refused_with_their_line(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text('{"task_id": "a", "solution": "x"}\n' + line + "\n")
    with pytest.raises(TaskError, match=said):
        load_samples(path)


def data_file(name: str) -> str:
    folder = os.environ.get("CODOJO_DATA")
    if not folder:
        pytest.skip("CODOJO_DATA is not set: the published data lies outside the repository")
    return str(Path(folder) / name)


def test_mbpp_loads_whole_and_its_references_are_programs() -> None:
    suite = load_suite(data_file("mbpp_sanitized.jsonl"))
    assert len(suite) == 302
    assert {task.split for task in suite} == {"train", "gate", "held_out"}
    for task in suite:
        assert task.reference is not None
        assert compiles(task.reference), task.task_id
    presets = [task.task_id for task in suite if task.sealed.check and task.sealed.check.presets]
    numbers = sorted(int(task_id.split("/")[1]) for task_id in presets)
    assert numbers == [98, 124, 137, 163, 233, 246, 248, 300]
    named = {suite.task(f"MbppEval/{n}").entry_point for n in (6, 56, 126, 392)}
    assert named == {"differ_At_One_Bit_Pos", "check", "sum", "get_max_sum"}


def test_recorded_human_eval_loads() -> None:
    suite = load_suite(data_file("humaneval_codegen16b_samples.jsonl.gz"))
    assert len(suite) == 82
    assert all(task.starter.endswith(":") for task in suite)
