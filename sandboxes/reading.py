"""What the judge makes of the bytes that come out of a cage: pure functions that trust nothing.

`failed` means that the candidate answered wrongly; `error`, that it gave no answer.
"""

import builtins
import json
import reprlib
from dataclasses import dataclass, replace
from typing import Any

from pydantic import JsonValue

from codojo.sandboxes.contract import Ended
from codojo.tasks.cases import agrees, arguments
from codojo.tasks.schema import Case, Outcome, Status, TestSource
from codojo.tasks.values import ValueRefused, decode, encode

EXCEPTIONS = {
    name: cls
    for name, cls in vars(builtins).items()
    if isinstance(cls, type) and issubclass(cls, BaseException)
}
LIMITS = {"memory", "pids", "disk", "output"}
MAX_DETAIL = 240


class _Short(reprlib.Repr):
    """Short, and for every number: `repr` refuses an integer of more than 4,300 digits."""

    def repr_int(self, x: int, level: int) -> str:
        """As hexadecimal where it is that long, the middle left out."""
        if x.bit_length() <= 10_000:
            return super().repr_int(x, level)
        return f"{x >> x.bit_length() - 64:#x}... ({x.bit_length()} bits)"


_short = _Short()
_short.maxstring = _short.maxother = _short.maxlong = 60
_short.maxlist = _short.maxtuple = _short.maxset = _short.maxdict = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """What one test said, with what the verdict needs beside the outcome."""

    outcome: Outcome
    reason: str = ""
    result: JsonValue = None
    """The candidate's answer in canonical form; None where there was none."""
    spoilt: bool = False
    """Whether the cage must not be used again."""
    attempt: str = ""
    """Kind of trick that this may have been: counted, and never decisive."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A frame of the runner: its own word on the child, and the child's bytes."""

    end: str
    signal: int
    spoilt: bool
    body: bytes


class Forged(Exception):
    """A frame that the runner would not have written."""


def split_frame(frame: bytes, nonce: str, number: int) -> Answer:
    """The runner's head and the child's body.

    Raises:
        Forged: If the head is not for this case of this cage.
    """
    line, _, body = frame.partition(b"\n")
    head = strict_json(line)
    if not isinstance(head, dict) or head.get("nonce") != nonce or head.get("case") != number:
        raise Forged(f"a frame that answers no question: {line[:80]!r}")
    signal = head.get("signal")
    return Answer(
        end=str(head.get("end")),
        signal=signal if isinstance(signal, int) else 0,
        spoilt=head.get("spoilt") is True,
        body=body,
    )


def read_case(answer: Answer, case: Case, entry_point: str, source: TestSource) -> Finding:
    """Judge one answer by value."""
    said = _said(answer)
    if isinstance(said, Finding):
        return _about(said, case.id, answer)
    if "value" in said:
        finding = _judge_value(said["value"], case, entry_point, source)
    elif "raised" in said:
        finding = _judge_raised(said, case, entry_point, source)
    else:
        finding = _no_answer(said, source)
    return _about(finding, case.id, answer)


def read_loaded(said: object, id: str, source: TestSource) -> Finding | None:
    """What ends a check before its first call: a program that does not load."""
    if isinstance(said, dict) and said.keys() == {"loaded"}:
        return None
    return _about(_no_answer(said if isinstance(said, dict) else {}, source), id)


def read_answer(said: object, id: str, source: TestSource) -> Finding | None:
    """What ends a check at once: an answer that is none; None where the check may have it."""
    if not isinstance(said, dict):
        return _about(_finding("error", "the answer cannot be read", "abort"), id)
    if said.keys() == {"value"}:
        try:
            decode(said["value"])
        except ValueRefused as err:
            return _about(_finding("error", f"the answer cannot be read: {err}", "abort"), id)
        return None
    if said.keys() == {"raised", "text"} and all(isinstance(part, str) for part in said.values()):
        return None
    return _about(_no_answer(said, source), id)


def read_done(said: object, id: str, source: TestSource, calls: int) -> Finding:
    """What a check said at its end; `calls` is how often it asked the candidate."""
    done = said.get("done") if isinstance(said, dict) else None
    if not isinstance(done, dict):
        finding = _finding("error", "the end of the check cannot be read", "abort")
    elif "unsupported" in done:
        finding = _finding(
            "error", f"cannot be judged by value: {done['unsupported']}", "unsupported"
        )
    elif "assertion" in done:
        finding = _finding("failed", "an assertion of the check failed")
    elif "raised" in done:
        finding = _finding("failed", _raised_text(done, source))
    elif "returned" not in done:
        finding = _finding("error", "the end of the check cannot be read", "abort")
    elif calls == 0:
        finding = _finding("error", "the check never called the candidate", "no_call")
    else:
        finding = _finding("passed")
    return _about(finding, id)


def cage_ended(id: str, ended: Ended) -> Finding:
    """A case during which the whole cage was killed at a limit."""
    if ended == "timeout":
        return _about(_finding("timeout", "the time for all tests is over", "total"), id)
    return _about(_finding("resource_limit", f"stopped at the limit: {ended}", ended), id)


