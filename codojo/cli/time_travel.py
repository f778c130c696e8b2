"""`codojo trajectories runs|replay|fork|diff`: go back to what was logged, and on from there."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codojo.cli.options import (
    DojoOption,
    JsonOption,
    SetOption,
    UnsafeOption,
    end_on_sigterm,
    inert,
    one_of,
    open_index,
    overrides,
    print_json,
    quiet,
    say,
    unsafe,
)
from codojo.errors import ReplayDiverged, SettingsError

if TYPE_CHECKING:
    from codojo.graphs.replay import Replayed
    from codojo.graphs.run import RunRecord
    from codojo.trajectories.schema import Trajectory


def register(app: typer.Typer) -> None:
    """Add the commands to the group `codojo trajectories`."""
    app.command("runs")(list_runs)
    app.command()(replay)
    app.command()(fork)
    app.command("diff")(compare)


def list_runs(
    limit: Annotated[int, typer.Option(help="The newest so many; 0: all.", min=0)] = 20,
    dojo: DojoOption = Path("dojo"),
    as_json: JsonOption = False,
) -> None:
    """List runs, the newest last: what was asked for, how far it got, and how to go on.

    A run is in the log before its engine starts; one that was killed then is `accepted, not started`.

    Example: `codojo trajectories runs --limit 5`
    """
    from codojo.folder import require_dojo
    from codojo.graphs.run import runs

    found = runs(require_dojo(dojo.resolve()))
    shown = found[-limit:] if limit else found
    if as_json:
        print_json([_run(run) for run in shown])
        return
    if not shown:
        print("no run is logged yet; solve a task with 'codojo run'")
    for run in shown:
        started = f", {run.rollouts} rollouts" if run.rollouts else ""
        more = "" if run.finished or not run.resume_with else f"; go on with '{run.resume_with}'"
        print(inert(f"{run.id}  {run.command}: {run.state}{started}{more}"))


def replay(
    id: Annotated[
        str, typer.Argument(help="Id of a rollout, or of a run for all of its; or its beginning.")
    ],
    dojo: DojoOption = Path("dojo"),
    as_json: JsonOption = False,
) -> None:
    """Run a rollout again from the log alone, and check that everything fits.

    No model is asked and nothing is executed or written. The graph runs from its start; each effect is
    answered by the log, each key is computed anew, and the end must be the one that was logged. An
    unfinished rollout is replayed to where its log ends. Ends with exit code 3 where something differs.

    Examples: `codojo trajectories replay 01KB0H5R` ·
    `codojo trajectories replay 01KB0H00 --json`
    """
    asyncio.run(_replay(dojo, id, as_json))


def fork(
    id: Annotated[
        str, typer.Argument(help="Id of a rollout, or its beginning.", show_default=False)
    ] = "",
    at: Annotated[
        str,
        typer.Option(
            "--at",
            help="The step: its number in `show`, or the beginning of its key.",
            metavar="STEP",
        ),
    ] = "",
    edit: Annotated[
        Path | None,
        typer.Option("--edit", help="This file's text is the step's answer.", metavar="FILE"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Who answers from there: an adapter, or `base`.", metavar="M"),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", help="Go on with a fork: its run's id, or `last`.", metavar="RUN"),
    ] = None,
    dojo: DojoOption = Path("dojo"),
    settings: SetOption = None,
    unsafe_no_sandbox: UnsafeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Play a new rollout that leaves an earlier one at a step.

    What came before the step is taken over and costs nothing; the step itself is asked anew, of
    another model or with other settings if you say so, or has the answer that you give. The earlier
    rollout stays as it is. `codojo trajectories diff` then shows what came of it.

    Examples: `codojo trajectories fork 01KB0H5R --at 3` ·
    `codojo trajectories fork 01KB0H5R --at 3 --edit better.py` ·
    `codojo trajectories fork 01KB0H5R --at 2 --set sampling.temperature=0.2 --model base`
    """
    changes = overrides(settings) | unsafe(unsafe_no_sandbox)
    asyncio.run(_fork(dojo, id, at, edit, model, changes, resume, as_json=as_json))


def compare(
    first: Annotated[str, typer.Argument(help="Id of a rollout, or its beginning.")],
    second: Annotated[str, typer.Argument(help="Of another.")],
    whole: Annotated[bool, typer.Option("--whole", help="Show every line that differs.")] = False,
    dojo: DojoOption = Path("dojo"),
    as_json: JsonOption = False,
) -> None:
    """Compare two rollouts step by step: where they part, what each spent, what became of them.

    Examples: `codojo trajectories diff 01KB0H5R 01KB0J77` ·
    `codojo trajectories diff 01KB0H5R 01KB0J77 --json`
    """
    from codojo.reports.diff import render_difference
    from codojo.trajectories.diff import diff

    with open_index(dojo) as index:
        one, other = (index.trajectory(one_of(index, id)) for id in (first, second))
    difference = diff(one, other)
    if as_json:
        print_json(difference.model_dump(mode="json"))
    else:
        print(render_difference(difference, whole=whole), end="")


