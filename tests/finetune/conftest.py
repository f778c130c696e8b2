"""A tiny base model with a tokenizer and a chat template of its own, and rows to train it on."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from codojo.trajectories.rows import PromptCompletion, RowSource
from codojo.trajectories.schema import Message

TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WORDS = [
    "sum",
    "even",
    "reverse",
    "list",
    "count",
    "words",
    "sort",
    "unique",
    "value",
    "key",
    "pair",
]


def make_rows(n: int = 24) -> list[PromptCompletion]:
    """Rows of different lengths, each of a task of its own."""
    return [
        PromptCompletion(
            prompt=(
                Message(role="user", content=f"Write {' '.join(WORDS[: i % 9 + 1])}, no. {i}."),
            ),
            completion=(
                Message(
                    role="assistant",
                    content=f"```python\ndef {WORDS[i % 11]}_{i}(x):\n    return {i % 7}\n```",
                ),
            ),
            source=RowSource(
                rollout=f"r{i}",
                step="s",
                choice=0,
                task_id=f"task-{i:02}",
                suite="katas",
                family=f"f{i}",
                split="train",
                model="base",
                status="passed",
                tests="sealed",
                isolation="bubblewrap",
                integrity="isolated",
            ),
        )
        for i in range(n)
    ]


@pytest.fixture(scope="session")
def rows() -> list[PromptCompletion]:
    return make_rows()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama of two layers and a byte-level tokenizer."""
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def save_tiny(folder: Path) -> Path:
    """Put that model into a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, at import
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        make_tokenizer().save_pretrained(folder)
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=512,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_bytes())["hidden_size"] == 64
    return folder


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """The tokenizer of the tiny model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, at import
        return make_tokenizer()


def make_tokenizer() -> Any:
    """A byte-level tokenizer that merges across lines, as real ones do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    said = [f"\n{row.completion[0].content}" for row in make_rows()]
    core.train_from_iterator([*said, *WORDS], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        chat_template=TEMPLATE,
    )
