"""What several commands share: options, and how progress is shown."""

import asyncio
import json
import re
import signal
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codojo.errors import LogError, SettingsError

if TYPE_CHECKING:
    from codojo.graphs.events import TeamEvent
    from codojo.graphs.run import Progress, Watch
    from codojo.settings import SandboxSettings
    from codojo.trajectories.index import Index
    from codojo.trajectories.stopping import Stop

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


def budget_only(changes: dict[str, object], withheld: Collection[str] = ()) -> dict[str, object]:
    """What a resumed run lets itself be told: a larger budget, and what the log withholds as secret.

    Raises:
        SettingsError: For any other setting, which would make it another run.
    """
    for name in changes:
        if not name.startswith("budget.") and name not in withheld:
            raise SettingsError(
                f"--resume goes on with the settings that the run began with; leave '{name}' away, or start a new run"
            )
    return changes


def open_index(dojo: Path) -> "Index":
    """The index of a dojo's log, up to date.

    Raises:
        SettingsError: If the folder is no dojo.
    """
    from codojo.folder import require_dojo
    from codojo.trajectories.index import Index

    return Index(require_dojo(dojo.resolve()) / "log")


def one_of(index: "Index", prefix: str) -> str:
    """The id of the one rollout that is called so, or begins so.

    Raises:
        LogError: If there is none, or more than one.
    """
    matching = [r.id for r in index.rollouts(ids=[prefix]) or index.rollouts(id=prefix)]
    if len(matching) == 1:
        return matching[0]
    asked = inert(prefix)
    if not matching:
        raise LogError(
            f"no rollout's id starts with '{asked}'; see the ids with 'codojo trajectories list'"
        )
    some = ", ".join(matching[:3])
    raise LogError(
        f"{len(matching)} rollouts start with '{asked}' ({some}, ...); write more of the id"
    )


def moment(text: str) -> float:
    """Seconds since 1970 of `2026-11-24`, `2026-11-24T10:00` (UTC where it names no zone), or `7d`, `12h`, `30m` ago.

    Raises:
        SettingsError: If it is neither.
    """
    ago = re.fullmatch(r"(\d{1,6})([dhm])", text.strip(), re.ASCII)
    if ago:
        return time.time() - int(ago[1]) * {"d": 86400, "h": 3600, "m": 60}[ago[2]]
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise SettingsError(
            f"cannot read {text[:60]!r} as a time; write a date (2026-11-24), a time (2026-11-24T10:00), or 7d, "
            "12h, 30m ago"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def unsafe(flag: bool) -> dict[str, object]:
    """The settings behind `--unsafe-no-sandbox`."""
    return {"sandbox.unsafe_no_sandbox": True, "sandbox.backend": "none"} if flag else {}


def end_on_sigterm(stop: "Stop") -> None:
    """Let SIGTERM end what runs in order; a second one ends the process at once."""
    loop = asyncio.get_running_loop()

    def request() -> None:
        loop.remove_signal_handler(signal.SIGTERM)
        stop.request("SIGTERM")

    loop.add_signal_handler(signal.SIGTERM, request)


def say(line: str) -> None:
    """One line about something that takes a while, to stderr."""
    print(line, file=sys.stderr, flush=True)


def quiet(line: str) -> None:
    """Nothing: what `--json` says while it works."""


def print_json(value: Any) -> None:
    """A result for programs; a lone surrogate, which no encoding can write, is escaped."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    print(re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text))


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


@contextmanager
def telling_events(wanted: bool) -> Iterator[None]:
    """Print each event of the block as a line of JSON, if that is wanted."""
    if not wanted:
        yield
        return
    from codojo.graphs.translate import Translator
    from codojo.trajectories.watching import Seen, watched_by

    translator = Translator()

    def see(seen: Seen) -> None:
        for event in translator.events(seen):
            print_event(event)

    with watched_by(see):
        yield


def print_event(event: "TeamEvent") -> None:
    """One line of plain ASCII: JSON escapes whatever could drive a terminal. A lone surrogate, which no strict
    reader takes, becomes a question mark."""
    text = json.dumps(event.model_dump(mode="python"), default=str, ensure_ascii=False)
    print(json.dumps(json.loads(text.encode("utf-8", "replace"))), flush=True)


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


def redacted(count: int) -> str:
    """What a summary says of the secrets that were taken out; nothing where there were none."""
    return f", {count} secret{'s' * (count != 1)} redacted" if count else ""


def inert(text: str) -> str:
    """Text that cannot drive a terminal: control characters are shown, not sent."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)