async def _replay(folder: Path, id: str, as_json: bool) -> None:
    from codojo.dojo import Dojo

    with open_index(folder) as index:
        ids = [rollout.id for rollout in index.rollouts(run=id)] if id else []
        rollouts = ids or [one_of(index, id)]
    replayed: list[Replayed] = []
    faults: dict[str, str] = {}
    async with Dojo.open(folder) as dojo:
        for rollout in rollouts:
            try:
                replayed.append(await dojo.replay(rollout))
            except ReplayDiverged as err:
                faults[rollout] = str(err)
    if as_json:
        shown = [done.model_dump(mode="json") for done in replayed]
        print_json({"replayed": shown, "diverged": faults})
    else:
        for done in replayed:
            print(inert(_told(done)))
        if len(rollouts) > 1:
            print(f"{len(replayed)} of {len(rollouts)} rollouts replayed, none asked a model")
    if faults:
        raise ReplayDiverged("; ".join(list(faults.values())[:3]))


def _told(done: "Replayed") -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in done.effects.items())
    total = sum(done.effects.values())
    end = f"the same end: {done.verdict or 'no verdict'}" if done.finished else "unfinished"
    more = f" ({done.stopped_at})" if done.stopped_at else ""
    return (
        f"{done.rollout}  {done.task}: {total} effects from the log ({kinds}), {done.keys} keys verified, "
        f"0 performed; {end}{more}; {done.seconds:.2f} s"
    )


async def _fork(
    folder: Path,
    id: str,
    at: str,
    edit: Path | None,
    model: str | None,
    changes: dict[str, object],
    resume: str | None,
    *,
    as_json: bool,
) -> None:
    from codojo.dojo import Dojo
    from codojo.graphs.forking import CHANGEABLE, FORK
    from codojo.graphs.run import find_run, runs

    record: RunRecord | None = None
    if resume is not None:
        if changes or id or at or edit or model:
            raise SettingsError("--resume goes on with the fork as it was begun; give nothing else")
        record = find_run(folder, FORK, "" if resume == "last" else resume)
        opened: dict[str, object] = record.overrides
        parent = ""
    else:
        if not id or not at:
            raise SettingsError("say which rollout to fork and where: 'fork ID --at STEP'")
        with open_index(folder) as index:
            parent = one_of(index, id)
            (rollout,) = index.rollouts(ids=[parent])
        of = next((run for run in runs(folder) if run.id == rollout.run), None)
        opened = (of.overrides if of else {}) | changes
    own = {
        name.replace(".", "__", 1): value
        for name, value in changes.items()
        if name.partition(".")[0] in CHANGEABLE
    }
    text = None if edit is None else _read(edit)
    async with Dojo.open(folder, overrides=opened, say=quiet if as_json else say) as dojo:
        end_on_sigterm(dojo.stop)
        forked = await dojo.fork(parent, at=at, edit=text, model=model, resume=record, **own)
    _show(forked, as_json)


def _show(forked: "Trajectory", as_json: bool) -> None:
    parent, end = forked.start.parent, forked.end
    assert parent is not None and end is not None
    copied = sum(effect.origin is not None for effect in forked.effects)
    if as_json:
        print_json(
            {
                "id": forked.id,
                "run": forked.start.run,
                "parent": parent.model_dump(mode="json"),
                "taken_over": copied,
                "performed": len(forked.effects) - copied,
                "verdict": end.verdict.model_dump(mode="json") if end.verdict else None,
                "failure": end.failure,
                "tokens": end.cost.tokens,
            }
        )
        return
    verdict = end.verdict.status if end.verdict else end.failure or "no verdict"
    print(
        inert(
            f"{verdict}  {forked.brief.task_id}  {forked.id}: {copied} effects taken over, "
            f"{len(forked.effects) - copied} new, {end.cost.tokens:,} tokens\n"
            f"compare: codojo trajectories diff {parent.rollout} {forked.id}"
        )
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise SettingsError(f"cannot read {path} as UTF-8 text: {err}; give another file") from err


def _run(run: "RunRecord") -> dict[str, Any]:
    return {
        "id": run.id,
        "command": run.command,
        "state": run.state,
        "rollouts": run.rollouts,
        "resume_with": None if run.finished else run.resume_with,
        "args": run.args,
    }
