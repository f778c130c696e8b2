"""Messages and tools as the formats spell them."""

import json
from collections.abc import Iterable
from typing import Any

from codojo.trajectories.exporters.formats import JsonObject, NotExpressible
from codojo.trajectories.rows import Tools
from codojo.trajectories.schema import Message, ToolCall


def plain(message: Message) -> JsonObject:
    """A message as TRL and chat templates take it: the arguments of a call are an object.

    Raises:
        NotExpressible: If a call's arguments are not a JSON object; a template could not render them.
    """
    record: JsonObject = {"role": message.role, "content": message.content}
    if message.tool_calls:
        record["tool_calls"] = [
            {"type": "function", "function": {"name": c.name, "arguments": arguments(c)}}
            for c in message.tool_calls
        ]
    if message.role == "tool" and message.name:
        record["name"] = message.name
    return record


def openai(message: Message) -> JsonObject:
    """A message as OpenAI takes it: the arguments of a call are JSON text, answers carry the call's id.

    Raises:
        NotExpressible: If a tool's answer or a call has no id.
    """
    record: JsonObject = {"role": message.role}
    if message.content or not message.tool_calls:
        record["content"] = message.content
    if message.tool_calls:
        record["tool_calls"] = [
            {
                "id": c.id,
                "type": "function",
                "function": {"name": c.name, "arguments": c.arguments},
            }
            for c in message.tool_calls
        ]
        if not all(c.id for c in message.tool_calls):
            raise NotExpressible("tool_call_without_id")
    if message.role == "tool":
        if not message.tool_call_id:
            raise NotExpressible("tool_answer_without_id")
        record["tool_call_id"] = message.tool_call_id
    return record


def plain_all(messages: Iterable[Message]) -> list[JsonObject]:
    """Several messages as TRL takes them."""
    return [plain(message) for message in messages]


def openai_all(messages: Iterable[Message]) -> list[JsonObject]:
    """Several messages as OpenAI takes them."""
    return [openai(message) for message in messages]


def arguments(call: ToolCall) -> dict[str, Any]:
    """The arguments of a call as an object.

    Raises:
        NotExpressible: If what the model wrote is none.
    """
    try:
        found = json.loads(call.arguments)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NotExpressible("tool_arguments_no_object")
    return found


def tools_text(tools: Tools) -> str:
    """Tools as JSON text: rows of different tools then have one column type."""
    return json.dumps(tools, ensure_ascii=False)
