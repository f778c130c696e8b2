"""From rows to tokens: what the model reads, what it learns, and in which order."""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from codojo.errors import TrainingError
from codojo.trajectories.rows import PromptCompletion

IGNORED = -100
"""Label of a token that the loss is not taken on."""

CHUNK_BATCHES = 16
"""Rows are sorted by length only within so many batches, so that epochs still differ."""


@dataclass(frozen=True)
class Example:
    """One row as tokens."""

    row: int
    """Position of the row in the training set."""
    input_ids: list[int]
    labels: list[int]
    """As long as `input_ids`; `IGNORED` on the prompt."""


@dataclass(frozen=True)
class Tokenised:
    """The rows that fit, as tokens, and how many did not."""

    examples: list[Example]
    too_long: int


def tokenise(rows: Iterable[PromptCompletion], tokenizer: Any, max_length: int) -> Tokenised:
    """Tokens exactly as the engine sees them.

    The prompt is rendered by the chat template with its generation prompt, which is what the engine
    does with the same messages; the completion is encoded on its own and closed by the
    end-of-sequence token, since that is where sampling starts and stops. Encoding both at once
    could merge tokens across the border, and train on a sequence that is never sampled.

    Args:
        tokenizer: A Hugging Face tokenizer with a chat template.
        max_length: Rows with more tokens are left out, never cut: half an answer teaches to stop
            in the middle.

    Raises:
        TrainingError: If the template closes an answer otherwise than with the tokenizer's
            end-of-sequence token, or rewrites what was said: then served and trained text differ.
    """
    examples: list[Example] = []
    too_long = 0
    for position, row in enumerate(rows):
        prompt = [message.model_dump() for message in row.prompt]
        (answer,) = row.completion
        _check_template(tokenizer, prompt, answer.content)
        prompt_ids = tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        answer_ids = tokenizer.encode(answer.content, add_special_tokens=False)
        learnt = [*answer_ids, tokenizer.eos_token_id]
        if len(prompt_ids) + len(learnt) > max_length:
            too_long += 1
            continue
        labels = [IGNORED] * len(prompt_ids) + learnt
        examples.append(Example(position, [*prompt_ids, *learnt], labels))
    return Tokenised(examples, too_long)


def _check_template(tokenizer: Any, prompt: list[dict[str, str]], answer: str) -> None:
    head = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    said = {"role": "assistant", "content": answer}
    whole = tokenizer.apply_chat_template([*prompt, said], tokenize=False)
    if not whole.startswith(f"{head}{answer}{tokenizer.eos_token}"):
        raise TrainingError(
            "the base model's chat template does not render a conversation as its prompt, then the "
            f"answer, then '{tokenizer.eos_token}'; training on it would teach text that is never "
            "served. Use a base model whose template does, or set its tokenizer's eos_token"
        )


def plan_batches(
    lengths: Sequence[int], *, batch_size: int, epochs: float, max_steps: int, seed: int
) -> list[list[int]]:
    """Which examples go into which optimiser step, decided before training starts.

    Batches hold examples of similar length, so that little is padding. The whole plan is a function
    of its arguments: a resumed run takes up the same order at the same place.

    Args:
        lengths: Tokens of each example.
        epochs: Passes over the examples; a fraction takes a part of them.
        max_steps: Upper bound on the number of batches; 0: none.

    Returns:
        Positions in `lengths`. All batches but the last have `batch_size` examples (all examples,
        if they are fewer); what an epoch has left over goes first into the next one.
    """
    rng = random.Random(seed)
    batch_size = min(batch_size, len(lengths))
    todo = max(1, math.floor(epochs * len(lengths) + 0.5))
    if max_steps:
        todo = min(todo, max_steps * batch_size)
    plan: list[list[int]] = []
    pool: list[int] = []
    while todo > 0:
        fresh = rng.sample(range(len(lengths)), len(lengths))[: todo - len(pool)]
        pool += fresh
        full = len(pool) if len(pool) == todo else len(pool) - len(pool) % batch_size
        plan += _group(pool[:full], lengths, batch_size, rng)
        pool, todo = pool[full:], todo - full
    return plan


def _group(
    pool: list[int], lengths: Sequence[int], batch_size: int, rng: random.Random
) -> list[list[int]]:
    """Batches of similar length in random order; one that is not full comes last."""
    full: list[list[int]] = []
    rest: list[list[int]] = []
    chunk = CHUNK_BATCHES * batch_size
    for start in range(0, len(pool), chunk):
        ordered = sorted(pool[start : start + chunk], key=lambda i: lengths[i])
        for first in range(0, len(ordered), batch_size):
            batch = ordered[first : first + batch_size]
            (full if len(batch) == batch_size else rest).append(batch)
    rng.shuffle(full)
    return full + rest
