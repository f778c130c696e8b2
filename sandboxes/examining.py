"""Tests in files (pytest, unittest) run over a candidate's files, and what can be believed of that.

Test and candidate share a process, so a candidate that sets out to can say anything in there. What
it says is therefore checked from outside: each file holds two tests of the judge's own, of which one
must fail and one must pass; a test without a report, an unknown one, one reported twice or a test
file that changed spoils the run. The verdict says `shared_process` all the same.
"""

import json
import random
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from codojo.sandboxes.checking import CageLost, died_of_memory
from codojo.sandboxes.contract import GRACE_S, CageEnded, Limits, OpenProcess, Sandbox
from codojo.sandboxes.reading import Finding, cage_ended, strict_json, without_answer
from codojo.sandboxes.sources import program
from codojo.tasks.schema import Candidate, Status, TestFiles
from codojo.tasks.test_names import FoundTests, framework_of, wanted_tests

IGNORED = frozenset(
    {
        *("conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini"),
        *("setup.cfg", "pyproject.toml", "sitecustomize.py", "usercustomize.py"),
    }
)
"""Files that would steer the runner; a candidate's are left out."""
RUNNERS = frozenset(
    {
        *("pytest", "_pytest", "unittest", "pluggy", "iniconfig", "packaging", "pygments", "py"),
    }
)
"""Modules that would be run in place of the runner's own."""
SUFFIXES = ("again", "also", "twice", "more", "too", "once", "still", "both", "plain", "simple")
OUTCOMES: dict[str, Status] = {"passed": "passed", "failed": "failed", "skipped": "failed"}


class Canaries(NamedTuple):
    """A test file with two tests of the judge's own."""

    text: str
    must_fail: str
    must_pass: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the examiner sent for one test file."""

    end: str
    changed: bool
    lines: list[dict[str, Any]]
    readable: bool


async def run_files(
    sandbox: Sandbox, limits: Limits, candidate: Candidate, tests: TestFiles
) -> list[Finding]:
    """A finding for each test, file by file.

    Raises:
        CageLost: If the cage ended by itself.
        SandboxError: If it could not be started.
    """
    laid, planted = laid_out(candidate, tests)
    findings: list[Finding] = []
    if planted:
        findings.append(
            without_answer("files", "passed", f"left out: {planted}", attempt="planted")
        )
    outer = replace(limits, wall_s=limits.wall_s * len(tests.files) + GRACE_S)
    async with sandbox.open(program("examiner"), limits=outer) as process:
        nonce = secrets.token_hex(16)
        job = {
            "nonce": nonce,
            "files": laid,
            "tests": tests.files,
            "wall_s": limits.wall_s,
            "max_report": limits.output_bytes - 1024,
        }
        try:
            await process.send(json.dumps(job).encode() + b"\n")
            for path in sorted(tests.files):
                if PurePosixPath(path).suffix == ".py":
                    findings += await _examine(process, path, tests.files[path], nonce)
        except CageEnded as end:
            if end.lost:
                raise CageLost(str(end)) from end
            findings.append(cage_ended("files", end.ended))
    return findings


def laid_out(candidate: Candidate, tests: TestFiles) -> tuple[dict[str, str], str]:
    """The candidate's files as they are put beside the tests, and which of them are left out."""
    files = {str(PurePosixPath(path)): text for path, text in candidate.files.items()}
    if files.keys() == {"solution.py"}:
        files = {tests.target: files["solution.py"]}
    planted = sorted(path for path in files if _steers(path) or _is_in_the_way(path, tests.files))
    return {path: text for path, text in files.items() if path not in planted}, ", ".join(planted)


def _steers(path: str) -> bool:
    pure = PurePosixPath(path)
    outside = pure.is_absolute() or ".." in pure.parts or not pure.parts
    if outside or pure.name in IGNORED or pure.suffix == ".pth":
        return True
    return pure.parts[0].partition(".")[0] in RUNNERS


def _is_in_the_way(path: str, tests: Iterable[str]) -> bool:
    """Whether it would stand where a test file goes, or be a folder there, or need a folder of that name."""
    return any(
        path == test or path.startswith(f"{test}/") or test.startswith(f"{path}/") for test in tests
    )


async def _examine(process: OpenProcess, path: str, text: str, nonce: str) -> list[Finding]:
    wanted, framework = wanted_tests(path, text), framework_of(text)
    if not wanted.must_pass:
        return []
    canaries = with_canaries(path, text, wanted, framework, random.Random(secrets.token_bytes(16)))
    question = {"path": path, "text": canaries.text, "framework": framework}
    await process.send(json.dumps(question).encode() + b"\n")
    findings = read_report(_split(await process.receive(), nonce, path), path, wanted, canaries)
    if any(each.reason == "abort" for each in findings) and await died_of_memory(process):
        return [cage_ended(each.outcome.id, "memory") for each in findings]
    return findings


