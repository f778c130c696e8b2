"""`codojo trajectories`: look at what was logged, rollout by rollout, and keep the log in order."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codojo.cli import forgetting, log_care, time_travel
from codojo.cli.importing import import_trajectories
from codojo.cli.options import DojoOption, JsonOption, moment, one_of, open_index, print_json

if TYPE_CHECKING:
    from codojo.trajectories.index import IndexedRollout

app = typer.Typer(help="Look at what was logged.", no_args_is_help=True)


@app.command("list")
def list_trajectories(
    run: Annotated[
        str, typer.Option(help="Only rollouts of that run, by the start of its id.")
    ] = "",
    stage: Annotated[str, typer.Option(help="Only stages that start so: `round-1/`.")] = "",
    task: Annotated[str, typer.Option(help="Only tasks whose id holds that.")] = "",
    suite: Annotated[str, typer.Option(help="Only tasks of that suite.")] = "",
    graph: Annotated[str, typer.Option(help="Only that graph: `solo`, `team`, ...")] = "",
    model: Annotated[str, typer.Option(help="Only models whose served name holds that.")] = "",
    verdict: Annotated[
        str, typer.Option(help="Only that verdict: `passed`, `failed`, ...; `none`: no verdict.")
    ] = "",
    since: Annotated[
        str, typer.Option(help="Only rollouts since a date, a time, or `7d`, `12h`, `30m` ago.")
    ] = "",
    search: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="Only where a prompt, an answer or code holds these words, in a row.",
        ),
    ] = "",
    limit: Annotated[int, typer.Option(help="The newest so many; 0: all.", min=0)] = 50,
    dojo: DojoOption = Path("dojo"),
    as_json: JsonOption = False,
) -> None:
    """List rollouts, the newest last.

    Examples: `codojo trajectories list --verdict passed` ·
    `codojo trajectories list --stage round-1/solve --json` ·
    `codojo trajectories list --search "def slugify" --since 7d`
    """
    _check_verdict(verdict)
    named = {
        **{"run": run, "stage": stage, "task": task, "suite": suite, "graph": graph},
        **{"model": model, "verdict": verdict, "since": moment(since) if since else ""},
    }
    filters: dict[str, object] = {name: value for name, value in named.items() if value != ""}
    with open_index(dojo) as index:
        if search:
            from codojo.trajectories.search import search as find

            filters["ids"] = find(index.log, search)
        found, total = index.rollouts(limit=limit, **filters), index.count(**filters)
    if as_json:
        for rollout in found:
            print_json(_row(rollout))
        return
    if not total:
        print(
            "no rollout is logged that fits"
            if filters
            else "no rollout is logged yet; solve a task with 'codojo run'"
        )
        return
    _print_table(found)
    more = "; --limit 0 shows all" if len(found) < total else ""
    print(f"{len(found)} of {total} rollouts{more}")


@app.command()
def show(
    id: Annotated[str, typer.Argument(help="Id of a rollout, or its beginning.")],
    html: Annotated[
        Path | None, typer.Option("--html", help="Write it as a page to this file.", metavar="OUT")
    ] = None,
    dojo: DojoOption = Path("dojo"),
    as_json: JsonOption = False,
) -> None:
    """Show one rollout step by step: what was asked, answered, run and judged.

    Examples: `codojo trajectories show 01KB0H5R` ·
    `codojo trajectories show 01KB0H5R --html rollout.html`
    """
    from codojo.reports.page import write_page
    from codojo.reports.trajectory import render_text, render_trajectory

    with open_index(dojo) as index:
        trajectory = index.trajectory(one_of(index, id))
    if html is not None:
        print(write_page(html, render_trajectory(trajectory)))
    elif as_json:
        print_json(trajectory.model_dump(mode="json"))
    else:
        print(render_text(trajectory), end="")


@app.command()
def follow(
    run: Annotated[
        str, typer.Argument(help="Id of a run, or its beginning; default: the newest.")
    ] = "",
    dojo: DojoOption = Path("dojo"),
) -> None:
    """Print what happened in a run and what happens, as JSON events, until it ends.

    Reads the log alone, so it works beside the process that runs. Example:
    `codojo improve --suite katas & codojo trajectories follow | jq -r .type`
    """
    import asyncio

    asyncio.run(_follow(dojo.resolve(), run))


async def _follow(dojo: Path, prefix: str) -> None:
    from codojo.cli.options import inert, print_event
    from codojo.errors import LogError
    from codojo.folder import require_dojo
    from codojo.graphs.late import follow as follow_run
    from codojo.graphs.run import runs

    root = require_dojo(dojo)
    matching = [run.id for run in runs(root) if run.id.startswith(prefix)]
    if not matching:
        raise LogError(f"{root} holds no run whose id starts with '{inert(prefix)}'")
    async for event in follow_run(root / "log", matching[-1]):
        print_event(event)


def _check_verdict(verdict: str) -> None:
    from typing import get_args

    from codojo.errors import TaskError
    from codojo.tasks.schema import Status

    known = [*get_args(Status), "none"]
    if verdict and verdict not in known:
        raise TaskError(f"no verdict is called {verdict!r}; choose one of {', '.join(known)}")


def _row(rollout: "IndexedRollout") -> dict[str, object]:
    """What a program wants to know of a rollout before it reads it whole."""
    return {
        "id": rollout.id,
        "run": rollout.run,
        "stage": rollout.stage,
        "task": rollout.task,
        "suite": rollout.suite,
        "split": rollout.split,
        "graph": rollout.graph,
        "model": rollout.model,
        "at": rollout.at,
        "verdict": rollout.verdict or "none",
        "failure": rollout.failure,
        "finished": rollout.finished,
        "candidates": rollout.candidates,
        "passed": rollout.passed,
        "tokens": rollout.tokens if rollout.finished else None,
        "seconds": rollout.seconds if rollout.finished else None,
    }


def _print_table(rollouts: "list[IndexedRollout]") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from codojo.reports.page import visible

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 1_000  # a pipe takes whole lines
    table = Table(box=box.SIMPLE)
    for name in ("rollout", "stage", "task", "verdict"):
        table.add_column(name, overflow="fold", no_wrap=name == "rollout")
    for name in ("passed", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    for rollout in rollouts:
        verdict = (rollout.verdict or "none") if rollout.finished else "unfinished"
        cells = (rollout.id, rollout.stage, rollout.task, verdict)
        passed = f"{rollout.passed}/{rollout.candidates}"
        tokens = f"{rollout.tokens:,}" if rollout.finished else ""
        table.add_row(*(visible(cell.replace("\n", "\\n")) for cell in cells), passed, tokens)
    console.print(table)


log_care.register(app)
forgetting.register(app)
time_travel.register(app)
app.command("import")(import_trajectories)
