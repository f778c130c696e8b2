"""Tasks from what a person types: a sentence, perhaps with asserts."""

import ast
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from codojo.canonical import content_hash
from codojo.errors import TaskError
from codojo.tasks.cases import make_case
from codojo.tasks.schema import Case, Task, Tests
from codojo.tasks.values import ValueRefused

_SIGNATURE = re.compile(r"\b([A-Za-z_]\w*)\(([^()`]*)\)")
DEFAULT_ENTRY_POINT = "solve"


def task_from_text(text: str, tests: Sequence[str] = ()) -> Task:
    """A task of no suite.

    The entry point is what the tests call, else the first thing in the text that looks like a call
    (`slugify(text)`), else `solve`. The tests are the person's own: the team may see them, and the
    verdict says that they, and no sealed tests, made it.

    Raises:
        TaskError: For an empty text, or a test that is no `assert f(...) == value` with literals.
    """
    if not text.strip():
        raise TaskError("the request is empty; say in a sentence what the function is to do")
    called = [found for test in tests if (found := re.search(r"([A-Za-z_]\w*)\s*\(", test))]
    named = _SIGNATURE.search(text)
    entry_point = called[0].group(1) if called else named.group(1) if named else DEFAULT_ENTRY_POINT
    parameters = named.group(2) if named and named.group(1) == entry_point else "*args"
    cases = []
    for number, test in enumerate(tests):
        case = read_case(test, entry_point, f"person-{number}")
        if case is None:
            raise TaskError(
                f"cannot read the test {test!r}; write it as 'assert {entry_point}(...) == value' with literal values"
            )
        cases.append(case)
    return Task(
        task_id=f"request-{content_hash([text, list(tests)])[:12]}",
        suite="",
        family="",
        prompt=text.strip(),
        entry_point=entry_point,
        starter=_starter(entry_point, parameters),
        visible=Tests(source="person", cases=tuple(cases)),
    )


def names_file(what: str) -> bool:
    """Whether what a person typed names a file of tasks; a request in words may be longer than any name."""
    try:
        return what.endswith((".jsonl", ".jsonl.gz")) or Path(what).is_file()
    except (OSError, ValueError):
        return False


def read_case(line: str, entry_point: str, id: str) -> Case | None:
    """A case from a line like `assert f(1, 2) == 3` whose two sides are literals; else None.

    A case must be data: what a person or a model wrote runs nowhere but in a cage, and cases are
    compared outside of it.
    """
    found = re.search(rf"(?:assert\s+)?({re.escape(entry_point)}\s*\(.*)$", line)
    if found is None:
        return None
    text = found.group(1).split("  #", 1)[0].rstrip("` ,")
    try:
        node = ast.parse(text, mode="eval").body
        if not isinstance(node, ast.Compare) or len(node.ops) != 1:
            return None
        call, operator, right = node.left, node.ops[0], node.comparators[0]
        if not isinstance(call, ast.Call) or call.keywords:
            return None
        if not isinstance(operator, ast.Eq | ast.Is) or not isinstance(call.func, ast.Name):
            return None
        if call.func.id != entry_point:
            return None
        args = [ast.literal_eval(arg) for arg in call.args]
        return make_case(id, args, ast.literal_eval(right))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError, ValueRefused):
        return None


def read_cases(lines: Iterable[str], entry_point: str, prefix: str, limit: int) -> tuple[Case, ...]:
    """The distinct readable cases among lines, at most `limit`."""
    cases: list[Case] = []
    for line in lines:
        case = read_case(line, entry_point, f"{prefix}-{len(cases)}")
        if case and all((case.args, case.expected) != (c.args, c.expected) for c in cases):
            cases.append(case)
        if len(cases) == limit:
            break
    return tuple(cases)


def _starter(entry_point: str, parameters: str) -> str:
    line = f"def {entry_point}({parameters}):"
    try:
        ast.parse(line + " pass")
    except SyntaxError:
        return f"def {entry_point}(*args):"
    return line
