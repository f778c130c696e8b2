"""Answers that no honest candidate gives: they must neither pass, nor trouble the judge, nor hold it up."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from codojo.sandboxes import Judge, Sandbox
from codojo.settings import SandboxSettings
from codojo.tasks.cases import make_case
from codojo.tasks.schema import Candidate, Check, Tests, Verdict

Judged = Callable[..., Coroutine[Any, Any, Verdict]]

SAY = """
import json, os, struct
def say(data):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    data = memoryview(struct.pack('>I', len(data)) + data)
    for number in range(3, 9):
        sent = 0
        try:
            while sent < len(data): sent += os.write(number, data[sent:])
        except OSError: pass
    while True: pass
"""
TESTS = {
    "cases": Tests(source="visible", cases=(make_case("c", (1, 2), 3),)),
    "check": Tests(source="visible", check=Check(source="def check(f): assert f(1, 2) == 3")),
}
DEEP = "{0} * 900 + b'1' + {1} * 900"
ODD = {
    "limit": "{'limit': {}}",
    "limit in a load": "{'load': {'limit': [1]}}",
    "load in loads": DEEP.format("b'{\"load\":'", "b'}'"),
    "raised list": "{'raised': [[]], 'text': ''}",
    "raised deep": "b'{\"raised\":' + " + DEEP.format("b'['", "b']'") + " + b',\"text\":1}'",
    "text deep": 'b\'{"raised":"ValueError","text":\' + ' + DEEP.format("b'['", "b']'") + " + b'}'",
    "text number": "{'raised': 'ValueError', 'text': 10 ** 4000}",
    "syntax": "{'syntax': {'a': [1]}}",
    "refused": "{'refused': {}}",
    "abort": "{'abort': [[1]]}",
    "long number": "{'value': {'int': 'f' * 50000}}",
    "long numbers": "{'value': {'dict': [[{'int': '1' * 20000}, {'set': [{'int': '2' * 20000}]}]]}}",
    "lone surrogate": "{'value': {'opaque': '\\ud800'}}",
    "unhashable": "{'value': {'set': [{'list': []}]}}",
    "unhashable key": "{'value': {'dict': [[{'dict': []}, 1]]}}",
    "half a pair": "{'value': {'dict': [[1]]}}",
    "three in a pair": "{'value': {'dict': [[1, 2, 3]]}}",
    "range of nothing": "{'value': {'range': [0, 1, 0]}}",
    "two keys": "{'value': 1, 'raised': 'ValueError'}",
    "nothing": "{}",
    "no text": "b'\\xff\\xfe'",
}


@pytest.mark.row("A37")
@pytest.mark.parametrize("way", ["cases", "check"])
async def test_odd_answer_is_a_verdict_and_no_exception(
    sandbox: Sandbox, settings: SandboxSettings, way: str
) -> None:
    judge = Judge(sandbox, settings)
    candidates = (Candidate.of(f"{SAY}\ndef add(a, b): say({answer})") for answer in ODD.values())
    verdicts = await asyncio.gather(
        *(judge.verdict(candidate, "add", TESTS[way]) for candidate in candidates)
    )
    for name, verdict in zip(ODD, verdicts, strict=True):
        assert verdict.status in ("failed", "error", "resource_limit"), (name, verdict)


async def test_number_too_long_to_print_is_a_wrong_answer(judged: Judged) -> None:
    verdict = await judged("def add(a, b): return 10 ** 5000", source="visible")
    assert verdict.status == "failed"
    assert "(16610 bits)" in verdict.outcomes[0].detail


COLLIDING = {
    "integers": "[{'int': '%x' % (n * (2**61 - 1))} for n in range(1, 1800)]",
    "tuples": "[{'tuple': [-1 if n >> bit & 1 else -2 for bit in range(11)]} for n in range(1, 1000)]",
    "complex": "[{'complex': [1000003.0 * n, float(-n)]} for n in range(1, 900)]",
}


@pytest.mark.row("A37")
@pytest.mark.parametrize("kind", ["set", "dict"])
async def test_items_made_to_collide_are_refused(judged: Judged, kind: str) -> None:
    pairs = "[[item, 0] for item in items]" if kind == "dict" else "items"
    for items in COLLIDING.values():
        value = f"{{'value': {{'{kind}': {pairs}}}}}"
        verdict = await judged(f"{SAY}\ndef add(a, b):\n  items = {items}\n  say({value})", cases=1)
        assert (verdict.status, verdict.reason) == ("error", "abort"), items


@pytest.mark.row("A37")
async def test_large_answers_leave_the_event_loop_time(
    sandbox: Sandbox, settings: SandboxSettings
) -> None:
    settings = settings.model_copy(update={"output_kb": 256})
    code = (
        f"{SAY}\ndef add(a, b):\n  say({{'value': {{'set': ["
        "{'int': '%x' % (n * (2**61 - 1))} for n in range(1, 8000)]}})"
    )
    tests = Tests(source="sealed", cases=(make_case("c", (1, 2), 3),))
    judging = asyncio.create_task(
        Judge(sandbox, settings).verdict(Candidate.of(code), "add", tests)
    )
    longest, last = 0.0, time.thread_time()
    while not judging.done():
        await asyncio.sleep(0)
        longest, last = max(longest, time.thread_time() - last), time.thread_time()
    assert judging.result().status == "error"
    assert longest < 0.3


CARELESS = {
    "map": "assert all(map(lambda p: candidate(*p) == sum(p), [(1, 2), (3, 4)]))",
    "next": "assert next(map(candidate, [1], [2]), 3) == 3",
    "loop": "for got in map(candidate, [1], [2]): assert got == 3",
}


@pytest.mark.row("G1")
@pytest.mark.parametrize("check", CARELESS.values(), ids=CARELESS)
async def test_raising_the_end_of_a_loop_does_not_end_a_check_well(
    sandbox: Sandbox, settings: SandboxSettings, check: str
) -> None:
    tests = Tests(source="sealed", check=Check(source=f"def check(candidate):\n    {check}"))
    candidate = Candidate.of("def add(a, b): raise StopIteration")
    verdict = await Judge(sandbox, settings).verdict(candidate, "add", tests)
    assert verdict.status in ("failed", "error"), verdict


EARLY = """
import json, os, struct
for answer in {answers}:
    line = json.dumps(answer).encode()
    os.write(4, struct.pack('>I', len(line)) + line)
