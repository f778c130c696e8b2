"""OpenTelemetry: a rollout as a trace in OTLP JSON, one request a line, as the collector's file receiver reads it.

The rollout is an `invoke_workflow` span, every model call a `chat` span, every execution, recall and verdict an
`execute_tool` span. Ids are hashes of the rollout's, so that the same log gives the same trace.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from codojo.trajectories.exporters import conventions as gen_ai
from codojo.trajectories.exporters.formats import Format, JsonObject
from codojo.trajectories.rewards import rewards
from codojo.trajectories.schema import Choice, Effect, Message, Step, Trajectory

INTERNAL, CLIENT = 1, 3
"""Kinds of span."""
OK, ERROR = 1, 2
"""Codes of a status."""


def otel(trajectory: Trajectory) -> Iterator[JsonObject]:
    """One `ExportTraceServiceRequest`."""
    spans = [_effect(trajectory, effect) for effect in trajectory.effects]
    times = [int(span[name]) for span in spans for name in (_START, _END)]
    resource: dict[str, Any] = {"service.name": "codojo"}
    if version := trajectory.start.versions.get("codojo"):
        resource["service.version"] = version
    scope = {"name": "codojo.trajectories", "version": gen_ai.VERSION}
    yield {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [
                    {
                        "scope": scope,
                        "spans": [_root(trajectory, times), *spans],
                        "schemaUrl": gen_ai.SCHEMA_URL,
                    }
                ],
            }
        ]
    }


_START, _END = "startTimeUnixNano", "endTimeUnixNano"


def _root(trajectory: Trajectory, times: list[int]) -> JsonObject:
    start, brief, verdict, end = (
        trajectory.start,
        trajectory.brief,
        trajectory.verdict,
        trajectory.end,
    )
    source = start.imported
    ours: dict[str, Any] = {
        "rollout": trajectory.id,
        "run": start.run,
        "stage": start.stage,
        "task": brief.task_id,
        "suite": brief.suite,
        "split": brief.split,
        "imported": source.format if source else None,
        "failure": end.failure if end else "unfinished",
    }
    if verdict:
        ours |= {
            "verdict.status": verdict.status,
            "verdict.reason": verdict.reason,
            "verdict.tests": verdict.tests,
            "verdict.isolation": verdict.isolation,
        }
    ours |= {f"reward.{name}": value for name, value in rewards(verdict).items()}
    agent = source.agent if source and source.agent else start.graph
    known = {
        gen_ai.OPERATION: gen_ai.INVOKE_WORKFLOW,
        gen_ai.AGENT: agent,
        gen_ai.AGENT_VERSION: source.version if source else start.graph_version,
        gen_ai.CONVERSATION: trajectory.id,
        gen_ai.INPUT_MESSAGES: _messages((Message(role="user", content=brief.prompt),)),
    }
    failed = bool(end and end.failure)
    return {
        "traceId": _trace(trajectory),
        "spanId": _span(trajectory, ""),
        "name": f"{gen_ai.INVOKE_WORKFLOW} {agent}",
        "kind": INTERNAL,
        _START: str(min([*times, _nanos(trajectory.at)] if not source else times or [0])),
        _END: str(max(times or [_nanos(trajectory.at)])),
        "attributes": _attributes(known | _prefixed(ours)),
        "status": {"code": ERROR if failed else OK},
    }


def _effect(trajectory: Trajectory, effect: Effect) -> JsonObject:
    step = trajectory.steps.get(effect.key)
    at = trajectory.at if effect.at is None else effect.at
    if step and step.output.answered_at is not None:
        at = step.output.answered_at
    end = _nanos(at)
    if step:
        name, kind = f"{gen_ai.CHAT} {step.input.model}".strip(), CLIENT
        told = _chat(trajectory, step)
    else:
        name, kind = f"{gen_ai.EXECUTE_TOOL} {effect.effect}", INTERNAL
        told = _tool(trajectory, effect)
    told |= _prefixed({"path": list(effect.path), "key": effect.key})
    span: JsonObject = {
        "traceId": _trace(trajectory),
        "spanId": _span(trajectory, effect.key),
        "parentSpanId": _span(trajectory, ""),
        "name": name,
        "kind": kind,
        _START: str(end - int(effect.duration_s * 1e9)),
        _END: str(end),
    }
    status: JsonObject = {"code": OK}
    if effect.error:
        told[gen_ai.ERROR_TYPE] = effect.error.get("type", "error")
        status = {"code": ERROR, "message": effect.error.get("message", "")}
    return span | {"attributes": _attributes(told), "status": status}


def _chat(trajectory: Trajectory, step: Step) -> dict[str, Any]:
    asked, output = step.input, step.output
    sampling = asked.sampling
    ids = trajectory.prompt_token_ids(step.id)
    return {
        gen_ai.OPERATION: gen_ai.CHAT,
        gen_ai.PROVIDER: trajectory.start.versions.get("engine", "").split(" ")[0] or "unknown",
        gen_ai.CONVERSATION: trajectory.id,
        gen_ai.AGENT: asked.agent,
        gen_ai.REQUEST_MODEL: asked.model,
        gen_ai.TEMPERATURE: sampling.get("temperature"),
        gen_ai.TOP_P: sampling.get("top_p"),
        gen_ai.MAX_TOKENS: sampling.get("max_tokens"),
        gen_ai.CHOICES: sampling.get("n"),
        gen_ai.STOP: sampling.get("stop"),
        gen_ai.RESPONSE_MODEL: output.model,
        gen_ai.FINISH_REASONS: [choice.finish_reason or "unknown" for choice in output.choices],
        gen_ai.INPUT_TOKENS: output.prompt_tokens or None,
        gen_ai.OUTPUT_TOKENS: output.completion_tokens or None,
        gen_ai.INPUT_MESSAGES: _messages(trajectory.prompt(step.id)),
        gen_ai.OUTPUT_MESSAGES: json.dumps(
            [_output(choice) for choice in output.choices], ensure_ascii=False
        ),
        gen_ai.TOOL_DEFINITIONS: json.dumps(asked.tools, ensure_ascii=False)
        if asked.tools
        else None,
    } | _prefixed(
        {
            "template": asked.template,
            "parent": asked.parent.step if asked.parent else None,
            "prompt_token_ids": None if ids is None else json.dumps(ids),
            "output_token_ids": _each(choice.token_ids for choice in output.choices),
            "output_logprobs": _each(choice.logprobs for choice in output.choices),
        }
    )


def _tool(trajectory: Trajectory, effect: Effect) -> dict[str, Any]:
    return {
        gen_ai.OPERATION: gen_ai.EXECUTE_TOOL,
        gen_ai.CONVERSATION: trajectory.id,
        gen_ai.TOOL_NAME: effect.effect,
        gen_ai.TOOL_CALL: effect.key,
        gen_ai.TOOL_ARGUMENTS: json.dumps(effect.input, ensure_ascii=False),
        gen_ai.TOOL_RESULT: None
        if effect.output is None
        else json.dumps(effect.output, ensure_ascii=False),
    }


def _each(values: Iterator[tuple[Any, ...] | None]) -> str | None:
    """One list for each choice, as JSON text; None where no choice has one."""
    found = list(values)
    return json.dumps(found) if any(value is not None for value in found) else None


def _messages(messages: tuple[Message, ...]) -> str:
    return json.dumps([_message(message) for message in messages], ensure_ascii=False)


def _message(message: Message) -> JsonObject:
    if message.role == "tool":
        part = {
            "type": "tool_call_response",
            "id": message.tool_call_id,
            "response": message.content,
        }
        return {"role": "tool", "parts": [part]}
    parts: list[JsonObject] = []
    if message.reasoning_content:
        parts.append({"type": "reasoning", "content": message.reasoning_content})
    if message.content or not message.tool_calls:
        parts.append({"type": "text", "content": message.content})
    for call in message.tool_calls:
        made = {"id": call.id or None, "name": call.name, "arguments": _parsed(call.arguments)}
        parts.append({"type": "tool_call", **made})
    return {"role": message.role, "parts": parts}


def _output(choice: Choice) -> JsonObject:
    return _message(choice.message) | {"finish_reason": choice.finish_reason or "unknown"}


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def _prefixed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{gen_ai.OURS}{name}": value for name, value in values.items()}


def _attributes(values: Mapping[str, Any]) -> list[JsonObject]:
    """Attributes in OTLP's spelling; what is None, empty or an empty list is left out."""
    return [
        {"key": name, "value": _any(value)}
        for name, value in values.items()
        if value is not None and value != "" and value != []
    ]


def _any(value: Any) -> JsonObject:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_any(one) for one in value]}}
    return {"stringValue": value if isinstance(value, str) else json.dumps(value)}


def _nanos(at: float) -> int:
    return int(at * 1_000_000) * 1_000


def _trace(trajectory: Trajectory) -> str:
    return hashlib.sha256(trajectory.id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _span(trajectory: Trajectory, key: str) -> str:
    named = f"{trajectory.id}/{key}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(named).hexdigest()[:16]


FORMATS = (
    Format(
        name="otel",
        about="Every rollout as a trace in OTLP JSON (GenAI conventions), one request a line.",
        takes=Trajectory,
        records=otel,
    ),
)
