"""What several commands share: options, and how progress is shown."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codojo.errors import SettingsError

if TYPE_CHECKING:
    from codojo.graphs.run import Progress, Watch
    from codojo.settings import SandboxSettings

DojoOption = Annotated[
    Path, typer.Option("--dojo", envvar="CODOJO_DOJO", help="Folder of the dojo.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; progress goes nowhere.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.NAME=VALUE", help="Change a setting for this run."),
]
UnsafeOption = Annotated[
    bool,
    typer.Option(
        "--unsafe-no-sandbox", help="Run candidates without walls; stamped on every verdict."
    ),
]


BackendOption = Annotated[
    str | None,
    typer.Option("--backend", help="Sandbox backend instead of the setting: warm, bubblewrap, ..."),
]


def sandbox_settings(dojo: Path, backend: str | None, unsafe_no_sandbox: bool) -> "SandboxSettings":
    """The sandbox section of a dojo's settings, with what options say instead."""
    from codojo.settings import load

    changes = overrides(None, sandbox__backend=backend) | unsafe(unsafe_no_sandbox)
    return load(dojo, changes).settings.sandbox


def overrides(assignments: list[str] | None, **more: object) -> dict[str, object]:
    """Settings from `--set` and from options of their own (`section__name`; None: not given).

    Raises:
        SettingsError: For an assignment without `=` or without a section.
    """
    chosen: dict[str, object] = {}
    for text in assignments or []:
        name, equals, value = text.partition("=")
        if not equals or "." not in name:
            raise SettingsError(f"cannot read --set {text!r}; write it like --set team.samples=8")
        chosen[name.strip()] = value.strip()
    for name, given in more.items():
        if given is not None:
            chosen[name.replace("__", ".", 1)] = given
    return chosen


def budget_only(changes: dict[str, object]) -> dict[str, object]:
    """What a resumed run lets itself be told: a larger budget, nothing else.

    Raises:
        SettingsError: For any other setting, which would make it another run.
    """
    for name in changes:
        if not name.startswith("budget."):
            raise SettingsError(
                f"--resume goes on with the settings that the run began with; leave '{name}' away, or start a new run"
            )
    return changes


def unsafe(flag: bool) -> dict[str, object]:
    """The settings behind `--unsafe-no-sandbox`."""
    return {"sandbox.unsafe_no_sandbox": True, "sandbox.backend": "none"} if flag else {}


def say(line: str) -> None:
    """One line about something that takes a while, to stderr."""
    print(line, file=sys.stderr, flush=True)


def quiet(line: str) -> None:
    """Nothing: what `--json` says while it works."""


def print_json(value: Any) -> None:
    """A result for programs."""
    print(json.dumps(value, ensure_ascii=False, default=str))


@contextmanager
def watching(as_json: bool) -> "Iterator[Watch]":
    """Progress of stages: a live bar each on a terminal, a line now and then elsewhere."""
    if as_json:
        yield lambda progress: None
        return
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<24}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        rows: dict[str, Any] = {}

        def watch(progress: "Progress") -> None:
            if progress.stage not in rows:
                rows[progress.stage] = bars.add_task(progress.stage, total=progress.total, note="")
            row = rows[progress.stage]
            bars.update(row, completed=progress.done, total=progress.total, note=note(progress))
            if progress.done == progress.total:
                bars.stop_task(row)

        yield watch


def note(progress: "Progress") -> str:
    """What a stage has found so far."""
    if progress.note:
        return progress.note
    if not progress.cost.calls:
        return ""
    return f"{progress.solved} solved, {progress.cost.tokens:,} tokens"


def _lines() -> "Watch":
    """A line at every quarter of a stage."""
    told: dict[str, int] = {}

    def watch(progress: "Progress") -> None:
        quarter = 4 * progress.done // max(progress.total, 1)
        if told.get(progress.stage) != quarter:
            told[progress.stage] = quarter
            say(f"{progress.stage}: {progress.done} of {progress.total} {note(progress)}".rstrip())

    return watch


def inert(text: str) -> str:
    """Text that cannot drive a terminal: control characters are shown, not sent."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)
