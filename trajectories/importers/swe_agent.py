"""Trajectories of SWE-agent (`.traj`).

Since version 1.1 each step holds the whole prompt (`query`), so that calls are exact even where old
observations were cut from it. Before, the conversation is taken from `history`; without one, from the
steps' responses and observations.
"""

from typing import Any

from codojo.trajectories.importers.chat import answer_of
from codojo.trajectories.importers.conversation import (
    Answer,
    Conversation,
    Spoken,
    Thread,
    from_prompts,
)
from codojo.trajectories.importers.fields import (
    JsonObject,
    message_of,
    named_calls,
    object_of,
    objects_of,
    text_of,
    tool_calls_of,
)
from codojo.trajectories.schema import Choice, Message, ToolCall

NAME = "swe-agent"
AGENT = "coder"

_KEPT = (
    "exit_status",
    "submission",
    "model_stats",
    "review",
    "swe_agent_hash",
    "swe_agent_version",
    "swe_rex_version",
)


def recognise(value: Any) -> bool:
    """Whether it has SWE-agent's list of steps."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("trajectory"), list)
        and any(isinstance(value.get(name), list | dict) for name in ("history", "info"))
    )


def read(value: Any) -> Conversation:
    """The conversation.

    Raises:
        ImportRefused: If a field is not as the format says.
    """
    info = object_of(value, "info")
    steps = objects_of(value, "trajectory")
    history = [m for m in objects_of(value, "history") if m.get("role") in _ROLES]
    asked = [step for step in steps if objects_of(step, "query")]
    if asked and len(asked) == len(steps):
        thread = _from_queries(steps, history)
    else:
        thread = _from_history(history) if history else _from_steps(steps)
    return Conversation(
        format=NAME,
        threads=(thread,),
        task_id=text_of(value, "instance_id"),
        agent=NAME,
        version=text_of(info, "swe_agent_version"),
        claims={name: info[name] for name in _KEPT if info.get(name)},
    )


_ROLES = ("system", "user", "assistant", "tool")


def _from_queries(steps: list[JsonObject], history: list[JsonObject]) -> Thread:
    made = _made_calls(steps, history)
    asked = []
    for step in steps:
        prompt = tuple(named_calls(_message(m) for m in objects_of(step, "query")))
        asked.append((prompt, _answer(step, made)))
    last = steps[-1]
    rest: tuple[Message, ...] = ()
    if observation := text_of(last, "observation"):
        calls = asked[-1][1].choice.tool_calls
        rest = (_observed(observation, calls),)
    return Thread(AGENT, from_prompts(asked), rest)


def _from_history(history: list[JsonObject]) -> Thread:
    spoken = Spoken()
    for record, message in zip(history, named_calls(_message(m) for m in history), strict=True):
        if message.role == "assistant" and not record.get("is_demo"):
            spoken.answer(answer_of(message))
        else:
            spoken.hear(message)
    return spoken.thread(AGENT)


def _from_steps(steps: list[JsonObject]) -> Thread:
    spoken = Spoken()
    for step in steps:
        answer = _answer(step, {})
        spoken.answer(answer)
        if observation := text_of(step, "observation"):
            spoken.hear(_observed(observation, answer.choice.tool_calls))
    return spoken.thread(AGENT)


def _made_calls(
    steps: list[JsonObject], history: list[JsonObject]
) -> dict[tuple[str, str], tuple[ToolCall, ...]]:
    """Tool calls by the answer's text and action: steps do not hold them, later prompts and the history do."""
    records = [m for step in steps for m in objects_of(step, "query")] + history
    return {
        (_message(m).content, text_of(m, "action").strip()): tool_calls_of(m)
        for m in records
        if m.get("role") == "assistant" and m.get("tool_calls")
    }


def _answer(step: JsonObject, made: dict[tuple[str, str], tuple[ToolCall, ...]]) -> Answer:
    text = text_of(step, "response")
    action = text_of(step, "action").strip()
    calls = made.get((text, action)) or made.get((text_of(step, "thought"), action)) or ()
    return Answer(Choice(text=text, tool_calls=calls))


def _observed(observation: str, calls: tuple[ToolCall, ...]) -> Message:
    if len(calls) == 1 and calls[0].id:
        return Message(
            role="tool", content=observation, tool_call_id=calls[0].id, name=calls[0].name or None
        )
    return Message(role="user", content=observation)


def _message(record: JsonObject) -> Message:
    """A message; an answer of a tool has its calls' ids in a list."""
    ids = record.get("tool_call_ids")
    if (
        record.get("role") == "tool"
        and isinstance(ids, list)
        and ids
        and "tool_call_id" not in record
    ):
        record = record | {"tool_call_id": str(ids[0])}
    return message_of(record)