def without_answer(
    id: str, status: Status, detail: str, reason: str = "", *, attempt: str = ""
) -> Finding:
    """A test that has no answer, or whose answer others have read."""
    return _about(_finding(status, detail, reason, attempt=attempt), id)


def _said(answer: Answer) -> dict[str, Any] | Finding:
    """What the child answered, or the finding where it did not."""
    if answer.end == "timeout":
        return _finding("timeout", "no answer in time", "wall")
    if answer.end == "cpu":
        return _finding("timeout", "used up its processor time", "cpu")
    if answer.end == "large":
        return _finding("resource_limit", "the answer is too large", "output")
    if answer.end != "whole":
        how = f"signal {answer.signal}" if answer.signal else "its own exit"
        return _finding("error", f"the process ended by {how} before it answered", "abort")
    said = strict_json(answer.body)
    if not isinstance(said, dict):
        return _finding("error", "the answer cannot be read", "abort")
    return said


def strict_json(data: bytes) -> object:
    """Plain JSON or None; Python's own additions (NaN) are refused."""
    try:
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError, MemoryError):
        return None


def _refuse(name: str) -> object:
    raise ValueError(name)


def _judge_value(data: object, case: Case, entry_point: str, source: TestSource) -> Finding:
    try:
        value = decode(data)
        result: Any = {"value": encode(value)}
        right = agrees(case, value)
    except (ValueRefused, RecursionError, TypeError, OverflowError) as err:
        return _finding("error", f"the answer cannot be read: {err}", "abort")
    if right:
        return _finding("passed", result=result)
    detail = "a wrong value"
    if source != "sealed":
        detail = f"{_call(case, entry_point)} gave {_short.repr(value)}, {_wanted(case)}"
    return _finding("failed", detail, result=result)


def _judge_raised(
    said: dict[str, Any], case: Case, entry_point: str, source: TestSource
) -> Finding:
    name = _text(said, "raised")
    raised = EXCEPTIONS.get(name)
    wanted = EXCEPTIONS.get(str(decode(case.expected))) if case.rule == "raises" else None
    result: Any = {"raised": name if raised else "?"}
    if raised is not None and wanted is not None and issubclass(raised, wanted):
        return _finding("passed", result=result)
    detail = _raised_text(said, source)
    if source != "sealed":
        detail = f"{_call(case, entry_point)} {detail}, {_wanted(case)}"
    return _finding("failed", detail, result=result)


def _no_answer(said: dict[str, Any], source: TestSource, *, loading: bool = False) -> Finding:
    """The child's own account of why there is no answer; at best it is not believed to be a pass."""
    if "syntax" in said:
        return _finding("error", f"does not compile: {_text(said, 'syntax')}", "syntax")
    if "missing" in said:
        return _finding("error", "the entry point is not defined", "missing")
    if "refused" in said:
        return _finding("resource_limit", f"the answer is {_text(said, 'refused')}", "output")
    if (limit := _text(said, "limit")) in LIMITS:
        return _finding("resource_limit", f"met the limit: {limit}", limit)
    if loading and "raised" in said:
        return _finding("error", f"{_raised_text(said, source)} while loading", "load")
    if not loading and isinstance(said.get("load"), dict):
        return _no_answer(said["load"], source, loading=True)
    return _finding("error", f"ended by {_text(said, 'abort') or 'an unknown answer'}", "abort")


def _raised_text(said: dict[str, Any], source: TestSource) -> str:
    """The exception; its message only where it cannot carry a sealed argument."""
    name = _text(said, "raised")
    name = name if name in EXCEPTIONS else "an exception"
    text = _text(said, "text") if source != "sealed" else ""
    return f"raised {name}: {text}" if text else f"raised {name}"


def _text(said: dict[str, Any], key: str) -> str:
    """What was said under a key, if it is a text: a candidate writes what it likes."""
    text = said.get(key)
    return text if isinstance(text, str) else ""


def _call(case: Case, entry_point: str) -> str:
    return f"{entry_point}({', '.join(_short.repr(arg) for arg in arguments(case))})"


def _wanted(case: Case) -> str:
    expected = decode(case.expected)
    if case.rule == "raises":
        return f"and should raise {expected}"
    order = " in any order" if case.rule == "unordered" else ""
    return f"not {_short.repr(expected)}{order}"


def _finding(
    status: Status,
    detail: str = "",
    reason: str = "",
    *,
    result: JsonValue = None,
    attempt: str = "",
) -> Finding:
    line = "".join(char if char.isprintable() else " " for char in detail)
    outcome = Outcome(id="", status=status, detail=line[:MAX_DETAIL])
    attempt = attempt or ("abort" if reason == "abort" else "")
    return Finding(outcome, reason, result, attempt=attempt)


def _about(finding: Finding, id: str, answer: Answer | None = None) -> Finding:
    """The finding under the id of its test."""
    outcome = finding.outcome.model_copy(update={"id": id})
    return replace(finding, outcome=outcome, spoilt=answer is None or answer.spoilt)
