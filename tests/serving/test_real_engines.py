"""vLLM and `transformers serve` with the embedded model: slow to start, so started once."""

import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio
from langchain_core.messages import HumanMessage
from safetensors.numpy import save_file

from codojo.errors import RequestRefused
from codojo.serving.chat_model import chat_model
from codojo.serving.embedded import model_hash, prepare
from codojo.serving.engine import EngineClient
from codojo.serving.keeper import read_state
from codojo.serving.supervisor import open_engine
from codojo.settings import EngineSettings, SamplingSettings

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="session"),
]

SHORT = SamplingSettings(max_tokens=24)
PROBE = "def add(a, b):\n    return a + b\n"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def vllm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineClient]:
    async with open_engine(EngineSettings(), runtime_dir=tmp_path_factory.mktemp("vllm")) as client:
        yield client


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LoRA adapter of rank 4, in the files that a trainer would save."""
    base = json.loads((prepare() / "config.json").read_text())
    hidden = base["hidden_size"]
    narrow = hidden // base["num_attention_heads"] * base["num_key_value_heads"]
    random = np.random.default_rng(0)
    weights = {}
    for layer in range(base["num_hidden_layers"]):
        for module, width in (("q_proj", hidden), ("v_proj", narrow)):
            at = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            weights[f"{at}.lora_A.weight"] = random.normal(0, 0.05, (4, hidden)).astype("f4")
            weights[f"{at}.lora_B.weight"] = random.normal(0, 0.05, (width, 4)).astype("f4")
    folder = tmp_path_factory.mktemp("adapter") / "coder-0123456789ab"
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 4,
        "lora_alpha": 8,
        "bias": "none",
        "target_modules": ["q_proj", "v_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


async def test_vllm_answers_with_tokens_and_log_probabilities(vllm: EngineClient) -> None:
    answers = await chat_model(vllm, sampling=SHORT).sample([HumanMessage("Say hello.")], n=4)
    assert len(answers) == 4
    assert len({answer.text for answer in answers}) > 1
    for answer in answers:
        kept = answer.response_metadata
        assert kept["model_name"] == vllm.endpoint.base_model
        assert 1 <= len(kept["token_ids"]) == len(kept["token_logprobs"]) <= 24
        assert all(logprob <= 0 for logprob in kept["token_logprobs"])
        assert kept["prompt_token_ids"]


async def test_vllm_holds_its_answer_to_a_schema(vllm: EngineClient) -> None:
    schema = {
        "name": "choice",
        "schema": {
            "type": "object",
            "properties": {"colour": {"enum": ["red", "green"]}},
            "required": ["colour"],
            "additionalProperties": False,
        },
    }
    answer = await chat_model(vllm, sampling=SHORT).ainvoke(
        "Name a colour.", response_format={"type": "json_schema", "json_schema": schema}
    )
    assert json.loads(answer.text)["colour"] in {"red", "green"}


async def test_vllm_tells_which_model_adapters_are_bound_to(vllm: EngineClient) -> None:
    assert vllm.endpoint.model_hash == model_hash(Path(vllm.endpoint.model_path))
    assert (
        len(await vllm.tokenize(PROBE))
        == len(await vllm.prompt_logprobs(vllm.endpoint.base_model, PROBE)) + 1
    )


async def test_vllm_refuses_an_unknown_model_and_a_long_prompt(vllm: EngineClient) -> None:
    with pytest.raises(RequestRefused, match="does not exist"):
        await chat_model(vllm, "nobody").ainvoke("hello")
    with pytest.raises(RequestRefused, match="maximum context length"):
        await chat_model(vllm).ainvoke("word " * 3000)


async def test_adapter_is_loaded_while_vllm_serves_and_survives_its_death(
    vllm: EngineClient, adapter: Path
) -> None:
    name = adapter.name
    await vllm.load_adapter(name, adapter)
    base = await vllm.prompt_logprobs(vllm.endpoint.base_model, PROBE)
    changed = await vllm.prompt_logprobs(name, PROBE)
    assert changed != pytest.approx(base, abs=1e-3)
    answer = await chat_model(vllm, name, SHORT).ainvoke("Say hello.")
    assert answer.response_metadata["model_name"] == name

    state = read_state(vllm.endpoint.state_file)
    assert state is not None
    core = max(
        psutil.Process(state.engine_pid).children(recursive=True),
        key=lambda process: process.memory_info().rss,
    )
    os.kill(core.pid, signal.SIGKILL)
    answer = await chat_model(vllm, name, SHORT).ainvoke("Say hello.")
    assert answer.response_metadata["model_name"] == name
    again = read_state(vllm.endpoint.state_file)
    assert again is not None
    assert again.generation == state.generation + 1
    assert await vllm.prompt_logprobs(name, PROBE) == pytest.approx(changed, abs=1e-3)
    await vllm.unload_adapter(name)


async def test_transformers_serve_answers(tmp_path: Path) -> None:
    settings = EngineSettings(kind="transformers")
    async with open_engine(settings, runtime_dir=tmp_path) as client:
        answers = await chat_model(client, sampling=SHORT).sample([HumanMessage("Say hi.")], n=2)
        assert len(answers) == 2
        assert all(answer.text for answer in answers)
        with pytest.raises(RequestRefused, match="cannot load adapters"):
            await client.load_adapter("coder-1", tmp_path)
