"""A rollout's message graph as conversations: what formats hold that know no branches."""

from collections.abc import Iterator
from dataclasses import dataclass

from codojo.trajectories.schema import Choice, Message, Step, StepRef, Trajectory

CONTEXT = "context"
"""The effect of an imported rollout that holds messages which no answer followed."""


@dataclass(frozen=True)
class Turn:
    """One answer in a conversation."""

    step: Step
    choice: Choice
    index: int
    """Which of the step's choices it is."""


@dataclass(frozen=True)
class Branch:
    """A conversation from its first message to its last answer."""

    turns: tuple[Turn, ...]
    copied: int = 0
    """So many of the first turns are those of an earlier branch."""
    rest: tuple[Message, ...] = ()
    """Messages after the last answer."""

    @property
    def last(self) -> Turn:
        """The answer that it ends with."""
        return self.turns[-1]

    @property
    def path(self) -> tuple[str, ...]:
        """Where in the graph the last answer was given."""
        return self.last.step.path

    @property
    def id(self) -> str:
        """Unique in the rollout."""
        return f"{self.last.step.id}.{self.last.index}"

    def messages(self) -> Iterator[tuple[Message, Turn | None]]:
        """All messages in order; an answer with its turn."""
        for turn in self.turns:
            for message in turn.step.input.messages:
                yield message, None
            yield turn.choice.message, turn
        for message in self.rest:
            yield message, None


def branches(trajectory: Trajectory) -> list[Branch]:
    """Every conversation of a rollout, one for each answer that nothing went on from, in the log's order."""
    steps = trajectory.steps
    parents = {step.input.parent for step in steps.values()}
    rest = loose_messages(trajectory)
    found, seen = [], set[tuple[str, int]]()
    for step in steps.values():
        for index in range(len(step.output.choices)):
            ref = StepRef(step=step.id, choice=index)
            if ref not in parents:
                turns = _turns(trajectory, ref)
                known = [(turn.step.id, turn.index) in seen for turn in turns]
                copied = known.index(False) if False in known else len(known)
                seen |= {(turn.step.id, turn.index) for turn in turns}
                found.append(Branch(turns, copied, rest.get(ref, ())))
    return found


def main_branch(trajectory: Trajectory) -> Branch | None:
    """The conversation that led to what was handed in; else the last one, of the main agent where others helped."""
    end = trajectory.end
    origin = end.proposals[end.chosen].origin if end and end.chosen is not None else None
    if origin and origin.step in trajectory.steps:
        return Branch(_turns(trajectory, origin), rest=loose_messages(trajectory).get(origin, ()))
    found = branches(trajectory)
    mains = [branch for branch in found if not branch.path] if trajectory.start.imported else []
    return (mains or found)[-1] if found else None


def loose_messages(trajectory: Trajectory) -> dict[StepRef | None, tuple[Message, ...]]:
    """Messages that no answer followed, by the answer they came after; None: after none."""
    found: dict[StepRef | None, tuple[Message, ...]] = {}
    for effect in trajectory.effects:
        if effect.effect == CONTEXT and isinstance(effect.input, dict):
            held, parent = effect.input.get("messages"), effect.input.get("parent")
            ref = StepRef.model_validate(parent) if parent else None
            if isinstance(held, list):
                told = tuple(Message.model_validate(message) for message in held)
                found[ref] = (*found.get(ref, ()), *told)
    return found


def _turns(trajectory: Trajectory, ref: StepRef) -> tuple[Turn, ...]:
    turns = []
    at: StepRef | None = ref
    while at is not None:
        step = trajectory.steps[at.step]
        turns.append(Turn(step, step.output.choices[at.choice], at.choice))
        at = step.input.parent
    return tuple(reversed(turns))
