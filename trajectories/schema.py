"""What the log says, as records: messages, steps, candidates and whole trajectories.

A rollout writes three kinds of event: `rollout_started` (a `RolloutStart`), one `effect` for everything
that happened (see `codojo.trajectories.journal`), and `rollout_finished` (a `RolloutEnd`). `fold` turns
them back into a `Trajectory`. Steps form a message graph: each stores its parent step and only the
messages that are new, so storage grows with what was said, and the exact prompt can be rebuilt.
"""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue

from codojo.tasks.schema import Brief, Candidate, Record, Verdict
from codojo.trajectories.budget import Budget
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import Event, read_log

STARTED, FINISHED = "rollout_started", "rollout_finished"


def _nothing(value: object) -> bool:
    """Whether a field is left out of what is stored: so older records keep their bytes and hashes."""
    return not value


def _absent(value: object) -> bool:
    return value is None


class ToolCall(Record):
    """A call that a model asked for."""

    name: str
    arguments: str
    """JSON text as the model wrote it, which need not be valid."""
    id: str = ""


class Message(Record):
    """One message of a conversation with a model."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = Field(default=(), exclude_if=_nothing)
    """Only of an `assistant`."""
    tool_call_id: str | None = Field(default=None, exclude_if=_nothing)
    """Only of a `tool`: which call this answers."""
    name: str | None = Field(default=None, exclude_if=_nothing)
    """Only of a `tool`: its name."""
    reasoning_content: str = Field(default="", exclude_if=_nothing)
    """Only of an `assistant`: what it thought first, where the engine tells it apart from the answer."""


class StepRef(Record):
    """One choice of one step: what a conversation goes on from, and where a candidate came from."""

    step: str
    choice: int = 0


class Choice(Record):
    """One answer of a model."""

    text: str
    finish_reason: str = ""
    """`stop`, `length` (cut at the cap), or what else the engine said."""
    token_ids: tuple[int, ...] | None = None
    """Sampled tokens, where the engine returns them."""
    logprobs: tuple[float, ...] | None = None
    """Natural logarithm of each sampled token's probability, as long as `token_ids`."""
    token_exact: bool = Field(default=True, exclude_if=lambda exact: exact)
    """Whether the text is what was sampled; false where a secret was taken out, and its tokens with it."""
    tool_calls: tuple[ToolCall, ...] = Field(default=(), exclude_if=_nothing)
    reasoning_content: str = Field(default="", exclude_if=_nothing)

    @property
    def message(self) -> Message:
        """The answer as a message of the conversation."""
        return Message(
            role="assistant",
            content=self.text,
            tool_calls=self.tool_calls,
            reasoning_content=self.reasoning_content,
        )


class StepInput(Record):
    """What an agent asked a model: the input of a `reply` effect."""

    agent: str
    model: str
    """Served name: the base model, or an adapter's content-hashed name."""
    template: str
    """Name and hash of the prompt template."""
    parent: StepRef | None
    messages: tuple[Message, ...]
    """Only what is new since the parent's answer."""
    sampling: dict[str, JsonValue]
    tools: tuple[dict[str, JsonValue], ...] = Field(default=(), exclude_if=_nothing)
    """Tools that the model was offered, each as OpenAI describes it (`type`, `function`)."""


class StepOutput(Record):
    """What came back: the output of a `reply` effect."""

    model: str
    """The model that says it answered; the chat model refuses any other than the one asked."""
    choices: tuple[Choice, ...]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_token_ids: tuple[int, ...] | None = Field(default=None, exclude_if=_absent)
    """Tokens of the prompt, where the engine returns them; without the first `prompt_shared`."""
    prompt_shared: int = Field(default=0, exclude_if=_nothing)
    """So many tokens of the prompt are the parent's prompt and answer, and are not stored again."""
    answered_at: float | None = Field(default=None, exclude_if=_nothing)
    """Of an imported answer: when its source says it came (seconds since 1970, UTC)."""


