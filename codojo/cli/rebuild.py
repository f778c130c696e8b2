"""`codojo rebuild`: everything derived, from the log."""

from pathlib import Path

import typer

from codojo.cli.options import DojoOption, JsonOption, print_json

app = typer.Typer(add_completion=False)


@app.command()
def rebuild(dojo: DojoOption = Path("dojo"), as_json: JsonOption = False) -> None:
    """Make the memory's index, the adapters' pointers and the log's index anew from the log.

    Example: `codojo rebuild --dojo my-dojo`
    """
    from codojo.folder import require_dojo
    from codojo.memory.remember import rebuild as rebuild_memory
    from codojo.serving.registry import AdapterRegistry
    from codojo.trajectories.derived import discard
    from codojo.trajectories.index import Index
    from codojo.trajectories.log import read_log
    from codojo.trajectories.search import refresh

    require_dojo(dojo)
    AdapterRegistry(dojo / "adapters", dojo / "log").rebuild()
    entries = rebuild_memory(dojo / "memory", read_log(dojo / "log"))
    log = dojo.resolve() / "log"
    discard(log)
    with Index(log) as index:
        rollouts = index.count()
    refresh(log)
    if as_json:
        print_json({"memory": entries, "rollouts": rollouts})
        return
    print(
        f"rebuilt the pointers of the adapters, {entries} entries of memory and the index of {rollouts} rollouts "
        f"in {dojo}"
    )
