"""codojo models: install, prepare, start and stop engines."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Install, prepare, start and stop engines.", no_args_is_help=True)

DojoOption = Annotated[Path, typer.Option("--dojo", help="Folder of the dojo.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def install(
    dojo: DojoOption = Path(),
    requirements: Annotated[
        Path | None, typer.Option(help="Pins to install instead of codojo's own.")
    ] = None,
) -> None:
    """Make the Python environment of vLLM, about four minutes; done already, it is instant."""
    from codojo.serving.install import install as install_vllm
    from codojo.settings import load

    install_vllm(load(dojo).settings.engine, requirements=requirements, progress=_say)


@app.command()
def prepare(dojo: DojoOption = Path(), as_json: JsonOption = False) -> None:
    """Convert the embedded model once, or check the model that is set; print its place."""
    import json

    from codojo.serving.embedded import model_hash, resolve_model
    from codojo.settings import load

    model = resolve_model(load(dojo).settings.engine.model, progress=_say)
    digest = model_hash(model)
    if as_json:
        print(json.dumps({"model": str(model), "sha256": digest}))
    else:
        print(f"{model}  {digest[:12]}")


@app.command()
def start(dojo: DojoOption = Path(), as_json: JsonOption = False) -> None:
    """Start the engine and leave it running for later commands, until 'codojo models stop'."""
    import asyncio
    import json

    from codojo.serving.supervisor import start_engine
    from codojo.settings import load

    endpoint = asyncio.run(start_engine(load(dojo).settings.engine, progress=_say))
    if as_json:
        print(json.dumps(endpoint.model_dump(exclude={"api_key"})))
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
    import json
    from dataclasses import asdict

    from codojo.errors import EngineError
    from codojo.serving.supervisor import engine_status

    found = engine_status()
    endpoint, state = found.endpoint, found.state
    if as_json:
        shown = {
            "running": found.running,
            "endpoint": endpoint.model_dump(exclude={"api_key"}) if endpoint else None,
            "state": asdict(state) if state else None,
            "resident_mb": found.resident_mb,
        }
        print(json.dumps(shown))
    elif endpoint is None:
        print("no engine is running; commands start one for themselves")
    else:
        phase = state.phase if state else "in an unknown state"
        print(f"{endpoint.kind} {endpoint.version} is {phase} at {endpoint.url}")
        print(f"serves {endpoint.base_model}, {found.resident_mb} MB; log: {endpoint.log_file}")
    if not found.running:
        raise typer.Exit(EngineError.exit_code)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
