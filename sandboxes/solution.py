# ruff: noqa: PTH103, PTH109, PTH117, PTH120, PTH123, S102
# Every module imported here is paid for by every cage; running the candidate's code is the point.
"""Loads a candidate and calls it, inside its cage: what comes back is a plain value or a word why not.

Sent as source, so standard library only, down to Python 3.9.
"""

from __future__ import annotations

import builtins
import os
import sys
import types

from codojo.tasks.values import ValueRefused, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMES = {
    cls: name
    for name, cls in vars(builtins).items()
    if isinstance(cls, type) and issubclass(cls, BaseException) and cls.__name__ == name
}
"""Exceptions by what they are, taken before a candidate can touch anything."""


def load(files: dict[str, str], module: types.ModuleType) -> dict[str, Any] | None:
    """Run the program as the module `solution`; None, or what went wrong."""
    sys.modules["solution"] = module
    if len(files) > 1:
        _lay_out(files)
    try:
        program = compile(files.get("solution.py", ""), "solution.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as err:
        return {"syntax": f"{type(err).__name__}: {err}"[:200]}
    try:
        exec(program, vars(module))
    except BaseException as err:
        return {"load": describe(err)}
    return None


def call(module: types.ModuleType, name: str, args: object, kwargs: object) -> dict[str, Any]:
    """What a function of the candidate gives for encoded arguments."""
    function = vars(module).get(name)
    if not callable(function):
        return {"missing": name}
    try:
        named: dict[str, object] = dict(decode(kwargs))  # type: ignore[call-overload]  # it is one
        return {"value": encode(function(*decode(args), **named))}  # type: ignore[misc]  # a tuple
    except ValueRefused as err:
        return {"refused": str(err)[:200]}
    except BaseException as err:
        return describe(err)


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as the nearest builtin one, or as the limit that it stands for."""
    kinds = type.mro(type(error))
    if SystemExit in kinds:
        return {"abort": "SystemExit"}
    if MemoryError in kinds:
        return {"limit": "memory"}
    try:
        text = str(error)[:200]
        number = error.errno if OSError in kinds else None  # type: ignore[attr-defined]
    except BaseException:
        text, number = "", None
    if number == 12:  # the kernel has no memory left for this cage
        return {"limit": "memory"}
    if number == 11 or text == "can't start new thread":
        return {"limit": "pids"}
    if number in (27, 28, 122):
        return {"limit": "disk"}
    return {"raised": next(NAMES[kind] for kind in kinds if kind in NAMES), "text": text}


def _lay_out(files: dict[str, str]) -> None:
    """Put a candidate of several files where its program can import them."""
    for path, text in files.items():
        if os.path.isabs(path) or ".." in path.split("/"):
            continue
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(text)
    sys.path.insert(0, os.getcwd())
