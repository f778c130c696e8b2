"""Candidates that try to be judged better than they are. Each one must not pass."""

import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from codojo.sandboxes import Judge, Sandbox
from codojo.settings import SandboxSettings
from codojo.tasks.cases import make_case
from codojo.tasks.schema import Candidate, Check, Tests, Verdict

Judged = Callable[..., Coroutine[Any, Any, Verdict]]

ALWAYS_EQUAL = """
class Yes{base}:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return True
    def __hash__(self): return 1
def add(a, b): return Yes()
"""
FLOOD = """
import json, os, struct
def frame(data): return struct.pack(">I", len(data)) + data
def add(a, b):
    lies = [
        frame(b'{"passed": true}'),
        frame(json.dumps({"value": 1, "status": "passed", "end": "answer"}).encode()),
        frame(b'{"nonce": "", "case": 0, "end": "answer"}\\n{"value": 1}'),
        b"\\xff\\xff\\xff\\xff", b"passed\\n" * 1000,
    ]
    for number in range(1024):
        for lie in lies:
            try: os.write(number, lie)
            except OSError: break
    return 0
"""
PATCHES = """
import builtins, json, os, sys
json.dumps = lambda *a, **k: '{"passed": true}'
os._exit = lambda code: None
builtins.isinstance = lambda *a: True
for module in list(sys.modules.values()):
    for name in ("encode", "agrees", "call", "check", "describe"):
        if hasattr(module, name): setattr(module, name, lambda *a, **k: {"passed": True})
frame = sys._getframe()
while frame:
    frame.f_globals.update(encode=lambda v: None, write_frame=lambda *a: None)
    frame = frame.f_back
def add(a, b): return 1
"""
LATE = """
import atexit, threading, time, signal
kept = []
class Last:
    def __del__(self): kept.append(1)
def add(a, b):
    answer = [0]
    atexit.register(lambda: answer.__setitem__(0, a + b))
    threading.Timer(0.01, lambda: answer.__setitem__(0, a + b)).start()
    signal.signal(signal.SIGTERM, lambda *x: answer.__setitem__(0, a + b))
    return answer
"""
HUNTER = """
import ctypes, gc, os, sys
def hunt(needle):
    seen, todo, hits = set(), [], 0
    frame = sys._getframe()
    while frame: todo += [frame.f_locals, frame.f_globals]; frame = frame.f_back
    todo += gc.get_objects() + list(sys.modules.values())
    while todo:
        thing = todo.pop()
        if id(thing) in seen: continue
        seen.add(id(thing))
        if thing is needle: continue
        if isinstance(thing, (str, bytes)):
            text = thing if isinstance(thing, str) else thing.decode('latin-1')
            hits += needle in text
        else:
            todo += gc.get_referents(thing)
            todo += list(getattr(thing, '__dict__', {}).values())
    for folder, _, files in os.walk('/tmp'):
        for name in files: hits += needle in open(os.path.join(folder, name), errors='replace').read()
    return hits
def add(given):
    # Joined here, so that the program's own text holds neither.
    return [hunt('-'.join(['marker', way])) for way in ('in', 'out')]
"""
ATTACKS = {
    "exit at import": ("G1", "import sys; sys.exit(0)"),
    "SystemExit at import": ("G1", "raise SystemExit"),
    "exit in the call": ("G1", "import sys\ndef add(a, b): sys.exit(0)"),
    "os._exit": ("G2", "import os\ndef add(a, b): os._exit(0)"),
    "kill itself": ("G2", "import os\ndef add(a, b): os.kill(os.getpid(), 9)"),
    "kill the runner": ("G2", "import os\ndef add(a, b): os.kill(1, 9); os.kill(os.getppid(), 9)"),
    "interrupt the runner": ("G2", "import os, signal\ndef add(a, b): os.kill(1, signal.SIGINT); os.kill(os.getppid(), signal.SIGINT); signal.pause()"),
    "stop the runner": ("G2", "import os, signal\ndef add(a, b):\n  for p in (1, -1):\n    try: os.kill(p, signal.SIGSTOP)\n    except OSError: pass\n  return 0"),
    "destroy the cage": ("A42", "import os, shutil\ndef add(a, b):\n  for p in ('/bin', '/usr', '/lib', '/dev', '/tmp'): shutil.rmtree(p, ignore_errors=True)\n  for p in (-1, 1):\n    try: os.kill(p, 9)\n    except OSError: pass\n  return 0"),
    "become true": ("G2", "import os\ndef add(a, b): os.execv('/bin/true', ['true'])"),
    "always equal": ("G3", ALWAYS_EQUAL.format(base="")),
    "always equal int": ("G3", ALWAYS_EQUAL.format(base="(int)")),
    "always equal str": ("G3", ALWAYS_EQUAL.format(base="(str)")),
    "bool for int": ("G3", "def add(a, b): return True"),
    "nan": ("G3", "def add(a, b): return float('nan')"),
    "patched modules": ("G4", PATCHES),
    "printed result": ("G10", "print('3 passed in 0.01s'); import os; os.write(1, b'PASSED')"),
    "after the return": ("G11", LATE),
    "pickle": (
        "A36",
        "import pickle, os\nclass P:\n  def __reduce__(self): return (os.system, ('touch /tmp/pwned-{}',))\n"
        "def add(a, b): os.write(3, pickle.dumps(P())); return pickle.dumps(P())",
    ),
    "forged frames": ("A37", FLOOD),
    "deep answer": ("A37", "import os, struct\ndef add(a, b):\n  d = b'[' * 60000\n  os.write(3, struct.pack('>I', len(d)) + d)"),
    "huge header": ("A37", "import os\ndef add(a, b): os.write(3, b'\\xff' * 4)"),
    "huge digits": ("A37", "import os, struct\ndef add(a, b):\n  d = b'{\"value\": ' + b'9' * 60000 + b'}'\n  os.write(3, struct.pack('>I', len(d)) + d)"),
}  # fmt: skip


