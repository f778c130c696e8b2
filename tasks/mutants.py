"""Small faults sown into a program, to see whether its tests notice them. Pure functions."""

import ast
import copy
from collections.abc import Iterator
from typing import Any

CONSTANTS = ("None", "0", "1", "-1", "''", "[]", "{}", "True", "False", "()")
"""What no task may be solved by returning, whatever the arguments."""

SWAPPED_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
}
SWAPPED_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
SWAPPED_NAMES = {
    "max": "min",
    "min": "max",
    "any": "all",
    "all": "any",
    "sum": "len",
    "len": "sum",
    "upper": "lower",
    "lower": "upper",
    "capitalize": "upper",
    "values": "keys",
    "endswith": "startswith",
    "startswith": "endswith",
}


def mutants(source: str) -> Iterator[str]:
    """Variants of a program, each with one small fault: operators, constants, calls, conditions."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    count = sum(1 for _ in ast.walk(tree))
    for at in range(count):
        for choice in range(4):
            changed = copy.deepcopy(tree)
            node = list(ast.walk(changed))[at]
            mutated = _mutate(node, choice)
            if mutated is None:
                break
            changed = _Replace(node, mutated).visit(changed)
            yield ast.unparse(ast.fix_missing_locations(changed))


def parrots(source: str) -> Iterator[str]:
    """Programs that return one of their arguments unchanged."""
    function = ast.parse(source).body[-1]
    assert isinstance(function, ast.FunctionDef)
    names = [arg.arg for arg in function.args.args]
    for name in names:
        yield f"def {function.name}({', '.join(names)}):\n    return {name}\n"


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else self.generic_visit(node)


def _mutate(node: ast.AST, choice: int) -> ast.AST | None:
    """The node with its fault number `choice`, or None if it has no such fault."""
    options = list(_faults(node))
    return options[choice] if choice < len(options) else None


def _faults(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPPED_OPERATORS:
        yield ast.BinOp(node.left, SWAPPED_OPERATORS[type(node.op)](), node.right)
        yield node.left
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED_COMPARISONS:
        ops = [SWAPPED_COMPARISONS[type(node.ops[0])](), *node.ops[1:]]
        yield ast.Compare(node.left, ops, node.comparators)
        yield ast.UnaryOp(ast.Not(), node)
    elif isinstance(node, ast.Constant):
        yield from _constants(node.value)
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    elif isinstance(node, ast.If):
        yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    elif isinstance(node, ast.comprehension) and node.ifs:
        yield ast.comprehension(node.target, node.iter, [], node.is_async)
    elif isinstance(node, ast.ListComp):
        yield ast.Subscript(node, ast.Slice(lower=ast.Constant(1)), ast.Load())
    elif isinstance(node, ast.DictComp):
        yield ast.DictComp(node.value, node.key, node.generators)


def _constants(value: object) -> Iterator[ast.AST]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, (int, float)):
        yield ast.Constant(value + 1)
        yield ast.Constant(value - 1)
    elif isinstance(value, str):
        yield ast.Constant(value[1:] if value else "x")


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    if isinstance(node.func, ast.Name) and node.func.id in SWAPPED_NAMES:
        swapped = ast.Name(SWAPPED_NAMES[node.func.id], ast.Load())
        yield ast.Call(swapped, node.args, node.keywords)
    if isinstance(node.func, ast.Attribute):
        if node.func.attr in SWAPPED_NAMES:
            attr = ast.Attribute(node.func.value, SWAPPED_NAMES[node.func.attr], ast.Load())
            yield ast.Call(attr, node.args, node.keywords)
        yield node.func.value
    elif node.args:
        yield node.args[0]
    if node.keywords:
        yield ast.Call(node.func, node.args, [])
