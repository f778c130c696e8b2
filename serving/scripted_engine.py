"""The scripted engine as commands and tests start it."""

import contextlib
import hashlib
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from codojo.errors import EngineUnavailable
from codojo.serving.engine import Capabilities, Endpoint, Launch
from codojo.serving.processes import own_env
from codojo.serving.scripted import Script, read_script
from codojo.serving.scripted_server import KEY_VARIABLE

CAPABILITIES = Capabilities(
    adapters=True, choices=True, tokens=True, prompt_logprobs=True, schemas=True
)
"""A schema is held as well as the script holds it."""


@dataclass(frozen=True)
class ScriptedEngine:
    """A scripted server for `engine.kind = "scripted"`; `engine.model` is the script's path."""

    script: Path

    @property
    def served_name(self) -> str:
        return read_script(self.script).model

    @property
    def model_path(self) -> str:
        """Folder of the model that trainers train in its place; empty if there is none."""
        return read_script(self.script).model_path

    @property
    def version(self) -> str:
        return "1"

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    @property
    def script_hash(self) -> str:
        """What stands for a model's hash."""
        return script_hash(read_script(self.script))

    def launch(self, port: int, api_key: str) -> Launch:
        """Command line and environment; see `Engine.launch`."""
        script = str(self.script.absolute())
        argv = [sys.executable, "-m", "codojo.serving.scripted_server", script]
        return Launch([*argv, "--port", str(port)], own_env() | {KEY_VARIABLE: api_key})


@dataclass(frozen=True)
class ScriptedServer:
    """A running scripted engine, as tests use it."""

    endpoint: Endpoint
    process: "subprocess.Popen[bytes]"

    def requests(self, path: str = "/v1/chat/completions") -> int:
        """Requests that arrived at a path so far, refused and failed ones too."""
        root = self.endpoint.url.removesuffix("/v1")
        with urllib.request.urlopen(f"{root}/metrics", timeout=5) as answer:  # noqa: S310
            return int(json.load(answer)["requests"].get(path, 0))


@contextlib.contextmanager
def start_scripted(script: Script | Mapping[str, Any]) -> Iterator[ScriptedServer]:
    """A scripted engine in a process of its own, ended with the block."""
    parsed = script if isinstance(script, Script) else Script.model_validate(script)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "script.json"
        path.write_text(parsed.model_dump_json())
        launch = ScriptedEngine(path).launch(0, "scripted-key")
        process = subprocess.Popen(launch.argv, env=launch.env, stdout=subprocess.PIPE)
        output = cast(IO[bytes], process.stdout)
        try:
            port = output.readline().strip().decode()
            if not port:
                raise EngineUnavailable("the scripted engine ended before it began")
            yield ScriptedServer(_endpoint(parsed, port), process)
        finally:
            process.kill()
            process.wait()
            output.close()


def script_hash(script: Script) -> str:
    """SHA-256 of what a script says."""
    return hashlib.sha256(script.model_dump_json().encode()).hexdigest()


def _endpoint(script: Script, port: str) -> Endpoint:
    return Endpoint(
        kind="scripted",
        url=f"http://127.0.0.1:{port}/v1",
        api_key="scripted-key",
        base_model=script.model,
        model_hash=script_hash(script),
        version="1",
        capabilities=CAPABILITIES,
        request_timeout_s=30,
        first_wait_s=0.02,
    )
