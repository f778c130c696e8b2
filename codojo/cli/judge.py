"""codojo judge: score anyone's samples in the sandbox."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codojo.cli.options import BackendOption, DojoOption, UnsafeOption, sandbox_settings

if TYPE_CHECKING:
    from codojo.judging import Judged
    from codojo.settings import SandboxSettings
    from codojo.tasks.loaders import Sample
    from codojo.tasks.schema import Suite

app = typer.Typer()


@app.command()
def judge(
    suite: Annotated[
        str, typer.Option(help="Name of a suite, its .jsonl file, or a folder of tasks.")
    ],
    samples: Annotated[
        Path, typer.Option(help="Lines of task_id and solution, completion or files.")
    ],
    repeat: Annotated[
        int, typer.Option(min=1, help="Judge each sample this often; it passes if it always does.")
    ] = 1,
    results: Annotated[
        Path | None,
        typer.Option(
            help="Keep each verdict here as it comes; run again to go on where it stopped."
        ),
    ] = None,
    backend: BackendOption = None,
    dojo: DojoOption = Path("dojo"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line per sample, then the summary.")
    ] = False,
    unsafe_no_sandbox: UnsafeOption = False,
) -> None:
    """Score samples by the sealed tests of their tasks and print pass@k.

    Examples:

    `codojo judge --suite HumanEval.jsonl.gz --samples samples.jsonl --backend warm`

    `codojo judge --suite exercises/ --samples samples.jsonl --results verdicts.jsonl`
    """
    import asyncio
    import json
    from collections import Counter

    from codojo.judging import rates
    from codojo.scoring.attempts import count_attempts
    from codojo.tasks.loaders import load_samples, load_suite

    loaded, answers = load_suite(suite), load_samples(samples)
    settings = sandbox_settings(dojo, backend, unsafe_no_sandbox)
    judged = asyncio.run(_judge(loaded, answers, settings, repeat, results, quiet=as_json))
    verdicts = [sample.verdict for sample in judged]
    tricks, passing = count_attempts(verdicts), rates(judged)
    statuses = Counter(verdict.status for verdict in verdicts)
    tasks = len({sample.task_id for sample in judged})
    if as_json:
        for sample in judged:
            row = sample.verdict.model_dump(mode="json")
            flaky = sample.verdict.reason == "flaky"
            print(json.dumps({"task_id": sample.task_id, "flaky": flaky, **row}))
        summary: dict[str, object] = {"tasks": tasks, "samples": len(judged), **passing}
        summary |= {str(status): count for status, count in statuses.items()}
        summary |= {"attempts": tricks.kinds, "attempts_per_1000": round(tricks.per_thousand, 1)}
        print(json.dumps(summary))
        return
    print(f"{len(judged)} samples of {tasks} tasks, suite '{loaded.name}'")
    print(", ".join(f"{status} {count}" for status, count in statuses.most_common()))
    for name, rate in passing.items():
        print(f"{name:>9} {rate:7.1%}")
    if tricks.kinds:
        print(f"what looked like tricks: {tricks}")
    if tricks.is_alarming:
        print(
            "that is more than accidents explain: look at these samples before you trust the rates"
        )


async def _judge(
    suite: "Suite",
    samples: "list[Sample]",
    settings: "SandboxSettings",
    repeats: int,
    results: Path | None,
    *,
    quiet: bool,
) -> "list[Judged]":
    """The verdicts in order; a bar counts them on a terminal."""
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from codojo.judging import judge_samples

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=quiet, transient=True) as progress:
        bar = progress.add_task("judging", total=len(samples))
        return await judge_samples(
            suite,
            samples,
            settings,
            repeats=repeats,
            results=results,
            watch=lambda done: progress.update(bar, completed=done),
        )
