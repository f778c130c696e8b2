"""codojo sandbox: prove the sandbox, run a command in it, or make the image of one."""

from pathlib import Path
from typing import Annotated

import typer

from codojo.cli.options import (
    BackendOption,
    DojoOption,
    UnsafeOption,
    inert,
    sandbox_settings,
)

app = typer.Typer(
    help="Prove the sandbox, run a command in it, or make its image.", no_args_is_help=True
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


@app.command()
def selftest(
    backend: BackendOption = None, dojo: DojoOption = Path("dojo"), as_json: JsonOption = False
) -> None:
    """Try every wall of the sandbox and say which ones hold; exit code 6 if one does not.

    Example: `codojo sandbox selftest --backend warm`
    """
    import asyncio
    import json
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from codojo.errors import SandboxError
    from codojo.sandboxes.opening import open_sandbox
    from codojo.sandboxes.selftest import prove

    sandbox = open_sandbox(sandbox_settings(dojo, backend, False))
    proved = asyncio.run(prove(sandbox))
    if as_json:
        for barrier in proved.barriers:
            print(json.dumps({"level": proved.level, **asdict(barrier)}))
    else:
        title = f"sandbox '{proved.level}' {proved.image}".strip()
        table = Table("barrier", "", "how", title=title)
        for barrier in proved.barriers:
            mark = "[green]proved[/]" if barrier.proved else "[red]NOT PROVED[/]"
            table.add_row(barrier.name, mark, barrier.how)
        Console().print(table)
    if proved.failed:
        raise typer.Exit(SandboxError.exit_code)


@app.command("exec", context_settings={"ignore_unknown_options": True})
def run_in_cage(
    command: Annotated[list[str], typer.Argument(help="Program and arguments, after --.")],
    backend: BackendOption = None,
    dojo: DojoOption = Path("dojo"),
    unsafe_no_sandbox: UnsafeOption = False,
) -> None:
    """Run a command in a fresh cage, with no input; ends with its exit code.

    Its output is passed on as it is, except that a terminal is not driven by it.

    Example: `codojo sandbox exec --backend warm -- python3 -c 'print(1)'`
    """
    import asyncio
    import sys

    from codojo.sandboxes.contract import ExecResult
    from codojo.sandboxes.opening import open_sandbox
    from codojo.sandboxes.workspace import execute

    settings = sandbox_settings(dojo, backend, unsafe_no_sandbox)

    async def ran() -> ExecResult:
        async with open_sandbox(settings) as sandbox:
            # Only `/usr` is in there, so a bare name means a program of it.
            argv = command if "/" in command[0] else [f"/usr/bin/{command[0]}", *command[1:]]
            return await execute(sandbox, argv)

    result = asyncio.run(ran())
    for stream, output in ((sys.stdout, result.stdout), (sys.stderr, result.stderr)):
        shown = inert(output.decode(errors="backslashreplace")).encode(errors="backslashreplace")
        stream.buffer.write(shown if stream.isatty() else output)
        stream.flush()
    if result.ended != "exited":
        print(f"codojo: the command was stopped: {result.ended}", file=sys.stderr)
        raise typer.Exit(124 if result.ended == "timeout" else 137)
    raise typer.Exit(result.returncode if result.returncode >= 0 else 128 - result.returncode)


@app.command("build-image")
def build_image() -> None:
    """Make the image 'codojo-sandbox' of the backend docker from this machine's Python; print its id."""
    from codojo.sandboxes import docker_image
    from codojo.sandboxes.docker_client import asking, connect

    client = connect()
    with asking("take the image"):
        print(docker_image.build_image(client))
