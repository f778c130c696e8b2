"""The improve loop: solve, curate, train, gate, promote or refuse, measure again.

Every stage is either rollouts, each resumable, or an effect of the run itself, so a killed loop goes on
where it stopped. Rules of the loop: rows come from the `train` split alone; promotions are decided on
the `gate` split and the guard suite; `held_out` is opened only for the figures that are published, at
the two ends. Each round trains from the base model on everything solved so far (as STaR restarts,
Zelikman et al. 2022, arXiv:2203.14465; its data is only the last round's, ours is cumulative).
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codojo.errors import AdapterRejected, RequestRefused
from codojo.finetune.curators import rft
from codojo.finetune.gate import GateReport, decide
from codojo.finetune.load_check import CheckResult, check_files, probe_changed, require
from codojo.finetune.recipe import Manifest, adapter_name, make_recipe
from codojo.finetune.rehearsal import rehearse
from codojo.finetune.train import MIN_ROWS, TrainProgress, train
from codojo.graphs.improve_report import ImprovePlan, ImproveReport, Measured, RoundReport
from codojo.graphs.parts import Parts
from codojo.graphs.run import Progress, Run
from codojo.graphs.stages import ROLE, Stages
from codojo.scoring.intervals import TaskScore
from codojo.serving.engine import Endpoint, EngineClient
from codojo.serving.registry import AdapterRegistry
from codojo.settings import Settings
from codojo.tasks.contamination import ContaminationGuard
from codojo.tasks.guard import load_guard
from codojo.tasks.rehearsal import load_rehearsal
from codojo.tasks.schema import Suite
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import read_log
from codojo.trajectories.rows import PromptCompletion, rows_hash
from codojo.trajectories.schema import Cost, Trajectory

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
    load: Callable[[str], Awaitable[None]]
    """Puts an adapter of the dojo into the engine, and refuses one of another base."""
    folder: Path
    """The dojo."""

    def __post_init__(self) -> None:
        self.stages = Stages(self.run, self.suite, self.plan, self.settings, self.make_parts)
        self._guard = ContaminationGuard.of(self.suite)
        self._rehearsed: tuple[PromptCompletion, ...] = ()

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
        if first is not None:
            await self.load(first)
        n = self.plan.held_out_samples
        before, _ = await self.stages.measure("held-out/before", "held_out", first, n=n)
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
            after, _ = await self.stages.measure("held-out/after", "held_out", champion, n=n)
        return ImproveReport(
            run=self.run.id,
            plan=self.plan,
            tasks={split: len(tasks) for split, tasks in self.stages.tasks.items()},
            before=before,
            rounds=tuple(rounds),
            after=after,
            champion=champion,
            stages=tuple(self.stages.costs),
            versions=self.run.versions,
            settings=self.settings.model_dump(mode="json"),
            reasked=self.stages.reasked + self.run.journal.reasked,
            redacted=sum(self.run.redacted.values()),
            graph=await self._picture(),
        )

    async def _round(
        self, number: int, champion: str | None, evidence: list[Trajectory]
    ) -> RoundReport:
        place = f"round-{number}"
        solved, found = await self.stages.measure(
            f"{place}/solve", "train", champion, n=self.plan.samples
        )
        evidence.extend(found)
        curated = rft(evidence, guard=self._guard, per_task=self.settings.train.per_task)
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
        rehearsed = await self._rehearse()
        training, name = await self._train(place, [*curated.rows, *rehearsed])
        so_far |= {"rehearsed": len(rehearsed), "training": training, "adapter": name}
        swap_s, checks = await self._check(place, name, training)
        so_far |= {"checks": checks, "swap_s": swap_s}
        try:
            require(checks, name)
        except AdapterRejected as err:
            return RoundReport(**so_far, outcome="rejected", reason=str(err))
        gate, without = await self._gate(place, champion, name)
        so_far |= {
            "gate": gate,
            "memory": await self.stages.recall_effect(place, champion, without),
        }
        reason = " ".join(gate.reasons)
        if not gate.promote:
            return RoundReport(**so_far, outcome="refused", reason=reason)
        await self._promote(place, champion, name, reason)
        return RoundReport(**so_far, outcome="promoted", reason=reason)

    async def _rehearse(self) -> tuple[PromptCompletion, ...]:
        """The base model's answers to plain questions; asked once, the same rows in each round."""
        questions = load_rehearsal()[: self.settings.train.rehearsal]
        if questions and not self._rehearsed:
            answers = await self.stages.rehearse("rehearsal", questions)
            self._rehearsed = rehearse(answers, guard=self._guard)
        return self._rehearsed

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

        async with self.stages.clock(f"{place}/train"):
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
            await self.load(name)
        checks = tuple(CheckResult(*check) for check in answer.value["checks"])
        return answer.value["swap_s"], checks

    async def _gate(
        self, place: str, champion: str | None, name: str
    ) -> tuple[GateReport, list[TaskScore]]:
        """The paired test, and the champion's scores in it.

        Its number among all looks of this dojo is counted from the log.
        """
        stages, k = self.stages, self.settings.gate.samples
        rivals = {"champion": champion, "candidate": name}
        scores: dict[str, list[TaskScore]] = {}
        greedy: dict[str, dict[str, bool]] = {}
        guards: dict[str, list[TaskScore]] = {}
        for who, adapter in rivals.items():
            measured, _ = await stages.measure(f"{place}/gate-{who}", "gate", adapter, n=k)
            scores[who] = [score.task_score for score in measured.scores]
        for who, adapter in rivals.items():
            cold, _ = await stages.measure(
                f"{place}/greedy-{who}", "gate", adapter, n=1, temperature=0.0
            )
            greedy[who] = {score.task_id: score.passed > 0 for score in cold.scores}
        for who, adapter in rivals.items():
            guards[who] = await stages.guard(f"{place}/guard-{who}", adapter, load_guard())

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

    async def _promote(self, place: str, champion: str | None, name: str, reason: str) -> None:
        async def perform() -> bool:
            return self.registry.promote(name, self.run.log, expected=champion, reason=reason)

        await self.run.effect(place, "promote", {"from": champion, "to": name}, perform)

    async def _champion(self) -> str | None:
        return self.registry.champion(ROLE)

    async def _picture(self) -> str:
        from codojo.graphs.rollout import GRAPHS

        parts = await self.make_parts()
        return str(GRAPHS[self.settings.team.graph](parts).get_graph().draw_mermaid())


def _base(endpoint: Endpoint) -> Path | str:
    """The folder of the base model, or its hub name."""
    path = Path(endpoint.model_path)
    return path if path.is_dir() else endpoint.model_path
