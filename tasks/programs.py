"""Questions about source text that suites ask: what a prompt defines, what a test calls, how to join.

Nothing here runs the text; whatever does not parse is answered as well as its lines allow.
"""

import ast
import builtins
import re
import textwrap
import warnings
from collections.abc import Iterator

PRESETS = (
    "bisect",
    "cmath",
    "collections",
    "copy",
    "datetime",
    "fractions",
    "functools",
    "heapq",
    "itertools",
    "json",
    "math",
    "operator",
    "random",
    "re",
    "statistics",
    "string",
    "sys",
)
"""Standard modules that published tests use without importing them (8 tasks of MBPP: `math`)."""

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def parse(source: str) -> ast.Module | None:
    """The syntax tree, or None where the text is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # published code is full of "\\w" and the like
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def compiles(source: str) -> bool:
    """Whether the text is a program; stricter than `parse`, which lets a stray `return` pass."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, "solution.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def defined_functions(source: str) -> list[str]:
    """Names of the functions that a text defines at its top level, in order."""
    tree = _tree_of_prompt(source)
    return [n.name for n in tree.body if isinstance(n, _DEFINITIONS)] if tree else []


def without_docstring(prompt: str, entry_point: str) -> str:
    """The code of a prompt up to and with the signature line of its unfinished function.

    That is the entry point or, where the suite names another, the last function of the prompt.
    Empty where the prompt is not code.
    """
    tree = _tree_of_prompt(prompt)
    names = defined_functions(prompt)
    function = _function(tree, entry_point if entry_point in names else "".join(names[-1:]))
    if function is None:
        return ""
    # The docstring or, in a prompt without one, the `pass` that made it parse.
    lines = prompt.splitlines()[: function.body[0].lineno - 1]
    return "\n".join(lines).rstrip()


def prelude_of(prompt: str, entry_point: str) -> str:
    """Imports, constants and helpers of a prompt, without the function that is asked for."""
    tree = _tree_of_prompt(prompt)
    if tree is None:
        return ""
    unfinished = _function(tree, entry_point)
    kept = [node for node in tree.body if node is not unfinished and not _is_text(node)]
    return "\n".join(ast.unparse(node) for node in kept)


def called_names(test: str) -> set[str]:
    """Names of the functions that a test calls and does not define, builtins among them."""
    tree = parse(test)
    if tree is None:
        return set()
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return called - (set(_bound(tree)) - {"check", "candidate"})


def entry_point_of(test: str, named: str, prompt: str) -> str:
    """The entry point as the test sees it.

    Ten tasks of MBPP name a helper; then the one function that the test calls, and that neither
    Python nor the test nor the prompt's helpers define, is meant.
    """
    called = called_names(test)
    if named in called or "candidate" in called:
        return named
    helpers = set(defined_functions(prompt)) - {named}
    unknown = {name for name in called - helpers if not hasattr(builtins, name)}
    return unknown.pop() if len(unknown) == 1 else named


def missing_presets(test: str, prelude: str) -> tuple[str, ...]:
    """The modules of `PRESETS` that a test uses although neither it nor the prelude imports them."""
    trees = [tree for tree in (parse(test), parse(prelude)) if tree]
    used = {n.id for n in ast.walk(trees[0]) if isinstance(n, ast.Name)} if parse(test) else set()
    bound = {name for tree in trees for name in _bound(tree)}
    return tuple(name for name in PRESETS if name in used - bound)


def join(prompt: str, entry_point: str, completion: str) -> str:
    """One program from a prompt and the completion of a model or a reference.

    A completion that defines the entry point itself stands alone, after the prompt's imports and
    helpers. A body is put under the prompt; where that does not compile, because the body is
    indented unlike the docstring (173 of 302 tasks of MBPP), the docstring is cut off, and then
    whatever follows the body.
    """
    if _function(parse(completion), entry_point):
        prelude = prelude_of(prompt, entry_point)
        return f"{prelude}\n\n{completion}" if prelude else completion
    ways = list(_joined(prompt, entry_point, completion))
    return next((way for way in ways if compiles(way)), ways[0])


def _joined(prompt: str, entry_point: str, completion: str) -> Iterator[str]:
    bare = without_docstring(prompt, entry_point)
    for body in (completion, cut_body(completion)):
        yield prompt + body
        if bare:
            yield f"{bare}\n{body}"
            yield f"{bare}\n{textwrap.indent(textwrap.dedent(body), '    ')}"


def cut_body(completion: str) -> str:
    """The completion up to the first line that leaves the function it continues.

    >>> cut_body("    return 1\\n\\nprint(2)\\n")
    '    return 1\\n'
    """
    kept: list[str] = []
    for line in completion.splitlines(keepends=True):
        if kept and any(text.strip() for text in kept) and re.match(r"[^\s#)\]}]", line):
            break
        kept.append(line)
    return "".join(kept).rstrip() + "\n"


def as_check(test: str) -> str:
    """A test script as `def check(candidate)`; a test that has one stays as it is."""
    tree = parse(test)
    if tree is None or _function(tree, "check"):
        return test
    # A future import or a star import could not move into a function; published tests have none.
    function = ast.parse("def check(candidate):\n    pass\n").body[0]
    assert isinstance(function, ast.FunctionDef)
    function.body = list(tree.body)
    return ast.unparse(ast.fix_missing_locations(function)) + "\n"


def _tree_of_prompt(prompt: str) -> ast.Module | None:
    """A prompt ends inside a function, so it parses only with a body."""
    for ending in ("", "\n    pass\n", "\n\tpass\n", "\n  pass\n"):
        tree = parse(prompt.rstrip() + ending)
        if tree:
            return tree
    return None


def _function(tree: ast.Module | None, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    for node in tree.body if tree else ():
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
            return node
    return None


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _bound(tree: ast.Module) -> Iterator[str]:
    """Names that a text gives a meaning to: definitions, imports, assignments, parameters."""
    for node in ast.walk(tree):
        if isinstance(node, _DEFINITIONS):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
