"""`codojo report`: draw the page of an improve run again, from the log."""

from pathlib import Path
from typing import Annotated

import typer

from codojo.cli.options import DojoOption, JsonOption, print_json

app = typer.Typer(add_completion=False)


@app.command()
def report(
    run: Annotated[
        str, typer.Option(help="Id of an improve run, or its beginning; default: the newest.")
    ] = "",
    dojo: DojoOption = Path("dojo"),
    as_json: JsonOption = False,
) -> None:
    """Render the HTML report of an improve run from the log.

    Examples: `codojo report --dojo my-dojo` · `codojo report --run 01KB0H --dojo my-dojo`
    """
    from codojo.errors import LogError
    from codojo.folder import require_dojo
    from codojo.reports.improve import load_reports, write_improve
    from codojo.trajectories.schema import load_trajectories

    root = require_dojo(dojo.resolve())
    reports = load_reports(root / "log")
    if not reports:
        raise LogError(
            f"no improve run has ended in {root}, so there is nothing to report; "
            f"start one with 'codojo improve --dojo {dojo}'"
        )
    found = [id for id in reports if id.startswith(run)]
    if not found or (run and len(found) > 1):
        known = ", ".join(found or reports)
        what = "more than one improve run starts" if found else "no improve run starts"
        raise LogError(f"{what} with {run!r} in {root}; name one of: {known}")
    chosen = reports[found[-1]]
    page = write_improve(root, chosen, load_trajectories(root / "log", chosen.run))
    if as_json:
        print_json({"run": chosen.run, "page": str(page)})
    else:
        print(page)
