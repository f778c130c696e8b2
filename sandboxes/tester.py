# ruff: noqa: S102
# Running the test's code is the point.
"""Runs inside a cage as its only program: a check written as code, whose candidate is elsewhere.

What the check calls by a name of its own accord is a stand-in that asks the candidate's cage, by way
of the judge; what comes back are exact builtins, so that nothing a candidate made can answer `==`.
Sent as source, so standard library only, down to Python 3.9.
"""

from __future__ import annotations

import builtins
import types

from codojo.sandboxes.frames import claim_pipes, read_question, write_frame
from codojo.tasks.values import Opaque, ValueRefused, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

EXCEPTIONS = {
    name: cls
    for name, cls in vars(builtins).items()
    if isinstance(cls, type) and issubclass(cls, Exception)
}
for ends_a_loop in ("StopIteration", "StopAsyncIteration"):
    # As a generator has it (PEP 479): in `all(map(candidate, ...))` it would end the test, well.
    EXCEPTIONS[ends_a_loop] = RuntimeError


class Unsupported(BaseException):
    """The check asks for something that cannot cross between two cages."""


class Calls:
    """The way to the candidate."""

    def __init__(self, source: int, target: int) -> None:
        self.source, self.target = source, target
        self.unsupported = ""
        """The first thing that could not cross; an `except` in the check must not hide it."""

    def stand_in(self, name: str) -> Callable[..., object]:
        """A function that has the candidate's function of that name called."""

        def call(*args: object, **kwargs: object) -> object:
            return self._ask(name, args, kwargs)

        call.__name__ = call.__qualname__ = name
        return call

    def _ask(self, name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        if _holds_opaque(args) or _holds_opaque(kwargs):
            self._refuse(f"{name} is given something that is no plain value")
        try:
            write_frame(self.target, {"call": name, "args": encode(args), "kwargs": encode(kwargs)})
        except ValueRefused as err:
            self._refuse(f"the arguments of {name} are {err}")
        asked = read_question(self.source)
        if asked is None:
            self._refuse("the judge has gone")
        said = asked[0]
        if "raised" in said:
            raise EXCEPTIONS.get(said["raised"], Exception)(said.get("text", ""))
        return decode(said["value"])

    def _refuse(self, why: str) -> NoReturn:
        self.unsupported = self.unsupported or why
        raise Unsupported(why)


def _holds_opaque(value: object) -> bool:
    """Whether a value, to a small depth, holds what would cross as an opaque one."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(_holds_opaque(item) for item in value)
    if isinstance(value, dict):
        return any(_holds_opaque(item) for pair in value.items() for item in pair)
    plain = (str, int, float, complex, bytes, bytearray, range, type(None))
    return isinstance(value, Opaque) or not isinstance(value, plain)


def names_in(code: types.CodeType) -> set[str]:
    """Every name that a program looks up outside its own functions (attributes, too)."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= names_in(constant)
    return found


def check(job: dict[str, Any], calls: Calls) -> dict[str, Any]:
    """How the check ended: it returned, failed, raised, or could not be run."""
    scope: dict[str, Any] = {"__name__": "check"}
    entry = job["entry"]
    try:
        for name in job["presets"]:
            scope[name] = __import__(name)
        exec(job["prelude"], scope)
        program = compile(job["source"], "check.py", "exec")
        for name in names_in(program):
            if name not in scope and not hasattr(builtins, name):
                scope[name] = calls.stand_in(name)
        # A candidate may bear the name of a builtin, of a stub in the prompt, or of `check` itself.
        candidate = scope[entry] = calls.stand_in(entry)
        exec(program, scope)
        function = scope["check"]
        scope[entry] = candidate
        function(candidate)
    except AssertionError:
        ended: dict[str, Any] = {"assertion": True}
    except BaseException as err:
        ended = {"raised": type(err).__name__, "text": str(err)[:200]}
    else:
        ended = {"returned": True}
    return {"unsupported": calls.unsupported[:200]} if calls.unsupported else ended


def main() -> None:
    """Run one check and say how it ended."""
    source, target = claim_pipes()
    asked = read_question(source)
    if asked is None:
        return
    calls = Calls(source, target)
    write_frame(target, {"done": check(asked[0], calls)})


if __name__ == "__main__":
    main()
