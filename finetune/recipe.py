"""Recipe, manifest and name of an adapter: how to train it, how it was made, what it is called."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from codojo.canonical import content_hash
from codojo.settings import TrainSettings
from codojo.tasks.schema import Record
from codojo.trajectories.rows import PromptCompletion, rows_hash

WEIGHTS, CONFIG, MANIFEST = "adapter_model.safetensors", "adapter_config.json", "manifest.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


class Recipe(Record):
    """Everything that decides what a training run computes."""

    trainer: Literal["sft"] = "sft"
    base: str
    """Folder or hub name of the base model. It does not count in the hash: folders move."""
    base_hash: str
    rows_hash: str
    rank: int
    alpha: int
    """Scale of the adapter: what it adds is multiplied by `alpha / rank`."""
    targets: Literal["all-linear"] = "all-linear"
    """Attention and MLP; never the output layer, which engines serve wrongly with an adapter."""
    learning_rate: float
    schedule: Literal["cosine"] = "cosine"
    epochs: float
    max_steps: int
    """Upper bound on optimiser steps; 0: as many as the epochs have."""
    batch_size: int
    """Rows per optimiser step, however few of them fit into memory at once."""
    max_length: int
    """Tokens of a row, prompt and completion; longer rows are left out and counted."""
    seed: int
    dtype: Literal["float32", "bfloat16"] = "float32"

    @property
    def hash(self) -> str:
        """Content hash; equal for recipes that compute the same."""
        return content_hash(self.model_dump(mode="json", exclude={"base"}))


class Manifest(Record):
    """How an adapter was made; lies beside its weights as `manifest.json`."""

    version: Literal[1] = 1
    recipe: Recipe
    recipe_hash: str
    tokenizer_hash: str
    weights_hash: str
    rows: int
    too_long: int
    """Rows left out because they have more than `max_length` tokens."""
    steps: int
    tokens: int
    """Tokens of prompts and completions that went through the model, without padding."""
    label_tokens: int
    """Tokens that the loss was taken on."""
    losses: tuple[float, ...]
    """Mean loss per label token at each step."""
    seconds: float
    """Spent in optimiser steps; steps done before an interruption are not counted."""
    resumed_at: int
    """Steps that an earlier, interrupted process had done."""
    accumulate: int
    """Pieces each batch was cut into, so that it fitted into memory."""
    versions: dict[str, str]
    rollouts: tuple[str, ...] = ()
    """Where its rows came from, so that it can be retired when one is forgotten; empty: not known."""


def make_recipe(
    settings: TrainSettings, rows: Sequence[PromptCompletion], *, base: Path | str, base_hash: str
) -> Recipe:
    """The recipe `sft` for these rows.

    Args:
        base: Folder in Hugging Face format, or a hub name.
        base_hash: What `codojo.serving.embedded.model_hash` says of it.
    """
    return Recipe(
        base=str(base),
        base_hash=base_hash,
        rows_hash=rows_hash(rows),
        rank=settings.rank,
        alpha=2 * settings.rank,
        learning_rate=settings.learning_rate,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        batch_size=settings.batch_size,
        max_length=settings.max_length,
        seed=settings.seed,
    )


def tokenizer_hash(base: Path | str) -> str:
    """SHA-256 of the files that decide how text becomes tokens, chat template included.

    A hub name, whose files are not here, is hashed as a name.
    """
    if isinstance(base, str) and not Path(base).is_dir():
        return hashlib.sha256(f"hub:{base}".encode()).hexdigest()
    found = {name: file_hash(Path(base) / name) for name in TOKENIZER_FILES}
    return content_hash(found)


def file_hash(path: Path) -> str | None:
    """SHA-256 of a file's bytes; None if there is no such file."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def adapter_name(folder: Path, role: str = "all") -> str:
    """The name an adapter is served under: its role and 12 digits of its content hash.

    Weights and configuration decide it, so another version always has another name, and an engine
    that caches by name can never answer with the old one.
    """
    digest = content_hash([file_hash(folder / WEIGHTS), file_hash(folder / CONFIG)])
    return f"{role}-{digest[:12]}"
