"""`codojo improve`: close the loop."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codojo.cli.options import (
    DojoOption,
    JsonOption,
    SetOption,
    UnsafeOption,
    budget_only,
    end_on_sigterm,
    overrides,
    print_json,
    quiet,
    redacted,
    say,
    unsafe,
    watching,
)

if TYPE_CHECKING:
    from codojo.graphs.improve_report import ImprovePlan

app = typer.Typer(add_completion=False)


@app.command()
def improve(
    suite: Annotated[str, typer.Option(help="`katas`, or a .jsonl file.")] = "katas",
    rounds: Annotated[int, typer.Option(help="Rounds of solve, curate, train, gate.", min=1)] = 1,
    samples: Annotated[int, typer.Option(help="Candidates per train task and round.", min=1)] = 8,
    train_tasks: Annotated[int, typer.Option(help="Only so many; 0: all.", min=0)] = 0,
    gate_tasks: Annotated[int, typer.Option(help="Only so many; 0: all.", min=0)] = 0,
    held_out_tasks: Annotated[int, typer.Option(help="Only so many; 0: all.", min=0)] = 0,
    held_out_samples: Annotated[
        int, typer.Option(help="Candidates per held-out task, before and after.", min=1)
    ] = 16,
    budget_tokens: Annotated[
        int | None, typer.Option(help="Stop at so many tokens.", min=1)
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", help="Go on with a run: its id, or `last`.", metavar="RUN"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, and stop.")
    ] = False,
    dojo: DojoOption = Path("dojo"),
    settings: SetOption = None,
    unsafe_no_sandbox: UnsafeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Solve, curate, train, gate, hot-load, and measure again; writes an HTML report.

    Examples:

    `codojo improve --suite katas --rounds 3 --dojo my-dojo`

    `codojo improve --resume last --dojo my-dojo`
    """
    from codojo.graphs.improve_report import ImprovePlan

    plan = ImprovePlan(
        suite=suite,
        rounds=rounds,
        samples=samples,
        train_tasks=train_tasks,
        gate_tasks=gate_tasks,
        held_out_tasks=held_out_tasks,
        held_out_samples=held_out_samples,
    )
    changes = overrides(settings, budget__tokens=budget_tokens) | unsafe(unsafe_no_sandbox)
    if dry_run:
        _dry_run(plan, as_json)
        return
    asyncio.run(_improve(dojo, plan, changes, resume, as_json=as_json))


def _dry_run(plan: "ImprovePlan", as_json: bool) -> None:
    """What a run would solve; opens no engine and makes no folder."""
    from codojo.finetune.curators import require_isolated
    from codojo.tasks.loaders import load_suite
    from codojo.tasks.schema import SPLITS

    loaded = load_suite(plan.suite)
    require_isolated(loaded)
    wanted = {"train": plan.train_tasks, "gate": plan.gate_tasks, "held_out": plan.held_out_tasks}
    tasks = {split: min(len(loaded.split(split)), wanted[split] or 10**9) for split in SPLITS}
    if as_json:
        print_json({"plan": plan.model_dump(mode="json"), "tasks": tasks})
        return
    print(
        f"would run {plan.rounds} round(s) on suite '{plan.suite}': {plan.samples} candidates for each of "
        f"{tasks['train']} train tasks, a gate of {tasks['gate']} tasks, and {plan.held_out_samples} candidates "
        f"for each of {tasks['held_out']} held-out tasks before and after"
    )


async def _improve(
    folder: Path,
    plan: "ImprovePlan",
    changes: dict[str, object],
    resume: str | None,
    *,
    as_json: bool,
) -> None:
    from codojo.dojo import Dojo
    from codojo.graphs.run import find_run

    record = None
    if resume is not None:
        record = find_run(folder, "improve", "" if resume == "last" else resume)
        changes = record.overrides | budget_only(changes, record.withheld)
    with watching(as_json) as watch:
        async with Dojo.open(folder, overrides=changes, say=quiet if as_json else say) as dojo:
            end_on_sigterm(dojo.stop)
            report = await dojo.improve(plan=plan, resume=record, watch=watch)
            page = dojo.root / "reports" / report.run / "index.html"
    if as_json:
        print_json(report.model_dump(mode="json") | {"page": str(page)})
        return
    for done in report.rounds:
        print(f"round {done.number}: {done.outcome}. {done.reason}")
    print(f"champion: {report.champion or 'the base model'}{redacted(report.redacted)}")
    print(f"report: {page}")
