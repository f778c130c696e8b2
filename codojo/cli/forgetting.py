"""`codojo trajectories clean|forget`: secrets and whole rollouts out of what is written already."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codojo.cli.options import DojoOption, JsonOption, inert, print_json
from codojo.errors import LogError, SettingsError

if TYPE_CHECKING:
    from codojo.cleaning import Cleaned
    from codojo.forgetting import Forgotten

YesOption = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and stop.")]


def clean(
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    dojo: DojoOption = Path("dojo"),
    as_json: JsonOption = False,
) -> None:
    """Take secrets out of what is logged already: by an older codojo, or with redaction off.

    Rewrites the log, and removes memory's index and pages that were made from it; they come back from
    the clean log. Nobody may write to the dojo meanwhile.

    Examples: `codojo trajectories clean --dry-run` · `codojo trajectories clean --yes --dojo my-dojo`
    """
    from codojo.cleaning import clean as take_out
    from codojo.cleaning import said
    from codojo.folder import require_dojo
    from codojo.resources import redactor_for
    from codojo.settings import load

    root = require_dojo(dojo.resolve())
    settings = load(root).settings
    if not settings.redaction.enabled:
        raise SettingsError(
            "redaction.enabled is false, so there is nothing to look for; set it to true to clean"
        )
    redactor = redactor_for(settings)
    done = take_out(root, redactor, dry_run=True)
    if done.events and not dry_run:
        confirm(said(done), yes, as_json)
        done = take_out(root, redactor)
    _show_cleaned(done, as_json)


def forget(
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of rollouts, or of a run for all of its; beginnings will do."),
    ] = None,
    match: Annotated[
        str, typer.Option("--match", help="Every rollout and memory that holds this text.")
    ] = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    dojo: DojoOption = Path("dojo"),
    as_json: JsonOption = False,
) -> None:
    """Forget rollouts: every byte of them, of their forks, and of what was made from them.

    Adapters that learnt from them are retired: never loaded or promoted again. A note with the id stays.
    Every file of the dojo is then searched for their text; exit code 3 where some is left.

    Examples: `codojo trajectories forget 01KB0H5R` · `codojo trajectories forget --match 'Jane Doe' --dry-run`
    """
    from codojo.folder import require_dojo
    from codojo.forgetting import forget as take_away
    from codojo.forgetting import said

    if bool(ids) == bool(match):
        raise SettingsError("say what to forget: ids of rollouts, or --match TEXT")
    root = require_dojo(dojo.resolve())
    done = take_away(root, ids or (), match=match, dry_run=True)
    if not dry_run:
        confirm(said(done), yes, as_json)
        done = take_away(root, ids or (), match=match)
    _show_forgotten(done, said(done), as_json)
    if not dry_run and not done.is_proved:
        raise typer.Exit(LogError.exit_code)


def confirm(plan: list[str], yes: bool, as_json: bool) -> None:
    """Ask before anything is gone for good.

    Raises:
        SettingsError: Where nobody can be asked.
    """
    import sys

    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise SettingsError(f"{'; '.join(plan)}; nothing was changed: say --yes to do it")
    for line in plan:
        print(inert(line))
    typer.confirm("This cannot be undone. Go on?", abort=True)


def _show_cleaned(done: "Cleaned", as_json: bool) -> None:
    from codojo.cleaning import said

    if as_json:
        shown = {"findings": done.findings, "events": done.events, "rollouts": done.rollouts}
        more = {"adapters": done.adapters, "removed": done.removed, "left": done.left}
        print_json({"done": done.rewritten is not None, **shown, **more})
        return
    for line in said(done):
        print(inert(line))


def _show_forgotten(done: "Forgotten", lines: list[str], as_json: bool) -> None:
    if not as_json:
        for line in lines:
            print(inert(line))
        return
    searched = done.searched
    print_json(
        {
            "done": done.rewritten is not None,
            "proved": done.is_proved,
            "rollouts": done.doomed.rollouts,
            "events": done.events,
            "changed": done.changed,
            "memories": done.memories,
            "adapters": done.adapters,
            "champion": done.champion,
            "removed": done.removed,
            "files": searched.files if searched else 0,
            "left": {str(path): n for path, n in searched.left.items()} if searched else {},
        }
    )


def register(app: typer.Typer) -> None:
    """Add the commands to `codojo trajectories`."""
    for command in (clean, forget):
        app.command()(command)
