"""OpenAI's fine-tuning files, which Together and Fireworks read too."""

from collections.abc import Iterator

from codojo.trajectories.exporters.formats import Format, JsonObject
from codojo.trajectories.exporters.messages import openai_all
from codojo.trajectories.rows import Preference, PromptCompletion


def sft(row: PromptCompletion) -> Iterator[JsonObject]:
    """One model call; answers in its prompt have weight 0, its own answer 1."""
    asked = [
        message | {"weight": 0} if message["role"] == "assistant" else message
        for message in openai_all(row.prompt)
    ]
    said = [message | {"weight": 1} for message in openai_all(row.completion)]
    record: JsonObject = {"messages": asked + said}
    if row.tools:
        record |= {"tools": list(row.tools), "parallel_tool_calls": _parallel(said)}
    yield record


def preference(row: Preference) -> Iterator[JsonObject]:
    """One prompt, a preferred and a non-preferred answer."""
    chosen, rejected = openai_all(row.chosen), openai_all(row.rejected)
    yield {
        "input": {
            "messages": openai_all(row.prompt),
            "tools": list(row.tools),
            "parallel_tool_calls": _parallel(chosen + rejected) or not row.tools,
        },
        "preferred_output": chosen,
        "non_preferred_output": rejected,
    }


def _parallel(messages: list[JsonObject]) -> bool:
    return any(len(message.get("tool_calls", ())) > 1 for message in messages)


FORMATS = (
    Format(
        name="openai-sft",
        about="OpenAI chat fine-tuning: each model call, with a weight on every answer.",
        takes=PromptCompletion,
        records=sft,
    ),
    Format(
        name="openai-preference",
        about="OpenAI preference fine-tuning (DPO): input, preferred and non-preferred output.",
        takes=Preference,
        records=preference,
    ),
)