def add(a, b): return a + b
"""


@pytest.mark.row("A37")
@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([{"loaded": True}, {"value": 2}, {"value": 4}, {"value": 7}], "failed"),
        ([{"loaded": True}, {"value": 2}, {"value": 4}, {"value": 6}], "passed"),  # it knew them
        ([{"loaded": True}, {"value": 2}, {"value": 4}], "error"),
        ([{"loaded": True}, {"loaded": True}], "error"),
        ([{"done": {"returned": True}}], "error"),
        ([{"loaded": True}, {"done": {"returned": True}}], "error"),
        ([{"loaded": True, "done": {"returned": True}}], "error"),
        ([{"value": 3}, {"value": 3}, {"value": 3}], "error"),
    ],
)
async def test_answers_sent_before_the_questions_are_no_more_than_answers(
    sandbox: Sandbox, settings: SandboxSettings, answers: list[object], status: str
) -> None:
    """An extra frame shifts the rest, so what comes of it is a wrong answer; none is a verdict."""
    check = "def check(f):\n    assert [f(n, n) for n in (1, 2, 3)] == [2, 4, 6]"
    tests = Tests(source="sealed", check=Check(source=check))
    candidate = Candidate.of(EARLY.format(answers=answers))
    verdict = await Judge(sandbox, settings).verdict(candidate, "add", tests)
    assert verdict.status == status, verdict


@pytest.mark.row("A37")
async def test_bytes_of_a_candidate_never_reach_the_check(
    sandbox: Sandbox, settings: SandboxSettings
) -> None:
    """Two readers of the same bytes could understand them differently: here, a line and its rest."""
    answers = [b'{"value":\n3}', b'{"value": 4, "value": 3}', b'\t{"value": 3}\n\n']
    for answer in answers:
        check = Check(source="def check(f):\n    assert f(1, 2) == 3")
        code = f"{SAY}\ndef add(a, b): say({answer!r})"
        tests = Tests(source="sealed", check=check)
        verdict = await Judge(sandbox, settings).verdict(Candidate.of(code), "add", tests)
        assert verdict.passed, (answer, verdict)


STALLS = {
    "half a header": "os.write(number, bytes(2))",
    "half a frame": "os.write(number, b'\\0\\0\\0\\x08{')",
    "drip": "[os.write(number, b'\\0\\0\\x40\\0')] + [(os.write(number, b' '), time.sleep(.05)) for _ in range(999)]",
    "shut": "socket.socket(fileno=os.dup(number)).shutdown(2)",
    "closed": "os.close(number)",
}
STALLING = """
import os, socket, threading, time
def stall(number):
    try: {stall}
    except OSError: pass
