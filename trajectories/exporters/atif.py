"""ATIF, the Agent Trajectory Interchange Format of Harbor (RFC 0001).

A rollout of ours is a trajectory whose agent is the graph: each execution, recall and verdict a step of no model
(`llm_call_count` 0), each conversation of an agent an embedded trajectory that such a step refers to. An
imported rollout is what it was: the agent's own trajectory, with its sub-agents embedded. What ATIF has no
word for is in `extra.codojo`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from codojo.trajectories.exporters.branches import (
    Branch,
    Turn,
    branches,
    loose_messages,
    main_branch,
)
from codojo.trajectories.exporters.formats import Format, JsonObject
from codojo.trajectories.exporters.writing import safe_name
from codojo.trajectories.rewards import rewards
from codojo.trajectories.schema import Effect, Message, ToolCall, Trajectory

VERSION = "ATIF-v1.8"
"""The newest version of the format (harbor 0.25)."""


def atif(trajectory: Trajectory) -> Iterator[JsonObject]:
    """One document."""
    yield _imported(trajectory) if trajectory.start.imported else _rollout(trajectory)


def name_of(trajectory: Trajectory) -> str:
    """A rollout's file."""
    return safe_name(trajectory.id)


def _rollout(trajectory: Trajectory) -> JsonObject:
    found = branches(trajectory)
    ends: dict[str, list[Branch]] = {}
    for branch in found:
        ends.setdefault(branch.last.step.id, []).append(branch)
    steps = _Steps(trajectory)
    steps.add(Message(role="user", content=trajectory.brief.prompt))
    for effect in trajectory.effects:
        if effect.effect == "reply" and effect.error is None:
            if effect.key in ends:
                steps.record(_delegation(effect, ends[effect.key]))
        else:
            steps.record(_dispatch(effect))
    return _document(
        trajectory,
        f"codojo-{trajectory.start.graph}",
        steps.done,
        [_conversation(trajectory, branch, branch.id) for branch in found],
    )


def _imported(trajectory: Trajectory) -> JsonObject:
    """The main agent's conversation at the root, all others embedded."""
    found = branches(trajectory)
    main = main_branch(trajectory)
    is_root = main is not None and not main.path
    others = [b for b in found if main is None or not is_root or b.id != main.id]
    steps = _Steps(trajectory)
    if main is not None and is_root:
        steps.add_branch(main)
    else:
        for message in loose_messages(trajectory).get(None, ()):
            steps.add(message)
    if not steps.done:
        steps.add(Message(role="user", content=trajectory.brief.prompt))
    source = trajectory.start.imported
    name = (source.agent if source else "") or next(iter(trajectory.start.models), "agent")
    model = main.last.step.output.model if main and is_root else ""
    tools = main.turns[0].step.input.tools if main and is_root else ()
    paths = Counter(branch.path for branch in others)
    embedded = [  # a sub-agent keeps the id that it came with, where that is still its own
        _conversation(trajectory, b, b.path[-1] if b.path and paths[b.path] == 1 else b.id)
        for b in others
    ]
    return _document(trajectory, name, steps.done, embedded, model, tools)


def _document(
    trajectory: Trajectory,
    agent: str,
    steps: list[JsonObject],
    embedded: list[JsonObject],
    model: str = "",
    tools: Iterable[JsonObject] = (),
) -> JsonObject:
    end = trajectory.end
    document: JsonObject = {
        "schema_version": VERSION,
        "session_id": trajectory.start.run,
        "trajectory_id": trajectory.id,
        "agent": _agent(trajectory, agent, model, tools),
        "steps": steps,
    }
    if end:
        document["final_metrics"] = {
            "total_prompt_tokens": end.cost.prompt_tokens,
            "total_completion_tokens": end.cost.completion_tokens,
            "extra": {"calls": end.cost.calls, "seconds": end.cost.seconds},
        }
    document["extra"] = {"codojo": _ours(trajectory)}
    if embedded:
        document["subagent_trajectories"] = embedded
    return document


