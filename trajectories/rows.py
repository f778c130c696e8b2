"""Rows: single training examples, each with where it came from.

Curators make them, exporters and trainers read them. Every kind is a subclass of `Row` with a `kind`
of its own, so that a file may hold several.
"""

from collections.abc import Iterable
from typing import Literal

from codojo.canonical import content_hash
from codojo.tasks.schema import Integrity, Record, Split, Status, TestSource
from codojo.trajectories.schema import Message


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


class Row(Record):
    """What every training example has."""

    source: RowSource


class PromptCompletion(Row):
    """A conversation and the answer to learn; the loss covers the completion alone."""

    kind: Literal["prompt_completion"] = "prompt_completion"
    prompt: tuple[Message, ...]
    """Exactly the messages that the model was asked with."""
    completion: tuple[Message, ...]


def rows_hash(rows: Iterable[Row]) -> str:
    """Content hash of the rows in their order, sources included."""
    return content_hash([row.model_dump(mode="json") for row in rows])
