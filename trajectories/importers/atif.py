"""ATIF, the Agent Trajectory Interchange Format of Harbor (RFC 0001), versions 1.0 to 1.8.

Steps of `system` and `user` are messages. A step of `agent` is a model's answer, its observation the
messages after it: answers of tools where a result names the call, else a user's. A step of no model
(`llm_call_count` 0) or copied for context is a message that later answers saw, but no answer to learn.
Embedded sub-agents become threads of their own.
"""

import re
from typing import Any

from codojo.errors import ImportRefused
from codojo.trajectories.importers.conversation import Answer, Conversation, Spoken, Thread
from codojo.trajectories.importers.fields import (
    JsonObject,
    arguments_text,
    content_of,
    count_of,
    ids_of,
    logprobs_of,
    object_of,
    objects_of,
    refuse,
    text_of,
    time_of,
)
from codojo.trajectories.schema import Choice, Message, ToolCall

NAME = "atif"
NEWEST = (1, 8)
"""The newest version that this module knows."""
MAX_AGENTS = 1_000
"""Embedded trajectories of one document."""

_VERSION = re.compile(r"ATIF-v(\d{1,3})\.(\d{1,3})")


def recognise(value: Any) -> bool:
    """Whether it says that it is ATIF."""
    version = value.get("schema_version") if isinstance(value, dict) else None
    return isinstance(version, str) and version.startswith("ATIF-")


def read(value: Any) -> Conversation:
    """The conversation of a root trajectory with all that are embedded in it.

    Raises:
        ImportRefused: If the version is newer than this module, or a field is not as the format says.
    """
    if not isinstance(value, dict):
        raise refuse("the trajectory", value, "an object")
    version = text_of(value, "schema_version")
    match = _VERSION.fullmatch(version)
    if match is None or not (1, 0) <= (int(match[1]), int(match[2])) <= NEWEST:
        newest = ".".join(map(str, NEWEST))
        raise ImportRefused(
            f"'schema_version' is {version[:40]!r}; this codojo reads ATIF-v1.0 to ATIF-v{newest}"
        )
    threads: list[Thread] = []
    _threads(value, (), threads)
    agent = object_of(value, "agent")
    extra = object_of(value, "extra")
    claims = {
        name: found
        for name, found in (
            ("trajectory_id", value.get("trajectory_id")),
            ("session_id", value.get("session_id")),
            ("notes", value.get("notes")),
            ("final_metrics", value.get("final_metrics")),
            ("extra", extra),
        )
        if found
    }
    task = object_of(extra, "codojo").get("task_id")
    return Conversation(
        format=version,
        threads=tuple(threads),
        task_id=task if isinstance(task, str) else "",
        agent=text_of(agent, "name"),
        version=text_of(agent, "version"),
        claims=claims,
    )


def _threads(record: JsonObject, path: tuple[str, ...], found: list[Thread]) -> None:
    """A trajectory and what is embedded in it, depth first; the parser's cap bounds the depth."""
    if len(found) >= MAX_AGENTS:
        raise ImportRefused(f"it embeds more than {MAX_AGENTS:,} trajectories")
    agent = object_of(record, "agent")
    spoken = Spoken()
    model = text_of(agent, "model_name")
    for number, step in enumerate(objects_of(record, "steps"), 1):
        try:
            _step(step, model, spoken)
        except ImportRefused as err:
            raise ImportRefused(f"step {number}: {err}") from None
    tools = tuple(objects_of(agent, "tool_definitions"))
    name = text_of(agent, "name") or "agent"
    found.append(spoken.thread(name, path, tools))
    for i, inner in enumerate(objects_of(record, "subagent_trajectories")):
        id = text_of(inner, "trajectory_id") or f"{i + 1}"
        try:
            _threads(inner, (*path, id[:200]), found)
        except ImportRefused as err:
            raise ImportRefused(f"sub-agent {id[:40]!r}: {err}") from None


def _step(step: JsonObject, model: str, spoken: Spoken) -> None:
    source = text_of(step, "source")
    if source not in ("system", "user", "agent"):
        raise ImportRefused(f"'source' is {source[:40]!r}, must be system, user or agent")
    content = content_of(step, "message")
    if source == "system":
        spoken.hear(Message(role="system", content=content))
    elif source == "user":
        ours = object_of(object_of(step, "extra"), "codojo")
        spoken.hear(_told_late(ours, content) or Message(role="user", content=content))
    calls = _calls(step) if source == "agent" else ()
    if source == "agent":
        message = Message(
            role="assistant",
            content=content,
            tool_calls=calls,
            reasoning_content=text_of(step, "reasoning_content"),
        )
        copied = bool(step.get("is_copied_context")) or step.get("llm_call_count") == 0
        if copied:
            if content or calls:
                spoken.hear(message)
        else:
            spoken.answer(_answer(step, message, model))
    names = {call.id: call.name for call in calls}
    for result in objects_of(object_of(step, "observation"), "results"):
        spoken.hear(_result(result, names))


def _told_late(ours: JsonObject, content: str) -> Message | None:
    """A tool's answer that stands apart from its call, which only this project writes so."""
    if ours.get("role") != "tool":
        return None
    return Message(
        role="tool",
        content=content,
        tool_call_id=text_of(ours, "tool_call_id") or None,
        name=text_of(ours, "name") or None,
    )


def _calls(step: JsonObject) -> tuple[ToolCall, ...]:
    return tuple(_call(call) for call in objects_of(step, "tool_calls"))


def _call(call: JsonObject) -> ToolCall:
    """A call; its arguments as the model wrote them, where this project exported it."""
    ours = object_of(object_of(call, "extra"), "codojo")
    written = ours.get("arguments")
    return ToolCall(
        id="" if ours.get("id") == "" else text_of(call, "tool_call_id"),
        name=text_of(call, "function_name"),
        arguments=written if isinstance(written, str) else arguments_text(call.get("arguments")),
    )


def _answer(step: JsonObject, message: Message, model: str) -> Answer:
    metrics = object_of(step, "metrics")
    one_call = step.get("llm_call_count") in (None, 1)
    ids = ids_of(metrics, "completion_token_ids") if one_call else None
    return Answer(
        choice=Choice(
            text=message.content,
            tool_calls=message.tool_calls,
            reasoning_content=message.reasoning_content,
            finish_reason=text_of(object_of(metrics, "extra"), "finish_reason"),
            token_ids=ids,
            logprobs=logprobs_of(metrics, "logprobs", len(ids) if ids is not None else None),
        ),
        model=text_of(step, "model_name") or model,
        prompt_tokens=count_of(metrics, "prompt_tokens"),
        completion_tokens=count_of(metrics, "completion_tokens"),
        prompt_token_ids=ids_of(metrics, "prompt_token_ids") if one_call else None,
        at=time_of(step, "timestamp"),
    )


def _result(result: JsonObject, names: dict[str, str]) -> Message:
    content = content_of(result)
    refs = objects_of(result, "subagent_trajectory_ref")
    if not content and refs:
        told = [text_of(r, "trajectory_id") or text_of(r, "trajectory_path") for r in refs]
        content = f"[sub-agent {', '.join(told)}]"
    call = text_of(result, "source_call_id")
    if not call:
        return Message(role="user", content=content)
    if call not in names:
        raise ImportRefused(
            f"a result answers the call {call[:40]!r}, which the step does not make"
        )
    return Message(role="tool", content=content, tool_call_id=call, name=names[call] or None)
