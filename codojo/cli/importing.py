"""`codojo trajectories import`: what other agents recorded, into the log."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codojo.cli.options import DojoOption, JsonOption, inert, print_json, say

if TYPE_CHECKING:
    from codojo.trajectories.importers.writing import ImportReport, Watch

SHOWN = 5
"""Unreadable places that are named; the others are counted."""


def import_trajectories(
    files: Annotated[
        list[Path],
        typer.Argument(help="Files, or OpenHands folders of events.", metavar="FILE..."),
    ],
    format: Annotated[
        str,
        typer.Option(
            help="`atif`, `swe-agent`, `mini-swe-agent`, `openhands` or `chat`; default: seen from the content."
        ),
    ] = "",
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Leave out what cannot be read, and count it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and count; write nothing.")
    ] = False,
    dojo: DojoOption = Path("dojo"),
    as_json: JsonOption = False,
) -> None:
    """Add what other agents recorded: each conversation once, `unverified`.

    Examples: `codojo trajectories import runs/*.traj` ·
    `codojo trajectories import chats.jsonl --dry-run` ·
    `codojo trajectories import ~/.openhands/conversations/4f2c --format openhands`
    """
    from codojo.folder import require_dojo
    from codojo.resources import redactor_for
    from codojo.settings import load
    from codojo.trajectories.importers.writing import import_files

    root = require_dojo(dojo.resolve())
    with _watching(as_json) as watch:
        report = import_files(
            root,
            files,
            redactor=redactor_for(load(root).settings),
            format=format,
            skip_invalid=skip_invalid,
            dry_run=dry_run,
            watch=watch,
        )
    if as_json:
        print_json(report.as_json())
        return
    _print(report, dry_run)


def _print(report: "ImportReport", dry_run: bool) -> None:
    from codojo.reports.page import plural

    files = plural(len(report.files), "file")
    kinds = ", ".join(f"{inert(name)} {n}" for name, n in sorted(report.formats.items()))
    verb = "would add" if dry_run else "added"
    print(
        f"read {plural(sum(report.formats.values()), 'conversation')} in {files} ({kinds or 'none'})"
    )
    print(
        f"{verb} {plural(report.added, 'rollout')} with {plural(report.answers, 'answer')}", end=""
    )
    if report.resumed:
        print(f", {report.resumed} of them begun by an import that was stopped", end="")
    print(f"; {report.already} were there already" if report.already else "")
    if report.empty:
        print(f"left out {plural(report.empty, 'conversation')} in which no model answered")
    if report.invalid:
        print(f"left out {plural(len(report.invalid), 'conversation')} that cannot be read:")
        for told in report.invalid[:SHOWN]:
            print(f"  {inert(told)}".replace("\n", "\\n"))
    if report.added and not dry_run:
        print("see them with 'codojo trajectories list --stage import'")


@contextmanager
def _watching(as_json: bool) -> "Iterator[Watch]":
    """A bar on a terminal, a line at every quarter elsewhere."""
    if as_json:
        yield lambda done, total: None
        return
    if not sys.stderr.isatty():
        told = 0

        def lines(done: int, total: int) -> None:
            nonlocal told
            if total >= 100 and 4 * done // total > told:
                told = 4 * done // total
                say(f"import: {done} of {total}")

        yield lines
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        row = bars.add_task("import", total=None)
        yield lambda done, total: bars.update(row, completed=done, total=total)
