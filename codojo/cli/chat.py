"""`codojo chat`: talk with the team in a terminal, or through a pipe."""

import asyncio
import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from codojo.cli.options import (
    DojoOption,
    SetOption,
    UnsafeOption,
    inert,
    overrides,
    quiet,
    say,
    unsafe,
)
from codojo.errors import LogError

app = typer.Typer(add_completion=False)


@app.command()
def chat(
    what: Annotated[str, typer.Argument(help="A first request.", show_default=False)] = "",
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Let the team read this folder and propose changes."),
    ] = None,
    resume: Annotated[
        str, typer.Option("--resume", help="Go on with a session: the start of its id, or `last`.")
    ] = "",
    history: Annotated[
        bool, typer.Option("--history", help="List the sessions, and stop.")
    ] = False,
    forget: Annotated[
        str, typer.Option("--forget", help="Remove a session for good: the start of its id.")
    ] = "",
    graph: Annotated[str | None, typer.Option(help="`solo` or `team`.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Approve plans and changes, and forget, without asking.")
    ] = False,
    author: Annotated[str, typer.Option("--as", help="Who you are, for the record.")] = "",
    dojo: DojoOption = Path("dojo"),
    settings: SetOption = None,
    unsafe_no_sandbox: UnsafeOption = False,
) -> None:
    """Ask the team for something, watch it work, approve, correct, rate, follow up.

    Examples: `codojo chat` · `codojo chat --dir .` · `codojo chat --resume last` ·
    `echo 'Write double(x) that returns x twice' | codojo chat`
    """
    changes = overrides(settings, team__graph=graph) | unsafe(unsafe_no_sandbox)
    if history:
        from codojo.chat.sessions import sessions
        from codojo.chat.terminal.doing import history_lines
        from codojo.folder import require_dojo

        for line in history_lines(sessions(require_dojo(dojo.resolve()) / "log"), what):
            print(inert(line))
        return
    if forget:
        _forget(dojo, forget, yes)
        return
    work = _chat(dojo, changes, what, folder, resume, yes=yes, author=author or getpass.getuser())
    if not asyncio.run(work):
        raise typer.Exit(1)


def _forget(dojo: Path, prefix: str, yes: bool) -> None:
    from codojo.chat.removal import left_over
    from codojo.chat.sessions import find_session
    from codojo.cli.forgetting import confirm
    from codojo.folder import require_dojo
    from codojo.forgetting import forget, said

    root = require_dojo(dojo.resolve())
    left = [id for id in left_over(root / "log") if id.lower().startswith(prefix.lower())]
    session = left[0] if len(left) == 1 else find_session(root / "log", prefix).id
    confirm(said(forget(root, session=session, dry_run=True)), yes, False)
    done = forget(root, session=session)
    for line in said(done):
        print(inert(line))
    if not done.is_proved:
        raise typer.Exit(LogError.exit_code)


async def _chat(
    dojo: Path,
    changes: dict[str, object],
    what: str,
    folder: Path | None,
    resume: str,
    *,
    yes: bool,
    author: str,
) -> bool:
    from codojo.chat.conversation import Conversation
    from codojo.chat.terminal.app import Terminal, talk_piped
    from codojo.dojo import Dojo

    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    async with Dojo.open(dojo, overrides=changes, say=say if at_terminal else quiet) as opened:
        if resume:
            conversation = await Conversation.open(opened, resume, author)
        else:
            conversation = await Conversation.start(opened, author, folder)
        conversation.set_graph(conversation.graph)
        conversation.approval = "yes" if yes else "ask" if at_terminal else "no"
        if at_terminal:
            await Terminal(conversation).run(what)
            return True
        text = "" if sys.stdin.isatty() else await asyncio.to_thread(sys.stdin.read)
        return await talk_piped(conversation, f"{what}\n\n{text}")
