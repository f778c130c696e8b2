"""Rows: single training examples, each with where it came from.

Curators make them, exporters and trainers read them. Every kind is a subclass of `Row` with a `kind`
of its own, so that a file may hold several.
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field, JsonValue

from codojo.canonical import content_hash
from codojo.tasks.schema import Integrity, Record, Split, Status, TestSource
from codojo.trajectories.schema import Message

Tools = tuple[dict[str, JsonValue], ...]


def _nothing(value: object) -> bool:
    """Whether a field is left out of what is stored: so older rows keep their hashes."""
    return not value


class RowSource(Record):
    """Which answer a row was made from, and the verdict that allows it."""

    rollout: str
    step: str
    choice: int
    task_id: str
    suite: str
    family: str
    split: Split | None
    model: str
    """Served name of the model that gave the answer."""
    status: Status
    tests: TestSource
    isolation: str
    integrity: Integrity
    behaviour: str | None = None
    agent: str = Field(default="", exclude_if=_nothing)
    graph: str = Field(default="", exclude_if=_nothing)
    author: str = Field(default="", exclude_if=_nothing)
    """The person whose word makes this a row; empty where a verdict does."""
    said_at: float = Field(default=0.0, exclude_if=_nothing)
    """When they said it, in seconds since 1970, UTC."""


class Row(Record):
    """What every training example has."""

    source: RowSource


class PromptCompletion(Row):
    """A conversation and the answer to learn; the loss covers the completion alone."""

    kind: Literal["prompt_completion"] = "prompt_completion"
    prompt: tuple[Message, ...]
    """Exactly the messages that the model was asked with."""
    completion: tuple[Message, ...]
    tools: Tools = Field(default=(), exclude_if=_nothing)
    """Tools that the model was offered, as OpenAI describes them."""


class Preference(Row):
    """Two answers to one prompt, of which one is better. `source` is the chosen answer's."""

    kind: Literal["preference"] = "preference"
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    rejected_source: RowSource
    tools: Tools = Field(default=(), exclude_if=_nothing)


class Unpaired(Row):
    """An answer and whether it is a good one."""

    kind: Literal["unpaired"] = "unpaired"
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    label: bool
    tools: Tools = Field(default=(), exclude_if=_nothing)


class Stepwise(Row):
    """A problem, the steps of one attempt, and whether each was right."""

    kind: Literal["stepwise"] = "stepwise"
    prompt: str
    completions: tuple[str, ...]
    labels: tuple[bool, ...]
    """As long as `completions`."""


class TokenExact(Row):
    """One model call as the tokens that the model saw and sampled; text can only be decoded from it."""

    kind: Literal["token_exact"] = "token_exact"
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    """Natural logarithms, as long as `completion_ids`; None where the engine gave none."""
    finish_reason: str
    reward: float
    """1 where the answer's verdict (in `source`) is `passed`, else 0."""
    tools: Tools = Field(default=(), exclude_if=_nothing)


def rows_hash(rows: Iterable[Row]) -> str:
    """Content hash of the rows in their order, sources included (but for agent and graph, which rows
    had no word of at first)."""
    exclude = {"source": {"agent", "graph"}}
    return content_hash([row.model_dump(mode="json", exclude=exclude) for row in rows])
