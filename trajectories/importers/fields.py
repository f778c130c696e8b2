"""Reading fields of JSON that a stranger wrote: of the right type, or refused with the field's name."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

from codojo.errors import ImportRefused
from codojo.trajectories.schema import Message, ToolCall

JsonObject = dict[str, Any]

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "tool": "tool",
    "function": "tool",
}

MAX_TOKEN_ID = 2**31
MAX_TIME = 253_402_300_799
"""The last second of the year 9999: what dates can say."""


def refuse(name: str, found: object, wanted: str) -> ImportRefused:
    """The error for a field of the wrong type."""
    kind = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    kind |= {int: "a number", float: "a number", type(None): "null"}
    return ImportRefused(f"'{name}' is {kind.get(type(found), 'odd')}, but must be {wanted}")


def object_of(record: JsonObject, name: str) -> JsonObject:
    """An object; empty where the field is missing or null."""
    found = record.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise refuse(name, found, "an object")
    return found


def objects_of(record: JsonObject, name: str) -> list[JsonObject]:
    """A list of objects; empty where the field is missing or null."""
    found = record.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise refuse(name, found, "a list")
    for i, one in enumerate(found):
        if not isinstance(one, dict):
            raise refuse(f"{name}[{i}]", one, "an object")
    return cast(list[JsonObject], found)


def text_of(record: JsonObject, name: str) -> str:
    """A text; empty where the field is missing or null."""
    found = record.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise refuse(name, found, "a text")
    return found


def count_of(record: JsonObject, name: str) -> int:
    """A count; 0 where the field is missing or null."""
    found = record.get(name)
    if found is None:
        return 0
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise refuse(name, found, "a whole number of at least 0")
    return found


def ids_of(record: JsonObject, name: str) -> tuple[int, ...] | None:
    """Token ids; None where the field is missing or null."""
    found = record.get(name)
    if found is None:
        return None
    if not isinstance(found, list):
        raise refuse(name, found, "a list of token ids")
    for one in found:
        if type(one) is not int or not 0 <= one < MAX_TOKEN_ID:
            raise refuse(name, one, "a list of token ids")
    return tuple(found)


def logprobs_of(record: JsonObject, name: str, length: int | None) -> tuple[float, ...] | None:
    """Log-probabilities; None where the field is missing, or not as long as the tokens they belong to."""
    found = record.get(name)
    if found is None:
        return None
    if not isinstance(found, list) or any(type(p) not in (int, float) for p in found):
        raise refuse(name, found, "a list of numbers")
    return tuple(map(float, found)) if length == len(found) else None


def time_of(record: JsonObject, name: str) -> float | None:
    """Seconds since 1970 from ISO 8601 (UTC where it names no zone) or a number; None where it is neither."""
    found = record.get(name)
    if isinstance(found, str):
        try:
            parsed = datetime.fromisoformat(found.replace("Z", "+00:00"))
            if parsed.tzinfo is None:
                parsed = parsed.replace(tzinfo=UTC)
            found = parsed.timestamp()
        except (ValueError, OverflowError):
            return None
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found) if 0 < found < MAX_TIME else None


def content_of(record: JsonObject, name: str = "content") -> str:
    """What a message says: a text, or the texts of its parts; of pictures and sound only `[image]`, `[audio]` stays."""
    found = record.get(name)
    if found is None:
        return ""
    if isinstance(found, str):
        return found
    if not isinstance(found, list):
        raise refuse(name, found, "a text or a list of parts")
    return "".join(_part(part, f"{name}[{i}]") for i, part in enumerate(found))


def _part(part: object, name: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise refuse(name, part, "a text or an object")
    if isinstance(part.get("text"), str):
        return cast(str, part["text"])
    kind = part.get("type")
    return f"[{kind.split('_')[0][:20]}]" if isinstance(kind, str) else "[part]"


def arguments_text(found: object) -> str:
    """Arguments of a call as JSON text, which some write as text and others as an object."""
    if isinstance(found, str):
        return found
    return json.dumps({} if found is None else found, ensure_ascii=False)


def tool_calls_of(record: JsonObject, name: str = "tool_calls") -> tuple[ToolCall, ...]:
    """Calls as OpenAI writes them."""
    calls = []
    for one in objects_of(record, name):
        inner = object_of(one, "function") or one
        calls.append(
            ToolCall(
                id=text_of(one, "id"),
                name=text_of(inner, "name"),
                arguments=arguments_text(inner.get("arguments")),
            )
        )
    return tuple(calls)


def message_of(record: JsonObject) -> Message:
    """A message as OpenAI writes it, and as near relatives do."""
    said = text_of(record, "role")
    if said not in _ROLES:
        raise ImportRefused(f"a message has the role {said[:40]!r}; known are {', '.join(_ROLES)}")
    role = _ROLES[said]
    if role == "tool":
        return Message(
            role="tool",
            content=content_of(record),
            tool_call_id=text_of(record, "tool_call_id") or None,
            name=text_of(record, "name") or None,
        )
    if role == "assistant":
        calls = tool_calls_of(record)
        old = object_of(record, "function_call")
        if old and not calls:
            text = arguments_text(old.get("arguments"))
            calls = (ToolCall(name=text_of(old, "name"), arguments=text),)
        return Message(
            role="assistant",
            content=content_of(record) or text_of(record, "refusal"),
            tool_calls=calls,
            reasoning_content=text_of(record, "reasoning_content") or text_of(record, "reasoning"),
        )
    return Message(role="system" if role == "system" else "user", content=content_of(record))


def named_calls(messages: Iterable[Message]) -> list[Message]:
    """The messages, each answer of a tool with its tool's name, where the call before it says it."""
    names: dict[str, str] = {}
    found = []
    for message in messages:
        names |= {call.id: call.name for call in message.tool_calls if call.id}
        if message.role == "tool" and message.name is None and message.tool_call_id in names:
            message = message.model_copy(update={"name": names[message.tool_call_id] or None})
        found.append(message)
    return found
