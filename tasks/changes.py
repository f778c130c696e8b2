"""Changes of files: which may be made, what they are, how they are shown. Pure."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from codojo.tasks.schema import Record

SKIPPED = {"__pycache__", "node_modules", "venv", "env", "build", "dist", "site-packages", "target"}
"""Folders that hold nobody's own work."""


class Change(Record):
    """What a file was and is to be; None: it does not exist."""

    path: str
    before: str | None
    after: str | None


def refusal(path: str) -> str:
    """Why a path that a model wrote may not be written; empty if it may."""
    pure = PurePosixPath(path)
    if not path or not pure.parts or pure.is_absolute() or "\\" in path or ":" in path:
        return "it is no relative path"
    if ".." in pure.parts:
        return "it leaves the folder"
    if not path.isprintable() or len(path) > 200:
        return "its name cannot be shown as it is"
    if any(part.startswith(".") for part in pure.parts):
        return "it is hidden"
    if any(part in SKIPPED for part in pure.parts):
        return "that folder is not worked in"
    return ""


def changes_of(seen: Mapping[str, str], proposed: Mapping[str, str]) -> list[Change]:
    """What proposed files would change, given what is there; equal files are no change."""
    normal = {str(PurePosixPath(path)): text for path, text in proposed.items()}
    changes = [Change(path=p, before=seen.get(p), after=text) for p, text in sorted(normal.items())]
    return [change for change in changes if change.before != change.after]


def reversed_changes(changes: Sequence[Change]) -> list[Change]:
    """What takes changes back."""
    return [Change(path=c.path, before=c.after, after=c.before) for c in changes]


def diff_of(changes: Sequence[Change]) -> str:
    """A unified diff, as `git apply` reads it.

    >>> print(diff_of([Change(path="a.txt", before="x\\n", after="y\\n")]), end="")
    --- a/a.txt
    +++ b/a.txt
    @@ -1 +1 @@
    -x
    +y
    """
    return "".join(_diff(change) for change in changes)


def _diff(change: Change) -> str:
    before = (change.before or "").splitlines(keepends=True)
    after = (change.after or "").splitlines(keepends=True)
    old = f"a/{change.path}" if change.before is not None else "/dev/null"
    new = f"b/{change.path}" if change.after is not None else "/dev/null"
    lines = difflib.unified_diff(before, after, old, new)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def is_test_file(path: str) -> bool:
    """Whether pytest would take a file for tests, or it helps those that are."""
    pure = PurePosixPath(path)
    name = pure.name
    named = name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"
    return name.endswith(".py") and (named or "tests" in pure.parts[:-1])


def is_runner_setting(path: str) -> bool:
    """Whether a file sets up a test runner; the judge leaves these out of what it runs and counts them as
    tricks, so a copy of a person's folder goes without them."""
    names = {"pyproject.toml", "setup.cfg", "tox.ini", "pytest.ini"}
    return PurePosixPath(path).name in names
