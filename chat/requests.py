"""From what a person types to a task for the team. Pure.

Lines that are an `assert` are tests. Without a folder the team writes a function, and a follow-up ("now
make it handle negatives") is the code as it stands with the request below it; with a folder it changes
files.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from codojo.canonical import content_hash
from codojo.chat.context import Context, trim
from codojo.errors import TaskError
from codojo.tasks.changes import is_test_file
from codojo.tasks.requests import task_from_text
from codojo.tasks.schema import Case, Task, TestFiles, Tests

_TEST = re.compile(r"^\s*(?:[-*]\s*)?`?(assert\s.+?)`?\s*$")
_NAMED = re.compile(
    r"\b(?:write|implement|create|define|add)\b[^.\n(]{0,40}?\b([A-Za-z_]\w*)\(", re.IGNORECASE
)


class Request(NamedTuple):
    """What a person asked for."""

    text: str
    tests: tuple[str, ...]


class Composed(NamedTuple):
    """A task, and what of the conversation did not fit into its prompt."""

    task: Task
    left_out: tuple[str, ...]


class Earlier(NamedTuple):
    """What a follow-up goes on from."""

    entry_point: str
    starter: str
    code: str
    cases: tuple[Case, ...]
    requests: tuple[str, ...]
    """Oldest first."""


def read_request(text: str) -> Request:
    """The request and its tests.

    >>> read_request("Write f(x)\\nassert f(1) == 2")
    Request(text='Write f(x)', tests=('assert f(1) == 2',))
    """
    tests, rest = [], []
    for line in text.splitlines():
        found = _TEST.match(line)
        if found:
            tests.append(found.group(1))
        else:
            rest.append(line)
    return Request("\n".join(rest).strip(), tuple(tests))


def function_task(request: Request, earlier: Earlier | None, *, chars: int) -> Composed:
    """A task to write one function, or to change the one that is there.

    Args:
        chars: Room for the prompt.

    Raises:
        TaskError: For an empty request, or a test that cannot be read.
    """
    text = request.text or ("Make these tests pass." if earlier and request.tests else "")
    named = _NAMED.search(text)
    fresh = task_from_text(text, request.tests)
    tested = fresh.entry_point if request.tests else ""
    if (
        earlier is None
        or (named and named.group(1) != earlier.entry_point)
        or (tested and tested != earlier.entry_point)
    ):
        return Composed(_identified(fresh), ())
    context = trim(text, chars=chars, code=earlier.code, earlier=earlier.requests)
    cases = (*fresh.visible.cases, *_still_true(earlier.cases, fresh.visible.cases))
    task = fresh.model_copy(
        update={
            "prompt": _as_comments(text, context),
            "entry_point": earlier.entry_point,
            "starter": earlier.starter,
            "visible": Tests(source="person", cases=cases),
        }
    )
    return Composed(_identified(task), context.left_out)


def files_task(
    request: Request, files: Mapping[str, str], earlier: Sequence[str], *, chars: int
) -> Composed:
    """A task to change files of a folder; its own tests, as the person has them, decide.

    Raises:
        TaskError: For an empty request.
    """
    text = "\n".join([request.text, *request.tests]).strip()
    if not text:
        raise TaskError("the request is empty; say what is to change")
    context = trim(text, chars=chars, files=files, earlier=earlier)
    tests = {path: content for path, content in files.items() if is_test_file(path)}
    visible = Tests(source="person", files=TestFiles(files=tests) if tests else None)
    task = Task(
        task_id="",
        suite="",
        family="",
        prompt=_with_files(text, context, files),
        entry_point="",
        visible=visible,
        files=dict(files),
    )
    return Composed(_identified(task), context.left_out)


def _identified(task: Task) -> Task:
    plain = task.model_copy(update={"task_id": ""})
    return task.model_copy(update={"task_id": f"chat-{plain.hash[:12]}"})


def _still_true(before: Sequence[Case], now: Sequence[Case]) -> list[Case]:
    """Earlier tests that no new one contradicts: those of other arguments."""
    kept = [case for case in before if all(case.args != new.args for new in now)]
    return [c.model_copy(update={"id": f"earlier-{content_hash(c.args)[:8]}"}) for c in kept]


def _as_comments(text: str, context: Context) -> str:
    """The code as it stands, and below it what was and is asked."""
    lines = [context.code.rstrip("\n"), ""] if context.code else []
    if context.earlier:
        lines.append("# It was written for:")
        lines += [f"# {line}" for said in context.earlier for line in said.splitlines()]
    lines.append("# Now change it:" if context.code else "# Now:")
    lines += [f"# {line}" for line in text.splitlines()]
    return "\n".join(lines)


def _with_files(text: str, context: Context, files: Mapping[str, str]) -> str:
    parts = [text]
    if context.earlier:
        parts.append("Earlier in this conversation:\n" + "\n".join(context.earlier))
    for path, content in context.files.items():
        fence = "`" * max(3, longest_run(content) + 1)
        parts.append(f"{fence}python {path}\n{content.rstrip(chr(10))}\n{fence}")
    missing = sorted(files.keys() - context.files.keys())
    if missing:
        parts.append("There are also these files, which are not shown: " + ", ".join(missing[:50]))
    return "\n\n".join(parts)


def longest_run(text: str) -> int:
    """Backticks in a row, at most."""
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
