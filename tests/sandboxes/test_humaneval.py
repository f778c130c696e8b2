"""Verdicts by value agree with a suite's own tests run plainly, on a real model's samples."""

import asyncio
import gzip
import json
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from codojo.sandboxes import Judge, Sandbox
from codojo.sandboxes.workspace import execute
from codojo.settings import SandboxSettings
from codojo.tasks.loaders import load_suite, solution_text
from codojo.tasks.schema import Candidate, Task

FILE = "humaneval_codegen16b_samples.jsonl.gz"
WIDE = 4


class Pair(NamedTuple):
    """One sample judged both ways."""

    task_id: str
    number: int
    judged: str
    plain: str

    @property
    def agree(self) -> bool:
        """Whether both say pass, or neither does."""
        return (self.judged == "passed") == (self.plain == "passed")


def samples() -> tuple[list[Task], dict[str, list[str]]]:
    folder = os.environ.get("CODOJO_DATA")
    if not folder or not (Path(folder) / FILE).exists():
        pytest.skip(f"CODOJO_DATA names no folder with {FILE}")
    with gzip.open(Path(folder) / FILE, "rt") as file:
        rows = [json.loads(line) for line in file]
    found = {row["task_id"]: row["solutions"] for row in rows}
    return list(load_suite(str(Path(folder) / FILE))), found


async def both_ways(sandbox: Sandbox, wall_s: float, tasks: list[Task], each: int) -> list[Pair]:
    """Every sample by the judge, and its program with the test's text behind it in one process."""
    settings = SandboxSettings(wall_s=wall_s, parallel=WIDE)
    judge, free = Judge(sandbox, settings), asyncio.Semaphore(WIDE)
    _, solutions = samples()

    async def one(task: Task, number: int) -> Pair:
        program = solution_text(task, solutions[task.task_id][number])
        assert task.sealed.check is not None
        check = task.sealed.check
        plain = (
            f"{check.prelude}\n{program}\n{check.source}\ncheck({task.entry_point})\nprint('end')"
        )
        async with free:
            verdict = await judge.verdict(Candidate.of(program), task.entry_point, task.sealed)
            ran = await execute(sandbox, ["-c"], code=plain)
        passed = ran.returncode == 0 and ran.stdout.endswith(b"end\n")
        last = ran.stderr.decode(errors="replace").strip().splitlines()[-1:]
        said = "passed" if passed else f"{ran.ended} {' '.join(last)}"
        return Pair(task.task_id, number, f"{verdict.status} {verdict.reason}".strip(), said)

    pairs = [one(task, n) for task in tasks for n in range(min(each, len(solutions[task.task_id])))]
    return list(await asyncio.gather(*pairs))


async def test_verdicts_agree_with_plain_runs(sandbox: Sandbox, settings: SandboxSettings) -> None:
    tasks, _ = samples()
    pairs = await both_ways(sandbox, settings.wall_s, tasks[::16], each=4)
    assert len(pairs) >= 20
    assert [pair for pair in pairs if not pair.agree] == []


@pytest.mark.slow
async def test_all_verdicts_agree_with_plain_runs(
    sandbox: Sandbox, settings: SandboxSettings
) -> None:
    tasks, _ = samples()
    pairs = await both_ways(sandbox, settings.wall_s, tasks, each=20)
    passed = sum(pair.plain == "passed" for pair in pairs)
    odd = [pair for pair in pairs if not pair.agree]
    print(f"{len(pairs)} samples of {len(tasks)} tasks, {passed} pass plainly, {len(odd)} disagree")
    assert odd == []
