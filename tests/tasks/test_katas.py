"""The katas: right, hard to fool, distinct, and the same on every machine."""

import ast
import itertools
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from codojo.canonical import content_hash
from codojo.errors import TaskError
from codojo.tasks.cases import agrees, arguments
from codojo.tasks.katas import load_katas
from codojo.tasks.katas.build import FEWEST_SEALED, katas, make_task
from codojo.tasks.katas.kata import kata
from codojo.tasks.katas.proof import disagreement
from codojo.tasks.mutants import CONSTANTS, mutants, parrots
from codojo.tasks.schema import SPLITS, Case, Suite, Task, make_suite
from codojo.tasks.similarity import ALIKE, clusters, likeness

SUITE = load_katas()
WRONG = {kata.name: kata.wrong for kata, _, _ in katas()}
MOST_MUTANTS = 16
LONGEST_CASE_S = 0.1


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Stops endless loops of mutants by processor time, which leaves pytest's own alarm alone."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def passes(source: str, entry_point: str, cases: tuple[Case, ...]) -> bool:
    scope: dict[str, object] = {}
    try:
        with cpu_limit(LONGEST_CASE_S):
            exec(source, scope)
            function = scope[entry_point]
            assert callable(function)
            return all(agrees(case, function(*arguments(case))) for case in cases)
    except Exception:
        return False


def each_kata() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("task", SUITE.tasks, ids=lambda task: task.entry_point)


def test_every_reference_passes_its_cases_and_leaves_its_arguments_alone() -> None:
    assert [f"{t.task_id}: {said}" for t in SUITE if (said := disagreement(t))] == []


@each_kata()
def test_sealed_cases_catch_wrong_solutions(task: Task) -> None:
    assert task.reference is not None
    head = f"def {task.entry_point}(*args):\n    return "
    for constant in CONSTANTS:
        assert not passes(head + constant, task.entry_point, task.sealed.cases), constant
    for lambda_source in WRONG[task.entry_point]:
        variant = f"{task.entry_point} = {lambda_source}"
        assert not passes(variant, task.entry_point, task.sealed.cases), lambda_source
    sown = dict.fromkeys(itertools.chain(parrots(task.reference), mutants(task.reference)))
    tried = list(itertools.islice(sown, MOST_MUTANTS))
    alive = [m for m in tried if passes(m, task.entry_point, task.sealed.cases)]
    killed = len(tried) - len(alive) + len(WRONG[task.entry_point])
    # Some mutants are the same function (`range(0, n + 1)` in a sum), so not all can be caught.
    assert killed >= 3 and killed >= 2 * len(alive), alive


def test_every_kata_has_enough_cases_that_differ_from_the_visible_ones() -> None:
    for task in SUITE:
        inputs = [repr(case.args) for case in (*task.visible.cases, *task.sealed.cases)]
        assert len(task.sealed) >= FEWEST_SEALED, task.task_id
        assert 1 <= len(task.visible) <= 2, task.task_id
        assert len(set(inputs)) == len(inputs), task.task_id


def test_no_single_answer_dominates_the_cases_of_a_kata() -> None:
    for task in SUITE:
        answers = Counter(repr(case.expected) for case in task.sealed.cases)
        assert answers.most_common(1)[0][1] <= 0.75 * len(task.sealed), task.task_id


def test_float_results_are_compared_with_tolerance() -> None:
    for task in SUITE:
        if "float" in task.starter.rpartition("->")[2]:
            assert all(case.rule == "close" for case in task.sealed.cases), task.task_id


def test_statements_are_unique_short_and_name_the_parameters_alike() -> None:
    prompts = [task.prompt for task in SUITE]
    assert len(set(prompts)) == len(prompts)
    for task in SUITE:
        assert 20 <= len(task.prompt) <= 260, task.task_id
        assert task.prompt.startswith("Return "), task.task_id
        tree = ast.parse(f"{task.starter}\n    pass")
        named = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        quoted = {text for text in task.prompt.split("`")[1::2] if text.isidentifier()}
        assert quoted <= named | {"_"}, task.task_id


def test_splits_have_the_shares_and_the_families_that_a_gate_needs() -> None:
    sizes = {split: len(SUITE.split(split)) for split in SPLITS}
    families = {split: {task.family for task in SUITE.split(split)} for split in SPLITS}
    assert len(SUITE) >= 210
    assert 0.45 <= sizes["train"] / len(SUITE) <= 0.55
    for split in ("gate", "held_out"):
        assert 0.20 <= sizes[split] / len(SUITE) <= 0.30
        assert sizes[split] >= 50
        assert len(families[split]) >= 10
    assert sum(len(names) for names in families.values()) >= 44
    assert len(set().union(*families.values())) == sum(len(names) for names in families.values())
    assert all(2 <= count <= 8 for count in Counter(task.family for task in SUITE).values())


def test_no_two_statements_of_different_splits_are_near_duplicates() -> None:
    split = {task.task_id: task.split for task in SUITE}
    leaders = clusters({task.task_id: task.prompt for task in SUITE})
    assert [(one, leader) for one, leader in leaders.items() if split[one] != split[leader]] == []
    pairs = itertools.combinations(SUITE.tasks, 2)
    for a, b in pairs:
        assert a.split == b.split or likeness(a.prompt, b.prompt) < ALIKE, (a.task_id, b.task_id)


def test_no_two_solutions_of_different_splits_are_the_same_up_to_names() -> None:
    seen: dict[str, Task] = {}
    for task in SUITE:
        assert task.reference is not None
        other = seen.setdefault(without_names(task.reference), task)
        assert other.split == task.split, (other.task_id, task.task_id)


def without_names(source: str) -> str:
    """The body of a function with its own names numbered."""
    function = ast.parse(source).body[-1]
    assert isinstance(function, ast.FunctionDef)
    names: dict[str, str] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            names.setdefault(node.arg, f"name{len(names)}")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.setdefault(node.id, f"name{len(names)}")
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    return "\n".join(ast.unparse(statement) for statement in function.body)


@pytest.mark.parametrize("seed", ["0", "4711"])
def test_tasks_are_the_same_in_every_process(seed: str) -> None:
    program = (
        "from codojo.canonical import content_hash\n"
        "from codojo.tasks.katas import load_katas\n"
        "print(content_hash([task.hash for task in load_katas()]))"
    )
    fresh = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert fresh.stdout.strip() == content_hash([task.hash for task in SUITE])


def test_the_brief_of_a_kata_holds_neither_sealed_tests_nor_reference() -> None:
    task = SUITE.task("katas/count_vowels")
    brief = task.brief().model_dump_json()
    assert "sealed" not in brief
    assert "aeiouAEIOU" not in brief
    assert "aeiouAEIOU" not in repr(task)


def test_a_kata_with_too_few_inputs_is_refused() -> None:
    coin = kata("coins", examples=[(True,)], draw=lambda r: (r.random() < 0.5,))(lambda side: side)
    tree = ast.parse('def toss(side):\n    """Return it."""\n    return side\n').body[0]
    assert isinstance(tree, ast.FunctionDef)
    with pytest.raises(TaskError, match="widen what its `draw` returns"):
        make_task(coin, tree, ast)


def test_a_suite_refuses_two_tasks_of_one_name() -> None:
    task = SUITE.tasks[0]
    with pytest.raises(TaskError, match="twice"):
        make_suite("doubled", [task, task])


def test_an_unknown_task_is_named_in_the_error() -> None:
    with pytest.raises(TaskError, match="no task 'katas/nothing'"):
        Suite(name="katas", tasks=()).task("katas/nothing")
