"""Rows of published suites as tasks: HumanEval, MBPP and EvalPlus, told apart by their keys."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from codojo.tasks.programs import (
    as_check,
    called_names,
    defined_functions,
    entry_point_of,
    join,
    missing_presets,
    prelude_of,
    without_docstring,
)
from codojo.tasks.schema import Check, Task, Tests

Row = Mapping[str, Any]


class RowRefused(Exception):
    """A row is in no known convention; the message says what it lacks."""


def task_of(row: Row, suite: str) -> Task:
    """The task of one row, its family empty where the row names none.

    Raises:
        RowRefused: If the row follows none of the conventions.
    """
    if "hidden_test" in row and "test" not in row:  # CodeT's edition of HumanEval
        row = {**row, "test": row["hidden_test"]}
    return _convention(row)(row, suite)


def _convention(row: Row) -> Callable[[Row, str], Task]:
    if "test_list" in row and "test" not in row:
        return _mbpp
    if "test" in row:
        return _human_eval if "entry_point" in row else _mbpp
    if "base_input" in row:
        return _eval_plus
    raise RowRefused(
        "has none of the keys 'test' (HumanEval), 'test_list' (MBPP), 'base_input' (EvalPlus)"
    )


def _human_eval(row: Row, suite: str) -> Task:
    """`prompt` is the beginning of the program, `test` defines `check(candidate)`."""
    prompt, test = _text(row, "prompt"), _text(row, "test")
    named = _text(row, "entry_point").strip()
    entry_point = entry_point_of(test, named, prompt)
    return _task(
        row,
        suite,
        prompt=prompt,
        entry_point=entry_point,
        # A signature of another function would only mislead.
        starter=without_docstring(prompt, named) if entry_point == named else "",
        test=as_check(test),
        prelude=prelude_of(prompt, named),
        reference=join(prompt, named, str(row["canonical_solution"]))
        if "canonical_solution" in row
        else None,
    )


def _mbpp(row: Row, suite: str) -> Task:
    """`text` or `prompt` is a sentence, `test_list` holds asserts, `code` is the reference."""
    prompt = _text(row, "text" if "text" in row else "prompt")
    imports = row.get("test_imports") or []
    setup = "\n".join([*_texts(imports, "test_imports"), str(row.get("test_setup_code") or "")])
    if "test" in row:
        test = as_check(_text(row, "test"))
    else:
        asserts = _texts(row["test_list"], "test_list")
        body = "\n".join("    " + line.replace("\n", "\n    ") for line in asserts)
        test = f"def check(candidate):\n{body}\n"
    reference = _text(row, "code") if "code" in row else None
    entry_point = _called_of(reference, test)
    return _task(
        row,
        suite,
        prompt=prompt,
        entry_point=entry_point,
        starter=_signature(reference, entry_point),
        test=test,
        prelude=setup.strip(),
        reference=reference,
    )


def _eval_plus(row: Row, suite: str) -> Task:
    """`base_input` and `plus_input` hold arguments; the reference says what must come back.

    The reference is run by the test, inside the cage, under a scope of its own.
    """
    prompt, entry_point = _text(row, "prompt"), _text(row, "entry_point").strip()
    if str(row.get("task_id", "")).lower().startswith("mbpp"):
        raise RowRefused(
            "is MBPP+ with raw inputs, whose tuples and sets JSON has lost; "
            "use the edition of the file that has a 'test' key"
        )
    reference = join(prompt, entry_point, _text(row, "canonical_solution"))
    inputs = [*row["base_input"], *(row.get("plus_input") or [])]
    tolerance = float(row.get("atol") or 0) or 1e-6
    test = (
        f"_scope = {{}}\nexec({reference!r}, _scope)\n_reference = _scope[{entry_point!r}]\n"
        f"_inputs = json.loads({json.dumps(inputs)!r})\n\n"
        "def _same(a, b):\n"
        "    if isinstance(a, float) or isinstance(b, float):\n"
        f"        return a == b or math.isclose(a, b, rel_tol=1e-6, abs_tol={tolerance!r})\n"
        "    if isinstance(a, (list, tuple)) and type(a) is type(b) and len(a) == len(b):\n"
        "        return all(_same(x, y) for x, y in zip(a, b))\n"
        "    return a == b\n\n"
        "def check(candidate):\n"
        "    for args in _inputs:\n"
        "        expected = _reference(*copy.deepcopy(args))\n"
        "        assert _same(candidate(*copy.deepcopy(args)), expected)\n"
    )
    return _task(
        row,
        suite,
        prompt=prompt,
        entry_point=entry_point,
        starter=without_docstring(prompt, entry_point),
        test=test,
        prelude="",
        reference=reference,
    )


def _task(
    row: Row,
    suite: str,
    *,
    prompt: str,
    entry_point: str,
    starter: str,
    test: str,
    prelude: str,
    reference: str | None,
) -> Task:
    if "task_id" not in row:
        raise RowRefused("has no 'task_id'")
    check = Check(source=test, presets=missing_presets(test, prelude), prelude=prelude)
    return Task(
        task_id=str(row["task_id"]),
        suite=suite,
        family=str(row.get("family", "")),
        prompt=prompt,
        entry_point=entry_point,
        starter=starter,
        sealed=Tests(source="sealed", check=check),
        reference=reference,
    )


def _called_of(reference: str | None, test: str) -> str:
    """The function that the test calls: the last one that the reference defines and it calls."""
    called = called_names(test)
    defined = [name for name in defined_functions(reference or "") if name in called]
    if defined:
        return defined[-1]
    name = entry_point_of(test, "", "")
    if not name:
        raise RowRefused("does not say which function its tests call; add 'entry_point'")
    return name


def _signature(reference: str | None, entry_point: str) -> str:
    code = without_docstring(reference or "", entry_point)
    lines = [line for line in code.splitlines() if line.startswith(f"def {entry_point}")]
    return lines[-1].rstrip() if lines and lines[-1].rstrip().endswith(":") else ""


def _text(row: Row, key: str) -> str:
    if key not in row:
        raise RowRefused(f"has no '{key}'")
    if not isinstance(row[key], str) or not row[key].strip():
        raise RowRefused(f"has no text under '{key}'")
    return str(row[key])


def _texts(value: object, key: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RowRefused(f"has something else than a list of texts under '{key}'")
    return value
