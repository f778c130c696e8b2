"""The same short piece of work as each of the other programs records it."""

import json
from pathlib import Path
from typing import Any

SYSTEM, TASK = "You are a coder.", "Fix a.py"
ARGUMENTS = '{"command": "ls"}'
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "bash", "arguments": ARGUMENTS},
}

CHAT: dict[str, Any] = {
    "id": "fix-1",
    "messages": [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": TASK},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "a.py"},
        {"role": "assistant", "content": "Done."},
    ],
    "tools": [{"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}],
}

ATIF: dict[str, Any] = {
    "schema_version": "ATIF-v1.7",
    "session_id": "run-1",
    "trajectory_id": "root",
    "agent": {"name": "coder", "version": "2.0", "model_name": "qwen"},
    "steps": [
        {"step_id": 1, "source": "system", "message": SYSTEM},
        {"step_id": 2, "source": "user", "message": [{"type": "text", "text": TASK}]},
        {
            "step_id": 3,
            "source": "agent",
            "timestamp": "2026-01-02T03:04:05Z",
            "message": "",
            "tool_calls": [
                {"tool_call_id": "call_1", "function_name": "bash", "arguments": {"command": "ls"}}
            ],
            "observation": {"results": [{"source_call_id": "call_1", "content": "a.py"}]},
            "metrics": {
                "prompt_tokens": 3,
                "completion_tokens": 2,
                "prompt_token_ids": [1, 2, 3],
                "completion_token_ids": [4, 5],
                "logprobs": [-0.1, -0.2],
            },
        },
        {
            "step_id": 4,
            "source": "agent",
            "message": "Done.",
            "metrics": {"prompt_token_ids": [1, 2, 3, 4, 5, 6], "completion_token_ids": [7]},
        },
    ],
}

MINI: dict[str, Any] = {
    "info": {
        "model_stats": {"instance_cost": 0.1, "api_calls": 2},
        "config": {"model": {"model_name": "qwen"}},
        "mini_version": "2.4.6",
        "exit_status": "Submitted",
        "submission": "diff",
    },
    "messages": [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": TASK},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [CALL],
            "extra": {
                "actions": [{"command": "ls", "tool_call_id": "call_1"}],
                "timestamp": 1706000000.0,
                "response": {"usage": {"prompt_tokens": 30, "completion_tokens": 4}},
            },
        },
        {
            "role": "tool",
            "tool_call_id": "call_1",
            "content": "a.py",
            "extra": {"returncode": 0, "timestamp": 1706000001.0},
        },
        {"role": "assistant", "content": "Done.", "extra": {"timestamp": 1706000002.0}},
        {"role": "exit", "content": "diff", "extra": {"exit_status": "Submitted"}},
    ],
    "trajectory_format": "mini-swe-agent-1.1",
}

_ASKED = [
    {"role": "system", "content": SYSTEM, "agent": "main", "message_type": "system_prompt"},
    {"role": "user", "content": [{"type": "text", "text": TASK}], "agent": "main"},
]
_MADE = [
    {
        "role": "assistant",
        "content": "",
        "thought": "",
        "action": "ls",
        "agent": "main",
        "tool_calls": [CALL],
        "message_type": "action",
    },
    {
        "role": "tool",
        "content": [{"type": "text", "text": "a.py"}],
        "agent": "main",
        "tool_call_ids": ["call_1"],
        "message_type": "observation",
    },
]
SWE: dict[str, Any] = {
    "trajectory": [
        {
            "action": "ls",
            "observation": "a.py",
            "response": "",
            "thought": "",
            "state": {"working_dir": "/repo"},
            "execution_time": 0.1,
            "query": _ASKED,
            "extra_info": {},
        },
        {
            "action": "",
            "observation": "",
            "response": "Done.",
            "thought": "Done.",
            "state": {},
            "execution_time": 0.1,
            "query": [*_ASKED, *_MADE],
            "extra_info": {},
        },
    ],
    "history": [*_ASKED, *_MADE, {"role": "assistant", "content": "Done.", "agent": "main"}],
    "info": {"exit_status": "submitted", "submission": "diff", "model_stats": {"api_calls": 2}},
    "environment": "main",
}


def event(kind: str, number: int, **fields: Any) -> dict[str, Any]:
    """An event of OpenHands."""
    base = {"kind": kind, "id": f"0000000{number}", "timestamp": f"2026-01-02T03:04:0{number}"}
    return base | {"source": "agent"} | fields


EVENTS: list[dict[str, Any]] = [
    event("SystemPromptEvent", 0, system_prompt={"type": "text", "text": SYSTEM}, tools=[]),
    event(
        "MessageEvent",
        1,
        source="user",
        llm_message={"role": "user", "content": [{"type": "text", "text": TASK}]},
    ),
    event(
        "ActionEvent",
        2,
        thought=[],
        tool_name="bash",
        tool_call_id="call_1",
        tool_call={"id": "call_1", "name": "bash", "arguments": ARGUMENTS},
        llm_response_id="r1",
        security_risk="LOW",
    ),
    event("TokenEvent", 3, prompt_token_ids=[1, 2, 3], response_token_ids=[4, 5]),
    event(
        "ObservationEvent",
        4,
        source="environment",
        observation={"kind": "BashObservation", "content": [{"type": "text", "text": "a.py"}]},
        action_id="00000002",
        tool_name="bash",
        tool_call_id="call_1",
    ),
    event("MessageEvent", 5, llm_message={"role": "assistant", "content": "Done."}),
]


def write(path: Path, *values: Any) -> Path:
    """One document, or several as JSON Lines."""
    path.write_text("\n".join(json.dumps(value) for value in values))
    return path


def write_events(folder: Path, events: list[dict[str, Any]]) -> Path:
    """A folder as the OpenHands SDK keeps a conversation."""
    place = folder / "events"
    place.mkdir(parents=True)
    for number, one in enumerate(events):
        (place / f"event-{number:05d}-{one['id']}.json").write_text(json.dumps(one))
    state = {"id": "fix-1", "agent": {"kind": "Agent", "llm": {"model": "qwen"}}}
    (folder / "base_state.json").write_text(json.dumps(state))
    return folder
