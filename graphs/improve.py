"""The improve loop: solve, curate, train, gate, promote or refuse, measure again.

Every stage is either rollouts, each resumable, or an effect of the run itself, so a killed loop goes on
where it stopped. Rules of the loop: rows come from the `train` split alone; promotions are decided on
the `gate` split and the guard suite; `held_out` is opened only for the figures that are published, at
the two ends. Each round trains from the base model on everything solved so far (as STaR restarts,
Zelikman et al. 2022, arXiv:2203.14465; its data is only the last round's, ours is cumulative).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from codojo.agents.asking import Sampling, ask_model
from codojo.errors import AdapterRejected, RequestRefused, TaskError
from codojo.finetune.curators import rft
from codojo.finetune.gate import GateReport, decide
from codojo.finetune.load_check import CheckResult, check_files, probe_changed, require
from codojo.finetune.recipe import Manifest, adapter_name, make_recipe
from codojo.finetune.train import MIN_ROWS, TrainProgress, train
from codojo.graphs.improve_report import (
    ImprovePlan,
    ImproveReport,
    Measured,
    MemoryEffect,
    RoundReport,
    StageCost,
    score_of,
)
from codojo.graphs.parts import Parts
from codojo.graphs.policies import spread
from codojo.graphs.run import Progress, Run
from codojo.scoring.intervals import TaskScore, difference_interval
from codojo.serving.engine import Endpoint, EngineClient
from codojo.serving.registry import AdapterRegistry
from codojo.settings import Settings
from codojo.tasks.contamination import ContaminationGuard
from codojo.tasks.guard import answer_is_right
from codojo.tasks.schema import Question, Split, Suite, Task
from codojo.trajectories.journal import EFFECT, Scope, lane, scope
from codojo.trajectories.log import read_log
from codojo.trajectories.rows import PromptCompletion, rows_hash
from codojo.trajectories.schema import Cost, Trajectory

ROLE = "all"
PROBE = "```python\ndef add(a: int, b: int) -> int:\n    return a + b\n```\n"


@dataclass
class Loop:
    """One run of the loop and what it works with."""

    run: Run
    suite: Suite
    plan: ImprovePlan
    settings: Settings
    client: EngineClient
    registry: AdapterRegistry
    make_parts: Callable[..., Awaitable[Parts]]
    questions: tuple[Question, ...]
    folder: Path
    """The dojo."""

    def __post_init__(self) -> None:
        self.stages: list[StageCost] = []
        self.reasked = 0
        self._tasks: dict[Split, tuple[Task, ...]] = {
            "train": spread(self.suite.split("train"), self.plan.train_tasks),
            "gate": spread(self.suite.split("gate"), self.plan.gate_tasks),
            "held_out": spread(self.suite.split("held_out"), self.plan.held_out_tasks),
        }
        for split, tasks in self._tasks.items():
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
        temperature: float,
        recall: bool = False,
    ) -> tuple[Measured, list[Trajectory]]:
        """Solve the tasks of a split with one model, and count what the sealed tests passed."""
        tasks = self._tasks[split]
        parts = await self.make_parts(
            adapter=adapter,
            suite=self.suite,
            team__samples=n,
            sampling__temperature=temperature,
            memory__enabled=recall,
        )
        async with _Clock(self, stage) as clock:
            found = await self.run.stage(
                stage,
                tasks,
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

    async def guard(self, stage: str, adapter: str | None) -> list[TaskScore]:
        """How many of its answers to plain questions are right, question by question."""
        n = self.settings.gate.guard_samples
        wanted = self.settings.gate.guard_questions
        questions = self.questions[: wanted or None]
        parts = await self.make_parts(adapter=adapter)
        sampling = Sampling(self.settings.sampling.temperature, 1.0, 48, n)
        gate = asyncio.Semaphore(self.settings.team.parallel)
        done = 0

        async def one(question: Question) -> TaskScore:
            nonlocal done
            async with gate:
                with lane(question.id):
                    reply = await ask_model(
                        parts.model("guard"),
                        question.prompt,
                        agent="guard",
                        template="question",
                        sampling=sampling,
                    )
            done += 1
            self.run.watch(Progress(stage, done, len(questions), 0, Cost()))
            right = sum(answer_is_right(question, choice.text) for choice in reply.choices)
            return TaskScore(question.id, question.id, n, right)

        async with _Clock(self, stage) as clock:
            before = Cost.of(self.run.budget)
            with scope(Scope(self.run.journal, (stage,))):
                scores = await asyncio.gather(*(one(question) for question in questions))
            clock.cost = _minus(Cost.of(self.run.budget), before)
        return list(scores)

    async def play(self) -> ImproveReport:
        """All rounds, with the held-out figures before and after.

        Raises:
            RequestRefused: If the engine cannot hot-load adapters.
            CodojoError: What left a stage unfinished; the run can be resumed.
        """
        if not self.client.endpoint.capabilities.adapters:
            raise RequestRefused(
                f"the {self.client.endpoint.kind} engine cannot hot-load adapters, so the loop cannot serve what "
                'it trains; set engine.kind = "vllm"'
            )
        if not self.client.endpoint.model_path:
            raise RequestRefused(
                "an external engine does not say where its model's weights lie, so nothing can be trained for it; "
                'set engine.kind = "vllm" and engine.model to a folder or hub name'
            )
        start = await self.run.effect("start", "champion", ROLE, self._champion)
        first: str | None = start.value
        await self._load(first)
        n, temperature = self.plan.held_out_samples, self.settings.sampling.temperature
        before, _ = await self.measure(
            "held-out/before", "held_out", first, n=n, temperature=temperature
        )
        champion = first
        rounds: list[RoundReport] = []
        evidence: list[Trajectory] = []
        for number in range(1, self.plan.rounds + 1):
            report = await self._round(number, champion, evidence)
            rounds.append(report)
            if report.outcome == "promoted":
                champion = report.adapter
        after: Measured | None = None
        if champion != first:
            after, _ = await self.measure(
                "held-out/after", "held_out", champion, n=n, temperature=temperature
            )
        return ImproveReport(
            run=self.run.id,
            plan=self.plan,
            tasks={split: len(tasks) for split, tasks in self._tasks.items()},
            before=before,
            rounds=tuple(rounds),
            after=after,
            champion=champion,
            stages=tuple(self.stages),
            versions=self.run.versions,
            settings=self.settings.model_dump(mode="json"),
            reasked=self.reasked + self.run.journal.reasked,
            graph=await self._picture(),
        )

    async def _round(
        self, number: int, champion: str | None, evidence: list[Trajectory]
    ) -> RoundReport:
        place = f"round-{number}"
        solved, found = await self.measure(
            f"{place}/solve",
            "train",
            champion,
            n=self.plan.samples,
            temperature=self.settings.sampling.temperature,
        )
        evidence.extend(found)
        guard = ContaminationGuard.of(self.suite)
        curated = rft(evidence, guard=guard, per_task=self.settings.train.per_task)
        so_far: dict[str, Any] = {
            "number": number,
            "champion": champion,
            "solved": solved,
            "curated": curated.report,
            "rows": len(curated.rows),
            "rows_hash": rows_hash(curated.rows),
        }
        if len(curated.rows) < MIN_ROWS:
            why = ", ".join(f"{n} {reason}" for reason, n in curated.report.left_out.items())
            reason = (
                f"{len(curated.rows)} of {curated.report.considered} candidates may be learnt from, and "
                f"training needs {MIN_ROWS}; left out: {why or 'none'}"
            )
            return RoundReport(**so_far, outcome="nothing_to_learn", reason=reason)
        training, name = await self._train(place, curated.rows)
        so_far |= {"training": training, "adapter": name}
        swap_s, checks = await self._check(place, name, training)
        so_far |= {"checks": checks, "swap_s": swap_s}
        try:
            require(checks, name)
        except AdapterRejected as err:
            return RoundReport(**so_far, outcome="rejected", reason=str(err))
        gate, without = await self._gate(place, champion, name)
        so_far |= {"gate": gate, "memory": await self._recall_effect(place, champion, without)}
        reason = " ".join(gate.reasons)
        if not gate.promote:
            return RoundReport(**so_far, outcome="refused", reason=reason)
        await self._promote(place, champion, name, reason)
        return RoundReport(**so_far, outcome="promoted", reason=reason)

    async def _train(self, place: str, rows: Sequence[PromptCompletion]) -> tuple[Manifest, str]:
        endpoint = self.client.endpoint
        recipe = make_recipe(
            self.settings.train, rows, base=endpoint.model_path, base_hash=endpoint.model_hash
        )

        def watch(progress: TrainProgress) -> None:
            note = f"loss {progress.loss:.3f}"
            self.run.watch(
                Progress(f"{place}/train", progress.step, progress.total, 0, Cost(), note)
            )

        async def perform() -> dict[str, object]:
            out = self.folder / "training" / recipe.hash[:12]
            result = await train(recipe, rows, _base(endpoint), out, progress=watch)
            name = adapter_name(result.folder, ROLE)
            self.registry.add(result.folder, name)
            return {"manifest": result.manifest.model_dump(mode="json"), "name": name}

        async with _Clock(self, f"{place}/train"):
            answer = await self.run.effect(place, "train", {"recipe": recipe.hash}, perform)
        return Manifest.model_validate(answer.value["manifest"]), answer.value["name"]

    async def _check(
        self, place: str, name: str, training: Manifest
    ) -> tuple[float | None, tuple[CheckResult, ...]]:
        """The files, then the weights in the engine: does a probe's log-probability change?"""
        endpoint = self.client.endpoint
        folder = self.registry.path(name)

        async def perform() -> dict[str, object]:
            checks = check_files(folder, _base(endpoint), endpoint.model_hash, training.recipe)
            swap_s = None
            if all(check.ok for check in checks):
                began = time.monotonic()
                await self.client.load_adapter(name, folder)
                swap_s = round(time.monotonic() - began, 3)
                if endpoint.capabilities.prompt_logprobs:
                    base = await self.client.prompt_logprobs(endpoint.base_model, PROBE)
                    changed = await self.client.prompt_logprobs(name, PROBE)
                    checks = [*checks, probe_changed(base, changed)]
            return {"checks": [list(check) for check in checks], "swap_s": swap_s}

        answer = await self.run.effect(place, "load_check", name, perform)
        if answer.replayed and answer.value["swap_s"] is not None:
            await self._load(name)
        checks = tuple(CheckResult(*check) for check in answer.value["checks"])
        return answer.value["swap_s"], checks

    async def _gate(
        self, place: str, champion: str | None, name: str
    ) -> tuple[GateReport, list[TaskScore]]:
        """The paired test, and the champion's scores in it.

        Its number among all looks of this dojo is counted from the log.
        """
        k, warm = self.settings.gate.samples, self.settings.sampling.temperature
        rivals = {"champion": champion, "candidate": name}
        scores: dict[str, list[TaskScore]] = {}
        greedy: dict[str, dict[str, bool]] = {}
        guards: dict[str, list[TaskScore]] = {}
        for who, adapter in rivals.items():
            measured, _ = await self.measure(
                f"{place}/gate-{who}", "gate", adapter, n=k, temperature=warm
            )
            scores[who] = [score.task_score for score in measured.scores]
        for who, adapter in rivals.items():
            cold, _ = await self.measure(
                f"{place}/greedy-{who}", "gate", adapter, n=1, temperature=0.0
            )
            greedy[who] = {score.task_id: score.passed > 0 for score in cold.scores}
        for who, adapter in rivals.items():
            guards[who] = await self.guard(f"{place}/guard-{who}", adapter)

        async def perform() -> object:
            looks = sum(
                event.kind == EFFECT and event.data["effect"] == "gate"
                for event in read_log(self.folder / "log")
            )
            report = decide(
                scores["champion"],
                scores["candidate"],
                guard_champion=guards["champion"],
                guard_candidate=guards["candidate"],
                greedy_champion=greedy["champion"],
                greedy_candidate=greedy["candidate"],
                look=looks + 1,
                settings=self.settings.gate,
                seed=self.settings.train.seed,
            )
            return report.model_dump(mode="json")

        answer = await self.run.effect(
            place, "gate", {"candidate": name, "champion": champion}, perform
        )
        return GateReport.model_validate(answer.value), scores["champion"]

    async def _recall_effect(
        self, place: str, champion: str | None, without: list[TaskScore]
    ) -> MemoryEffect | None:
        """The champion on the gate tasks once more, with what memory recalls in its prompts."""
        parts = await self.make_parts(adapter=champion)
        if parts.memory is None:
            return None
        measured, _ = await self.measure(
            f"{place}/gate-recall",
            "gate",
            champion,
            n=self.settings.gate.samples,
            temperature=self.settings.sampling.temperature,
            recall=True,
        )
        memory = parts.memory

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

    async def _promote(self, place: str, champion: str | None, name: str, reason: str) -> None:
        async def perform() -> bool:
            return self.registry.promote(name, self.run.log, expected=champion, reason=reason)

        await self.run.effect(place, "promote", {"from": champion, "to": name}, perform)

    async def _champion(self) -> str | None:
        return self.registry.champion(ROLE)

    async def _load(self, name: str | None) -> None:
        if name is not None:
            await self.client.load_adapter(name, self.registry.path(name))

    async def _picture(self) -> str:
        from codojo.graphs.rollout import GRAPHS

        parts = await self.make_parts()
        return str(GRAPHS[self.settings.team.graph](parts).get_graph().draw_mermaid())


class _Clock:
    """Times a stage as an effect, so that a resumed run reports what the first one measured."""

    def __init__(self, loop: Loop, stage: str) -> None:
        self.loop, self.stage = loop, stage
        self.cost = Cost()

    async def __aenter__(self) -> "_Clock":
        self.began = time.monotonic()
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            return

        async def perform() -> float:
            return round(time.monotonic() - self.began, 2)

        answer = await self.loop.run.effect(self.stage, "seconds", self.stage, perform)
        self.loop.stages.append(StageCost(stage=self.stage, seconds=answer.value, cost=self.cost))


def _base(endpoint: Endpoint) -> Path | str:
    """The folder of the base model, or its hub name."""
    path = Path(endpoint.model_path)
    return path if path.is_dir() else endpoint.model_path


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
