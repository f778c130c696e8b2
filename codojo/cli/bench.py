"""`codojo bench`: measure a claim of the documentation on this machine."""

from importlib import import_module
from typing import Annotated

import typer

from codojo.cli.options import JsonOption, print_json
from codojo.errors import SettingsError

app = typer.Typer(add_completion=False)

BENCHES = {"startup": "what import and help cost over bare Python"}


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="; ".join(f"`{n}`: {w}" for n, w in BENCHES.items()))],
    as_json: JsonOption = False,
) -> None:
    """Run a benchmark of `bench/`.

    Example: `codojo bench startup`
    """
    if name not in BENCHES:
        raise SettingsError(f"no benchmark is called '{name}'; choose one of {', '.join(BENCHES)}")
    table = import_module(f"codojo.bench.{name}").main()
    if as_json:
        print_json(table)
