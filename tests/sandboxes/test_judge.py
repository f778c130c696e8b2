"""Verdicts: what each kind of candidate gets, and what a verdict may say."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import pytest

from codojo.errors import SandboxError
from codojo.sandboxes import Capabilities, Judge, Limits, Sandbox
from codojo.sandboxes.contract import OpenProcess
from codojo.sandboxes.sources import Program
from codojo.sandboxes.supervisor import children, tree
from codojo.settings import SandboxSettings
from codojo.tasks.cases import make_case
from codojo.tasks.schema import Candidate, Check, Tests, Verdict

Judged = Callable[..., Coroutine[Any, Any, Verdict]]
RIGHT = "def add(a, b): return a + b"


@pytest.mark.backends
async def test_right_answer_passes_with_everything_on_record(judged: Judged, backend: str) -> None:
    verdict = await judged(RIGHT)
    assert verdict.passed
    assert (verdict.share, verdict.tests, verdict.reason) == (1.0, "sealed", "")
    assert (verdict.isolation, verdict.integrity) == (backend, "isolated")
    assert [outcome.id for outcome in verdict.outcomes] == ["c0", "c1", "c2"]


@pytest.mark.backends
@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("def add(a, b): return a - b", "failed", ""),
        ("def add(a, b): raise KeyError(a)", "failed", ""),
        ("def add(a): return a", "failed", ""),
        ("def add(a, b) return a", "error", "syntax"),
        ("x = '\\ud800", "error", "syntax"),
        ("", "error", "missing"),
        ("add = 3", "error", "missing"),
        ("import no_such_module\n" + RIGHT, "error", "load"),
        ("raise ValueError", "error", "load"),
        ("def add(a, b): return bytearray(10**10)", "resource_limit", "memory"),
        ("def add(a, b): return 'x' * 1_000_000", "resource_limit", "output"),
        (
            "def add(a, b):\n  x = []\n  for _ in range(99): x = [x]\n  return x",
            "resource_limit",
            "output",
        ),
        ("def add(a, b): open('x', 'wb').write(bytes(10**7))", "resource_limit", "disk"),
        ("import os\ndef add(a, b):\n  while True: os.fork()", "resource_limit", "pids"),
    ],
)
async def test_bad_candidate_is_a_verdict_with_its_reason(
    judged: Judged, code: str, status: str, reason: str
) -> None:
    verdict = await judged(code)
    assert (verdict.status, verdict.reason) == (status, reason)


@pytest.mark.parametrize("source", ["visible", "self_made", "person"])
async def test_detail_of_open_tests_says_what_was_wrong(judged: Judged, source: str) -> None:
    verdict = await judged("def add(a, b): return 4", source=source)
    assert verdict.outcomes[0].detail == "add(0, 1) gave 4, not 1"
    verdict = await judged("def add(a, b): raise TypeError('bad\\x1b[31m')", source=source)
    assert verdict.outcomes[0].detail == "add(0, 1) raised TypeError: bad [31m, not 1"


@pytest.mark.parametrize(
    "body",
    ["return 4", "raise ValueError(a, b)", "return {'a': a, 'b': b}", "assert False, (a, b)"],
)
async def test_detail_of_sealed_tests_gives_nothing_away(
    sandbox: Sandbox, settings: SandboxSettings, body: str
) -> None:
    case = make_case("c0", (77123, 88456), 165579)
    tests = Tests(source="sealed", cases=(case,))
    candidate = Candidate.of(f"def add(a, b): {body}")
    verdict = await Judge(sandbox, settings).verdict(candidate, "add", tests)
    assert verdict.status == "failed"
    assert not any(number in verdict.model_dump_json() for number in ("77123", "88456", "165579"))


@pytest.mark.parametrize(
    ("body", "expected", "passes"),
    [
        ("raise ValueError", "ValueError", True),
        ("class Mine(ValueError): pass\n  raise Mine", "ValueError", True),
        ("raise KeyError", "LookupError", True),
        ("raise LookupError", "KeyError", False),
        ("return ValueError", "ValueError", False),
        ("class ValueError(Exception): pass\n  raise ValueError", "ValueError", False),
    ],
)
async def test_expected_exception_is_compared_by_its_builtin_base(
    sandbox: Sandbox, settings: SandboxSettings, body: str, expected: str, passes: bool
) -> None:
    tests = Tests(source="sealed", cases=(make_case("c0", (), expected, "raises"),))
    candidate = Candidate.of(f"def f():\n  {body}")
    verdict = await Judge(sandbox, settings).verdict(candidate, "f", tests)
    assert verdict.passed == passes


async def test_exception_while_loading_is_no_expected_exception(
    sandbox: Sandbox, settings: SandboxSettings
) -> None:
    tests = Tests(source="sealed", cases=(make_case("c0", (), "ValueError", "raises"),))
    verdict = await Judge(sandbox, settings).verdict(Candidate.of("raise ValueError"), "f", tests)
    assert (verdict.status, verdict.reason) == ("error", "load")


async def test_behaviour_is_equal_for_equal_answers_only(judged: Judged) -> None:
    right = await judged(RIGHT)
    other = await judged("def add(x, y):\n    return sum([x, y])")
    wrong = await judged("def add(a, b): return a")
    mute = await judged("import sys; sys.exit()")
    assert right.behaviour == other.behaviour
    assert right.behaviour != wrong.behaviour
    assert mute.behaviour is None


async def test_verdict_goes_on_after_a_failed_case_so_that_the_share_is_true(
    judged: Judged,
) -> None:
    verdict = await judged("def add(a, b): return 0 if a == 1 else a + b", cases=4)
    assert (verdict.status, verdict.share) == ("failed", 0.75)


async def test_two_timeouts_stop_the_rest(judged: Judged, settings: SandboxSettings) -> None:
    verdict = await judged("def add(a, b):\n  while True: pass", cases=6)
    assert (verdict.status, verdict.reason, len(verdict.outcomes)) == ("timeout", "wall", 6)
    assert verdict.duration_s < 2 * settings.wall_s + 3


@pytest.mark.backends
async def test_total_time_ends_the_rest(sandbox: Sandbox) -> None:
    settings = SandboxSettings(wall_s=5, total_s=1)
    cases = tuple(make_case(f"c{n}", (n, 1), n + 1) for n in range(5))
    candidate = Candidate.of("import time\ndef add(a, b): time.sleep(0.4); return a + b")
    tests = Tests(source="sealed", cases=cases)
    verdict = await Judge(sandbox, settings).verdict(candidate, "add", tests)
    assert verdict.status == "timeout"
    assert 0 < verdict.share < 1


@pytest.mark.backends
async def test_several_files_may_import_each_other(
    sandbox: Sandbox, settings: SandboxSettings
) -> None:
    files = {"solution.py": "from helper import add", "helper.py": RIGHT}
    tests = Tests(source="sealed", cases=(make_case("a", (1, 2), 3), make_case("b", (2, 2), 4)))
    verdict = await Judge(sandbox, settings).verdict(Candidate(files=files), "add", tests)
    assert verdict.passed


async def test_no_tests_is_unverified(sandbox: Sandbox, settings: SandboxSettings) -> None:
    judge = Judge(sandbox, settings)
    verdict = await judge.verdict(Candidate.of(RIGHT), "add", Tests(source="visible"))
    assert verdict.status == "unverified"


async def test_no_more_cages_than_allowed_run_at_once(judged: Judged) -> None:
    most = 0
    # An engine that other tests have started.
    before = len(children(os.getpid()))
    running = [asyncio.create_task(judged(RIGHT)) for _ in range(8)]
    while not all(task.done() for task in running):
        most = max(most, len(children(os.getpid())) - before)
        await asyncio.sleep(0.005)
    assert all(task.result().passed for task in running)
    assert 1 <= most <= 2


@pytest.mark.row("A42")
@pytest.mark.parametrize(("kills", "status"), [(1, "passed"), (2, "error")])
async def test_cage_that_dies_under_us_is_retried_once(
    judged: Judged, backend: str, kills: int, status: str
) -> None:
    running = asyncio.create_task(
        judged("import time\ndef add(a, b): time.sleep(1); return a + b", cases=1)
    )
    # Below what we started, while a case runs: the runner and its child, and in a warm cage the parent
    # too. An idle parent has one child.
    at_work = 2 if backend == "bubblewrap" else 3
    known: set[int] = set()
    deadline = time.monotonic() + 15
    while len(known) < kills and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
        for pid in set(children(os.getpid())) - known:
            if len(tree(pid).pids) >= at_work:
                known.add(pid)
                os.kill(pid, signal.SIGKILL)
    verdict = await running
    assert verdict.status == status


@pytest.mark.backends
@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        (RIGHT, "passed", ""),
        ("def add(a, b): return a - b", "failed", ""),
        ("def add(a, b): raise KeyError", "failed", ""),
        ("import sys; sys.exit(0)", "error", "abort"),
        ("import os; os._exit(0)", "error", "abort"),
        ("import sys\ndef add(a, b): sys.exit(0)", "error", "abort"),
        ("x = 1", "error", "missing"),
        ("def add(a, b) return", "error", "syntax"),
        ("def add(a, b):\n  while True: pass", "timeout", "wall"),
        ("print('1 passed')\nraise SystemExit(0)", "error", "abort"),
    ],
)
async def test_check_in_code_is_judged_where_the_candidate_is_not(
    sandbox: Sandbox, settings: SandboxSettings, code: str, status: str, reason: str
) -> None:
    check = Check(
        source="def check(candidate):\n    assert add(1, 2) == 3 and candidate(2, 2) == 4\n"
    )
    tests = Tests(source="sealed", check=check)
    verdict = await Judge(sandbox, settings).verdict(Candidate.of(code), "add ", tests)
    assert (verdict.status, verdict.reason) == (status, reason)
    assert verdict.integrity == "isolated"


@pytest.mark.parametrize(
    ("entry_point", "code", "check", "passes"),
    [
        ("sum", "def sum(a): return 7", {"source": "def check(c):\n  assert sum([1]) == 7"}, True),
        ("check", "def check(n): return n == 1", {"source": "def check(c):\n  assert check(1)"}, True),
        ("f", "def f(x): return x", {"source": "def check(c):\n  assert c(math.pi) > 3", "presets": ("math",)}, True),
        ("f", "def f(x): return x", {"source": "def check(c):\n  assert c(two()) == 2", "prelude": "def two(): return 2"}, True),
        ("f", "def f(x): return x\ndef two(): return 3", {"source": "def check(c):\n  assert c(two()) == 2", "prelude": "def two(): return 2"}, True),
        ("f", "def f(x): return x", {"source": "def check(c):\n  pass"}, False),
    ],
    ids=["builtin", "check", "preset", "helper", "own helper", "no call"],
)  # fmt: skip
async def test_check_finds_what_it_names(
    sandbox: Sandbox,
    settings: SandboxSettings,
    entry_point: str,
    code: str,
    check: dict[str, object],
    passes: bool,
) -> None:
    tests = Tests(source="sealed", check=Check.model_validate(check))
    verdict = await Judge(sandbox, settings).verdict(Candidate.of(code), entry_point, tests)
    assert verdict.passed == passes
    assert passes or verdict.reason == "no_call"


CALLS = "def check(candidate):\n    "


@pytest.mark.parametrize(
    ("code", "check", "status", "reason"),
    [
        ("def f(x): return (i * i for i in range(x))", "assert list(candidate(3)) == [0, 1, 4]", "passed", ""),
        ("def f(x): return map(str, [x])", "assert list(candidate(3)) == ['3']", "passed", ""),
        ("import itertools\ndef f(x): return zip(itertools.count(), itertools.count())", "assert list(candidate(3))", "resource_limit", "output"),
        ("def f(*, x): return x", "assert candidate(x={1: (2, {3})}) == {1: (2, {3})}", "passed", ""),
        ("def f(x): raise KeyError('k')", "try: candidate(1)\n    except KeyError: return\n    assert False", "passed", ""),
        ("class Odd(ValueError): pass\ndef f(x): raise Odd", "try: candidate(1)\n    except ValueError: return\n    assert False", "passed", ""),
        ("def f(x): return float('nan')", "assert candidate(1) != candidate(1)", "passed", ""),
        ("import re\ndef f(x): return re.match('a', x)", "assert candidate('a') and not candidate('b')", "passed", ""),
        ("def f(x): return x(2)", "assert candidate(lambda y: y) == 2", "error", "unsupported"),
        ("def f(x): return 1", "try: candidate(print)\n    except BaseException: pass", "error", "unsupported"),
    ],
)  # fmt: skip
async def test_check_gets_plain_values_and_says_so_where_it_needs_more(
    sandbox: Sandbox, settings: SandboxSettings, code: str, check: str, status: str, reason: str
) -> None:
    tests = Tests(source="sealed", check=Check(source=CALLS + check))
    verdict = await Judge(sandbox, settings).verdict(Candidate.of(code), "f", tests)
    assert (verdict.status, verdict.reason) == (status, reason)


async def test_a_check_that_never_ends_is_timed(
    sandbox: Sandbox, settings: SandboxSettings
) -> None:
    tests = Tests(source="sealed", check=Check(source=CALLS + "\n    while candidate(1): pass"))
    verdict = await Judge(sandbox, settings).verdict(Candidate.of("def f(x): return x"), "f", tests)
    assert (verdict.status, verdict.reason) == ("timeout", "wall")


class Broken:
    """A sandbox whose cages do not start."""

    sealed = True
    limits = Limits.of(SandboxSettings())
    capabilities = Capabilities("broken")

    @asynccontextmanager
    async def open(
        self, program: Program, *, limits: Limits | None = None
    ) -> AsyncIterator[OpenProcess]:
        raise SandboxError("no cage today")
        yield

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to close."""


async def test_a_check_whose_cages_do_not_start_is_a_failure_of_ours() -> None:
    tests = Tests(source="sealed", check=Check(source="def check(candidate):\n    candidate()\n"))
    judge = Judge(Broken(), SandboxSettings())
    verdict = await judge.verdict(Candidate.of("def f(): return 1"), "f", tests)
    assert (verdict.status, verdict.reason) == ("infra_error", "no cage today")
