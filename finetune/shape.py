"""When two programs are the same but for names and layout."""

import ast
from collections.abc import Iterator, Mapping


def code_shape(code: str) -> str:
    """A text that is equal for programs equal up to layout, comments, docstrings, annotations, local names.

    >>> code_shape("def f(xs):\\n    return sum(xs)") == code_shape("def f(a): return sum(a)  # .")
    True
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code
    bound = dict.fromkeys(name for node in ast.walk(tree) for name in _bound_locals(node))
    names = {name: f"·{i}" for i, name in enumerate(bound)}
    for node in ast.walk(tree):
        _plain(node, names)
    return ast.dump(tree)


def _bound_locals(node: ast.AST) -> Iterator[str]:
    """Names that a function binds: its parameters and what its body assigns to."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for inner in ast.walk(node):
            if isinstance(inner, ast.arg):
                yield inner.arg
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                yield inner.id


def _plain(node: ast.AST, names: Mapping[str, str]) -> None:
    """Rename locals and drop docstrings, in place."""
    if isinstance(node, ast.Name):
        node.id = names.get(node.id, node.id)
    elif isinstance(node, ast.arg):
        node.arg = names.get(node.arg, node.arg)
        node.annotation = None
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        if not isinstance(node, ast.ClassDef | ast.Module):
            node.returns = None
