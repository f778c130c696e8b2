"""`codojo trajectories`: look at what was logged, rollout by rollout."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codojo.cli.options import DojoOption, JsonOption, print_json

if TYPE_CHECKING:
    from codojo.trajectories.schema import Trajectory

app = typer.Typer(help="Look at what was logged.", no_args_is_help=True)


@app.command("list")
def list_trajectories(
    run: Annotated[
        str, typer.Option(help="Only rollouts of that run, by the start of its id.")
    ] = "",
    stage: Annotated[str, typer.Option(help="Only stages that start so: `round-1/`.")] = "",
    task: Annotated[str, typer.Option(help="Only tasks whose id holds that.")] = "",
    verdict: Annotated[
        str, typer.Option(help="Only that verdict: `passed`, `failed`, ...; `none`: no verdict.")
    ] = "",
    limit: Annotated[int, typer.Option(help="The newest so many; 0: all.", min=0)] = 50,
    dojo: DojoOption = Path("dojo"),
    as_json: JsonOption = False,
) -> None:
    """List rollouts, the newest last.

    Examples: `codojo trajectories list --verdict passed` ·
    `codojo trajectories list --stage round-1/solve --json`
    """
    _check_verdict(verdict)
    found = [
        t
        for t in _load(dojo).values()
        if t.start.run.startswith(run)
        and t.start.stage.startswith(stage)
        and task in t.brief.task_id
        and verdict in ("", _status(t))
    ]
    shown = found[-limit:] if limit else found
    if as_json:
        for trajectory in shown:
            print_json(_row(trajectory))
        return
    _print_table(shown)
    more = "; --limit 0 shows all" if len(shown) < len(found) else ""
    print(f"{len(shown)} of {len(found)} rollouts{more}")


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

    trajectory = _one(_load(dojo), id)
    if html is not None:
        print(write_page(html, render_trajectory(trajectory)))
    elif as_json:
        print_json(trajectory.model_dump(mode="json"))
    else:
        print(render_text(trajectory), end="")


def _load(dojo: Path) -> "dict[str, Trajectory]":
    from codojo.folder import require_dojo
    from codojo.trajectories.schema import load_trajectories

    return load_trajectories(require_dojo(dojo.resolve()) / "log")


def _one(found: "Mapping[str, Trajectory]", prefix: str) -> "Trajectory":
    from codojo.cli.options import inert
    from codojo.errors import LogError

    matching = [id for id in found if id == prefix] or [id for id in found if id.startswith(prefix)]
    if len(matching) == 1:
        return found[matching[0]]
    asked = inert(prefix)
    if not matching:
        raise LogError(
            f"no rollout's id starts with '{asked}'; see the ids with 'codojo trajectories list'"
        )
    some = ", ".join(matching[:3])
    raise LogError(
        f"{len(matching)} rollouts start with '{asked}' ({some}, ...); write more of the id"
    )


def _check_verdict(verdict: str) -> None:
    from typing import get_args

    from codojo.errors import TaskError
    from codojo.tasks.schema import Status

    known = [*get_args(Status), "none"]
    if verdict and verdict not in known:
        raise TaskError(f"no verdict is called {verdict!r}; choose one of {', '.join(known)}")


def _status(trajectory: "Trajectory") -> str:
    return trajectory.verdict.status if trajectory.verdict else "none"


def _row(trajectory: "Trajectory") -> dict[str, object]:
    """What a program wants to know of a rollout before it reads it whole."""
    end = trajectory.end
    return {
        "id": trajectory.id,
        "run": trajectory.start.run,
        "stage": trajectory.start.stage,
        "task": trajectory.brief.task_id,
        "split": trajectory.brief.split,
        "verdict": _status(trajectory),
        "failure": end.failure if end else None,
        "finished": end is not None,
        "candidates": len(trajectory.proposals),
        "passed": sum(bool(p.verdict and p.verdict.passed) for p in trajectory.proposals),
        "tokens": end.cost.tokens if end else None,
        "seconds": end.cost.seconds if end else None,
    }


def _print_table(trajectories: "list[Trajectory]") -> None:
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
    for trajectory in trajectories:
        row = _row(trajectory)
        verdict = row["verdict"] if row["finished"] else "unfinished"
        cells = [row["id"], row["stage"], row["task"], verdict]
        passed = f"{row['passed']}/{row['candidates']}"
        tokens = f"{trajectory.end.cost.tokens:,}" if trajectory.end else ""
        table.add_row(*(visible(str(cell).replace("\n", "\\n")) for cell in cells), passed, tokens)
    console.print(table)
