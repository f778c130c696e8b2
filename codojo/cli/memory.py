"""codojo memory: what the team remembers."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codojo.cli.options import DojoOption

if TYPE_CHECKING:
    from codojo.memory.schema import Entry

app = typer.Typer(help="What the team remembers.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


@app.command("list")
def list_entries(dojo: DojoOption = Path("dojo"), as_json: JsonOption = False) -> None:
    """List what the log says the team remembers, the oldest first."""
    for entry in _entries(dojo).values():
        _print(entry, as_json)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What to look for, by meaning.")],
    dojo: DojoOption = Path("dojo"),
    limit: Annotated[int, typer.Option(min=1, max=100, help="Entries at most.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Find entries by meaning, the nearest first; brings the index up to date before."""
    from codojo.errors import MemoryStoreError
    from codojo.memory.remember import catch_up
    from codojo.memory.schema import entry_of
    from codojo.memory.store import open_memory, owner_of
    from codojo.trajectories.log import read_log

    log, folder = _log(dojo), dojo / "memory"
    store = open_memory(folder)
    if store is None:
        raise MemoryStoreError(
            f"the memory in {folder} is in use by process {owner_of(folder)}; "
            "search again when it has ended, or read all with 'codojo memory list'"
        )
    with store:
        catch_up(store, read_log(log))
        found = store.search((), query=text, limit=limit)
    for item in found:
        _print(entry_of(item.value), as_json, similarity=round(item.score or 0.0, 3))


@app.command()
def show(
    id: Annotated[str, typer.Argument(help="Id of an entry, or its beginning.")],
    dojo: DojoOption = Path("dojo"),
    as_json: JsonOption = False,
) -> None:
    """Show one entry whole, with where it comes from."""
    from codojo.errors import MemoryStoreError
    from codojo.memory.schema import Exemplar, written

    found = [entry for full, entry in _entries(dojo).items() if full.startswith(id)]
    if len(found) != 1:
        raise MemoryStoreError(
            f"'{id}' names {len(found)} memory entries; give the beginning of one id of "
            "'codojo memory list'"
        )
    entry = found[0]
    if as_json:
        typer.echo(json.dumps(written(entry)))
        return
    typer.echo(f"{entry.kind} {entry.id}")
    typer.echo(f"task {entry.task_id} ({entry.suite}, {entry.family}, {entry.split or 'no split'})")
    for name, value in entry.provenance.model_dump().items():
        typer.echo(f"{name} {value}")
    typer.echo(f"trust {entry.provenance.trust}, {'may' if entry.may_steer else 'may not'} guide")
    if isinstance(entry, Exemplar):
        typer.echo(f"\n{entry.prompt}\n\n{entry.code}")
    else:
        typer.echo(f"\n{entry.text}")


def _log(dojo: Path) -> Path:
    """The dojo's log folder."""
    from codojo.errors import SettingsError

    log = dojo / "log"
    if not log.is_dir():
        raise SettingsError(
            f"there is no log in {dojo.absolute()}; name the dojo with --dojo, "
            "or make one with 'codojo init'"
        )
    return log


def _entries(dojo: Path) -> "dict[str, Entry]":
    from codojo.memory.remember import entries
    from codojo.trajectories.log import read_log

    return entries(read_log(_log(dojo)))


def _print(entry: "Entry", as_json: bool, **more: Any) -> None:
    """One line: for people, or as JSON. Entries hold no control characters."""
    from codojo.memory.schema import written

    if as_json:
        typer.echo(json.dumps({**written(entry), **more}))
        return
    first = str(getattr(entry, entry.found_by)).strip().partition("\n")[0]
    similarity = f"{more['similarity']:.2f}  " if "similarity" in more else ""
    guides = "guides" if entry.may_steer else "-     "
    typer.echo(
        f"{similarity}{entry.id[:12]}  {entry.kind:8}  {guides}  {entry.task_id}  {first:.80}"
    )
