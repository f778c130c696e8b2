"""`codojo export`: training files from the log."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codojo.cli.options import DojoOption, JsonOption, print_json, say

if TYPE_CHECKING:
    from codojo.exporting import Report

app = typer.Typer(add_completion=False)

Words = list[str] | None


@app.command()
def export(
    format: Annotated[str, typer.Argument(help="See --list.")] = "",
    out: Annotated[
        Path | None, typer.Argument(help="A file; without a suffix, a folder.", show_default=False)
    ] = None,
    only: Annotated[
        str, typer.Option(help="`passed`, `failed` or `all`; default: what the format is for.")
    ] = "",
    role: Annotated[
        Words, typer.Option(help="Answers of that agent (`all`: of every one); repeat for more.")
    ] = None,
    suite: Annotated[Words, typer.Option(help="Only rollouts of that suite.")] = None,
    split: Annotated[
        Words,
        typer.Option(
            help="`train`, `none` (work without a suite), `gate`, `held_out`; default: the first two."
        ),
    ] = None,
    since: Annotated[
        str, typer.Option(help="Only rollouts since a date, a time, or `7d`, `12h` ago.")
    ] = "",
    graph: Annotated[Words, typer.Option(help="Only rollouts of that graph.")] = None,
    model: Annotated[Words, typer.Option(help="Only answers of the model served so.")] = None,
    integrity: Annotated[
        str,
        typer.Option(
            help="`isolated`, `shared_process` or `any`: what could touch the tests; rows: default `isolated`."
        ),
    ] = "",
    min_isolation: Annotated[
        str, typer.Option(help="`none`, `warm`, `bubblewrap`, `docker`; rows: default `warm`.")
    ] = "",
    max_per_task: Annotated[int, typer.Option(help="Rows of one task; 0: all.", min=0)] = 0,
    dedupe: Annotated[
        str,
        typer.Option(
            help="Of one task once: programs of one `shape` (the default), equal `text`; or `none`."
        ),
    ] = "",
    whole_answers: Annotated[
        bool, typer.Option("--whole-answers", help="Learn all that was said, not only the code.")
    ] = False,
    feedback: Annotated[
        bool, typer.Option("--feedback/--no-feedback", help="Also what people said of answers.")
    ] = True,
    validation: Annotated[
        float, typer.Option(help="Share of the task families put aside as `validation`.")
    ] = 0.0,
    license: Annotated[str, typer.Option(help="For the card: under which licence this is.")] = "",
    parquet: Annotated[bool, typer.Option("--parquet", help="Parquet in place of lines.")] = False,
    list_formats: Annotated[bool, typer.Option("--list", help="List the formats.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and write nothing.")] = False,
    dojo: DojoOption = Path("dojo"),
    as_json: JsonOption = False,
) -> None:
    """Write training files from the log, with a card that says what they are.

    By default: what passed its sealed tests in isolation, on train tasks and in work without a suite,
    once per distinct program. The same log gives the same bytes.

    Examples: `codojo export --list` · `codojo export trl-sft train.jsonl --dojo my-dojo` ·
    `codojo export trl-dpo pairs/ --suite katas --validation 0.1` ·
    `codojo export trl-sft train.parquet --max-per-task 4`
    """
    import time

    from codojo.errors import SettingsError
    from codojo.exporting import export as write
    from codojo.filters import Filters, when
    from codojo.folder import require_dojo

    if list_formats:
        _print_formats(as_json)
        return
    if not format or out is None:
        raise SettingsError(
            "write a format and a place: 'codojo export trl-sft train.jsonl'; --list shows the formats"
        )
    filters = Filters.of(
        only=only or None,
        role=tuple(role or ()),
        suite=tuple(suite or ()),
        **({"split": tuple(None if s == "none" else s for s in split)} if split else {}),
        since=when(since, time.time()) if since else 0.0,
        graph=tuple(graph or ()),
        model=tuple(model or ()),
        integrity=integrity or None,
        min_isolation=min_isolation or None,
        max_per_task=max_per_task,
        dedupe=dedupe or None,
        whole_answers=whole_answers,
        feedback=feedback,
        validation=validation,
        license=license,
    )
    require_dojo(dojo)
    report = write(
        dojo,
        format,
        out,
        filters,
        parquet=parquet,
        dry_run=dry_run,
        watch=(lambda seen, rows: None) if as_json else _watch,
    )
    if as_json:
        exported = report.exported
        parts = {name: part._asdict() for name, part in exported.parts.items()}
        curation = report.curation.model_dump(mode="json")
        print_json(exported._asdict() | {"parts": parts, "curation": curation, "dry_run": dry_run})
        return
    _print(report, dry_run)


def _watch(seen: "object", rows: int) -> None:
    say(f"read {getattr(seen, 'rollouts', 0):,} rollouts, {rows:,} rows")


def _print(report: "Report", dry_run: bool) -> None:
    from collections import Counter

    from codojo.cli.options import inert

    exported, curation = report.exported, report.curation
    left = Counter(curation.left_out) + Counter(exported.left_out)
    told = ", ".join(f"{n} {inert(why)}" for why, n in sorted(left.items()))
    wrote = "would be written to" if dry_run else "in"
    print(
        f"{exported.rows} rows from {curation.tasks} tasks {wrote} {inert(str(exported.path))} "
        f"(sha256 {exported.sha256[:12]})"
    )
    if len(exported.parts) > 1:
        print(", ".join(f"{name}: {part.rows} rows" for name, part in exported.parts.items()))
    print(f"left out of {curation.considered} candidates: {told or 'none'}")


def _print_formats(as_json: bool) -> None:
    from codojo.trajectories.exporters.formats import formats
    from codojo.trajectories.rows import Row

    found = formats()
    if as_json:
        for format in found.values():
            print_json({"name": format.name, "about": format.about, "takes": format.takes.__name__})
        return
    width = max(map(len, found))
    for format in found.values():
        takes = "" if issubclass(format.takes, Row) else " [whole rollouts]"
        print(f"{format.name:{width}}  {format.about}{takes}")
