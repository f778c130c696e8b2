"""Plain chats: a list of messages as OpenAI writes them, one conversation a line."""

from typing import Any

from codojo.errors import ImportRefused
from codojo.trajectories.importers.conversation import Answer, Conversation, Spoken
from codojo.trajectories.importers.fields import (
    JsonObject,
    message_of,
    named_calls,
    objects_of,
    text_of,
    time_of,
)
from codojo.trajectories.schema import Choice, Message

NAME = "chat"

_IDS = ("task_id", "instance_id", "conversation_id", "id", "uuid")


def recognise(value: Any) -> bool:
    """Whether it is a list of messages, or an object with one under `messages`."""
    messages = value.get("messages") if isinstance(value, dict) else value
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(isinstance(m, dict) and "role" in m for m in messages[:3])
    )


def read(value: Any) -> Conversation:
    """The conversation.

    Raises:
        ImportRefused: If a message is none.
    """
    record: JsonObject = value if isinstance(value, dict) else {"messages": value}
    raw = objects_of(record, "messages")
    spoken = Spoken()
    model = text_of(record, "model")
    at = next(
        filter(None, (time_of(record, key) for key in ("timestamp", "created_at", "created"))), None
    )
    for message in named_calls(message_of(one) for one in raw):
        if message.role == "assistant":
            spoken.answer(answer_of(message, model=model, at=at))
        else:
            spoken.hear(message)
    ids = [record[name] for name in _IDS if isinstance(record.get(name), str | int)]
    return Conversation(
        format=NAME,
        threads=(spoken.thread("assistant", tools=tools_of(record)),),
        task_id=str(ids[0]) if ids else "",
    )


def answer_of(message: Message, *, model: str = "", at: float | None = None) -> Answer:
    """An assistant's message as a model's answer."""
    choice = Choice(
        text=message.content,
        tool_calls=message.tool_calls,
        reasoning_content=message.reasoning_content,
    )
    return Answer(choice, model=model, at=at)


def tools_of(record: JsonObject, name: str = "tools") -> tuple[JsonObject, ...]:
    """Tools that the model was offered; some write them as JSON text."""
    found = record.get(name)
    if isinstance(found, str):
        import json

        try:
            found = json.loads(found) if found.strip() else None
        except (ValueError, RecursionError):
            raise ImportRefused(f"'{name}' is a text that is no JSON") from None
    return tuple(objects_of({name: found}, name))
