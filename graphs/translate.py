"""From what the log says, or a watcher is told, to the events of the stream. Pure but for what it remembers."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from codojo.agents.critic import read_critique
from codojo.agents.parsing import bullet_lines, solution
from codojo.agents.planner import MAX_STEPS
from codojo.graphs import events as e
from codojo.graphs.run import RUN_FAILED, RUN_FINISHED, RUN_STARTED, RUN_STOPPED
from codojo.memory.schema import entry_of
from codojo.tasks.schema import Verdict
from codojo.trajectories.journal import ASKED, EFFECT
from codojo.trajectories.log import Event
from codojo.trajectories.schema import (
    FINISHED,
    STARTED,
    Cost,
    Effect,
    RolloutEnd,
    RolloutStart,
    StepInput,
    StepOutput,
    read_effect,
)
from codojo.trajectories.watching import DELTA, PERSON, Seen


class Translator:
    """Turns records into events, one after the other; a live pass and the log give the same ones."""

    def __init__(self) -> None:
        self._starts: dict[str, RolloutStart] = {}

    def events(self, seen: Seen) -> Iterator[e.TeamEvent]:
        """The events of one record; none for what no reader shows."""
        data, rollout = seen.data, seen.rollout
        start = self._starts.get(rollout or "")
        if seen.kind == STARTED and rollout:
            start = self._starts[rollout] = RolloutStart.model_validate(data)
        run = start.run if start else str(data.get("run", rollout or ""))
        head = {"run": run, "rollout": rollout, "at": seen.at, "replayed": seen.replayed}
        match seen.kind:
            case kind if kind in (RUN_STARTED, RUN_FINISHED, RUN_STOPPED, RUN_FAILED):
                yield _of_run(kind, data, head)
            case kind if kind == STARTED and start:
                yield _rollout_started(start, head)
            case kind if kind == FINISHED:
                yield from _rollout_finished(RolloutEnd.model_validate(data), head)
            case kind if kind == ASKED:
                yield _asked(data, head)
            case kind if kind == EFFECT:
                yield from _done(read_effect(dict(data)), start, head)
            case kind if kind == DELTA:
                named = {name: data[name] for name in ("choice", "attempt", "text")}
                yield e.TextDelta(step=data["key"], **named, **head)

    def of_log(self, logged: Iterable[Event]) -> Iterator[e.TeamEvent]:
        """The events of a log."""
        for event in logged:
            yield from self.events(Seen(event.kind, event.rollout, event.data, True, event.at))


def _of_run(kind: str, data: Mapping[str, Any], head: dict[str, Any]) -> e.TeamEvent:
    if kind == RUN_STARTED:
        budget = (data.get("settings") or {}).get("budget") or {}
        return e.RunStarted(command=data["command"], args=data["args"], budget=budget, **head)
    cost = Cost.model_validate(data.get("cost") or {})
    if kind == RUN_FINISHED:
        return e.RunFinished(cost=cost, **head)
    if kind == RUN_STOPPED:
        return e.RunError(
            error="Stopped", message=f"stopped by {data['reason']}", cost=cost, **head
        )
    return e.RunError(error=data["error"], message=data["message"], cost=cost, **head)


def _rollout_started(start: RolloutStart, head: dict[str, Any]) -> e.TeamEvent:
    brief = start.brief
    return e.RolloutStarted(
        task_id=brief.task_id,
        prompt=brief.prompt,
        entry_point=brief.entry_point,
        graph=start.graph,
        models=start.models,
        **head,
    )


def _rollout_finished(end: RolloutEnd, head: dict[str, Any]) -> Iterator[e.TeamEvent]:
    if end.deliverable:
        yield e.Artifact(files=end.deliverable, **head)
    chosen = end.proposals[end.chosen] if end.chosen is not None else None
    yield e.RolloutFinished(
        verdict=end.verdict,
        failure=end.failure,
        files=chosen.candidate.files if chosen else {},
        chosen=end.chosen,
        candidates=len(end.proposals),
        cost=end.cost,
        **head,
    )


def _asked(data: Mapping[str, Any], head: dict[str, Any]) -> e.TeamEvent:
    node = node_of(data.get("path") or ())
    if data["effect"] == "reply":
        return e.StepStarted(step=data["key"], node=node, **head)
    if data["effect"] == PERSON:
        return e.Interrupt(key=data["key"], question=data.get("input"), **head)
    return e.ToolCall(call=data["key"], node=node, tool=data["effect"], phase="started", **head)


def _done(
    effect: Effect, start: RolloutStart | None, head: dict[str, Any]
) -> Iterator[e.TeamEvent]:
    if effect.effect == "reply":
        yield from _replied(effect, start, head)
        return
    if effect.effect == PERSON:
        yield e.Answered(key=effect.key, question=effect.input, answer=effect.output, **head)
        match effect.input, effect.output:
            case {"kind": "plan"}, {"decision": "edit", "text": str(plan)}:
                yield e.StateDelta(name="plan", step=effect.key, value=plan, **head)
        return
    yield e.ToolCall(
        call=effect.key,
        node=node_of(effect.path),
        tool=effect.effect,
        phase="finished",
        seconds=effect.duration_s,
        error=_error(effect),
        **head,
    )
    if effect.error is not None:
        return
    if effect.effect in ("execution", "verdict") and isinstance(effect.input, dict):
        yield e.TestResult(
            call=effect.key,
            node=node_of(effect.path),
            files=effect.input.get("files") or {},
            tests=str(effect.input.get("tests")),
            verdict=Verdict.model_validate(effect.output),
            **head,
        )
    if effect.effect == "recall" and isinstance(effect.output, dict):
        hits: Any = effect.output.get("hits") or ()
        yield from (_hit(hit, head) for hit in hits)


def _replied(
    effect: Effect, start: RolloutStart | None, head: dict[str, Any]
) -> Iterator[e.TeamEvent]:
    asked = StepInput.model_validate(effect.input)
    said = None if effect.error else StepOutput.model_validate(effect.output)
    choices = said.choices if said else ()
    yield e.StepFinished(
        step=effect.key,
        node=node_of(effect.path),
        agent=asked.agent,
        model=said.model if said else asked.model,
        answers=tuple(e.Answer(text=c.text, finish_reason=c.finish_reason) for c in choices),
        prompt_tokens=said.prompt_tokens if said else 0,
        completion_tokens=said.completion_tokens if said else 0,
        seconds=effect.duration_s,
        error=_error(effect),
        **head,
    )
    for number, choice in enumerate(choices):
        yield from _meant(asked.agent, effect.key, number, choice.text, start, head)


def _meant(
    agent: str,
    step: str,
    choice: int,
    text: str,
    start: RolloutStart | None,
    head: dict[str, Any],
) -> Iterator[e.TeamEvent]:
    """What an answer changes in the team's state, read as the graph reads it."""
    place = {"step": step, "choice": choice}
    if agent == "planner":
        plan = "\n".join(f"- {line}" for line in bullet_lines(text, MAX_STEPS))
        yield e.StateDelta(name="plan", value=plan, **place, **head)
    elif agent == "coder" and start is not None:
        code = solution(text, start.brief.entry_point)
        if code is not None:
            yield e.StateDelta(name="attempt", value=code, **place, **head)
    elif agent == "tester" and start is not None:
        lines = [line.strip() for line in text.splitlines() if line.strip().startswith("assert ")]
        yield e.StateDelta(name="tests", value="\n".join(lines), **place, **head)
    elif agent == "critic" and (read := read_critique(text)):
        opinion = read.model_dump(include={"diagnosis", "advice", "confidence"})
        yield e.Critique(step=step, **opinion, **head)


def _hit(hit: Mapping[str, Any], head: dict[str, Any]) -> e.TeamEvent:
    entry = entry_of(hit)
    known = entry.provenance
    why = (
        f"similarity {hit['similarity']:.2f}; from rollout {known.rollout}, {known.agent} on {known.model}; "
        f"{known.verdict} {known.tests} tests, {known.trust}"
    )
    text = "\n\n".join(entry.texts)
    return e.MemoryHit(id=entry.id, kind=entry.kind, text=text, why=why, **head)


def _error(effect: Effect) -> str:
    return f"{effect.error['type']}: {effect.error['message']}" if effect.error else ""


def node_of(path: Iterable[str]) -> str:
    """The graph's node that a place of the journal lies in; empty outside of a graph.

    >>> node_of(("code@3", "lane0")), node_of(("finish",))
    ('code', 'finish')
    """
    first = next(iter(path), "")
    return first.partition("@")[0]
