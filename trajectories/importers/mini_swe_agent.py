"""Trajectories of mini-swe-agent: its list of messages, with what it noted beside each under `extra`."""

from typing import Any

from codojo.trajectories.importers.conversation import Answer, Conversation, Spoken
from codojo.trajectories.importers.fields import (
    JsonObject,
    arguments_text,
    content_of,
    count_of,
    message_of,
    named_calls,
    object_of,
    objects_of,
    text_of,
    time_of,
)
from codojo.trajectories.schema import Choice, Message, ToolCall

NAME = "mini-swe-agent"

_KEPT = ("exit_status", "submission", "model_stats", "mini_version")


def recognise(value: Any) -> bool:
    """Whether it names itself, as all files since version 1.0 do."""
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list):
        return False
    info = value.get("info")
    named = str(value.get("trajectory_format", "")).startswith("mini-swe-agent")
    return named or (isinstance(info, dict) and "mini_version" in info)


def read(value: Any) -> Conversation:
    """The conversation; the last message, of the role `exit`, says how it ended and is no part of it.

    Raises:
        ImportRefused: If a field is not as the format says.
    """
    info = object_of(value, "info")
    config = object_of(info, "config")
    model = text_of(object_of(config, "model"), "model_name")
    spoken = Spoken()
    raw = [r for r in objects_of(value, "messages") if r.get("role") != "exit"]
    messages = named_calls(_message(record) for record in raw)
    for record, message in zip(raw, messages, strict=True):
        if message.role == "assistant":
            spoken.answer(_answer(record, message, model))
        else:
            spoken.hear(message)
    instance = value.get("instance_id")
    return Conversation(
        format=text_of(value, "trajectory_format") or NAME,
        threads=(spoken.thread("coder"),),
        task_id=instance if isinstance(instance, str) else "",
        agent=NAME,
        version=text_of(info, "mini_version"),
        claims={name: info[name] for name in _KEPT if info.get(name)},
    )


def _message(record: JsonObject) -> Message:
    """A message of the chat API, or an item of the responses API."""
    if record.get("object") == "response":
        items = objects_of(record, "output")
        return Message(
            role="assistant",
            content="".join(content_of(i) for i in items if i.get("type") == "message"),
            tool_calls=tuple(
                ToolCall(
                    id=text_of(i, "call_id"),
                    name=text_of(i, "name"),
                    arguments=arguments_text(i.get("arguments")),
                )
                for i in items
                if i.get("type") == "function_call"
            ),
        )
    if record.get("type") == "function_call_output":
        call = text_of(record, "call_id")
        return Message(role="tool", content=content_of(record, "output"), tool_call_id=call or None)
    return message_of(record)


def _answer(record: JsonObject, message: Message, model: str) -> Answer:
    extra = object_of(record, "extra")
    response = object_of(extra, "response")
    usage = object_of(response, "usage")
    choices = objects_of(response, "choices")
    return Answer(
        choice=Choice(
            text=message.content,
            tool_calls=message.tool_calls,
            reasoning_content=message.reasoning_content,
            finish_reason=text_of(choices[0], "finish_reason") if choices else "",
        ),
        model=text_of(response, "model") or model,
        prompt_tokens=count_of(usage, "prompt_tokens"),
        completion_tokens=count_of(usage, "completion_tokens"),
        at=time_of(extra, "timestamp"),
    )