class Step(Record):
    """One agent's message in and the choices that came out."""

    id: str
    path: tuple[str, ...]
    input: StepInput
    output: StepOutput
    duration_s: float


class Origin(Record):
    """What was taken over from another rollout."""

    rollout: str
    key: str
    """Of the effect there."""
    edited: bool = False
    """Whether a person put another answer in its place."""


class Effect(Record):
    """Anything that happened in a rollout, as the log holds it."""

    key: str
    effect: str
    path: tuple[str, ...]
    input: JsonValue
    output: JsonValue = None
    error: dict[str, str] | None = None
    duration_s: float = 0.0
    call: int = 0
    """How many effects of its kind were asked at its place before."""
    origin: Origin | None = None
    """Of a fork: where it was taken over from; it cost nothing here."""
    redacted: dict[str, int] = {}
    """Secrets that were taken out of its result, by kind."""
    at: float | None = None
    """When the log got it (seconds since 1970, UTC); None where it was not read from a log."""


class Proposal(Record):
    """A candidate of a rollout, where it came from, and what was found about it."""

    candidate: Candidate
    origin: StepRef | None = None
    visible: Verdict | None = None
    """From the visible tests: all that the graph may know."""
    verdict: Verdict | None = None
    """From the sealed tests, after the rollout had chosen; nothing of it flowed back."""


class Imported(Record):
    """Where a rollout came from that another program recorded."""

    format: str
    """What the source calls itself, such as `ATIF-v1.7`."""
    file: str
    """Its name, without the folder; for people."""
    sha256: str
    """Of that file; of a folder, of the lines `<sha256>  <name>` of its files."""
    item: str
    """SHA-256 of the part that holds this conversation: the file, or its line. It is imported once."""
    line: int | None = None
    agent: str = ""
    """Who worked, as the source calls it."""
    version: str = ""
    claims: dict[str, JsonValue] = {}
    """What the source says of itself: exit status, rewards, cost. Nobody here has checked it."""


class RolloutStart(Record):
    """How a rollout began; enough to run it again."""

    run: str
    stage: str
    """Which part of the run: `run`, or for the improve loop `round-1/solve` and the like."""
    attempt: int = 0
    brief: Brief
    task_hash: str
    graph: str
    graph_version: str
    models: dict[str, str] = {}
    """Served model by agent."""
    settings: dict[str, JsonValue] = {}
    versions: dict[str, str] = {}
    redacted: dict[str, int] = Field(default={}, exclude_if=lambda found: not found)
    """Secrets that were taken out of the brief, by kind."""
    parent: Origin | None = Field(default=None, exclude_if=lambda parent: parent is None)
    """Of a fork: the rollout it left, and the effect at which it did."""
    imported: Imported | None = Field(default=None, exclude_if=_nothing)


class Cost(Record):
    """What a rollout, stage or run spent."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, budget: Budget, seconds: float = 0.0) -> "Cost":
        """What a budget has been charged so far."""
        return cls(
            prompt_tokens=budget.prompt_tokens,
            completion_tokens=budget.completion_tokens,
            calls=budget.calls,
            seconds=round(seconds, 3),
        )

    @property
    def tokens(self) -> int:
        """Tokens of prompts and answers."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            calls=self.calls + other.calls,
            seconds=round(self.seconds + other.seconds, 3),
        )


class RolloutEnd(Record):
    """How a rollout ended: one verdict, or one named failure."""

    proposals: tuple[Proposal, ...] = ()
    chosen: int | None = None
    verdict: Verdict | None = None
    failure: str | None = None
    cost: Cost = Cost()
    reasked: int = 0
    """How often a call was asked again because the process died while it was under way."""
    deliverable: dict[str, str] | None = None
    """Final files of the builder, by relative path."""
    redacted: dict[str, int] = Field(default={}, exclude_if=lambda found: not found)
    """Secrets that were taken out of the task and of what happened, by kind."""


