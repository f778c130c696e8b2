# ruff: noqa: PTH101, PTH102, PTH103, PTH109, PTH118, PTH120, PTH123
# Every module imported here is paid for by every cage; pathlib costs a start.
"""Runs inside a cage as its first process: runs test files over a candidate's files.

Candidate and tests share a process here, so what it reports is checked from outside: against the
names of the tests, and by tests of the judge's own among them (`examining.py`). Each test file gets
a fresh folder and a fresh child. Sent as source, so standard library only, down to Python 3.9;
pytest, where the cage has it, lies in a folder of its own.
"""

from __future__ import annotations

import json
import os
import sys

from codojo.sandboxes import forks
from codojo.sandboxes.frames import claim_pipes, read_question, write_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TOOLS = "/opt/tools"
MAX_DETAIL = 300


def serve(job: dict[str, Any], source: int, target: int) -> None:
    """Run one test file for each question."""
    number = 0
    while (asked := read_question(source)) is not None:
        question, _ = asked
        number += 1
        place = os.path.join(os.getcwd(), str(number))
        tests = {**job["tests"], question["path"]: question["text"]}
        lay_out(place, {**job["files"], **tests})
        end, body = run_child(job, question, place)
        changed = sorted(path for path in tests if _read(place, path) != tests[path])
        head = {"nonce": job["nonce"], "file": question["path"], "end": end, "changed": changed}
        write_frame(target, head, body)


def lay_out(place: str, files: dict[str, str]) -> None:
    """Write files below a new folder, tests over whatever a candidate put in their place."""
    os.mkdir(place)
    for path, text in files.items():
        whole = os.path.join(place, path)
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        with open(whole, "w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(text)
        os.chmod(whole, 0o444)


def _read(place: str, path: str) -> str | None:
    """A file's text after the run, without following a link or waiting for a pipe."""
    try:
        number = os.open(os.path.join(place, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(number, encoding="utf-8", errors="surrogatepass") as file:
            return file.read()
    except (OSError, ValueError):
        return None


def run_child(job: dict[str, Any], question: dict[str, Any], place: str) -> tuple[str, bytes]:
    """How the child ended, and what it reported."""

    def child() -> None:
        os.chdir(place)
        for name in [name for name in sys.modules if name.partition(".")[0] == "codojo"]:
            del sys.modules[name]
        run = run_unittest if question["framework"] == "unittest" else run_pytest
        try:
            run(question["path"], place)
        except BaseException as err:
            report("", "error", f"{type(err).__name__}: {err}")

    ran = forks.run(child, wall_s=job["wall_s"], cap=job["max_report"], framed=False)
    return ran.why, ran.said


def report(id: str, outcome: str, detail: str = "") -> None:
    """One line for one test."""
    line = {"id": id, "outcome": outcome, "detail": detail[:MAX_DETAIL]}
    os.write(forks.REPORT, json.dumps(line).encode() + b"\n")


def run_unittest(path: str, place: str) -> None:
    """Every test of a module, by the standard library's runner."""
    import importlib.util
    import unittest

    # Only now: what the runner itself imports must not be the candidate's.
    sys.path.insert(0, place)
    spec = importlib.util.spec_from_file_location("tests", os.path.join(place, path))
    assert spec is not None and spec.loader is not None
    module = sys.modules["tests"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class Result(unittest.TestResult):
        said: str = "passed"

        def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
            super().startTest(test)
            self.outcome, self.detail = "passed", ""

        def note(self, outcome: str, err: Any) -> None:
            self.outcome = outcome
            self.detail = f"{err[0].__name__}: {err[1]}" if isinstance(err, tuple) else str(err)

        def addError(self, test: Any, err: Any) -> None:  # noqa: N802
            if hasattr(test, "_testMethodName"):
                self.note("error", err)
            else:
                report("", "error", f"{err[0].__name__}: {err[1]}")

        def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
            self.note("failed", err)

        def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
            self.note("skipped", reason)

        def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802
            self.note("skipped", "expected to fail")

        def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
            self.note("failed", "expected to fail, and did not")

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
            if err is not None:
                self.note("failed", err)

        def stopTest(self, test: Any) -> None:  # noqa: N802
            super().stopTest(test)
            name = type(test).__name__
            report(f"{path}::{name}::{test._testMethodName}", self.outcome, self.detail)

    unittest.defaultTestLoader.loadTestsFromModule(module).run(Result())


def run_pytest(path: str, place: str) -> None:
    """Every test of a file, by pytest without plugins, settings or conftest of anybody."""
    sys.path.append(TOOLS)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import difflib  # noqa: F401  # pytest does so late

    try:
        import pytest
    except ImportError:
        report("", "unsupported", "this sandbox has no pytest")
        return
    sys.path.insert(0, place)
    outcomes: dict[str, tuple[str, str]] = {}

    class Reporter:
        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.outcome == "passed" and not hasattr(report, "wasxfail"):
                outcomes.setdefault(report.nodeid, ("passed", ""))
            else:
                outcome = "skipped" if report.outcome == "skipped" else "failed"
                outcomes[report.nodeid] = (outcome, _last_line(report))

        def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
            outcome, detail = outcomes.pop(nodeid, ("error", "no report"))
            report(nodeid, outcome, detail)

        def pytest_collectreport(self, report: Any) -> None:
            if report.failed:
                _module_report(_last_line(report))

    options = ["-p", "no:cacheprovider", "-p", "no:terminal", "--noconftest", "-c", os.devnull]
    options += ["--rootdir", place, "--import-mode=importlib", "-o", "addopts="]
    pytest.main([*options, path], plugins=[Reporter()])


def _module_report(detail: str) -> None:
    report("", "error", detail)


def _last_line(report: Any) -> str:
    crash = getattr(getattr(report, "longrepr", None), "reprcrash", None)
    text = getattr(crash, "message", None) or str(getattr(report, "longrepr", ""))
    lines = [line for line in str(text).splitlines() if line.strip()]
    return lines[0] if crash is not None and lines else (lines[-1] if lines else "")


def main() -> None:
    """Take the job, then run test files."""
    source, target = claim_pipes()
    asked = read_question(source)
    if asked is not None:
        serve(asked[0], source, target)


if __name__ == "__main__":
    main()
