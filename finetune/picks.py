"""Picks: which answers of a rollout may become rows, and why others may not."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from pydantic import Field

from codojo.errors import ContaminationError
from codojo.tasks.schema import Brief, Candidate, Integrity, Record, Split, Verdict
from codojo.trajectories.rows import RowSource
from codojo.trajectories.schema import Choice, Message, Proposal, Step, Trajectory

Only = Literal["passed", "failed", "all"]
Dedupe = Literal["shape", "text", "none"]

ANY_ROLE = "all"

WALLS = {"none": 0, "warm": 1, "bubblewrap": 2, "docker": 2}
"""Isolation levels in order; a backend of another package counts as the weakest that proves its walls."""

FENCE = "```python\n"


class Pick(Record):
    """Which answers become rows. The defaults are what training needs."""

    only: Only = "passed"
    roles: tuple[str, ...] = ()
    """Agents whose answers count (`all`: every agent's); none named: answers that became candidates."""
    models: tuple[str, ...] = ()
    """Served names of the models that answered; none named: any."""
    splits: tuple[Split | None, ...] = ("train", None)
    """None: work without a suite."""
    integrity: Integrity | None = "isolated"
    """None: any."""
    min_isolation: str = "warm"
    learn: Literal["code", "answer"] = "code"
    """`code`: of an answer that became a candidate, only its code in a fence, so that a trained model stops
    after it. `answer`: the text as it was said."""
    dedupe: Dedupe = "shape"
    """Of one task's rows: programs equal up to names and layout (`shape`), or equal text, are kept once."""
    per_task: int = Field(default=1_000_000, ge=1)
    """Upper bound on the rows of one task; the shortest are kept."""
    max_chars: int = Field(default=0, ge=0)
    """Longer completions are left out; 0: no bound."""


class Answer(NamedTuple):
    """One choice of one step, with the verdict that speaks for it."""

    prompt: tuple[Message, ...]
    said: Message
    """What a model learns to say: the code, or the whole answer."""
    step: Step
    choice: Choice
    source: RowSource

    @property
    def is_cut(self) -> bool:
        """Whether the text to learn ends where the cap on tokens was, which would teach not to stop."""
        return self.choice.finish_reason == "length" and self.said.content == self.choice.text


class LeftOut(NamedTuple):
    """An answer, or a row, that is not kept."""

    reason: str


def answers(trajectory: Trajectory, pick: Pick) -> Iterator[Answer | LeftOut]:
    """The answers of a rollout that a pick is about.

    An answer that became a candidate has that candidate's verdict. Another answer of an agent that
    makes candidates has not passed; one of any other agent has the rollout's verdict.

    Raises:
        ContaminationError: For a rollout of a gate or held-out task, unless the pick names the split.
    """
    _refuse_test_split(trajectory, pick)
    if not pick.roles:
        for proposal in trajectory.proposals:
            yield _of_candidate(trajectory, proposal, pick)
        return
    made = {(p.origin.step, p.origin.choice): p for p in trajectory.proposals if p.origin}
    makers = {trajectory.steps[id].input.agent for id, _ in made if id in trajectory.steps}
    for step in trajectory.steps.values():
        agent = step.input.agent
        if agent not in pick.roles and ANY_ROLE not in pick.roles:
            continue
        for index in range(len(step.output.choices)):
            candidate = made.get((step.id, index))
            if candidate:
                yield _of_candidate(trajectory, candidate, pick)
            elif agent in makers and trajectory.verdict:
                lost = trajectory.verdict.model_copy(
                    update={"status": "failed", "reason": "no_candidate", "behaviour": None}
                )
                yield _of_call(trajectory, step, index, lost, pick)
            else:
                yield _of_call(trajectory, step, index, trajectory.verdict, pick)


def _refuse_test_split(trajectory: Trajectory, pick: Pick) -> None:
    brief = trajectory.brief
    if brief.split in ("gate", "held_out") and brief.split not in pick.splits:
        raise ContaminationError(
            f"rollout {trajectory.id} solves '{brief.task_id}' of the {brief.split} split, which "
            "nobody may learn from; hand curators rollouts of train tasks only"
        )


def _of_candidate(trajectory: Trajectory, proposal: Proposal, pick: Pick) -> Answer | LeftOut:
    verdict, origin = proposal.verdict, proposal.origin
    if reason := unfit(verdict, trajectory.brief, pick):
        return LeftOut(reason)
    step = trajectory.steps.get(origin.step) if origin else None
    if (
        verdict is None
        or origin is None
        or step is None
        or origin.choice >= len(step.output.choices)
    ):
        return LeftOut("no_origin")
    said = step.output.choices[origin.choice].message
    if pick.learn == "code" and not said.tool_calls:
        code = code_of(proposal.candidate)
        if isinstance(code, LeftOut):
            return code
        said = _plain(code)
    return _answer(trajectory, step, origin.choice, verdict, said, pick)


def _plain(text: str) -> Message:
    return Message.trusted(
        role="assistant",
        content=text,
        tool_calls=(),
        tool_call_id=None,
        name=None,
        reasoning_content="",
    )


def _of_call(
    trajectory: Trajectory, step: Step, index: int, verdict: Verdict | None, pick: Pick
) -> Answer | LeftOut:
    if reason := unfit(verdict, trajectory.brief, pick):
        return LeftOut(reason)
    assert verdict is not None
    return _answer(trajectory, step, index, verdict, step.output.choices[index].message, pick)


def _answer(
    trajectory: Trajectory, step: Step, index: int, verdict: Verdict, said: Message, pick: Pick
) -> Answer | LeftOut:
    if pick.models and step.output.model not in pick.models:
        return LeftOut("other_model")
    if not said.content.strip() and not said.tool_calls:
        return LeftOut("empty")
    if pick.max_chars and len(said.content) > pick.max_chars:
        return LeftOut("too_long")
    source = source_of(trajectory, step, index, verdict)
    return Answer(trajectory.prompt(step.id), said, step, step.output.choices[index], source)


def unfit(verdict: Verdict | None, brief: Brief, pick: Pick) -> str | None:
    """Why a pick refuses what has this verdict; None where it does not."""
    if brief.split not in pick.splits:
        return "no_split"
    if verdict is None:
        return "not_judged"
    if verdict.status == "infra_error":
        return "infra_error"
    if pick.only == "passed" and not verdict.passed:
        return "not_passed"
    if verdict.status == "unverified":
        return None if pick.only == "all" else "unverified"
    if pick.only == "failed" and verdict.passed:
        return "passed"
    if verdict.tests == "self_made" or (brief.split is not None and verdict.tests != "sealed"):
        return "not_sealed"
    if WALLS.get(verdict.isolation, 1) < WALLS.get(pick.min_isolation, 1):
        return "not_isolated"
    if pick.integrity and verdict.integrity != pick.integrity:
        return "not_isolated"
    return None


NO_EVIDENCE = frozenset(
    [
        "no_split",
        "not_judged",
        "infra_error",
        "not_passed",
        "passed",
        "unverified",
        "not_sealed",
        "not_isolated",
    ]
)
"""Reasons that `unfit` gives; all others are about the row."""


def code_of(candidate: Candidate) -> str | LeftOut:
    """The code of a candidate of one file, in a fence."""
    if candidate.files.keys() != {"solution.py"}:
        return LeftOut("several_files")
    code = candidate.code.strip()
    if "```" in code:
        return LeftOut("breaks_fence")
    return f"{FENCE}{code}\n```"


def source_of(trajectory: Trajectory, step: Step, index: int, verdict: Verdict) -> RowSource:
    """Where a row comes from, and the verdict that allows it."""
    brief = trajectory.brief
    return RowSource.trusted(
        rollout=trajectory.id,
        step=step.id,
        choice=index,
        task_id=brief.task_id,
        suite=brief.suite,
        family=brief.family,
        split=brief.split,
        model=step.output.model,
        status=verdict.status,
        tests=verdict.tests,
        isolation=verdict.isolation,
        integrity=verdict.integrity,
        behaviour=verdict.behaviour,
        agent=step.input.agent,
        graph=trajectory.start.graph,
        author="",
        said_at=0.0,
    )