class Trajectory(Record):
    """The record of one rollout."""

    id: str
    at: float
    start: RolloutStart
    effects: tuple[Effect, ...] = ()
    end: RolloutEnd | None = None
    """None while the rollout is unfinished."""

    @property
    def brief(self) -> Brief:
        """What the agents knew of the task."""
        return self.start.brief

    @property
    def verdict(self) -> Verdict | None:
        """The judge's word on the chosen candidate."""
        return self.end.verdict if self.end else None

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """All candidates; judged ones carry a verdict."""
        return self.end.proposals if self.end else ()

    @cached_property
    def steps(self) -> dict[str, Step]:
        """The model calls by id, in the order they were logged."""
        found: dict[str, Step] = {}
        for effect in self.effects:
            if effect.effect == "reply" and effect.error is None:
                found[effect.key] = Step.trusted(
                    id=effect.key,
                    path=effect.path,
                    input=StepInput.model_validate(effect.input),
                    output=StepOutput.model_validate(effect.output),
                    duration_s=effect.duration_s,
                )
        return found

    def prompt(self, step_id: str) -> tuple[Message, ...]:
        """The exact messages a step was asked with, rebuilt along its parents."""
        step = self.steps[step_id]
        parts = [step.input.messages]
        while parent := step.input.parent:
            step = self.steps[parent.step]
            parts.append((step.output.choices[parent.choice].message,))
            parts.append(step.input.messages)
        return tuple(message for part in reversed(parts) for message in part)

    def prompt_token_ids(self, step_id: str) -> tuple[int, ...] | None:
        """The exact tokens a step was asked with, rebuilt along its parents; None where the log lacks some."""
        chain = [self.steps[step_id]]
        while chain[-1].output.prompt_shared and chain[-1].input.parent:
            chain.append(self.steps[chain[-1].input.parent.step])
        ids: list[int] = []
        for step in reversed(chain):
            new, parent = step.output.prompt_token_ids, step.input.parent
            if new is None:
                return None
            if step is not chain[-1] and parent:
                said = self.steps[parent.step].output.choices[parent.choice].token_ids
                if said is None:
                    return None
                ids += said
            if step.output.prompt_shared > len(ids):
                return None
            del ids[step.output.prompt_shared :]
            ids += new
        return tuple(ids)


def fold(events: Iterable[Event]) -> dict[str, Trajectory]:
    """Trajectories by rollout id, in the order the rollouts started; unfinished ones included."""
    starts: dict[str, Event] = {}
    effects: dict[str, dict[str, Effect]] = {}
    ends: dict[str, RolloutEnd] = {}
    for event in events:
        if event.rollout is None:
            continue
        if event.kind == STARTED:
            starts.setdefault(event.rollout, event)
        elif event.kind == EFFECT:
            effect = read_effect(event.data, event.at)
            effects.setdefault(event.rollout, {})[effect.key] = effect
        elif event.kind == FINISHED:
            ends.setdefault(event.rollout, RolloutEnd.model_validate(event.data))
    return {
        id: Trajectory(
            id=id,
            at=event.at,
            start=RolloutStart.model_validate(event.data),
            effects=tuple(effects.get(id, {}).values()),
            end=ends.get(id),
        )
        for id, event in starts.items()
    }


def load_trajectories(folder: Path, run: str | None = None) -> dict[str, Trajectory]:
    """Trajectories of a log folder, of one run or of all."""
    found = fold(read_log(folder))
    return {id: t for id, t in found.items() if run is None or t.start.run == run}


def read_effect(data: dict[str, Any], at: float | None = None) -> Effect:
    """An effect from the record that the journal wrote.

    Args:
        at: When the log got it.
    """
    names = (
        "key",
        "effect",
        "path",
        "input",
        "output",
        "error",
        "duration_s",
        "call",
        "origin",
        "redacted",
    )
    return Effect.model_validate({name: data[name] for name in names if name in data} | {"at": at})
