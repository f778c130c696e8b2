"""Tasks that are folders, as exercise collections keep them: a text, starter files, test files.

two-fer/
  prompt.md              the text; or instructions.md, .docs/instructions.md, README.md
  two_fer.py             starter: what the answer begins from (also below starter/)
  two_fer_test.py        tests, by name: *_test.py or test_*.py
  solution.py            a reference, if there is one; or .meta/example.py, .meta/exemplar.py
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from codojo.errors import TaskError
from codojo.tasks.programs import parse
from codojo.tasks.schema import Task, TestFiles, Tests
from codojo.tasks.test_names import wanted_tests

TEXTS = ("prompt.md", "instructions.md", ".docs/instructions.md", "README.md")
ADDITION = ".docs/instructions.append.md"
REFERENCES = ("solution.py", ".meta/example.py", ".meta/exemplar.py")
MAX_FILE_BYTES = 1 << 20


def is_task(folder: Path) -> bool:
    """Whether a folder holds test files, and so is a task and not a collection of some."""
    return any(map(_is_test, folder.glob("*.py")))


def tasks_in(folder: Path, suite: str) -> Iterator[Task]:
    """The tasks of a folder: itself, or the folders below it in the order of their names.

    Raises:
        TaskError: If there is none, or one lacks its text or a starter; names it and what to add.
    """
    if is_task(folder):
        yield _task(folder, suite)
        return
    below = [place for place in sorted(folder.rglob("*")) if place.is_dir() and is_task(place)]
    if not below:
        raise TaskError(
            f"{folder} holds no tasks; a task is a folder with tests (*_test.py or test_*.py), a "
            "starter and a prompt.md"
        )
    for place in below:
        yield _task(place, suite)


def _task(folder: Path, suite: str) -> Task:
    text = next((folder / name for name in TEXTS if (folder / name).is_file()), None)
    if text is None:
        raise TaskError(f"task {folder} has no text; add prompt.md or instructions.md")
    tests = {path.name: _read(path) for path in sorted(folder.glob("*.py")) if _is_test(path)}
    if not any(wanted_tests(path, content).must_pass for path, content in tests.items()):
        raise TaskError(f"the test files of task {folder} hold no test; see {', '.join(tests)}")
    starters = _starters(folder)
    if len(starters) != 1:
        raise TaskError(
            f"task {folder} needs one starter file beside its tests (or in starter/), this one has "
            f"{', '.join(path.name for path in starters) or 'none'}"
        )
    reference = next((folder / name for name in REFERENCES if (folder / name).is_file()), None)
    target, starter = starters[0].name, _read(starters[0])
    prompt = _read(text) + (_read(folder / ADDITION) if (folder / ADDITION).is_file() else "")
    return Task(
        task_id=folder.name,
        suite=suite,
        family=folder.name,
        prompt=prompt.strip(),
        entry_point=_entry_point(starter) or starters[0].stem,
        starter=starter,
        sealed=Tests(source="sealed", files=TestFiles(files=tests, target=target)),
        reference=_read(reference) if reference else None,
    )


def _starters(folder: Path) -> list[Path]:
    place = folder / "starter" if (folder / "starter").is_dir() else folder
    ignored = {"conftest.py", *REFERENCES} if place == folder else {"conftest.py"}
    return [
        path
        for path in sorted(place.glob("*.py"))
        if not _is_test(path) and path.name not in ignored
    ]


def _is_test(path: Path) -> bool:
    return path.suffix == ".py" and (path.stem.endswith("_test") or path.stem.startswith("test_"))


def _entry_point(starter: str) -> str:
    """The first function or class that the starter defines."""
    tree = parse(starter)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return next((node.name for node in tree.body if isinstance(node, kinds)), "") if tree else ""


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise TaskError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB; tasks are text")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise TaskError(f"cannot read {path}: {err}; check the file") from err
