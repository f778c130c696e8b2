"""`codojo run`: a graph on a request, a file, or a suite."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from codojo.errors import SettingsError
from codojo.settings import Settings, load

if TYPE_CHECKING:
    from codojo.tasks.schema import Suite, Task
    from codojo.trajectories.redact import Redactor
    from codojo.trajectories.schema import Trajectory

app = typer.Typer(add_completion=False)


@app.command()
def run(
    what: Annotated[
        str,
        typer.Argument(help="A request in words, or a .jsonl file of tasks.", show_default=False),
    ] = "",
    suite: Annotated[str, typer.Option(help="A suite: `katas`, or a .jsonl file.")] = "",
    split: Annotated[str, typer.Option(help="Which part of a suite.")] = "train",
    tests: Annotated[
        list[str] | None, typer.Option("--test", help="For a request: `assert f(1) == 2`; repeat.")
    ] = None,
    tasks: Annotated[int, typer.Option(help="Only so many tasks, from all families.", min=0)] = 0,
    graph: Annotated[str | None, typer.Option(help="`solo` or `team`.")] = None,
    samples: Annotated[int | None, typer.Option(help="Candidates per task.", min=1)] = None,
    memory: Annotated[
        bool | None, typer.Option("--memory/--no-memory", help="Recall and remember.")
    ] = None,
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
    json_events: Annotated[
        bool,
        typer.Option(
            "--json-events", help="Print what happens as it happens, one JSON object a line."
        ),
    ] = False,
) -> None:
    """Run a graph on a request in words, on a file of tasks, or on a suite.

    Examples:

    `codojo run 'Write slugify(text) ...' --test "assert slugify('A b') == 'a-b'"`

    `codojo run --suite katas --split gate --samples 8 --graph team`

    `codojo run --resume last`
    """
    changes = overrides(
        settings,
        team__graph=graph,
        team__samples=samples,
        memory__enabled=memory,
        budget__tokens=budget_tokens,
    ) | unsafe(unsafe_no_sandbox)
    args = {"what": what, "suite": suite, "split": split, "tests": tests or [], "tasks": tasks}
    work = _run(
        dojo, args, changes, resume, dry_run=dry_run, as_json=as_json, json_events=json_events
    )
    asyncio.run(work)


async def _run(
    folder: Path,
    args: dict[str, Any],
    changes: dict[str, object],
    resume: str | None,
    *,
    dry_run: bool,
    as_json: bool,
    json_events: bool,
) -> None:
    from codojo.cli.options import telling_events
    from codojo.dojo import Dojo
    from codojo.resources import redactor_for

    record = None
    if resume is not None:
        from codojo.graphs.run import find_run

        record = find_run(folder, "run", "" if resume == "last" else resume)
        args, changes = record.args, record.overrides | budget_only(changes, record.withheld)
    args = _without_secrets(args, redactor_for(load(folder, changes).settings))
    suite, chosen = _tasks(args)
    if dry_run:
        _plan(load(folder, changes).settings, chosen, as_json)
        return
    as_json = as_json or json_events
    with watching(as_json) as watch, telling_events(json_events):
        async with Dojo.open(folder, overrides=changes, say=quiet if as_json else say) as dojo:
            end_on_sigterm(dojo.stop)
            _check_graph(dojo.settings)
            async with dojo.run("run", args, resume=record, watch=watch) as run:
                found = await dojo.solve_all(
                    run, "run", chosen, graph=dojo.settings.team.graph, suite=suite
                )
    if not json_events:
        _show(run.id, found, as_json)


def _without_secrets(args: dict[str, Any], redactor: "Redactor") -> dict[str, Any]:
    """A request as the log will hold it, so that a resumed run reads the same; names of files stay."""
    from codojo.tasks.requests import names_file

    if names_file(args["what"]):
        return args
    what, tests = redactor.text(args["what"]), [redactor.text(test) for test in args["tests"]]
    return args | {"what": what, "tests": tests}


def _tasks(args: dict[str, Any]) -> "tuple[Suite | None, tuple[Task, ...]]":
    """What is to be solved.

    Raises:
        TaskError, SettingsError: With what to write instead.
    """
    from codojo.graphs.policies import spread
    from codojo.tasks.loaders import load_suite
    from codojo.tasks.requests import names_file, task_from_text
    from codojo.tasks.schema import SPLITS

    what, name = args["what"], args["suite"]
    if bool(what) == bool(name):
        raise SettingsError("say what to run: a request in words, a file of tasks, or --suite NAME")
    if not name and names_file(what):
        return None, load_suite(what).tasks
    if not name:
        return None, (task_from_text(what, args["tests"]),)
    suite = load_suite(name)
    if args["split"] not in SPLITS:
        raise SettingsError(
            f"no split is called '{args['split']}'; choose one of {', '.join(SPLITS)}"
        )
    return suite, spread(suite.split(args["split"]), args["tasks"])


def _check_graph(settings: Settings) -> None:
    from codojo.graphs.rollout import GRAPHS

    graph = settings.team.graph
    known = [name for name in GRAPHS if name != "edit"]  # which needs a folder: codojo chat --dir
    if graph not in known:
        raise SettingsError(f"no graph is called '{graph}'; choose one of {', '.join(known)}")


def _plan(settings: Settings, tasks: "tuple[Task, ...]", as_json: bool) -> None:
    """What would run; opens no engine and makes no folder."""
    _check_graph(settings)
    team = settings.team
    plan = {"tasks": len(tasks), "graph": team.graph, "samples": team.samples}
    if as_json:
        print_json(plan)
    else:
        print(f"would solve {len(tasks)} tasks with '{team.graph}', {team.samples} candidates each")


def _show(run: str, found: "list[Trajectory]", as_json: bool) -> None:
    from codojo.dojo import solved

    if as_json:
        print_json(
            {
                "run": run,
                "rollouts": [
                    {
                        "id": t.id,
                        "task": t.brief.task_id,
                        "code": solved(t).code,
                        "verdict": t.verdict.model_dump(mode="json") if t.verdict else None,
                        "failure": t.end.failure if t.end else None,
                        "tokens": t.end.cost.tokens if t.end else 0,
                        "redacted": t.end.redacted if t.end else {},
                    }
                    for t in found
                ],
            }
        )
        return
    from codojo.cli.options import inert
    from codojo.scoring.attempts import count_attempts

    if len(found) == 1:
        print(inert(solved(found[0]).code) or "(no code)")
    for t in found[:200]:
        status = t.verdict.status if t.verdict else (t.end.failure if t.end else "unfinished")
        reason = f" ({t.verdict.reason})" if t.verdict and t.verdict.reason else ""
        print(f"{status}{reason}  {t.brief.task_id}  {t.id}")
    passed = sum(bool(t.verdict and t.verdict.passed) for t in found)
    tokens = sum(t.end.cost.tokens for t in found if t.end)
    reasked = sum(t.end.reasked for t in found if t.end)
    if len(found) > 1:
        print(_rates(found))
    tricks = count_attempts(p.verdict for t in found for p in t.proposals if p.verdict)
    if tricks.kinds:
        print(f"what looked like tricks: {tricks}")
    again = f", {reasked} calls asked again" if reasked else ""
    secrets = sum(sum(t.end.redacted.values()) for t in found if t.end)
    print(
        f"{passed} of {len(found)} passed, {tokens:,} tokens{again}{redacted(secrets)}; run {run}"
    )


def _rates(found: "list[Trajectory]") -> str:
    """Share of all candidates that passed, and of tasks that any of them solved."""
    from codojo.graphs.improve_report import score_of
    from codojo.scoring.passk import mean_pass_at_k

    samples = max(len(t.proposals) for t in found)
    settings = found[0].start.settings.get("team")
    if isinstance(settings, dict):
        samples = int(str(settings["samples"]))
    scores = [score_of(t, samples) for t in found]
    counts = [(score.samples, score.passed) for score in scores]
    ks = sorted({1, min(score.samples for score in scores)})
    rates = ", ".join(f"pass@{k} {mean_pass_at_k(counts, k):.1%}" for k in ks)
    return f"{rates} of {samples} candidates for each of {len(found)} tasks"
