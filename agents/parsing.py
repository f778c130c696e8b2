"""Reading what models write: code fences, JSON objects, asserted cases. Pure functions."""

import ast
import json
import re

from json_repair import repair_json
from markdown_it import MarkdownIt

from codojo.tasks.cases import make_case
from codojo.tasks.schema import Case
from codojo.tasks.values import ValueRefused

_PYTHON = {"", "python", "py", "python3"}


def code_blocks(text: str) -> list[str]:
    """The Python code in fences, in order. A fence that was never closed runs to the end."""
    tokens = MarkdownIt("commonmark").parse(text)
    return [
        token.content.strip("\n")
        for token in tokens
        if token.type == "fence" and token.info.strip().lower() in _PYTHON and token.content.strip()
    ]


def solution(text: str, entry_point: str) -> str | None:
    """The code of an answer: the first fence that defines the entry point, or the bare text if that
    is Python which does; None where there is neither."""
    for block in [*code_blocks(text), text]:
        if defines(block, entry_point):
            return block.strip("\n") + "\n"
    return None


def defines(code: str, entry_point: str) -> bool:
    """Whether the code parses and defines that function at its top level."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == entry_point
        for node in tree.body
    )


def json_object(text: str) -> dict[str, object] | None:
    """The JSON object in a text, mended where it is nearly one; None where there is none."""
    found = re.search(r"\{.*\}?", text, re.DOTALL)
    if found is None:
        return None
    try:
        value = json.loads(found.group())
    except ValueError:
        value = repair_json(found.group(), return_objects=True)
    return value if isinstance(value, dict) and value else None


def bullet_lines(text: str, limit: int) -> tuple[str, ...]:
    """The items of a Markdown list, without their marks, at most `limit`."""
    items = re.findall(r"^\s*(?:[-*+]|\d+[.)])\s+(.+?)\s*$", text, re.MULTILINE)
    return tuple(items[:limit])


def asserted_cases(text: str, entry_point: str, limit: int = 8) -> tuple[Case, ...]:
    """Test cases from lines like `assert f(1, 2) == 3` whose two sides are literals.

    Anything else, such as a call with computed arguments, is left out: a case must be data, because
    what a model wrote runs nowhere but in a cage, and cases are compared outside of it.
    """
    cases: list[Case] = []
    seen: set[str] = set()
    for line in text.splitlines():
        found = re.search(rf"(?:assert\s+)?({re.escape(entry_point)}\s*\(.*)$", line)
        parsed = _equality(found.group(1), entry_point) if found else None
        if parsed is None or repr(parsed) in seen:
            continue
        seen.add(repr(parsed))
        args, expected = parsed
        try:
            cases.append(make_case(f"self-{len(cases)}", args, expected))
        except ValueRefused:
            continue
        if len(cases) == limit:
            break
    return tuple(cases)


def _equality(text: str, entry_point: str) -> tuple[list[object], object] | None:
    """Arguments and expected value of `f(...) == value`, if both are literals."""
    text = text.split("  #", 1)[0].rstrip("` ,")
    try:
        node = ast.parse(text, mode="eval").body
        if not isinstance(node, ast.Compare) or len(node.ops) != 1:
            return None
        call, operator, right = node.left, node.ops[0], node.comparators[0]
        if (
            not isinstance(call, ast.Call)
            or call.keywords
            or not isinstance(operator, ast.Eq | ast.Is)
        ):
            return None
        if not isinstance(call.func, ast.Name) or call.func.id != entry_point:
            return None
        return [ast.literal_eval(arg) for arg in call.args], ast.literal_eval(right)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
