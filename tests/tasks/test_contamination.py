"""The guard finds gate and held-out text, and lets honest rows pass."""

import time

import pytest

from codojo.errors import ContaminationError
from codojo.tasks.cases import render
from codojo.tasks.contamination import ContaminationGuard
from codojo.tasks.katas import load_katas
from codojo.tasks.schema import Check, Task, Tests

SUITE = load_katas()
GUARD = ContaminationGuard.of(SUITE)
PROTECTED = [*SUITE.split("gate"), *SUITE.split("held_out")]


def as_row(task: Task) -> str:
    """What a training row of a task holds: prompt, starter, visible cases, a solution."""
    cases = "\n".join(render(case, task.entry_point) for case in task.visible.cases)
    return (
        f"Write this Python function.\n\n{task.prompt}\n\n{task.starter}\n{cases}\n"
        f"```python\n{task.reference}```"
    )


def test_every_protected_task_is_found_in_its_own_row() -> None:
    missed = [task.task_id for task in PROTECTED if task.task_id not in GUARD.find(as_row(task))]
    assert missed == []


def test_every_protected_prompt_is_found_in_other_dress() -> None:
    for task in PROTECTED:
        dressed = "# " + task.prompt.upper().replace("`", "'").replace(" ", "\n#  ")
        assert task.task_id in GUARD.find(f"Here is one more:\n{dressed}\nGood luck"), task.task_id


def test_rows_of_train_tasks_are_clean() -> None:
    found = {t.task_id: hits for t in SUITE.split("train") if (hits := GUARD.find(as_row(t)))}
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "return sum(x)",
        "def f(numbers: list[int]) -> int:\n    return sum(n for n in numbers if n % 2 == 0)",
        "Return the list of the numbers in the list, in the same order.",
        "if the list is empty, return 0",
        "Return True if it is, else False.",
        "from typing import List\n\ndef f(xs: List[int]) -> int:\n    return max(xs)",
        "for i in range(len(numbers)):\n    for j in range(len(numbers)):\n        if i < j:",
    ],
)
def test_common_phrases_and_short_solutions_are_clean(text: str) -> None:
    assert GUARD.find(text) == []


def test_nearly_all_prompts_are_still_found_with_a_word_changed_in_the_middle() -> None:
    hidden = []
    long = [task for task in PROTECTED if len(task.prompt.split()) >= 16]
    for task in long:
        words = task.prompt.split()
        words[len(words) // 2] = "certain"
        if task.task_id not in GUARD.find(" ".join(words)):
            hidden.append(task.task_id)
    assert len(long) > 50
    assert len(hidden) <= 0.1 * len(long), hidden


def test_a_long_reference_is_found_under_another_prompt() -> None:
    task = SUITE.task("katas/add_minutes")
    guard = ContaminationGuard([task])
    assert guard.find(f"Here is a puzzle.\n{task.reference}") == [task.task_id]
    assert task.reference is not None
    renamed = task.reference.replace("add_minutes", "later")
    assert guard.find(f"class Clock:\n    pass\n\n{renamed}") == [task.task_id]


def test_an_assert_of_a_protected_test_is_found() -> None:
    check = Check(
        source="def check(candidate):\n    assert mix([1, 2, 3], (4, 5), 6) == [1, 4, 6]\n"
    )
    task = Task(
        task_id="foreign/1",
        suite="foreign",
        family="mixing",
        prompt="Mix the values in the manner of the old masters of the trade.",
        entry_point="mix",
        sealed=Tests(source="sealed", check=check),
        split="gate",
    )
    guard = ContaminationGuard([task])
    assert guard.find("x = 1\nassert mix([1, 2, 3], (4, 5), 6) == [1, 4, 6]") == ["foreign/1"]
    assert guard.find("assert mix([7, 2, 3], (4, 5), 6) == [1, 4, 6]") == []


def test_a_prompt_too_short_for_ngrams_must_be_there_whole() -> None:
    task = Task(
        task_id="foreign/2",
        suite="foreign",
        family="short",
        prompt="Sort the pancakes by radius.",
        entry_point="f",
        split="held_out",
    )
    guard = ContaminationGuard([task])
    assert guard.find("sort the PANCAKES by radius!") == ["foreign/2"]
    assert guard.find("Task: sort the pancakes by radius, then eat.") == ["foreign/2"]
    assert guard.find("Sort the pancakes by size. Mind the radius.") == []


def test_require_clean_names_the_text_and_the_tasks() -> None:
    task = PROTECTED[0]
    with pytest.raises(ContaminationError, match=f"row 17 of rows.jsonl .*{task.task_id}"):
        GUARD.require_clean(as_row(task), "row 17 of rows.jsonl")
    GUARD.require_clean("return sum(x)", "a line")
    assert GUARD.is_clean("return sum(x)")


def test_ten_thousand_rows_take_seconds_not_minutes() -> None:
    rows = [as_row(task) for task in SUITE.split("train")]
    before = time.process_time()
    for i in range(1_000):
        GUARD.find(rows[i % len(rows)])
    assert time.process_time() - before < 3
