"""Reading what models write: code fences, JSON objects, lists. Pure functions."""

import ast
import json
import re

from json_repair import repair_json
from markdown_it import MarkdownIt

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
    """The code of an answer: the first fence that defines the entry point, a function or a class, or the bare text if that
    is Python which does; None where there is neither."""
    for block in [*code_blocks(text), text]:
        if defines(block, entry_point):
            return block.strip("\n") + "\n"
    return None


def defines(code: str, entry_point: str) -> bool:
    """Whether the code parses and defines that function or class at its top level."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and node.name == entry_point
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


def file_blocks(text: str) -> dict[str, str]:
    """Whole files in fences that name their path: after the language, or alone on the line before.

    A later block of a path takes the place of an earlier one. Paths are as the model wrote them: whoever
    writes files checks them.

    >>> file_blocks("```python src/a.py\\nx = 1\\n```\\n`b.txt`\\n```\\nhi\\n```\\n")
    {'src/a.py': 'x = 1\\n', 'b.txt': 'hi\\n'}
    """
    found: dict[str, str] = {}
    before = ""
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "inline":
            before = token.content.strip().splitlines()[-1] if token.content.strip() else ""
        elif token.type == "fence":
            path = _path_in(token.info.split()) or _path_in([before.strip("*`#: ")])
            if path:
                found[path] = token.content
            before = ""
    return found


def _path_in(words: list[str]) -> str:
    """The word that is a path: it has a dot or a slash and no blank."""
    for word in words:
        named = word.partition("=")[2] or word
        named = named.strip("\"'`")
        if re.fullmatch(r"[^\s`*?<>|]*[./][^\s`*?<>|]*", named) and named not in (".", "/"):
            return named
    return ""
