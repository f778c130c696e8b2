"""Which tests a test file holds, read from its text: what a runner inside a cage reports is checked
against this, so that a test that went missing is a failure and not a silence."""

import ast
from collections.abc import Iterator
from typing import Literal, NamedTuple

from codojo.tasks.programs import parse

Framework = Literal["pytest", "unittest"]


class FoundTests(NamedTuple):
    """Tests by their id, `file::Class::name`; parametrised ones without their brackets."""

    must_pass: frozenset[str]
    may_skip: frozenset[str]
    """Those whose author marked them as skipped or expected to fail."""


def wanted_tests(path: str, text: str) -> FoundTests:
    """The tests that pytest and unittest would collect from a file."""
    tree = parse(text)
    classes = (
        {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)} if tree else {}
    )
    must: set[str] = set()
    may: set[str] = set()
    for prefix, node, excused in _functions(tree, classes):
        id = f"{path}::{prefix}{node.name}"
        (may if excused or _is_excused(node.decorator_list) else must).add(id)
    return FoundTests(frozenset(must - may), frozenset(may))


def framework_of(text: str) -> Framework:
    """`unittest` where every test is a method of a `TestCase` and nothing of pytest is used."""
    tree = parse(text)
    if tree is None:
        return "pytest"
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    plain = any(isinstance(n, ast.FunctionDef) and _is_test(n.name) for n in tree.body)
    cases = any(_is_test_case(node, {c.name: c for c in classes}) for node in classes)
    return "unittest" if cases and not plain and "pytest" not in names else "pytest"


Found = tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, bool]


def _functions(tree: ast.Module | None, classes: dict[str, ast.ClassDef]) -> Iterator[Found]:
    for node in tree.body if tree else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_test(node.name):
            yield "", node, False
        elif isinstance(node, ast.ClassDef) and _is_collected(node, classes):
            excused = _is_excused(node.decorator_list)
            for method in _methods(node, classes):
                yield f"{node.name}::", method, excused


def _is_test(name: str) -> bool:
    return name.startswith("test")


def _is_collected(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> bool:
    return node.name.startswith("Test") or _is_test_case(node, classes)


def _is_test_case(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> bool:
    for base in node.bases:
        name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
        if name.endswith("TestCase"):
            return True
        if name in classes and classes[name] is not node and _is_test_case(classes[name], classes):
            return True
    return False


def _methods(
    node: ast.ClassDef, classes: dict[str, ast.ClassDef]
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Test methods of a class and of its bases in the same file; the nearest definition counts."""
    seen: set[str] = set()
    queue = [node]
    while queue:
        here = queue.pop(0)
        for method in here.body:
            if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and _is_test(method.name):
                if method.name not in seen:
                    yield method
                seen.add(method.name)
        names = [getattr(base, "id", "") for base in here.bases]
        queue += [classes[name] for name in names if name in classes and classes[name] is not here]


def _is_excused(decorators: list[ast.expr]) -> bool:
    """Whether a decorator of the test's author lets it be skipped or fail."""
    return any(
        word in ast.unparse(decorator).lower()
        for decorator in decorators
        for word in ("skip", "xfail", "expectedfailure")
    )
