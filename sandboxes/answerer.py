"""Runs inside a cage as its only program: loads a candidate and answers the calls of a check.

The check runs in another cage (`tester.py`), and the judge carries calls and answers between the
two. A candidate may write to this program's descriptors as it likes: a forged frame is an answer and
no more. Sent as source, so standard library only, down to Python 3.9.
"""

from __future__ import annotations

import types

from codojo.sandboxes.frames import claim_pipes, read_question, write_frame
from codojo.sandboxes.solution import call, load


def main() -> None:
    """Say whether the program loads, then answer calls until nobody asks any more."""
    source, target = claim_pipes()
    asked = read_question(source)
    if asked is None:
        return
    module = types.ModuleType("solution")
    trouble = load(asked[0]["files"], module)
    write_frame(target, trouble or {"loaded": True})
    while trouble is None and (asked := read_question(source)) is not None:
        question = asked[0]
        write_frame(target, call(module, question["call"], question["args"], question["kwargs"]))


if __name__ == "__main__":
    main()
