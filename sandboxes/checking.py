"""A check written as code, run where the candidate is not: the judge carries calls between two cages."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from codojo.sandboxes.contract import GRACE_S, CageEnded, Limits, Metered, OpenProcess, Sandbox
from codojo.sandboxes.reading import (
    Finding,
    cage_ended,
    read_answer,
    read_done,
    read_loaded,
    strict_json,
    without_answer,
)
from codojo.sandboxes.sources import program
from codojo.tasks.schema import Candidate, Check, TestSource


class CageLost(Exception):
    """A cage died for no reason of the candidate's or the test's that we know."""


async def died_of_memory(process: OpenProcess | None) -> bool:
    """Whether what died in a cage did so at its cap of memory, as far as the kernel has counted."""
    return isinstance(process, Metered) and await process.lacked_memory()


async def run_check(
    sandbox: Sandbox,
    limits: Limits,
    candidate: Candidate,
    entry_point: str,
    check: Check,
    source: TestSource,
) -> Finding:
    """What a check said of a candidate.

    It passed if the check returned, asked the candidate at least once, and no answer was an abort: a
    candidate that is gone, or an answer that cannot be read, ends the check at once, so that no
    `except` in it can make a pass of that.

    Raises:
        CageLost: If a cage ended by itself; another may fare better.
        SandboxError: If one could not be started.
    """
    async with AsyncExitStack() as cages:
        answerer, tester = await _open_both(sandbox, limits, cages)
        job = {"entry": entry_point, **check.model_dump(include={"source", "presets", "prelude"})}
        try:
            await _send(answerer, _line({"files": candidate.files}))
            loaded = strict_json(await _receive(answerer))
            trouble = read_loaded(loaded, check.id, source)
            return trouble or await _carry(answerer, tester, job, check.id, source, limits.wall_s)
        except CageEnded as end:
            return cage_ended(check.id, end.ended)


async def _open_both(
    sandbox: Sandbox, limits: Limits, cages: AsyncExitStack
) -> tuple[OpenProcess, OpenProcess]:
    """The candidate's cage and the test's, started side by side."""
    outer = replace(limits, wall_s=limits.wall_s + GRACE_S)

    async def enter(name: str) -> OpenProcess:
        return await cages.enter_async_context(sandbox.open(program(name), limits=outer))

    try:
        async with asyncio.TaskGroup() as group:
            answerer, tester = (group.create_task(enter(name)) for name in ("answerer", "tester"))
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    return answerer.result(), tester.result()


async def _carry(
    answerer: OpenProcess,
    tester: OpenProcess,
    job: dict[str, Any],
    id: str,
    source: TestSource,
    wall_s: float,
) -> Finding:
    """Carry calls to the candidate and answers back until the check has ended."""
    calls = 0
    try:
        async with asyncio.timeout(wall_s):
            await _send(tester, _line(job))
            while True:
                asked = await _receive(tester)
                said = strict_json(asked)
                if not isinstance(said, dict) or "done" in said:
                    return read_done(said, id, source, calls)
                await _send(answerer, asked)
                answer = strict_json(await _receive(answerer))
                calls += 1
                trouble = read_answer(answer, id, source)
                if trouble is not None:
                    return trouble
                # Not the candidate's own bytes: what was read is what the check gets.
                await _send(tester, _line(answer))
    except TimeoutError:
        return without_answer(id, "timeout", "no end in time", "wall")


async def _send(process: OpenProcess, frame: bytes) -> None:
    try:
        await process.send(frame)
    except CageEnded as end:
        raise _lost(end) from end


async def _receive(process: OpenProcess) -> bytes:
    """The line of the next frame."""
    try:
        return await process.receive()
    except CageEnded as end:
        raise _lost(end) from end


def _lost(end: CageEnded) -> Exception:
    """Ended at a limit, which says something; or for no known reason, so that another may be tried."""
    return CageLost(str(end)) if end.lost else end


def _line(head: object) -> bytes:
    return json.dumps(head).encode() + b"\n"