def _agent(
    trajectory: Trajectory, name: str, model: str = "", tools: Iterable[JsonObject] = ()
) -> JsonObject:
    source = trajectory.start.imported
    version = source.version if source else trajectory.start.versions.get("codojo", "")
    agent: JsonObject = {"name": name, "version": version or "unknown"}
    if model:
        agent["model_name"] = model
    if tools := list(tools):
        agent["tool_definitions"] = tools
    return agent


def _ours(trajectory: Trajectory) -> JsonObject:
    """What ATIF has no word for."""
    start, end, brief = trajectory.start, trajectory.end, trajectory.brief
    told: dict[str, Any] = {
        "run": start.run,
        "stage": start.stage,
        "task_id": brief.task_id,
        "suite": brief.suite,
        "family": brief.family,
        "split": brief.split,
        "task_hash": start.task_hash,
        "graph": start.graph,
        "graph_version": start.graph_version,
        "models": start.models,
        "versions": start.versions,
        "memory": [e.output for e in trajectory.effects if e.effect == "recall" and e.output],
    }
    if end:
        told["verdict"] = end.verdict.model_dump(mode="json") if end.verdict else None
        told["rewards"] = rewards(end.verdict)
        told["failure"] = end.failure
        chosen = end.proposals[end.chosen] if end.chosen is not None else None
        told["files"] = chosen.candidate.files if chosen else None
        told["chosen"] = (
            f"{chosen.origin.step}.{chosen.origin.choice}" if chosen and chosen.origin else None
        )
    if start.imported:
        told["imported"] = start.imported.model_dump(mode="json")
    return {name: value for name, value in told.items() if value not in (None, "", [], {})}


def _conversation(trajectory: Trajectory, branch: Branch, id: str) -> JsonObject:
    """One conversation of an agent, as a trajectory of its own."""
    steps = _Steps(trajectory)
    steps.add_branch(branch)
    step = branch.last.step
    verdicts = [
        p.verdict
        for p in trajectory.proposals
        if p.origin and (p.origin.step, p.origin.choice) == (step.id, branch.last.index)
    ]
    ours: dict[str, Any] = {"path": list(branch.path)}
    if verdicts and verdicts[0]:
        ours["verdict"] = verdicts[0].model_dump(mode="json")
        ours["rewards"] = rewards(verdicts[0])
    return {
        "schema_version": VERSION,
        "trajectory_id": id,
        "agent": _agent(trajectory, step.input.agent, step.output.model, step.input.tools),
        "steps": steps.done,
        "extra": {"codojo": ours},
    }


def _delegation(effect: Effect, ended: list[Branch]) -> JsonObject:
    """The graph asked an agent; its conversations are embedded."""
    agent = ended[0].last.step.input.agent
    refs = [{"trajectory_id": branch.id} for branch in ended]
    step = _acted(effect, agent, {"path": list(effect.path)})
    step["observation"] = {
        "results": [{"source_call_id": effect.key, "subagent_trajectory_ref": refs}]
    }
    return step


def _dispatch(effect: Effect) -> JsonObject:
    """The graph did something that asked no model."""
    held: Any = effect.input
    given: JsonObject = held if isinstance(held, dict) else {"input": held}
    step = _acted(effect, effect.effect, given)
    if effect.error:
        content = f"{effect.error.get('type', 'error')}: {effect.error.get('message', '')}"
    elif isinstance(effect.output, str):
        content = effect.output
    else:
        content = json.dumps(effect.output, ensure_ascii=False)
    step["observation"] = {"results": [{"source_call_id": effect.key, "content": content}]}
    return step


def _acted(effect: Effect, name: str, arguments: JsonObject) -> JsonObject:
    call = {"tool_call_id": effect.key, "function_name": name, "arguments": arguments}
    step: JsonObject = {"source": "agent", "message": "", "tool_calls": [call]}
    if effect.at is not None:
        step["timestamp"] = _time(effect.at)
    step["llm_call_count"] = 0
    step["extra"] = {"codojo": {"path": list(effect.path), "duration_s": effect.duration_s}}
    return step