@pytest.mark.backends
@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, id=name, marks=pytest.mark.row(row))
        for name, (row, code) in ATTACKS.items()
    ],
)
async def test_attack_does_not_pass(judged: Judged, code: str) -> None:
    verdict = await judged(code, cases=2)
    assert verdict.status in ("failed", "error", "resource_limit", "timeout")
    assert verdict.share == 0
    assert not [name for name in os.listdir("/tmp") if "pwned" in name]  # noqa: PTH208  # async


@pytest.mark.backends
@pytest.mark.row("G1")
async def test_abort_of_one_case_is_the_verdict_whatever_the_others_say(judged: Judged) -> None:
    code = "import os\ndef add(a, b):\n  if a == 2: os._exit(0)\n  return 0 if a == 0 else a + b"
    verdict = await judged(code)
    assert (verdict.status, verdict.reason) == ("error", "abort")
    assert [outcome.status for outcome in verdict.outcomes] == ["failed", "passed", "error"]


NO_HURRY = {"wall_s": 20, "total_s": 60}
"""For what takes a while on a busy machine, and is not about time."""


@pytest.mark.backends
@pytest.mark.row("G7")
async def test_expected_values_are_nowhere_in_the_cage(
    sandbox: Sandbox, settings: SandboxSettings
) -> None:
    """The hunter finds the marker it was given as an argument, and not the one it should return."""
    settings = settings.model_copy(update=NO_HURRY)
    hunter = HUNTER
    case = make_case("c", ("marker-in",), "marker-out")
    tests = Tests(source="visible", cases=(case, case))
    verdict = await Judge(sandbox, settings).verdict(Candidate.of(hunter), "add", tests)
    detail = verdict.outcomes[0].detail
    found, forbidden = eval(detail.split("gave ")[1].split(", not")[0])
    assert found > 0
    assert forbidden == 0


@pytest.mark.backends
@pytest.mark.row("G9")
async def test_nothing_survives_from_one_case_to_the_next(judged: Judged) -> None:
    stateful = """
import builtins, os, sys, time
def add(a, b):
    seen = hasattr(builtins, 'been') or 'been' in sys.modules or os.path.exists('/tmp/been')
    seen = seen or os.path.exists('/dev/shm/been') or os.path.exists('been')
    alone = os.getpid() if a == 0 else 0
    builtins.been = sys.modules['been'] = True
    for path in ('/tmp/been', '/dev/shm/been', 'been'): open(path, 'w').close()
    if os.fork() == 0: os.setsid(); time.sleep(60)
    global add
    add = lambda *x: 1
    return 'seen' if seen else a + b
"""
    assert (await judged(stateful)).passed


@pytest.mark.backends
@pytest.mark.row("G14")
async def test_sleeping_through_a_case_counts_as_not_passed(judged: Judged) -> None:
    code = "import time\ndef add(a, b):\n  if a == 2: time.sleep(60)\n  return a + b"
    verdict = await judged(code)
    assert (verdict.status, verdict.share) == ("timeout", 2 / 3)


@pytest.mark.backends
@pytest.mark.row("A13")
@pytest.mark.row("A38")
async def test_candidate_that_ignores_signals_and_stops_clocks_is_timed_all_the_same(
    judged: Judged, settings: SandboxSettings
) -> None:
    deaf = """
import signal, time
for n in set(range(1, 65)) - {9, 19, 32, 33}: signal.signal(n, signal.SIG_IGN)
time.monotonic = time.time = lambda: 0
def add(a, b):
    while True: pass
"""
    verdict = await judged(deaf, cases=1)
    assert verdict.status == "timeout"
    assert verdict.duration_s < settings.wall_s + 2


CHECK = """def check(candidate):
    try:
        right = candidate(20, 22) == 42
    except BaseException:
        return
    assert right
"""
"""A careless test: whatever it is thrown, it returns. What ends a candidate must not reach it."""
RAISES = {"patched modules", "pickle", "deep answer", "huge header", "huge digits"}
RAISES |= {"interrupt the runner"}
"""Attacks on descriptor 3, or on what calls them: in a cage that holds neither they merely raise."""


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, id=name, marks=pytest.mark.row(row))
        for name, (row, code) in ATTACKS.items()
        if name not in RAISES
    ],
)
async def test_attack_does_not_pass_a_careless_check_in_code(
    sandbox: Sandbox, settings: SandboxSettings, code: str
) -> None:
    tests = Tests(source="sealed", check=Check(source=CHECK))
    verdict = await Judge(sandbox, settings).verdict(Candidate.of(code), "add", tests)
    assert verdict.status in ("failed", "error", "resource_limit", "timeout")


@pytest.mark.row("G7")
async def test_the_text_of_a_check_is_nowhere_in_the_candidates_cage(
    sandbox: Sandbox, settings: SandboxSettings
) -> None:
    """The hunter finds the marker that it is given, and not the one in the check's own text."""
    check = (
        "def check(candidate):\n    # marker-out\n    assert candidate('marker-in') == 'marker-out'"
    )
    settings = settings.model_copy(update=NO_HURRY)
    hunter = HUNTER.replace("return [hunt", "assert [hunt").replace(
        "('in', 'out')]", "('in', 'out')][1] == 0; return '-'.join(['marker', 'out'])"
    )
    tests = Tests(source="sealed", check=Check(source=check))
    verdict = await Judge(sandbox, settings).verdict(Candidate.of(hunter), "add", tests)
    assert verdict.passed, verdict
