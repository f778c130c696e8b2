"""The suite `katas`: every kata of the themed modules as a task with seeded sealed cases."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from random import Random
from types import ModuleType

from codojo.errors import TaskError
from codojo.tasks.cases import make_case
from codojo.tasks.katas.kata import Arguments, Kata
from codojo.tasks.schema import Case, Suite, Task, Tests, make_suite

THEMES = (
    "basics",
    "arithmetic",
    "first_texts",
    "letters",
    "words",
    "lists",
    "sequences",
    "dicts",
    "numbers",
    "quantities",
    "parsing",
    "structures",
)
SEALED_CASES = 24
FEWEST_SEALED = 20
MOST_DRAWS = 2_000
"""Draws before a kata is said to have too few different inputs."""


@cache
def load_katas() -> Suite:
    """All katas as one suite; the same tasks, cases and splits on every machine."""
    return make_suite("katas", (make_task(kata, node, module) for kata, node, module in katas()))


def katas() -> Iterator[tuple[Kata, ast.FunctionDef, ModuleType]]:
    """Every kata with the syntax tree of its function and its module, in the order of the files."""
    for theme in THEMES:
        module = importlib.import_module(f"codojo.tasks.katas.{theme}")
        tree = ast.parse(inspect.getsource(module))
        nodes = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        for kata in vars(module).values():
            if isinstance(kata, Kata):
                yield kata, nodes[kata.name], module


def make_task(kata: Kata, node: ast.FunctionDef, module: ModuleType) -> Task:
    """The task of one kata, still without a split.

    Raises:
        TaskError: If too few different inputs can be drawn for it.
    """
    visible = [_case(kata, f"v{i}", args) for i, args in enumerate(kata.examples, 1)]
    sealed = list(_sealed(kata, {repr(args) for args in kata.examples}))
    if len(sealed) < FEWEST_SEALED:
        raise TaskError(
            f"kata '{kata.name}' has {len(sealed)} different sealed cases, needs {FEWEST_SEALED}; "
            "widen what its `draw` returns"
        )
    return Task(
        task_id=f"katas/{kata.name}",
        suite="katas",
        family=kata.family,
        prompt=inspect.cleandoc(ast.get_docstring(node) or "")
        .replace("\n\n", " ")
        .replace("\n", " "),
        entry_point=kata.name,
        starter=_starter(node),
        visible=Tests(source="visible", cases=tuple(visible)),
        sealed=Tests(source="sealed", cases=tuple(sealed)),
        reference=_reference(node, module),
    )


def _sealed(kata: Kata, taken: set[str]) -> Iterator[Case]:
    rng = Random(kata.name)
    count = 0
    for i in range(MOST_DRAWS):
        args = kata.edges[i] if i < len(kata.edges) else kata.draw(rng)
        if repr(args) in taken:
            continue
        taken.add(repr(args))
        count += 1
        yield _case(kata, f"s{count}", args)
        if count == SEALED_CASES:
            return


def _case(kata: Kata, id: str, args: Arguments) -> Case:
    return make_case(id, args, kata.solve(*args), kata.rule)


def _starter(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"def {node.name}({ast.unparse(node.args)}){returns}:"


def _reference(node: ast.FunctionDef, module: ModuleType) -> str:
    """Source that runs on its own: the imports it uses, then the function without decorator."""
    bare = ast.FunctionDef(
        name=node.name,
        args=node.args,
        body=node.body[1:],
        decorator_list=[],
        returns=node.returns,
        lineno=node.lineno,
    )
    used = {part.id for part in ast.walk(bare) if isinstance(part, ast.Name)}
    imports = [line for name in sorted(used) if (line := _import_of(name, module))]
    return "\n".join([*imports, ast.unparse(ast.fix_missing_locations(bare))]) + "\n"


def _import_of(name: str, module: ModuleType) -> str:
    value = vars(module).get(name)
    if isinstance(value, ModuleType):
        return f"import {value.__name__}"
    origin = getattr(value, "__module__", None)
    return f"from {origin} import {name}" if origin and not isinstance(value, Kata) else ""
