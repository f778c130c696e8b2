"""Trajectories as SWE-agent (`.traj`) and mini-swe-agent write them.

Both know one conversation: that which led to what was handed in. An answer that calls a tool is an action, and
so is an answer that hands in code; what the team was told next is its observation.
"""

import json
from collections.abc import Iterator
from typing import Any

from codojo.trajectories.exporters.branches import Branch, Turn, main_branch
from codojo.trajectories.exporters.formats import Format, JsonObject, NotExpressible
from codojo.trajectories.exporters.messages import openai
from codojo.trajectories.exporters.writing import safe_name
from codojo.trajectories.rewards import rewards
from codojo.trajectories.schema import Message, ToolCall, Trajectory

MINI_FORMAT = "mini-swe-agent-1.1"
"""What mini-swe-agent 2 writes into every file."""


def swe_agent(trajectory: Trajectory) -> Iterator[JsonObject]:
    """One document of SWE-agent 1.1: steps, each with the whole prompt, and the history."""
    branch = _branch(trajectory)
    queries: list[JsonObject] = []
    steps = []
    for turn, heard in _paired(branch):
        queries += [_history(message) for message in turn.step.input.messages]
        said = turn.choice.message
        steps.append(
            {
                "action": _action(said),
                "observation": "\n".join(message.content for message in heard),
                "response": said.content,
                "thought": said.content,
                "execution_time": turn.step.duration_s,
                "state": {},
                "query": list(queries),
                "extra_info": {},
            }
        )
        queries.append(_history(said))
    queries += [_history(message) for message in branch.rest]
    yield {
        "trajectory": steps,
        "history": queries,
        "info": _info(trajectory, branch) | {"codojo": _ours(trajectory)},
        "environment": "codojo",
        "instance_id": trajectory.brief.task_id,
    }


def mini_swe_agent(trajectory: Trajectory) -> Iterator[JsonObject]:
    """One document of mini-swe-agent 2."""
    branch = _branch(trajectory)
    info = _info(trajectory, branch)
    messages = [_mini(message, turn) for message, turn in branch.messages()]
    ended = {"exit_status": info["exit_status"], "submission": info["submission"]}
    messages.append({"role": "exit", "content": info["submission"], "extra": ended})
    yield {
        "info": {
            "model_stats": {
                "instance_cost": 0.0,
                "api_calls": info["model_stats"]["api_calls"],
            },
            "config": {"model": {"model_name": branch.last.step.output.model}},
            "mini_version": "",
            **ended,
            "codojo": _ours(trajectory),
        },
        "messages": messages,
        "trajectory_format": MINI_FORMAT,
        "instance_id": trajectory.brief.task_id,
    }


def _branch(trajectory: Trajectory) -> Branch:
    branch = main_branch(trajectory)
    if branch is None:
        raise NotExpressible("no_answer")
    return branch


def _paired(branch: Branch) -> Iterator[tuple[Turn, tuple[Message, ...]]]:
    """Each answer with what came after it."""
    for i, turn in enumerate(branch.turns):
        is_last = i + 1 == len(branch.turns)
        yield turn, branch.rest if is_last else branch.turns[i + 1].step.input.messages


def _action(said: Message) -> str:
    """What was done: a shell command, else the call as it would be written; without a call, nothing."""
    return "\n".join(_command(call) or f"{call.name} {call.arguments}" for call in said.tool_calls)


def _command(call: ToolCall) -> str:
    try:
        given = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return ""
    command = given.get("command") if isinstance(given, dict) else None
    return command if isinstance(command, str) else ""


def _history(message: Message) -> JsonObject:
    """A message as SWE-agent keeps it."""
    item: JsonObject = {"role": message.role, "content": message.content, "agent": "main"}
    if message.role == "assistant":
        item["message_type"] = "action"
        item["thought"] = message.content
        item["action"] = _action(message)
        if message.tool_calls:
            item["tool_calls"] = openai(message)["tool_calls"]
    elif message.role == "tool":
        item["message_type"] = "observation"
        item["tool_call_ids"] = [message.tool_call_id] if message.tool_call_id else []
    else:
        item["message_type"] = "system_prompt" if message.role == "system" else "observation"
    return item


def _mini(message: Message, turn: Turn | None) -> JsonObject:
    if message.role == "tool" and message.tool_call_id is None:
        raise NotExpressible("tool_answer_without_id")
    record = openai(message)
    record.setdefault("content", "")
    if message.reasoning_content:
        record["reasoning_content"] = message.reasoning_content
    if turn is None:
        return record
    output = turn.step.output
    usage = {
        "prompt_tokens": output.prompt_tokens,
        "completion_tokens": len(turn.choice.token_ids or ()) or output.completion_tokens,
    }
    actions = [
        {"command": _command(c) or f"{c.name} {c.arguments}", "tool_call_id": c.id}
        for c in message.tool_calls
    ]
    choices = [{"index": 0, "finish_reason": turn.choice.finish_reason}]
    extra: JsonObject = {
        "actions": actions,
        "cost": 0.0,
        "response": {"model": output.model, "usage": usage, "choices": choices},
    }
    if output.answered_at is not None:
        extra["timestamp"] = output.answered_at
    return record | {"extra": extra}


def _info(trajectory: Trajectory, branch: Branch) -> JsonObject:
    """How it ended; of an import, what its source said."""
    end = trajectory.end
    claims = trajectory.start.imported.claims if trajectory.start.imported else {}
    chosen = end.proposals[end.chosen].candidate if end and end.chosen is not None else None
    status = claims.get("exit_status")
    submission = claims.get("submission")
    return {
        "exit_status": status if isinstance(status, str) else _status(trajectory),
        "submission": submission
        if isinstance(submission, str)
        else "\n".join(chosen.files.values())
        if chosen
        else "",
        "model_stats": {
            "instance_cost": 0.0,
            "tokens_sent": sum(turn.step.output.prompt_tokens for turn in branch.turns),
            "tokens_received": sum(turn.step.output.completion_tokens for turn in branch.turns),
            "api_calls": len(branch.turns),
        },
    }


def _status(trajectory: Trajectory) -> str:
    if trajectory.end is None:
        return "unfinished"
    return "submitted" if trajectory.end.chosen is not None else "no_submission"


def _ours(trajectory: Trajectory) -> dict[str, Any]:
    verdict = trajectory.verdict
    return {
        "rollout": trajectory.id,
        "suite": trajectory.brief.suite,
        "split": trajectory.brief.split,
        "verdict": verdict.model_dump(mode="json") if verdict else None,
        "rewards": rewards(verdict),
    }


def name_of(trajectory: Trajectory) -> str:
    """A rollout's file."""
    return safe_name(trajectory.id)


FORMATS = (
    Format(
        name="swe-agent",
        about="The conversation that led to what was handed in, one .traj file each, as SWE-agent writes it.",
        takes=Trajectory,
        records=swe_agent,
        suffix=".traj",
        name_of=name_of,
    ),
    Format(
        name="mini-swe-agent",
        about="The same as mini-swe-agent writes it (.traj.json), for its inspector and its readers.",
        takes=Trajectory,
        records=mini_swe_agent,
        suffix=".traj.json",
        name_of=name_of,
    ),
)
