"""Known right solutions of a published suite pass: a judge that is too strict is wrong as well."""

import asyncio
import os
from pathlib import Path

import pytest

from codojo.sandboxes import Judge, Sandbox
from codojo.settings import SandboxSettings
from codojo.tasks.loaders import load_suite
from codojo.tasks.programs import defined_functions
from codojo.tasks.schema import Candidate, Task

SETTINGS = SandboxSettings(wall_s=10)


def tasks(step: int) -> list[Task]:
    folder = os.environ.get("CODOJO_DATA")
    if not folder or not (Path(folder) / "mbpp_sanitized.jsonl").exists():
        pytest.skip("CODOJO_DATA names no folder with mbpp_sanitized.jsonl")
    return list(load_suite(str(Path(folder) / "mbpp_sanitized.jsonl")))[::step]


async def judge_all(
    sandbox: Sandbox, chosen: list[Task], *, stubs: bool, passes: bool
) -> list[str]:
    """The tasks whose reference, or stub, is judged otherwise than it should be, with the reason."""
    judge = Judge(sandbox, SETTINGS)

    async def one(task: Task) -> str:
        code = stub_of(task.reference or "") if stubs else task.reference or ""
        verdict = await judge.verdict(Candidate.of(code), task.entry_point, task.sealed)
        return (
            "" if verdict.passed == passes else f"{task.task_id} {verdict.status} {verdict.reason}"
        )

    return [said for said in await asyncio.gather(*map(one, chosen)) if said]


def stub_of(program: str) -> str:
    """Every function of a program, each returning None."""
    stubs = (f"def {name}(*args, **kwargs): return None\n" for name in defined_functions(program))
    return "".join(stubs)


async def test_canonical_solutions_of_mbpp_pass(sandbox: Sandbox) -> None:
    assert await judge_all(sandbox, tasks(step=8), stubs=False, passes=True) == []


async def test_stubs_do_not_pass_mbpp(sandbox: Sandbox) -> None:
    assert await judge_all(sandbox, tasks(step=8), stubs=True, passes=False) == []


@pytest.mark.slow
async def test_all_canonical_solutions_of_mbpp_pass_and_no_stub_does(sandbox: Sandbox) -> None:
    assert await judge_all(sandbox, tasks(step=1), stubs=False, passes=True) == []
    assert await judge_all(sandbox, tasks(step=1), stubs=True, passes=False) == []
