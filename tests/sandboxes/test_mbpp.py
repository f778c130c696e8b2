"""Known right solutions of a published suite pass: a judge that is too strict is wrong as well."""

import asyncio
import os
from pathlib import Path

import pytest

from codojo.sandboxes import Judge, Sandbox
from codojo.settings import SandboxSettings
from codojo.tasks.loaders import load_suite
from codojo.tasks.schema import Candidate, Task

SETTINGS = SandboxSettings(wall_s=10)


def tasks(step: int) -> list[Task]:
    folder = os.environ.get("CODOJO_DATA")
    if not folder or not (Path(folder) / "mbpp_sanitized.jsonl").exists():
        pytest.skip("CODOJO_DATA names no folder with mbpp_sanitized.jsonl")
    return list(load_suite(str(Path(folder) / "mbpp_sanitized.jsonl")))[::step]


async def judge_references(sandbox: Sandbox, chosen: list[Task]) -> list[str]:
    """The tasks whose reference does not pass, with the reason."""
    judge = Judge(sandbox, SETTINGS)

    async def one(task: Task) -> str:
        candidate = Candidate.of(task.reference or "")
        verdict = await judge.verdict(candidate, task.entry_point, task.sealed)
        return "" if verdict.passed else f"{task.task_id} {verdict.status} {verdict.reason}"

    return [said for said in await asyncio.gather(*map(one, chosen)) if said]


async def test_canonical_solutions_of_mbpp_pass(sandbox: Sandbox) -> None:
    assert await judge_references(sandbox, tasks(step=8)) == []


@pytest.mark.slow
async def test_all_canonical_solutions_of_mbpp_pass(sandbox: Sandbox) -> None:
    assert await judge_references(sandbox, tasks(step=1)) == []
