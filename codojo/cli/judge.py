"""codojo judge: score anyone's samples in the sandbox."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codojo.cli.options import DojoOption

if TYPE_CHECKING:
    from codojo.settings import SandboxSettings
    from codojo.tasks.loaders import Sample
    from codojo.tasks.schema import Suite, Verdict

app = typer.Typer()

KS = (1, 2, 5, 8, 10, 20, 50, 100)


@app.command()
def judge(
    suite: Annotated[str, typer.Option(help="Name of a suite, or its .jsonl file.")],
    samples: Annotated[Path, typer.Option(help="Lines of task_id and solution or completion.")],
    dojo: DojoOption = Path("dojo"),
    repeat: Annotated[
        int, typer.Option(min=1, help="Judge each sample this often; it passes if it always does.")
    ] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line per sample, then the summary.")
    ] = False,
    unsafe_no_sandbox: Annotated[
        bool, typer.Option("--unsafe-no-sandbox", help="Run samples without walls.")
    ] = False,
) -> None:
    """Score samples by the sealed tests of their tasks and print pass@k."""
    import asyncio
    import json
    from collections import Counter

    from codojo.errors import TaskError
    from codojo.settings import load
    from codojo.tasks.loaders import load_samples, load_suite

    loaded, answers = load_suite(suite), load_samples(samples)
    known = {task.task_id for task in loaded}
    for sample in answers:
        if sample.task_id not in known:
            raise TaskError(
                f"{samples} answers task '{sample.task_id}', which suite '{loaded.name}' lacks; "
                "give the suite that the samples were made for"
            )
    chosen = {"sandbox.unsafe_no_sandbox": True} if unsafe_no_sandbox else {}
    settings = load(dojo, chosen).settings.sandbox
    verdicts = asyncio.run(_judge_all(loaded, answers, settings, repeat, quiet=as_json))
    counts: dict[str, list[int]] = {}
    for sample, runs in zip(answers, verdicts, strict=True):
        judged, passed = counts.setdefault(sample.task_id, [0, 0])
        won = all(verdict.passed for verdict in runs)
        counts[sample.task_id] = [judged + 1, passed + won]
        if as_json:
            row = _worst(runs).model_dump(mode="json")
            flaky = len({verdict.status for verdict in runs}) > 1
            print(json.dumps({"task_id": sample.task_id, "flaky": flaky, **row}))
    rates = _rates([(n, c) for n, c in counts.values()])
    statuses = Counter(_worst(runs).status for runs in verdicts)
    if as_json:
        print(json.dumps({"tasks": len(counts), "samples": len(answers), **rates, **statuses}))
        return
    print(f"{len(answers)} samples of {len(counts)} tasks, suite '{loaded.name}'")
    print(", ".join(f"{status} {count}" for status, count in statuses.most_common()))
    for name, rate in rates.items():
        print(f"{name:>9} {rate:7.1%}")


async def _judge_all(
    suite: "Suite",
    samples: "list[Sample]",
    settings: "SandboxSettings",
    repeat: int,
    *,
    quiet: bool,
) -> "list[list[Verdict]]":
    """The verdicts of each sample, in order; a bar counts them on a terminal."""
    import asyncio

    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from codojo.sandboxes.judge import Judge
    from codojo.sandboxes.opening import open_sandbox
    from codojo.tasks.loaders import solution_text
    from codojo.tasks.schema import Candidate

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    async with open_sandbox(settings) as sandbox:
        the_judge = Judge(sandbox, settings)
        with Progress(*columns, disable=quiet, transient=True) as progress:
            bar = progress.add_task("judging", total=len(samples) * repeat)

            async def one(sample: "Sample") -> "list[Verdict]":
                task = suite.task(sample.task_id)
                candidate = Candidate.of(solution_text(task, sample))
                runs = []
                for _ in range(repeat):
                    runs.append(await the_judge.verdict(candidate, task.entry_point, task.sealed))
                    progress.advance(bar)
                return runs

            async with asyncio.TaskGroup() as group:
                running = [group.create_task(one(sample)) for sample in samples]
    return [task.result() for task in running]


def _worst(runs: "list[Verdict]") -> "Verdict":
    """The first run that did not pass: a candidate that only sometimes passes does not."""
    return next((verdict for verdict in runs if not verdict.passed), runs[0])


def _rates(counts: Iterable[tuple[int, int]]) -> dict[str, float]:
    """pass@k for every k that each task has enough samples for."""
    from codojo.scoring.passk import mean_pass_at_k

    counts = list(counts)
    least = min(n for n, _ in counts)
    return {f"pass@{k}": round(mean_pass_at_k(counts, k), 4) for k in KS if k <= least}
