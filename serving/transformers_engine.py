"""`transformers serve`: for machines that vLLM does not install on.

It takes one choice per request, ignores schemas, returns no tokens and cannot load adapters while
it serves; the capability table says so and such requests are refused or fanned out. It has no key
either: on a machine shared with others, prefer vLLM. To serve an adapter, merge it into a folder
and set `engine.model` to that.
"""

import importlib.metadata
import sys
from dataclasses import dataclass
from pathlib import Path

from codojo.errors import EngineUnavailable
from codojo.serving.engine import Capabilities, Launch
from codojo.serving.processes import engine_env, has_gpu
from codojo.settings import EngineSettings


@dataclass(frozen=True)
class TransformersEngine:
    """A `transformers serve` process in the environment that runs codojo."""

    settings: EngineSettings
    model: Path | str

    @property
    def served_name(self) -> str:
        """The model's path: the server knows models by nothing else."""
        return str(self.model)

    @property
    def version(self) -> str:
        try:
            return importlib.metadata.version("transformers")
        except importlib.metadata.PackageNotFoundError:
            raise EngineUnavailable(
                "engine.kind is 'transformers', which is not installed; install codojo with the "
                "'train' extra"
            ) from None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(adapters=False, choices=False, tokens=False)

    def launch(self, port: int, api_key: str) -> Launch:
        """Command line and environment; the server knows no key, so `api_key` guards nothing."""
        on_gpu = has_gpu()
        dtype = self.settings.dtype
        argv = [
            *(sys.executable, "-m", "transformers.cli.transformers", "serve", self.served_name),
            *("--host", "127.0.0.1", "--port", str(port), "--continuous-batching"),
            *("--attn-implementation", "sdpa", "--device", "cuda:0" if on_gpu else "cpu"),
            *("--dtype", "float32" if dtype == "auto" and not on_gpu else dtype),
        ]
        if not on_gpu:
            # Measured on two cores: larger batches of prompt tokens starve the answers under way.
            argv += ["--cb-num-blocks", "64", "--cb-max-batch-tokens", "512"]
        env = engine_env() | {"PYTHONUNBUFFERED": "1"}
        if isinstance(self.model, Path):
            env["HF_HUB_OFFLINE"] = "1"
        return Launch(argv, env)
