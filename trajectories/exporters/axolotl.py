"""Axolotl's `chat_template` rows, with a `train` flag on every message.

datasets:
  - path: rows.jsonl
    type: chat_template
    field_messages: messages
    roles_to_train: []
    message_field_training: train
"""

from collections.abc import Iterator

from codojo.trajectories.exporters.formats import (
    MESSAGE,
    MESSAGES,
    Format,
    JsonObject,
    NotExpressible,
)
from codojo.trajectories.exporters.messages import plain_all, tools_text
from codojo.trajectories.rows import Preference, PromptCompletion


def chat(row: PromptCompletion) -> Iterator[JsonObject]:
    """The conversation of one model call; only its answer is trained on."""
    asked = [message | {"train": False} for message in plain_all(row.prompt)]
    said = [message | {"train": True} for message in plain_all(row.completion)]
    yield {"messages": asked + said, **({"tools": tools_text(row.tools)} if row.tools else {})}


def preference(row: Preference) -> Iterator[JsonObject]:
    """For `type: chat_template.default` of `rl: dpo`, which renders roles and contents and nothing else."""
    if any(m.tool_calls for m in (*row.prompt, *row.chosen, *row.rejected)):
        raise NotExpressible("tool_calls")
    (chosen,), (rejected,) = plain_all(row.chosen), plain_all(row.rejected)
    yield {"messages": plain_all(row.prompt), "chosen": chosen, "rejected": rejected}


FORMATS = (
    Format(
        name="axolotl",
        about="Axolotl chat_template: each model call, with a train flag on every message.",
        takes=PromptCompletion,
        records=chat,
        columns={
            "messages": ({"role": "text", "content": "text", "train": "bool"},),
            "tools": "text",
        },
    ),
    Format(
        name="axolotl-dpo",
        about="Axolotl chat_template.default for rl: dpo: a prompt, chosen and rejected.",
        takes=Preference,
        records=preference,
        columns={"messages": MESSAGES, "chosen": MESSAGE, "rejected": MESSAGE},
    ),
)
