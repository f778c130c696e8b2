"""Rehearsal: the base model's own answers to plain questions, mixed in so that less is forgotten."""

from collections.abc import Iterable
from dataclasses import dataclass

from codojo.finetune.curating import Guard
from codojo.trajectories.rows import PromptCompletion, RowSource
from codojo.trajectories.schema import Message

SUITE = "rehearsal"


@dataclass(frozen=True)
class PlainAnswer:
    """What the base model said to a plain question, and where the log holds it."""

    question: str
    text: str
    is_whole: bool
    """False where the answer was cut at the cap on tokens."""
    model: str
    run: str
    step: str


def rehearse(answers: Iterable[PlainAnswer], *, guard: Guard) -> tuple[PromptCompletion, ...]:
    """Rows of the base model's answers, right or wrong: they keep it what it is.

    Rehearsal (Robins 1995, doi:10.1080/09540099550039318) with the model's own answers in place of
    old data, as in self-synthesized rehearsal (Huang et al. 2024, arXiv:2403.01244). They have the
    model write the questions too and refine the answers; our questions are fixed, and an answer
    is the one at temperature 0. A cut answer is left out, because it would teach not to stop.
    """
    return tuple(
        PromptCompletion(
            prompt=(Message(role="user", content=answer.question),),
            completion=(Message(role="assistant", content=answer.text.strip()),),
            source=RowSource(
                rollout=answer.run,
                step=answer.step,
                choice=0,
                task_id=f"{SUITE}/{number:03}",
                suite=SUITE,
                family=SUITE,
                split="train",
                model=answer.model,
                status="unverified",
                tests="person",
                isolation="none",
                integrity="isolated",
            ),
        )
        for number, answer in enumerate(answers)
        if answer.is_whole
        and answer.text.strip()
        and not guard.find(f"{answer.question}\n\n{answer.text}")
    )