def add(a, b):
    for number in range(3, 9): threading.Thread(target=stall, args=(number,), daemon=True).start()
    while True: time.sleep(1)
"""


@pytest.mark.row("A37")
@pytest.mark.row("A12")
@pytest.mark.parametrize("way", ["cases", "check"])
async def test_judge_gives_up_in_time_whatever_is_left_unsaid(
    sandbox: Sandbox, settings: SandboxSettings, way: str
) -> None:
    slow = settings.model_copy(update={"wall_s": 0.6, "total_s": 3.0, "parallel": len(STALLS)})
    judge = Judge(sandbox, slow)
    candidates = (Candidate.of(STALLING.format(stall=stall)) for stall in STALLS.values())
    verdicts = await asyncio.gather(
        *(judge.verdict(candidate, "add", TESTS[way]) for candidate in candidates)
    )
    for name, verdict in zip(STALLS, verdicts, strict=True):
        assert verdict.status in ("timeout", "error"), (name, verdict)
        assert verdict.duration_s < 5, (name, verdict)


@pytest.mark.row("A12")
async def test_candidate_that_never_reads_its_questions_is_timed(
    sandbox: Sandbox, settings: SandboxSettings
) -> None:
    settings = settings.model_copy(update={"wall_s": 0.6, "output_kb": 2048, "memory_mb": 256})
    code = f"{EARLY.format(answers=[{'loaded': True}])}\nwhile True: pass"
    check = "def check(f): f('x' * 1_500_000, 2)"
    tests = Tests(source="sealed", check=Check(source=check))
    verdict = await Judge(sandbox, settings).verdict(Candidate.of(code), "add", tests)
    assert verdict.status == "timeout"


HOSTILE_ERRORS = {
    "text that raises": "class E(Exception):\n  def __str__(self): raise KeyError",
    "text that exits": "class E(Exception):\n  def __str__(self): raise SystemExit",
    "text that is none": "class E(Exception):\n  def __str__(self): return T('x')\nclass T(str):\n  def __getitem__(self, s): return 5",
    "class that lies": "class E(Exception):\n  __class__ = property(lambda self: ValueError)\n  __mro__ = ()",
    "class without a name": "class M(type(Exception)):\n  def mro(cls): return [cls, ValueError, *ValueError.__mro__[1:]]\nclass E(Exception, metaclass=M): pass",
    "number that is none": "class E(OSError):\n  errno = property(lambda self: 1 / 0)",
    "endless text": "class E(Exception):\n  def __str__(self): return str(self)",
    "huge text": "class E(Exception):\n  def __str__(self): return 'x' * 10**7",
}


@pytest.mark.row("G3")
async def test_hostile_exception_is_no_pass(judged: Judged) -> None:
    codes = [f"{error}\ndef add(a, b): raise E" for error in HOSTILE_ERRORS.values()]
    verdicts = await asyncio.gather(*(judged(code, cases=1, source="visible") for code in codes))
    for name, verdict in zip(HOSTILE_ERRORS, verdicts, strict=True):
        assert verdict.status in ("failed", "error", "resource_limit"), (name, verdict)


@pytest.mark.row("G9")
async def test_earlier_answers_cannot_be_found_by_the_next_case(judged: Judged) -> None:
    """Each case is a fork of the runner, which had the answer of the one before in its hands."""
    hunter = """
import gc, sys
def add(a, b):
    needle, mine = 'answer-' + 'marker', []
    frame = sys._getframe()
    while frame: mine += list(frame.f_locals.values()); frame = frame.f_back
    found = [m for m in mine if isinstance(m, (bytes, bytearray)) and needle.encode() in m]
    return (needle, a) if not found else (needle, 'found')
