"""`codojo models`: engines, and the adapters of a dojo."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codojo.cli.options import DojoOption, JsonOption, print_json, say

if TYPE_CHECKING:
    from codojo.finetune.recipe import Manifest
    from codojo.serving.registry import AdapterRegistry

app = typer.Typer(
    help="Engines: install, prepare, start, stop. Adapters: list, show, promote, rollback.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command()
def install(
    dojo: DojoOption = Path("dojo"),
    requirements: Annotated[
        Path | None, typer.Option(help="Pins to install instead of codojo's own.")
    ] = None,
) -> None:
    """Make the Python environment of vLLM, about four minutes; done already, it is instant."""
    from codojo.serving.install import install as install_vllm
    from codojo.settings import load

    install_vllm(load(dojo).settings.engine, requirements=requirements, progress=say)


@app.command()
def prepare(dojo: DojoOption = Path("dojo"), as_json: JsonOption = False) -> None:
    """Convert the embedded model once, or check the model that is set; print its place."""
    from codojo.serving.embedded import model_hash, resolve_model
    from codojo.settings import load

    model = resolve_model(load(dojo).settings.engine.model, progress=say)
    digest = model_hash(model)
    if as_json:
        print_json({"model": str(model), "sha256": digest})
    else:
        print(f"{model}  {digest[:12]}")


@app.command()
def start(dojo: DojoOption = Path("dojo"), as_json: JsonOption = False) -> None:
    """Start the engine and leave it running for later commands, until 'codojo models stop'."""
    import asyncio

    from codojo.serving.supervisor import start_engine
    from codojo.settings import load

    endpoint = asyncio.run(start_engine(load(dojo).settings.engine, progress=say))
    if as_json:
        print_json(endpoint.model_dump(exclude={"api_key", "login"}))
    else:
        print(f"{endpoint.kind} serves {endpoint.base_model} at {endpoint.url}")


@app.command()
def stop() -> None:
    """End the engine that 'codojo models start' left."""
    from codojo.serving.supervisor import stop_engine

    print("stopped" if stop_engine() else "no engine is running")


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show the engine that 'codojo models start' left; exit code 5 if there is none."""
    from dataclasses import asdict

    from codojo.errors import EngineError
    from codojo.serving.supervisor import engine_status

    found = engine_status()
    endpoint, state = found.endpoint, found.state
    if as_json:
        shown = {
            "running": found.running,
            "endpoint": endpoint.model_dump(exclude={"api_key", "login"}) if endpoint else None,
            "state": asdict(state) if state else None,
            "resident_mb": found.resident_mb,
        }
        print_json(shown)
    elif endpoint is None:
        print("no engine is running; commands start one for themselves")
    else:
        phase = state.phase if state else "in an unknown state"
        print(f"{endpoint.kind} {endpoint.version} is {phase} at {endpoint.url}")
        print(f"serves {endpoint.base_model}, {found.resident_mb} MB; log: {endpoint.log_file}")
    if not found.running:
        raise typer.Exit(EngineError.exit_code)


@app.command("list")
def list_adapters(dojo: DojoOption = Path("dojo"), as_json: JsonOption = False) -> None:
    """List the adapters of a dojo; `*` marks the champion.

    Example: `codojo models list --dojo my-dojo`
    """
    registry = _registry(dojo)
    champion = registry.champion()
    rows = [_described(registry, name) for name in registry.names()]
    if as_json:
        print_json({"champion": champion, "adapters": rows})
        return
    if not rows:
        print("no adapters yet; 'codojo improve' trains them")
    for row in rows:
        mark = "*" if row["name"] == champion else " "
        out = "  retired" if row["retired"] else ""
        print(
            f"{mark} {row['name']}  {row['rows']} rows, {row['steps']} steps, base {row['base']}{out}"
        )
    print(f"champion: {champion or 'the base model'}")


@app.command()
def show(name: str, dojo: DojoOption = Path("dojo")) -> None:
    """Show how an adapter was made, as JSON.

    Example: `codojo models show all-0123456789ab --dojo my-dojo`
    """
    registry = _registry(dojo)
    print_json(_manifest(registry, name).model_dump(mode="json"))


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="An adapter, or `base`.")],
    dojo: DojoOption = Path("dojo"),
) -> None:
    """Make an adapter the champion by hand, without a gate; the log says so.

    Example: `codojo models promote all-0123456789ab --dojo my-dojo`
    """
    from codojo.trajectories.log import Log

    registry = _registry(dojo)
    chosen = None if name == "base" else name
    with Log(dojo / "log") as log:
        registry.promote(
            chosen, log, expected=registry.champion(), reason="by hand, without a gate"
        )
    print(f"champion: {name}")


@app.command()
def rollback(dojo: DojoOption = Path("dojo")) -> None:
    """Go back to the champion before the current one.

    Example: `codojo models rollback --dojo my-dojo`
    """
    from codojo.trajectories.log import Log

    registry = _registry(dojo)
    with Log(dojo / "log") as log:
        champion = registry.rollback(log)
    print(f"champion: {champion or 'the base model'}")


def _registry(dojo: Path) -> "AdapterRegistry":
    from codojo.folder import require_dojo
    from codojo.serving.registry import AdapterRegistry

    require_dojo(dojo)
    return AdapterRegistry(dojo / "adapters", dojo / "log")


def _manifest(registry: "AdapterRegistry", name: str) -> "Manifest":
    from codojo.errors import AdapterRejected
    from codojo.finetune.recipe import MANIFEST, Manifest

    try:
        return Manifest.model_validate_json((registry.path(name) / MANIFEST).read_bytes())
    except (OSError, ValueError) as err:
        raise AdapterRejected(
            f"adapter '{name}' cannot be read: {err}; 'codojo models list' shows those that can"
        ) from err


def _described(registry: "AdapterRegistry", name: str) -> dict[str, object]:
    manifest = _manifest(registry, name)
    return {
        "name": name,
        "retired": name in registry.retired(),
        "rows": manifest.rows,
        "steps": manifest.steps,
        "base": Path(manifest.recipe.base).name,
        "recipe": manifest.recipe_hash[:12],
        "seconds": manifest.seconds,
    }
