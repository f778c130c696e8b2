"""Formats of TRL (https://huggingface.co/docs/trl/dataset_formats), conversational where TRL has it.

Tools are JSON text in a column of their own, which TRL reads as well as a list: rows with different tools
then have one column type. Reasoning that an engine returned apart from the answer is not in the log.
"""

from collections.abc import Iterator

from codojo.trajectories.exporters.formats import MESSAGES, Column, Format, JsonObject
from codojo.trajectories.exporters.messages import plain_all, tools_text
from codojo.trajectories.rows import Preference, PromptCompletion, Row, Stepwise, Tools, Unpaired


def lm(row: PromptCompletion) -> Iterator[JsonObject]:
    """The whole conversation; the loss covers all of it unless the trainer masks it by template."""
    yield {"messages": plain_all((*row.prompt, *row.completion)), **_tools(row.tools)}


def sft(row: PromptCompletion) -> Iterator[JsonObject]:
    """One model call: the loss covers the completion alone, without help of a chat template."""
    yield {
        "prompt": plain_all(row.prompt),
        "completion": plain_all(row.completion),
        **_tools(row.tools),
        **_person(row),
    }


def dpo(row: Preference) -> Iterator[JsonObject]:
    """One prompt, a better and a worse answer."""
    yield {
        "prompt": plain_all(row.prompt),
        "chosen": plain_all(row.chosen),
        "rejected": plain_all(row.rejected),
        **_tools(row.tools),
        **_person(row),
    }


def kto(row: Unpaired) -> Iterator[JsonObject]:
    """One answer, and whether it is a good one."""
    yield {
        "prompt": plain_all(row.prompt),
        "completion": plain_all(row.completion),
        "label": row.label,
        **_tools(row.tools),
        **_person(row),
    }


def stepwise(row: Stepwise) -> Iterator[JsonObject]:
    """The attempts of one conversation, each with its label."""
    yield {
        "prompt": row.prompt,
        "completions": list(row.completions),
        "labels": list(row.labels),
    }


def _tools(tools: Tools) -> JsonObject:
    return {"tools": tools_text(tools)} if tools else {}


def _person(row: Row) -> JsonObject:
    """Who said so and when, in columns that TRL leaves alone; nothing where a verdict says it."""
    said = row.source
    return {"author": said.author, "said_at": said.said_at} if said.author else {}


_PERSON: dict[str, Column] = {"author": "text", "said_at": "float"}
_TOOLS: dict[str, Column] = {"tools": "text"}

FORMATS = (
    Format(
        name="trl-lm",
        about="TRL language modelling: each model call as one conversation, loss on all of it.",
        takes=PromptCompletion,
        records=lm,
        columns={"messages": MESSAGES, **_TOOLS},
    ),
    Format(
        name="trl-sft",
        about="TRL prompt-completion (SFTTrainer): loss on the completion alone, no template needed.",
        takes=PromptCompletion,
        records=sft,
        columns={"prompt": MESSAGES, "completion": MESSAGES, **_TOOLS, **_PERSON},
    ),
    Format(
        name="trl-dpo",
        about="TRL preference (DPOTrainer, RewardTrainer): passed against failed, same prompt.",
        takes=Preference,
        records=dpo,
        columns={"prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES, **_TOOLS, **_PERSON},
    ),
    Format(
        name="trl-kto",
        about="TRL unpaired preference (KTOTrainer): each answer with whether it passed.",
        takes=Unpaired,
        records=kto,
        columns={"prompt": MESSAGES, "completion": MESSAGES, "label": "bool", **_TOOLS, **_PERSON},
    ),
    Format(
        name="trl-stepwise",
        about="TRL stepwise supervision: an attempt and its repairs, each with whether it passed.",
        takes=Stepwise,
        records=stepwise,
        columns={"prompt": "text", "completions": ("text",), "labels": ("bool",)},
    ),
)
