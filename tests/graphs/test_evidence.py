"""The matrix behind self-made tests, from real runs in a sandbox."""

import pytest
from langchain_core.language_models import BaseChatModel

from codojo.graphs.evidence import collect, some_mutants
from codojo.graphs.parts import Parts
from codojo.sandboxes import Judge, open_sandbox
from codojo.scoring.test_quality import useful_tests
from codojo.settings import SandboxSettings, Settings
from codojo.tasks.cases import make_case
from codojo.tasks.schema import Brief, Candidate, Tests

RIGHT = Candidate.of("def top(xs):\n    return max(xs) if xs else None\n")


def nobody(agent: str) -> BaseChatModel:
    raise AssertionError(f"{agent} was asked, and no model should be")


@pytest.mark.row("G12")
async def test_vacuous_and_unproved_tests_are_dropped() -> None:
    """One case wants what a stub gives; the others notice it, and a fault."""
    cases: list[tuple[list[object], object]] = [([[]], None), ([[3, 1, 2]], 3), ([[1, 1]], 1)]
    tests = Tests(
        source="self_made",
        cases=tuple(make_case(f"t{n}", args, wanted) for n, (args, wanted) in enumerate(cases)),
    )
    brief = Brief(
        task_id="top", suite="s", family="f", split="train", prompt="", entry_point="top",
        starter="", visible=Tests(source="visible"),
    )  # fmt: skip
    settings = SandboxSettings(backend="warm", wall_s=5)
    async with open_sandbox(settings) as sandbox:
        parts = Parts(nobody, Judge(sandbox, settings), Settings())
        matrix = await collect(parts, brief, tests, RIGHT)
        unproved = await collect(parts, brief, tests, None)
    assert [row.passes_stub for row in matrix] == [True, False, False]
    assert useful_tests(matrix).tests == ("t1", "t2")
    assert useful_tests(unproved).tests == ()


def test_a_program_gives_a_handful_of_different_mutants() -> None:
    made = some_mutants(RIGHT.code)
    assert 2 <= len(set(made)) == len(made) <= 5
    assert RIGHT.code not in made
    assert some_mutants("def broken(") == []
    assert some_mutants("x" * 100_000 + "(") == []
