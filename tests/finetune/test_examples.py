"""What the model reads and learns, token by token, and in which order."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codojo.errors import TrainingError
from codojo.finetune.examples import IGNORED, plan_batches, tokenise
from codojo.trajectories.rows import PromptCompletion


@pytest.mark.row("E20")
def test_trained_prompt_ids_are_the_served_ones(
    rows: list[PromptCompletion], tokenizer: Any
) -> None:
    for example in tokenise(rows, tokenizer, 512).examples:
        served = tokenizer.apply_chat_template(
            [message.model_dump() for message in rows[example.row].prompt],
            add_generation_prompt=True,
            return_dict=False,
        )
        assert example.input_ids[: len(served)] == served
        assert example.labels[: len(served)] == [IGNORED] * len(served)
        assert IGNORED not in example.labels[len(served) :]


@pytest.mark.row("E20")
def test_labels_cover_exactly_the_completion_and_its_end(
    rows: list[PromptCompletion], tokenizer: Any
) -> None:
    (example, *_) = tokenise(rows, tokenizer, 512).examples
    learnt = [label for label in example.labels if label != IGNORED]
    assert len(example.labels) == len(example.input_ids)
    assert tokenizer.decode(learnt) == rows[0].completion[0].content + "<|im_end|>"
    assert learnt == example.input_ids[-len(learnt) :]
    assert learnt[-1] == tokenizer.eos_token_id
    whole = tokenizer.decode(example.input_ids)
    assert whole == (
        "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nWrite sum, no. 0.<|im_end|>\n"
        "<|im_start|>assistant\n```python\ndef sum_0(x):\n    return 0\n```<|im_end|>"
    )


@pytest.mark.row("E20")
def test_tokens_are_not_merged_across_the_border_of_prompt_and_completion(
    rows: list[PromptCompletion], tokenizer: Any
) -> None:
    (example, *_) = tokenise(rows, tokenizer, 512).examples
    at_once = tokenizer.encode(tokenizer.decode(example.input_ids), add_special_tokens=False)
    # This tokenizer would merge the line break before the fence with it, which is never sampled.
    assert example.input_ids != at_once


def test_rows_that_are_too_long_are_left_out_whole(
    rows: list[PromptCompletion], tokenizer: Any
) -> None:
    sizes = [len(example.input_ids) for example in tokenise(rows, tokenizer, 512).examples]
    limit = sorted(sizes)[len(sizes) // 2]
    found = tokenise(rows, tokenizer, limit)
    assert [len(e.input_ids) for e in found.examples] == [s for s in sizes if s <= limit]
    assert found.too_long == sum(size > limit for size in sizes) > 0
    assert all(example.labels[-1] == tokenizer.eos_token_id for example in found.examples)
    assert [example.row for example in found.examples] == [
        i for i, size in enumerate(sizes) if size <= limit
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [("message['content']", "message['content'] | upper"), ("<|im_end|>' + '\n'", "' + '\n'")],
)
def test_a_template_that_serves_other_text_is_refused(
    rows: list[PromptCompletion], tokenizer: Any, old: str, new: str
) -> None:
    template = tokenizer.chat_template
    assert old in template
    tokenizer.chat_template = template.replace(old, new)
    try:
        with pytest.raises(TrainingError, match="chat template"):
            tokenise(rows, tokenizer, 512)
    finally:
        tokenizer.chat_template = template


LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=80)


@given(LENGTHS, st.integers(1, 9), st.integers(1, 4), st.integers(0, 3))
def test_every_example_is_seen_once_an_epoch(
    lengths: list[int], batch_size: int, epochs: int, seed: int
) -> None:
    plan = plan_batches(lengths, batch_size=batch_size, epochs=epochs, max_steps=0, seed=seed)
    assert Counter(i for batch in plan for i in batch) == dict.fromkeys(range(len(lengths)), epochs)
    full = min(batch_size, len(lengths))
    assert all(len(batch) == full for batch in plan[:-1])
    assert 1 <= len(plan[-1]) <= full


@given(LENGTHS, st.integers(1, 9), st.floats(0.1, 3), st.integers(1, 20))
def test_a_plan_is_bounded_and_the_same_every_time(
    lengths: list[int], batch_size: int, epochs: float, max_steps: int
) -> None:
    plan = plan_batches(lengths, batch_size=batch_size, epochs=epochs, max_steps=max_steps, seed=3)
    again = plan_batches(lengths, batch_size=batch_size, epochs=epochs, max_steps=max_steps, seed=3)
    assert plan == again
    assert 1 <= len(plan) <= max_steps
    assert sum(map(len, plan)) <= max(1, epochs * len(lengths) + 0.5)


def test_batches_hold_little_padding_and_differ_between_epochs_and_seeds() -> None:
    lengths = [100 + (i * 37) % 60 for i in range(72)]
    plan = plan_batches(lengths, batch_size=8, epochs=3, max_steps=0, seed=0)
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in plan)
    assert padded / (3 * sum(lengths)) < 1.04
    assert sorted(plan[:9]) != sorted(plan[9:18])
    assert plan != plan_batches(lengths, batch_size=8, epochs=3, max_steps=0, seed=1)
