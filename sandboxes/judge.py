"""The judge: candidate and tests in, verdict out, with the verdict made where the candidate is not.

In a cage the candidate answers one call at a time; what is expected never goes in, and answers are
compared out here (`reading.py`). A check written as code runs in a cage of its own and asks the
candidate's cage through us (`checking.py`). Test files of pytest and unittest have to share a process
with the candidate, and their verdict says so (`examining.py`). Exit codes, prints and files of a
candidate decide nothing.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, TypeVar

from codojo.canonical import content_hash
from codojo.errors import SandboxError
from codojo.sandboxes.checking import CageLost, died_of_memory, run_check
from codojo.sandboxes.contract import GRACE_S, CageEnded, Limits, OpenProcess, Sandbox
from codojo.sandboxes.examining import run_files
from codojo.sandboxes.reading import (
    Answer,
    Finding,
    Forged,
    cage_ended,
    read_case,
    split_frame,
    without_answer,
)
from codojo.sandboxes.sources import program
from codojo.settings import SandboxSettings
from codojo.tasks.schema import (
    Candidate,
    Case,
    Check,
    Status,
    Tests,
    TestSource,
    Verdict,
)

T = TypeVar("T")

MAX_STOPS = 2
"""Cases that may end at a limit before the rest is not run."""


class Judge:
    """Verdicts on candidates, `settings.parallel` at a time. The sandbox must have been entered."""

    def __init__(self, sandbox: Sandbox, settings: SandboxSettings) -> None:
        self._sandbox = sandbox
        self._settings = settings
        self._free = asyncio.Semaphore(settings.parallel)

    async def verdict(
        self, candidate: Candidate, entry_point: str, tests: Tests, *, repeats: int = 1
    ) -> Verdict:
        """Run every test and fold what they said into one verdict; never raises for a candidate.

        The status is that of the first test that did not pass, except that an abort comes before
        everything else: a candidate that ends its process did not mean to be judged.

        Args:
            repeats: How often, side by side in cages of their own, whose interpreters order sets
                differently; a candidate that passes only sometimes has failed, reason `flaky`.
        """
        async with self._free:
            runs = [self._once(candidate, entry_point, tests) for _ in range(repeats)]
            verdicts = await asyncio.gather(*runs)
        worst = next((verdict for verdict in verdicts if not verdict.passed), verdicts[0])
        if any(verdict.passed for verdict in verdicts) and not worst.passed:
            return worst.model_copy(update={"reason": "flaky"})
        return worst

    async def _once(self, candidate: Candidate, entry_point: str, tests: Tests) -> Verdict:
        started = time.monotonic()
        cage = _Cage(self._sandbox, self._settings, candidate, entry_point.strip())
        try:
            findings = await cage.examine(tests)
        except SandboxError as err:
            verdict = Verdict(status="infra_error", reason=str(err)[:200], tests=tests.source)
        else:
            verdict = _fold(findings, tests)
        finally:
            await cage.close()
        return verdict.model_copy(
            update={
                "isolation": self._sandbox.capabilities.level,
                "integrity": "isolated" if tests.files is None else "shared_process",
                "duration_s": round(time.monotonic() - started, 4),
            }
        )


def _fold(findings: Sequence[Finding], tests: Tests) -> Verdict:
    if not findings:
        return Verdict(status="unverified", reason="no_tests", tests=tests.source)
    wrong = [finding for finding in findings if finding.outcome.status != "passed"]
    aborted = [finding for finding in wrong if finding.reason == "abort"]
    decisive = (aborted or wrong or findings)[0]
    answers = [finding.result for finding in findings[: len(tests.cases)]]
    answered = any(answer is not None for answer in answers)
    return Verdict(
        status=decisive.outcome.status,
        reason=decisive.reason,
        tests=tests.source,
        outcomes=tuple(finding.outcome for finding in findings),
        attempts=tuple(sorted({finding.attempt for finding in findings if finding.attempt})),
        behaviour=content_hash(answers) if answered else None,
    )


class _Cage:
    """The cage of one candidate, with the runner in it; replaced when a case has spoilt it."""

    def __init__(
        self, sandbox: Sandbox, settings: SandboxSettings, candidate: Candidate, entry_point: str
    ) -> None:
        self._sandbox = sandbox
        self._limits = Limits.of(settings)
        self._deadline = time.monotonic() + settings.total_s
        self._candidate = candidate
        self._entry_point = entry_point
        self._nonce = secrets.token_hex(16)
        self._held = AsyncExitStack()
        self._process: OpenProcess | None = None
        self._deaths = 0

    async def examine(self, tests: Tests) -> list[Finding]:
        """What each test said, in order."""
        findings: list[Finding] = []
        stops: list[Status] = []
        every: list[Case | Check] = [*tests.cases]
        if tests.check is not None:
            every.append(tests.check)
        for number, test in enumerate(every):
            if len(stops) >= MAX_STOPS or self._left_s() <= 0:
                why = stops[-1] if stops else "timeout"
                findings.append(without_answer(test.id, why, "not run: stopped before", "stopped"))
                continue
            finding = await self._run(number, test, tests.source)
            findings.append(finding)
            if finding.outcome.status in ("timeout", "resource_limit"):
                stops.append(finding.outcome.status)
            if finding.spoilt:
                await self.close()
        if tests.files is not None:
            files = tests.files
            findings += await self._retried(
                lambda: run_files(self._sandbox, self._limits, self._candidate, files),
                lambda detail: [without_answer("files", "error", detail, "abort")],
            )
        return findings

    async def _run(self, number: int, test: Case | Check, source: TestSource) -> Finding:
        """What one test said."""

        async def once() -> Finding:
            if isinstance(test, Case):
                return await self._case(number, test, source)
            limits = replace(self._limits, wall_s=min(self._limits.wall_s, self._left_s()))
            return await run_check(
                self._sandbox, limits, self._candidate, self._entry_point, test, source
            )

        return await self._retried(
            once, lambda detail: without_answer(test.id, "error", detail, "abort")
        )

    async def _retried(self, once: Callable[[], Awaitable[T]], given_up: Callable[[str], T]) -> T:
        """Its result; a cage that dies for reasons of ours is replaced once per candidate."""
        while True:
            try:
                return await once()
            except CageLost as lost:
                await self.close()
                self._deaths += 1
                if self._deaths > 1:
                    return given_up(f"the cage died twice: {lost}")

    async def _case(self, number: int, case: Case, source: TestSource) -> Finding:
        try:
            answer = await self._ask({"case": number, "args": case.args})
        except CageEnded as end:
            await self.close()
            if end.lost:
                raise CageLost(str(end)) from end
            return cage_ended(case.id, end.ended)
        except Forged as err:
            return without_answer(case.id, "error", str(err), "abort")
        except TimeoutError:
            return without_answer(case.id, "timeout", "no answer in time", "wall")
        if answer.end == "ended" and answer.signal and await died_of_memory(self._process):
            return cage_ended(case.id, "memory")
        return read_case(answer, case, self._entry_point, source)

    async def _ask(self, question: dict[str, Any]) -> Answer:
        process = self._process or await self._open()
        await process.send(json.dumps(question).encode())
        async with asyncio.timeout(self._limits.wall_s + GRACE_S):
            frame = await process.receive()
        return split_frame(frame, self._nonce, question["case"])

    async def _open(self) -> OpenProcess:
        limits = replace(self._limits, wall_s=max(self._left_s(), 0.1))
        for attempt in (1, 2):
            try:
                self._process = await self._held.enter_async_context(
                    self._sandbox.open(program("runner"), limits=limits)
                )
                break
            except SandboxError:
                if attempt == 2:
                    raise
        assert self._process is not None
        await self._process.send(json.dumps(self._job()).encode())
        return self._process

    def _job(self) -> dict[str, Any]:
        return {
            "nonce": self._nonce,
            "files": self._candidate.files,
            "entry": self._entry_point,
            "sealed": self._sandbox.sealed,
            "wall_s": self._limits.wall_s,
            "cpu_s": self._limits.cpu_s,
            # The frame also holds the runner's own line.
            "max_answer": self._limits.output_bytes - 512,
        }

    def _left_s(self) -> float:
        return self._deadline - time.monotonic()

    async def close(self) -> None:
        """Kill the cage; the next test opens another."""
        self._process = None
        await self._held.aclose()
