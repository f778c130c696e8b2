"""`codojo init`: make a dojo."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where.")] = Path("dojo")) -> None:
    """Make a new dojo: one folder that holds a team's whole life, with commented settings.

    Example: `codojo init my-dojo`
    """
    from codojo.folder import init as make

    file = make(folder)
    print(f"{file}: read it, then run 'codojo doctor'")
