"""The event stream: what happens while a team works, typed, for whoever shows it.

Names follow AG-UI (docs.ag-ui.com): a run starts and finishes or ends in an error, in it steps start and
finish, text arrives in deltas, tools are called, state changes, an interrupt asks a person. `rollout_started`
and `rollout_finished` are ours, since a run here may hold many attempts; so are `memory_hit`,
`test_result`, `critique` and `artifact`, which AG-UI would send as custom events.

Terminal, browser, `--json-events` and late readers get the same events: live ones come from
`codojo.graphs.hub`, those of the past from the log by way of `codojo.graphs.translate`. All text in them may
be a model's and is hostile: whoever shows it makes it inert.
"""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter

from codojo.tasks.schema import Record, Verdict
from codojo.trajectories.schema import Cost


class _Event(Record):
    run: str
    """Id of the run; empty where it is not known (a log that was cut)."""
    rollout: str | None = None
    at: float
    """Seconds since 1970, UTC; for people, decides nothing."""
    replayed: bool = False
    """It happened in an earlier process, and the log answered."""


class RunStarted(_Event):
    """A command began, or goes on."""

    type: Literal["run_started"] = "run_started"
    command: str
    args: dict[str, JsonValue]
    budget: dict[str, float]
    """Limits by unit (`tokens`, `calls`, `seconds`); 0: none."""


class RunFinished(_Event):
    """It did all it was to do."""

    type: Literal["run_finished"] = "run_finished"
    cost: Cost


class RunError(_Event):
    """It came to an end before that, and can be resumed."""

    type: Literal["run_error"] = "run_error"
    error: str
    """Class of the error; `Stopped` where somebody stopped it."""
    message: str
    cost: Cost

    @property
    def was_stopped(self) -> bool:
        """Whether somebody stopped it, rather than that something failed."""
        return self.error == "Stopped"


class RolloutStarted(_Event):
    """A graph began on a task."""

    type: Literal["rollout_started"] = "rollout_started"
    task_id: str
    prompt: str
    entry_point: str
    graph: str
    models: dict[str, str]


class RolloutFinished(_Event):
    """The rollout has its verdict, or its named failure."""

    type: Literal["rollout_finished"] = "rollout_finished"
    verdict: Verdict | None
    failure: str | None
    files: dict[str, str]
    """Of the chosen candidate; empty where there is none."""
    chosen: int | None
    candidates: int
    cost: Cost


class StepStarted(_Event):
    """An agent asks its model."""

    type: Literal["step_started"] = "step_started"
    step: str
    node: str
    """Of the graph; what a picture of it shows as active. Empty outside of a graph."""


class Answer(Record):
    """One choice of a model."""

    text: str
    finish_reason: str


class StepFinished(_Event):
    """The model has answered; its words are in the log."""

    type: Literal["step_finished"] = "step_finished"
    step: str
    node: str
    agent: str
    model: str
    answers: tuple[Answer, ...]
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    error: str = ""
    """Why there is no answer."""


class TextDelta(_Event):
    """A piece of an answer under way. Only live readers see these; `step_finished` has the whole."""

    type: Literal["text_delta"] = "text_delta"
    step: str
    choice: int
    attempt: int
    """A higher number begins the answer anew."""
    text: str


class ToolCall(_Event):
    """The team does something that is no model call: runs a candidate, asks memory, is judged."""

    type: Literal["tool_call"] = "tool_call"
    call: str
    node: str
    tool: str
    """`execution`, `verdict`, `recall`, `remember`, ..."""
    phase: Literal["started", "finished"]
    seconds: float = 0
    error: str = ""


class StateDelta(_Event):
    """What the team holds has changed."""

    type: Literal["state_delta"] = "state_delta"
    name: Literal["plan", "attempt", "tests", "deliverable"]
    step: str
    """The step that changed it, or the answer of a person."""
    choice: int = 0
    value: str
    """A plan as a Markdown list, an attempt as code, tests one a line."""


class MemoryHit(_Event):
    """Memory had something, and this is what it said to the team."""

    type: Literal["memory_hit"] = "memory_hit"
    id: str
    kind: str
    text: str
    why: str
    """Where it comes from, what was known of it there, and how near it is."""


class TestResult(_Event):
    """What tests said of a candidate."""

    __test__ = False  # pytest would take it for a test of ours

    type: Literal["test_result"] = "test_result"
    call: str
    node: str = ""
    """Where in the graph: `prune` runs programs that are meant to fail."""
    files: dict[str, str]
    tests: str
    """Whose they are: `visible`, `self_made`, `person`, or `sealed`, which no agent sees."""
    verdict: Verdict


class Critique(_Event):
    """The critic's opinion; never a verdict."""

    type: Literal["critique"] = "critique"
    step: str
    diagnosis: str
    advice: str
    confidence: float


class Interrupt(_Event):
    """The graph waits for a person."""

    type: Literal["interrupt"] = "interrupt"
    key: str
    question: JsonValue


class Answered(_Event):
    """A person has answered, and the answer is in the log."""

    type: Literal["answered"] = "answered"
    key: str
    question: JsonValue
    answer: JsonValue


class Artifact(_Event):
    """Files that the team hands over."""

    type: Literal["artifact"] = "artifact"
    files: dict[str, str]


TeamEvent = Annotated[
    RunStarted
    | RunFinished
    | RunError
    | RolloutStarted
    | RolloutFinished
    | StepStarted
    | StepFinished
    | TextDelta
    | ToolCall
    | StateDelta
    | MemoryHit
    | TestResult
    | Critique
    | Interrupt
    | Answered
    | Artifact,
    Field(discriminator="type"),
]

TEAM_EVENT: TypeAdapter[TeamEvent] = TypeAdapter(TeamEvent)
"""Reads an event back from its JSON."""
