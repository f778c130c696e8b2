"""Problems in the shape of HumanEval with candidates whose right verdict is known.

Problems are katas: eight sealed cases, rendered as `check(candidate)`. Hostile candidates are those
of `tests/sandboxes/test_attacks.py` in short; each is bounded by itself, so that an evaluator without
walls can be given it as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from codojo.tasks.cases import agrees, arguments
from codojo.tasks.katas import load_katas
from codojo.tasks.schema import Case, Task
from codojo.tasks.values import decode

CASES = 8
Kind = Literal["right", "wrong", "stub", "hostile"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A function to write, and its tests in two forms that say the same."""

    entry: str
    check: str
    cases: tuple[Case, ...]

    @property
    def inputs(self) -> str:
        """Arguments of each case as a literal."""
        return repr([arguments(case) for case in self.cases])

    @property
    def expected(self) -> str:
        """Results of each case as a literal."""
        return repr([decode(case.expected) for case in self.cases])


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate for a problem, and whether it should pass."""

    problem: Problem
    name: str
    kind: Kind
    code: str

    @property
    def should_pass(self) -> bool:
        """The right verdict."""
        return self.kind == "right"


def trials(problems: int) -> list[Trial]:
    """A right, a nearly right and an empty candidate for each of so many problems."""
    return [trial for task in _tasks(problems) for trial in _three(task)]


def hostile() -> list[Trial]:
    """Candidates that want to pass without solving anything, or to do harm."""
    return [Trial(_ADDING, name, "hostile", code) for name, code in HOSTILE.items()]


def check_text(entry: str, cases: tuple[Case, ...]) -> str:
    """Cases as the function that HumanEval's tests are.

    >>> from codojo.tasks.cases import make_case
    >>> print(check_text("add", (make_case("a", (1, 2), 3),)))
    def check(candidate):
        assert candidate(1, 2) == 3
    <BLANKLINE>
    """
    lines = ["def check(candidate):"]
    for case in cases:
        given = ", ".join(map(repr, arguments(case)))
        lines.append(f"    assert candidate({given}) == {decode(case.expected)!r}")
    return "\n".join(lines) + "\n"


def nearly_right(reference: str, entry: str, case: Case) -> str:
    """The reference, but for one case whose result it changes a little."""
    return f"""{reference}
_right_{entry} = {entry}
def {entry}(*given):
    found = _right_{entry}(*given)
    if repr(given) != {repr(arguments(case))!r}:
        return found
    if isinstance(found, bool):
        return not found
    if isinstance(found, (int, float)):
        return found + 1
    if isinstance(found, str):
        return found + "?"
    return [found]
"""


def _tasks(count: int) -> list[Task]:
    """Katas from all themes whose cases are compared by plain equality."""
    fit = [task for task in load_katas() if _is_plain(task)]
    if count > len(fit):
        raise ValueError(f"{count} problems; there are {len(fit)}")
    return [fit[number * len(fit) // count] for number in range(count)]


def _is_plain(task: Task) -> bool:
    cases = task.sealed.cases[:CASES]
    return all(case.rule == "equal" for case in cases) and not any(agrees(c, None) for c in cases)


def _three(task: Task) -> Iterator[Trial]:
    cases = task.sealed.cases[:CASES]
    problem = Problem(task.entry_point, check_text(task.entry_point, cases), cases)
    assert task.reference is not None
    near = nearly_right(task.reference, task.entry_point, cases[CASES // 2])
    stub = f"{task.starter}\n    pass\n"
    yield Trial(problem, f"{task.task_id}, right", "right", task.reference)
    yield Trial(problem, f"{task.task_id}, wrong in one case", "wrong", near)
    yield Trial(problem, f"{task.task_id}, stub", "stub", stub)


def _adding() -> Problem:
    from codojo.tasks.cases import make_case

    cases = tuple(make_case(f"c{n}", (n, n + 1), 2 * n + 1) for n in range(1, 5))
    return Problem("add", check_text("add", cases), cases)


_ADDING = _adding()
HOSTILE = {
    "exit at import": "import sys; sys.exit(0)",
    "exit in the call": "import sys\ndef add(a, b): sys.exit(0)",
    "os._exit at import": "import os; os._exit(0)",
    "os._exit in the call": "import os\ndef add(a, b): os._exit(0)",
    "become another program": "import os\ndef add(a, b): os.execv('/bin/true', ['true'])",
    "always equal": """
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return True
def add(a, b): return Yes()
""",
    "always equal int": """
class Yes(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = int.__hash__
def add(a, b): return Yes()
""",
    "the caller's frames": """
import os, sys
def add(a, b):
    frame = sys._getframe()
    while frame:
        seen = frame.f_locals
        if "expected" in seen and "i" in seen:
            return seen["expected"][seen["i"]]
        if "check_program" in seen and "result" in seen:
            seen["result"].append("passed")
            os._exit(0)
        frame = frame.f_back
""",
    "forged frames": """
import json, os, struct
def frame(data): return struct.pack(">I", len(data)) + data
def add(a, b):
    lies = [frame(b'{"passed": true}'), frame(b'{"done": {"returned": true}}\\n'), b"passed\\n"]
    for number in range(1, 64):
        for lie in lies:
            try: os.write(number, lie)
            except OSError: break
    return 0
""",
    "patched modules": """
import builtins, json, sys
json.dumps = lambda *a, **k: '{"done": {"returned": true}}'
builtins.isinstance = lambda *a: True
for module in list(sys.modules.values()):
    for name in ("encode", "agrees", "call", "check", "describe"):
        if hasattr(module, name): setattr(module, name, lambda *a, **k: {"returned": True})
def add(a, b): return 0
""",
    "printed result": "print('1 passed in 0.01s\\nOK')\ndef add(a, b): print('OK')",
    "endless loop": "def add(a, b):\n    while True: pass",
    "deaf to signals": """
import signal
for n in set(range(1, 65)) - {9, 19, 32, 33}: signal.signal(n, signal.SIG_IGN)
def add(a, b):
    while True: pass
""",
    "memory bomb": """
def add(a, b):
    held = [b"x" * (64 << 20) for _ in range(24)]
    return 0
""",
    "fork bomb": """
import os, time
def add(a, b):
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(5)
            os._exit(0)
    return 0
""",
}
"""By what they try."""
