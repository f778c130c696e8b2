"""`codojo doctor`: what works on this machine, and how to mend what does not."""

import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import typer

from codojo.cli.options import DojoOption, JsonOption, print_json
from codojo.errors import CodojoError
from codojo.settings import Settings, load

app = typer.Typer(add_completion=False)

MIN_FREE_GB = 5


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    ok: bool
    found: str
    remedy: str = ""


@app.command()
def doctor(dojo: DojoOption = Path("dojo"), as_json: JsonOption = False) -> None:
    """Check sandbox, engine, model, trainer, memory, disk and versions; say how to mend each.

    Example: `codojo doctor --dojo my-dojo`
    """
    settings = load(dojo).settings
    findings = list(_examine(settings, dojo))
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            print(f"{'ok ' if finding.ok else 'NO '} {finding.what:<10} {finding.found}")
            if not finding.ok:
                print(f"{'':<14} {finding.remedy}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _examine(settings: Settings, dojo: Path) -> Iterator[Finding]:
    yield _python()
    yield _disk(dojo)
    checks: list[tuple[str, Callable[[Settings], str], str]] = [
        ("sandbox", _sandbox, "see 'codojo sandbox selftest'"),
        ("engine", _engine, "run 'codojo models install'"),
        ("model", _model, "run 'codojo models prepare'"),
        ("trainer", _trainer, "install codojo with the extra 'train', or run 'make env'"),
        ("memory", _memory, "run 'make env'"),
    ]
    for what, check, remedy in checks:
        try:
            yield Finding(what, True, check(settings))
        except (CodojoError, ImportError, OSError) as err:
            yield Finding(what, False, str(err), remedy)


def _python() -> Finding:
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    supported = (3, 11) <= sys.version_info < (3, 14)
    return Finding("python", supported, found, "use Python 3.11, 3.12 or 3.13")


def _disk(dojo: Path) -> Finding:
    place = next(p for p in (dojo.resolve(), *dojo.resolve().parents) if p.exists())
    free = shutil.disk_usage(place).free / 2**30
    return Finding(
        "disk",
        free >= MIN_FREE_GB,
        f"{free:.0f} GB free at {place}",
        f"free {MIN_FREE_GB} GB there",
    )


def _sandbox(settings: Settings) -> str:
    import asyncio

    from codojo.sandboxes.opening import open_sandbox

    async def prove() -> str:
        async with open_sandbox(settings.sandbox) as sandbox:
            found = sandbox.capabilities
            return f"{found.level}: {len(found.barriers)} barriers proved"

    return asyncio.run(prove())


def _engine(settings: Settings) -> str:
    from codojo.serving.supervisor import engine_status
    from codojo.serving.vllm import VllmEngine

    if settings.engine.kind != "vllm":
        from codojo.resources import redactor_for

        return redactor_for(settings).text(f"{settings.engine.kind} {settings.engine.url}").strip()
    version = VllmEngine(settings.engine, "").version
    running = " and running" if engine_status().running else ""
    return f"vLLM {version} is installed{running}"


def _model(settings: Settings) -> str:
    from codojo.serving.embedded import converted_place

    if settings.engine.model != "embedded":
        return settings.engine.model
    place = converted_place()
    if not place.is_dir():
        raise CodojoError("the embedded model is not converted yet; the first start does it, once")
    return f"embedded: {place}"


def _trainer(settings: Settings) -> str:
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl", "peft"))


def _memory(settings: Settings) -> str:
    from importlib.metadata import version

    from codojo.memory.embedder import Embedder

    Embedder.installed()
    return f"chromadb {version('chromadb')} with its embedder"
