"""Making, showing and comparing cases: pure functions over encoded values."""

import math
from collections.abc import Iterable, Sequence

from codojo.tasks.schema import Case, Rule
from codojo.tasks.values import ValueRefused, decode, encode


def make_case(id: str, args: Sequence[object], expected: object, rule: Rule = "equal") -> Case:
    """A case from plain Python values; for `raises`, `expected` is the exception's name."""
    return Case.model_validate(
        {"id": id, "args": encode(tuple(args)), "expected": encode(expected), "rule": rule}
    )


def arguments(case: Case) -> tuple[object, ...]:
    """The positional arguments of a case as plain Python values."""
    args = decode(case.args)
    if not isinstance(args, tuple):
        raise ValueRefused(f"case '{case.id}' has no argument tuple")
    return args


def render(case: Case, entry_point: str) -> str:
    """The case as a person would write it: `add(1, 2) == 3`."""
    call = f"{entry_point}({', '.join(repr(arg) for arg in arguments(case))})"
    expected = decode(case.expected)
    if case.rule == "raises":
        return f"{call} raises {expected}"
    if case.rule == "close":
        return f"{call} == {expected!r}  # to 6 digits"
    if case.rule == "unordered":
        return f"sorted({call}) == sorted({expected!r})"
    return f"{call} == {expected!r}"


def agrees(case: Case, answer: object) -> bool:
    """Whether a returned value is what the case expects, by the case's own rule.

    Stricter than `==` in one way: `True` is not `1`. `raises` never agrees with a value.
    """
    expected = decode(case.expected)
    if case.rule == "raises":
        return False
    if case.rule == "unordered":
        return _same_items(expected, answer)
    return _same(expected, answer, close=case.rule == "close")


def _same(a: object, b: object, *, close: bool = False) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if close and isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b or _is_close(a, b)
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    if type(a) is type(b) and isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(_same(x, y, close=close) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        if _marked(a) != _marked(b):
            return False
        return all(_same(a[key], b[key], close=close) for key in a)
    if isinstance(a, (set, frozenset)) and isinstance(b, (set, frozenset)):
        return _marked(a) == _marked(b)
    return a == b


def _is_close(a: float, b: float) -> bool:
    try:
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6)
    except OverflowError:  # an integer that no float can hold; equality was asked before
        return False


def _marked(items: Iterable[object]) -> set[tuple[bool, object]]:
    """Hashable items with a mark on booleans, which Python holds equal to 0 and 1."""
    return {(isinstance(item, bool), item) for item in items}


def _same_items(a: object, b: object) -> bool:
    """Whether two sequences hold the same items, each as often, in any order."""
    if not isinstance(a, (list, tuple)) or not isinstance(b, (list, tuple)) or len(a) != len(b):
        return False
    rest = list(b)
    for item in a:
        for at, other in enumerate(rest):
            if _same(item, other):
                del rest[at]
                break
        else:
            return False
    return True