class _Steps:
    """Numbers steps, and puts the answers of tools into the step that called them."""

    def __init__(self, trajectory: Trajectory) -> None:
        self.done: list[JsonObject] = []
        self._trajectory = trajectory
        self._logged = {effect.key: effect.at for effect in trajectory.effects}
        self._calls: dict[str, str] = {}

    def record(self, step: JsonObject) -> None:
        """Append a step that is whole."""
        self.done.append({"step_id": len(self.done) + 1, **step})
        self._calls = {}

    def add_branch(self, branch: Branch) -> None:
        """All of a conversation; answers that are another branch's are marked as copies."""
        answers = 0
        for message, turn in branch.messages():
            self.add(message, turn, is_copy=answers < branch.copied)
            answers += turn is not None

    def add(self, message: Message, turn: Turn | None = None, *, is_copy: bool = False) -> None:
        """Append a message; an answer of a tool joins the step that made the call."""
        if message.role == "tool" and message.tool_call_id in self._calls:
            given = {"source_call_id": message.tool_call_id, "content": message.content}
            results = self.done[-1].setdefault("observation", {"results": []})["results"]
            results.append(given)
            return
        if message.role == "assistant":
            self._answer(message, turn, is_copy)
            return
        source = "system" if message.role == "system" else "user"
        step: JsonObject = {"source": source, "message": message.content}
        if message.role == "tool":
            ours = {"role": "tool", "tool_call_id": message.tool_call_id, "name": message.name}
            step["extra"] = {"codojo": ours}
        self.record(step)

    def _answer(self, message: Message, turn: Turn | None, is_copy: bool) -> None:
        step: JsonObject = {"source": "agent"}
        if turn:
            at = turn.step.output.answered_at or self._logged.get(turn.step.id)
            if at is not None:
                step["timestamp"] = _time(at)
            if turn.step.output.model:
                step["model_name"] = turn.step.output.model
        step["message"] = message.content
        if message.reasoning_content:
            step["reasoning_content"] = message.reasoning_content
        if message.tool_calls:
            step["tool_calls"] = [_call(call, i) for i, call in enumerate(message.tool_calls, 1)]
        if turn:
            if metrics := _metrics(self._trajectory, turn):
                step["metrics"] = metrics
            step["llm_call_count"] = 1
            step["extra"] = {"codojo": _call_facts(turn)}
        if is_copy or turn is None:
            step["is_copied_context"] = True
        self.record(step)
        self._calls = {c.id: c.name for c in message.tool_calls if c.id}


def _call(call: ToolCall, number: int) -> JsonObject:
    """A call; how the model wrote its arguments, where an object cannot say it."""
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        arguments = None
    ours = {} if call.id else {"id": ""}
    if not isinstance(arguments, dict):
        arguments, ours["arguments"] = {}, call.arguments
    elif json.dumps(arguments, ensure_ascii=False) != call.arguments:
        ours["arguments"] = call.arguments
    made: JsonObject = {
        "tool_call_id": call.id or f"call-{number}",
        "function_name": call.name,
        "arguments": arguments,
    }
    return made | ({"extra": {"codojo": ours}} if ours else {})


def _metrics(trajectory: Trajectory, turn: Turn) -> JsonObject:
    output, choice = turn.step.output, turn.choice
    is_only = len(output.choices) == 1
    wrote = len(choice.token_ids or ()) or (output.completion_tokens if is_only else 0)
    told: dict[str, Any] = {
        "prompt_tokens": output.prompt_tokens,
        "completion_tokens": wrote,
        "prompt_token_ids": trajectory.prompt_token_ids(turn.step.id),
        "completion_token_ids": choice.token_ids,
        "logprobs": choice.logprobs,
    }
    found: JsonObject = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in told.items()
        if value
    }
    if choice.finish_reason:
        found["extra"] = {"finish_reason": choice.finish_reason}
    return found


def _call_facts(turn: Turn) -> JsonObject:
    step = turn.step
    return {
        "step": step.id,
        "choice": turn.index,
        "path": list(step.path),
        "template": step.input.template,
        "sampling": step.input.sampling,
        "duration_s": step.duration_s,
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


FORMATS = (
    Format(
        name="atif",
        about="Whole rollouts with their agents embedded, one file each, for Harbor and other readers of ATIF.",
        takes=Trajectory,
        records=atif,
        suffix=".json",
        name_of=name_of,
    ),
)