"""
    verdict = await judged(hunter, source="visible")
    details = [outcome.detail for outcome in verdict.outcomes]
    assert ["found" in detail for detail in details] == [False] * 3
    assert "answer-marker" in details[2]


@pytest.mark.row("G9")
async def test_nothing_is_carried_in_what_a_case_inherits(judged: Judged) -> None:
    """The first process of a cage is the same user's: a case may set what the next would get."""
    marker = """
import os, resource
def carried(): return (resource.getrlimit(resource.RLIMIT_STACK)[0], os.getpriority(0, 0), len(os.sched_getaffinity(0)))
found = carried()
def add(a, b):
    if a == 0:
        resource.prlimit(1, resource.RLIMIT_STACK, (1 << 20, 1 << 20))
        os.setpriority(os.PRIO_PROCESS, 1, 19)
        os.sched_setaffinity(1, {max(os.sched_getaffinity(0))})
        return found
    return found
"""
    verdict = await judged(marker, source="visible")
    assert verdict.outcomes[0].detail.startswith("add(0, 1) gave ("), verdict
    gave = [outcome.detail.split("gave ")[1].split(", not")[0] for outcome in verdict.outcomes]
    assert gave == [gave[0]] * 3


LEFT = {
    "a file of a name that was overlooked": "open('/dev/shm/work', 'w').close()",
    "another": "open('/tmp/work/work', 'w').close()",
    "times of a folder": "os.utime('/tmp/work', (1, 1)); os.utime('/tmp', (1, 1))",
    "rights of a folder": "os.chmod('/tmp/work', 0o1711)",
    "attributes": "os.setxattr('/tmp', 'user.x', b'1'); os.setxattr('/tmp/work', 'user.x', b'1')",
    "folders": "os.makedirs('/tmp/work/work/work')",
}
"""Each is a way to tell the next case something."""
LEAVING = """
import os
def marked():
    folders = ('/tmp', '/tmp/work', '/dev/shm')
    old = [os.stat(f).st_mtime < 100 or os.stat(f).st_mode & 0o777 == 0o711 for f in folders]
    return any(old) or any(os.path.exists(f + '/work') for f in folders[1:]) or any(
        'user.x' in os.listxattr(f) for f in folders)
def add(a, b):
    if marked(): return 'told'
    try: {leave}
    except OSError: pass
    return a + b
"""


@pytest.mark.backends
@pytest.mark.row("G9")
async def test_no_mark_on_a_folder_tells_the_next_case_anything(judged: Judged) -> None:
    codes = [LEAVING.format(leave=leave) for leave in LEFT.values()]
    verdicts = await asyncio.gather(*(judged(code, source="visible") for code in codes))
    for name, verdict in zip(LEFT, verdicts, strict=True):
        assert verdict.passed, (name, verdict)


@pytest.mark.backends
@pytest.mark.row("G9")
@pytest.mark.row("G4")
async def test_the_runner_cannot_be_reached_from_a_case(judged: Judged) -> None:
    """Its memory, its pipes, and its handlers: with `/proc` or without."""
    code = """
import glob, os, signal
def add(a, b):
    reached = []
    for pid in {1, os.getppid()}:
        for name in ('mem', 'environ', 'maps', 'auxv', 'oom_score_adj', 'coredump_filter', 'comm'):
            # The last three say nothing, and are there to be written.
            for mode in ('rb', 'r+b') if name in ('mem', 'environ', 'maps', 'auxv') else ('r+b',):
                try: open(f'/proc/{pid}/{name}', mode, 0).read(1); reached.append((name, mode))
                except OSError as err:
                    if err.errno == 5: reached.append((name, mode))
        for path in glob.glob(f'/proc/{pid}/fd/*') + [f'/proc/{pid}/fd/{n}' for n in range(9)]:
            try: os.close(os.open(path, os.O_RDWR)); reached.append(path)
            except OSError: pass
    return (a + b) if not reached else reached
"""
    verdict = await judged(code, source="visible")
    assert verdict.passed, verdict


@pytest.mark.row("G8")
async def test_a_table_of_the_visible_cases_fails_the_sealed_ones(
    sandbox: Sandbox, settings: SandboxSettings
) -> None:
    table = "def add(a, b): return {(1, 2): 3, (2, 2): 4, (0, 5): 5}.get((a, b), 0)"
    shown = tuple(make_case(f"v{a}{b}", (a, b), a + b) for a, b in ((1, 2), (2, 2), (0, 5)))
    kept = tuple(make_case(f"s{a}{b}", (a, b), a + b) for a, b in ((1, 3), (7, 2), (-1, 5)))
    judge = Judge(sandbox, settings)
    open_ = await judge.verdict(Candidate.of(table), "add", Tests(source="visible", cases=shown))
    sealed = await judge.verdict(Candidate.of(table), "add", Tests(source="sealed", cases=kept))
    assert (open_.status, open_.share) == ("passed", 1)
    assert (sealed.status, sealed.share) == ("failed", 0)
