"""`codojo export`: training files from the log."""

from pathlib import Path
from typing import Annotated

import typer

from codojo.cli.options import DojoOption, JsonOption, print_json

app = typer.Typer(add_completion=False)


@app.command()
def export(
    format: Annotated[str, typer.Argument(help="`trl-sft`: prompt-completion rows for TRL.")],
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    suite: Annotated[str, typer.Option(help="Only rollouts of that suite.")] = "",
    max_per_task: Annotated[int, typer.Option(help="Rows of one task at most.", min=1)] = 1_000_000,
    dojo: DojoOption = Path("dojo"),
    as_json: JsonOption = False,
) -> None:
    """Write what passed its sealed tests in isolation, on train tasks, once per distinct program.

    Example: `codojo export trl-sft train.jsonl --dojo my-dojo`
    """
    from codojo.exporting import export as write
    from codojo.folder import require_dojo

    require_dojo(dojo)
    exported, report = write(dojo / "log", format, out, suite=suite, per_task=max_per_task)
    if as_json:
        print_json(exported._asdict() | {"curation": report.model_dump(mode="json")})
        return
    left = ", ".join(f"{count} {why}" for why, count in report.left_out.items())
    print(
        f"{exported.rows} rows from {report.tasks} tasks in {exported.path} (sha256 {exported.sha256[:12]})"
    )
    print(f"left out of {report.considered} candidates: {left or 'none'}")
