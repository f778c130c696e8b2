"""`codojo web`: talk with the team in a browser."""

import asyncio
import getpass
from pathlib import Path
from typing import Annotated

import typer

from codojo.cli.options import DojoOption, SetOption, UnsafeOption, overrides, say, unsafe

app = typer.Typer(add_completion=False)


@app.command()
def web(
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Let conversations read this folder and propose changes."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; everybody who reaches it gets the login page."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8321,
    author: Annotated[
        str, typer.Option("--as", help="Who the first token is for; default: the login name.")
    ] = "",
    new_token: Annotated[
        str, typer.Option("--token-for", metavar="NAME", help="Print a new token for NAME; stop.")
    ] = "",
    log_out_all: Annotated[
        bool, typer.Option("--log-out-all", help="End every login, of a running server too; stop.")
    ] = False,
    dojo: DojoOption = Path("dojo"),
    settings: SetOption = None,
    unsafe_no_sandbox: UnsafeOption = False,
) -> None:
    """Serve the conversations of a dojo to a browser on this machine.

    The first start prints a token to log in with; only its hash is kept. Through SSH:
    `ssh -L 8321:127.0.0.1:8321 HOST` and open the same address.

    Examples: `codojo web` · `codojo web --dir .` · `codojo web --token-for grace` ·
    `codojo web --log-out-all`
    """
    if log_out_all:
        from codojo.folder import require_dojo
        from codojo.web.accounts import Logins

        ended = Logins(require_dojo(dojo.resolve())).close_all()
        print(f"ended {ended} login{'' if ended == 1 else 's'}")
        return
    changes = overrides(settings) | unsafe(unsafe_no_sandbox)
    name = author or getpass.getuser()
    asyncio.run(_serve(dojo, changes, folder, host, port, name=name, token_for=new_token))


async def _serve(
    dojo: Path,
    changes: dict[str, object],
    folder: Path | None,
    host: str,
    port: int,
    *,
    name: str,
    token_for: str,
) -> None:
    from codojo.dojo import Dojo
    from codojo.web.accounts import Accounts, Logins
    from codojo.web.serving import serve

    async with Dojo.open(dojo, overrides=changes, say=say) as opened:
        accounts = Accounts(opened.root)
        if token_for or not accounts.names:
            who = token_for or name
            print(f"token of {who}, shown this once: {accounts.make(who)}", flush=True)
            Logins(opened.root).close_all(who)
        if token_for:
            return
        await serve(opened, accounts, folder, host, port, say=lambda text: print(text, flush=True))
