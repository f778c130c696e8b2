"""The stages of the improve loop that ask models: each is timed, counted, and resumable."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from codojo.agents.asking import Reply, Sampling, ask_model
from codojo.errors import TaskError
from codojo.finetune.rehearsal import PlainAnswer
from codojo.graphs.improve_report import ImprovePlan, Measured, MemoryEffect, StageCost, score_of
from codojo.graphs.parts import Parts
from codojo.graphs.policies import spread
from codojo.graphs.run import Progress, Run
from codojo.scoring.intervals import TaskScore, difference_interval
from codojo.settings import Settings
from codojo.tasks.guard import answer_is_right
from codojo.tasks.schema import Question, Split, Suite, Task
from codojo.trajectories.journal import Scope, lane, scope
from codojo.trajectories.schema import Cost, Trajectory

ROLE = "all"
GUARD_TOKENS = 48
REHEARSAL_TOKENS = 96


@dataclass
class Stages:
    """What the loop asks its models, on the tasks that its plan chose."""

    run: Run
    suite: Suite
    plan: ImprovePlan
    settings: Settings
    make_parts: Callable[..., Awaitable[Parts]]
    costs: list[StageCost] = field(default_factory=list)
    reasked: int = 0

    def __post_init__(self) -> None:
        self.tasks: dict[Split, tuple[Task, ...]] = {
            "train": spread(self.suite.split("train"), self.plan.train_tasks),
            "gate": spread(self.suite.split("gate"), self.plan.gate_tasks),
            "held_out": spread(self.suite.split("held_out"), self.plan.held_out_tasks),
        }
        for split, tasks in self.tasks.items():
            if not tasks:
                raise TaskError(
                    f"suite '{self.suite.name}' has no {split} tasks; the loop needs all three splits, "
                    "so give a suite with more families"
                )

    async def measure(
        self,
        stage: str,
        split: Split,
        adapter: str | None,
        *,
        n: int,
        temperature: float | None = None,
        recall: bool = False,
    ) -> tuple[Measured, list[Trajectory]]:
        """Solve the tasks of a split with one model, and count what the sealed tests passed.

        Args:
            n: Candidates per task.
            temperature: Default: that of the settings.
        """
        if temperature is None:
            temperature = self.settings.sampling.temperature
        parts = await self.make_parts(
            adapter=adapter,
            suite=self.suite,
            team__samples=n,
            sampling__temperature=temperature,
            memory__enabled=recall,
        )
        async with self.clock(stage) as clock:
            found = await self.run.stage(
                stage,
                self.tasks[split],
                parts,
                graph=self.settings.team.graph,
                models={ROLE: parts.model_name(ROLE)},
            )
            clock.cost = _total(found)
        self.reasked += sum(t.end.reasked for t in found if t.end)
        measured = Measured(
            stage=stage,
            model=parts.model_name(ROLE),
            temperature=temperature,
            scores=tuple(score_of(trajectory, n) for trajectory in found),
            cost=clock.cost,
            rollouts=tuple(trajectory.id for trajectory in found),
        )
        return measured, found

    async def guard(
        self, stage: str, adapter: str | None, questions: Sequence[Question]
    ) -> list[TaskScore]:
        """How many of its answers to plain questions are right, question by question."""
        n = self.settings.gate.guard_samples
        asked = questions[: self.settings.gate.guard_questions or None]
        sampling = Sampling(self.settings.sampling.temperature, 1.0, GUARD_TOKENS, n)
        replies = await self._ask_plain(
            stage, adapter, [(question.id, question.prompt) for question in asked], sampling
        )
        return [
            TaskScore(
                question.id,
                question.id,
                n,
                sum(answer_is_right(question, choice.text) for choice in reply.choices),
            )
            for question, reply in zip(asked, replies, strict=True)
        ]

    async def rehearse(self, stage: str, questions: Sequence[str]) -> list[PlainAnswer]:
        """What the base model says to plain questions at temperature 0."""
        sampling = Sampling(0.0, 1.0, REHEARSAL_TOKENS, 1)
        named = [(f"{number:03}", question) for number, question in enumerate(questions)]
        replies = await self._ask_plain(stage, None, named, sampling)
        base = (await self.make_parts()).model_name(ROLE)
        return [
            PlainAnswer(
                question=question,
                text=reply.choices[0].text,
                is_whole=reply.choices[0].finish_reason == "stop",
                model=base,
                run=self.run.id,
                step=reply.step,
            )
            for question, reply in zip(questions, replies, strict=True)
        ]

    async def _ask_plain(
        self,
        stage: str,
        adapter: str | None,
        questions: Sequence[tuple[str, str]],
        sampling: Sampling,
    ) -> list[Reply]:
        """Replies to named questions without a system prompt, in order."""
        model = (await self.make_parts(adapter=adapter)).model("plain")
        free = asyncio.Semaphore(self.settings.team.parallel)
        done = 0

        async def one(name: str, question: str) -> Reply:
            nonlocal done
            async with free:
                with lane(name):
                    reply = await ask_model(
                        model, question, agent="plain", template="question", sampling=sampling
                    )
            done += 1
            self.run.watch(Progress(stage, done, len(questions), 0, Cost()))
            return reply

        async with self.clock(stage) as clock:
            before = Cost.of(self.run.budget)
            with scope(Scope(self.run.journal, (stage,))):
                replies = await asyncio.gather(*(one(*question) for question in questions))
            clock.cost = _minus(Cost.of(self.run.budget), before)
        return list(replies)

    async def recall_effect(
        self, place: str, champion: str | None, without: list[TaskScore]
    ) -> MemoryEffect | None:
        """The champion on the gate tasks once more, with what memory recalls in its prompts."""
        memory = (await self.make_parts(adapter=champion)).memory
        if memory is None:
            return None
        measured, _ = await self.measure(
            f"{place}/gate-recall", "gate", champion, n=self.settings.gate.samples, recall=True
        )

        async def count() -> int:
            return memory.count()

        entries = await self.run.effect(place, "memory_count", "", count)
        found = [score.task_score for score in measured.scores]
        rng = np.random.default_rng(self.settings.train.seed)
        interval = difference_interval(without, found, rng=rng)
        before, after = (fmean(score.rate for score in scores) for scores in (without, found))
        return MemoryEffect(
            entries=entries.value,
            without=before,
            with_recall=after,
            difference=after - before,
            low=interval.low,
            high=interval.high,
        )

    def clock(self, stage: str) -> "Clock":
        """Times the block as a stage."""
        return Clock(self, stage)


class Clock:
    """Times a stage as an effect, so that a resumed run reports what the first one measured."""

    def __init__(self, stages: Stages, stage: str) -> None:
        self.stages, self.stage = stages, stage
        self.cost = Cost()

    async def __aenter__(self) -> "Clock":
        self.began = time.monotonic()
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            return

        async def perform() -> float:
            return round(time.monotonic() - self.began, 2)

        answer = await self.stages.run.effect(self.stage, "seconds", self.stage, perform)
        self.stages.costs.append(StageCost(stage=self.stage, seconds=answer.value, cost=self.cost))


def _total(trajectories: Sequence[Trajectory]) -> Cost:
    total = Cost()
    for trajectory in trajectories:
        total = total + (trajectory.end.cost if trajectory.end else Cost())
    return total


def _minus(after: Cost, before: Cost) -> Cost:
    return Cost(
        prompt_tokens=after.prompt_tokens - before.prompt_tokens,
        completion_tokens=after.completion_tokens - before.completion_tokens,
        calls=after.calls - before.calls,
    )
