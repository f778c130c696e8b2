"""Proof that the katas' references pass their own cases.

The references are our own code and run in this process, without a cage; never use this for others'.
"""

from codojo.tasks.cases import agrees, arguments, render
from codojo.tasks.schema import Task


def disagreement(task: Task) -> str | None:
    """What the reference of a kata gets wrong, in one line; None if it passes every case."""
    if not task.reference:
        return "has no reference"
    scope: dict[str, object] = {}
    exec(compile(task.reference, f"{task.task_id}.py", "exec"), scope)
    function = scope[task.entry_point]
    assert callable(function)
    for case in (*task.visible.cases, *task.sealed.cases):
        args = arguments(case)
        try:
            answer = function(*args)
        except Exception as err:
            return f"{render(case, task.entry_point)} raised {type(err).__name__}: {err}"
        if not agrees(case, answer):
            return f"{render(case, task.entry_point)} gave {answer!r}"
        if args != arguments(case):
            return f"{render(case, task.entry_point)} changed its arguments"
    return None
