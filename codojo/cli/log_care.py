"""`codojo trajectories verify|repair|compress`: keep the log sound and small."""

from pathlib import Path

import typer

from codojo.cli.options import DojoOption, JsonOption, inert, print_json


def verify(dojo: DojoOption = Path("dojo"), as_json: JsonOption = False) -> None:
    """Check everything that was logged: checksums, gaps, chains of steps, artifacts.

    Ends with exit code 3 where something is wrong. Others may write meanwhile.

    Example: `codojo trajectories verify --dojo my-dojo`
    """
    from codojo.folder import require_dojo
    from codojo.trajectories.verify import verify as check

    found = check(require_dojo(dojo.resolve()) / "log")
    if as_json:
        problems = [
            {"kind": p.kind, "file": p.path.name, "offset": p.offset, "detail": p.detail}
            for p in found.problems
        ]
        counts = {"segments": found.segments, "events": found.events, "artifacts": found.artifacts}
        print_json({"sound": found.is_sound, **counts, "problems": problems})
    else:
        for problem in found.problems:
            print(inert(str(problem).replace("\n", "\\n")))
        said = (
            "sound"
            if found.is_sound
            else "damaged: 'codojo trajectories repair' says what can be saved"
        )
        print(
            f"{found.events:,} events in {found.segments} segments, {found.artifacts} artifacts: {said}"
        )
    if not found.is_sound:
        raise typer.Exit(3)


def repair(
    dojo: DojoOption = Path("dojo"),
    yes: bool = typer.Option(
        False, "--yes", help="Do it; without this, only say what would be done."
    ),
    as_json: JsonOption = False,
) -> None:
    """Make a damaged log readable again: records on both sides of damage stay, damaged bytes are kept aside.

    Examples: `codojo trajectories repair` · `codojo trajectories repair --yes`
    """
    from codojo.folder import require_dojo
    from codojo.trajectories.repair import plan
    from codojo.trajectories.repair import repair as mend

    log = require_dojo(dojo.resolve()) / "log"
    steps = mend(log) if yes else plan(log)
    if as_json:
        done = [
            {"file": s.path.name, "lost": s.lost, "kept_aside": s.kept_aside, "cut": s.cut}
            for s in steps
        ]
        print_json({"done": yes, "steps": done})
        return
    for step in steps:
        print(inert(str(step)))
    if not steps:
        print("nothing to repair")
    elif yes:
        print(f"repaired {len(steps)} segments")
    else:
        print("nothing was changed; --yes does it")


def compress(dojo: DojoOption = Path("dojo"), as_json: JsonOption = False) -> None:
    """Compress segments that nobody writes to, also small ones; readers see no difference.

    Large ones are compressed whenever a command writes to the log.

    Example: `codojo trajectories compress`
    """
    from codojo.folder import require_dojo
    from codojo.trajectories.rewrite import among
    from codojo.trajectories.segments import pack_log

    log = require_dojo(dojo.resolve()) / "log"
    packed = []
    if log.is_dir():
        with among(log):
            packed = pack_log(log, over=0)
    if as_json:
        print_json({"compressed": [path.name for path in packed]})
    else:
        print(f"compressed {len(packed)} segments")


def register(app: typer.Typer) -> None:
    """Add the commands to `codojo trajectories`."""
    for command in (verify, repair, compress):
        app.command()(command)