def with_canaries(
    path: str, text: str, wanted: FoundTests, framework: str, rng: random.Random
) -> Canaries:
    """The test file with one test more that must fail and one that must pass, named like the others."""
    known = sorted(wanted.must_pass | wanted.may_skip)
    prefix, _, name = rng.choice(known).removeprefix(f"{path}::").rpartition("::")
    fails, passes = rng.sample([f"{name}_{suffix}" for suffix in SUFFIXES], 2)
    right = rng.randrange(100, 1000)
    lines = {fails: right + rng.randrange(1, 50), passes: right}
    order = list(lines.items())
    rng.shuffle(order)
    if framework == "unittest":
        klass = f"{prefix}{rng.choice(SUFFIXES).capitalize()}"
        body = [f"    def {n}(self):\n        self.assertEqual({right}, {v})\n" for n, v in order]
        added = f"import unittest\nclass {klass}(unittest.TestCase):\n" + "".join(body)
        place = f"{path}::{klass}::"
    else:
        added = "".join(f"def {n}():\n    assert {right} == {v}\n" for n, v in order)
        place = f"{path}::"
    return Canaries(f"{text}\n\n{added}", f"{place}{fails}", f"{place}{passes}")


def _split(frame: bytes, nonce: str, path: str) -> Report:
    line, _, body = frame.partition(b"\n")
    head = strict_json(line)
    ours = isinstance(head, dict) and head.get("nonce") == nonce and head.get("file") == path
    if not ours or not isinstance(head, dict):
        return Report("forged", False, [], readable=False)
    lines = [strict_json(said) for said in body.splitlines()]
    good = [said for said in lines if isinstance(said, dict) and isinstance(said.get("id"), str)]
    changed = bool(head.get("changed"))
    return Report(str(head.get("end")), changed, good, readable=len(good) == len(lines))


def read_report(report: Report, path: str, wanted: FoundTests, canaries: Canaries) -> list[Finding]:
    """A finding for each wanted test; all of them are errors where the report cannot be believed."""
    every = sorted(wanted.must_pass)
    if report.end == "timeout":
        return _all(every, "timeout", "no end in time", "wall")
    if report.end == "large":
        return _all(every, "resource_limit", "too much was reported", "output")
    said = {line["id"]: line for line in report.lines}
    if "" in said:
        detail = _text(said[""])
        if said[""].get("outcome") == "unsupported":
            return _all(every, "error", detail, "unsupported")
        return _all(every, "error", f"the tests could not be loaded: {detail}", "load")
    if report.changed:
        return _all(every, "error", "a test file was changed", "tampered", "tampered")
    if trick := _trick(report, path, wanted, canaries):
        return _all(every, "error", trick, "tampered", "canary")
    outcomes = _by_test(report.lines)
    if missing := [id for id in every if id not in outcomes]:
        detail = f"{len(missing)} tests have no report, the first is {missing[0]}"
        return _all(every, "error", detail, "abort", "abort")
    return [_finding(id, outcomes[id]) for id in every]


def _trick(report: Report, path: str, wanted: FoundTests, canaries: Canaries) -> str:
    """What shows that the report is not the runner's own; empty where nothing does."""
    ids = [line["id"] for line in report.lines]
    if report.end == "forged" or not report.readable or len(ids) != len(set(ids)):
        return "the report cannot be read"
    outcomes = _by_test(report.lines)
    allowed = {*wanted.must_pass, *wanted.may_skip, canaries.must_fail, canaries.must_pass}
    if extra := sorted(outcomes.keys() - allowed):
        return f"a test was reported that {path} does not hold: {extra[0]}"
    failed = {line["outcome"] for line in outcomes.get(canaries.must_fail, [])}
    passed = {line["outcome"] for line in outcomes.get(canaries.must_pass, [])}
    if canaries.must_fail in outcomes and failed != {"failed"}:
        return "a test that must fail was reported otherwise"
    if canaries.must_pass in outcomes and passed != {"passed"}:
        return "a test that must pass was reported otherwise"
    if outcomes and not (failed and passed) and wanted.must_pass <= outcomes.keys():
        return "the judge's own tests were left out"
    return ""


def _by_test(lines: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Lines by test, the instances of a parametrised one together."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        found.setdefault(str(line["id"]).partition("[")[0], []).append(line)
    return found


def _finding(id: str, lines: list[Mapping[str, Any]]) -> Finding:
    worst = next((line for line in lines if line.get("outcome") != "passed"), lines[0])
    status = OUTCOMES.get(str(worst.get("outcome")), "error")
    return without_answer(id, status, "" if status == "passed" else _text(worst))


def _text(line: Mapping[str, Any]) -> str:
    return str(line.get("detail", ""))


def _all(
    ids: list[str], status: Status, detail: str, reason: str, attempt: str = ""
) -> list[Finding]:
    return [without_answer(id, status, detail, reason, attempt=attempt) for id in ids]
