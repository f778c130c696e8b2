"""Synthetic records of improve runs: models with known chances on tasks that need no engine."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from codojo.finetune.curators import rft
from codojo.finetune.gate import GateReport, decide
from codojo.finetune.load_check import CheckResult
from codojo.finetune.recipe import Manifest, Recipe
from codojo.graphs.improve_report import (
    ImprovePlan,
    ImproveReport,
    Measured,
    RoundReport,
    Score,
    StageCost,
    score_of,
)
from codojo.scoring.intervals import TaskScore
from codojo.settings import Settings
from codojo.tasks.cases import make_case
from codojo.tasks.schema import Brief, Candidate, Outcome, Split, Tests, Verdict
from codojo.trajectories.rows import rows_hash
from codojo.trajectories.schema import (
    Choice,
    Cost,
    Effect,
    Message,
    Proposal,
    RolloutEnd,
    RolloutStart,
    StepInput,
    StepOutput,
    StepRef,
    Trajectory,
)

NAMES = ("count_vowels", "running_total", "group_anagrams", "roman", "flatten", "luhn_is_valid")
RUN = "01KB0H5R9NQ2V7T3M8X4C6D1EF"
BASE, ADAPTER = "smollm2-135m", "all-3fa94c01b77e"
GRAPH = """graph TD;
\t__start__([<p>__start__</p>]):::first
\t__start__ --> recall;
\tcode --> execute;
\texecute -.-> review;
\texecute -.-> select;
\tplan --> code;
\tplan --> tests;
\trecall --> plan;
\trepair --> execute;
\treview --> repair;
\tselect --> build;
\ttests --> execute;
\tbuild --> __end__;
"""

Ending = Literal["promoted", "refused", "rejected", "nothing_to_learn"]


@dataclass
class World:
    """A run with its rollouts; `text` writes what a model wrote."""

    seed: int = 1
    tasks: int = 24
    samples: int = 16
    text: Callable[[str], str] = lambda text: text
    found: dict[str, Trajectory] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def chance(self, task: int, skill: float) -> float:
        """How often a model of some skill solves a task."""
        ease = random.Random(f"{self.seed}/{task}").betavariate(0.35, 1.1)
        return min(ease * skill, 1.0)

    def measure(self, stage: str, split: Split, model: str, skill: float, n: int) -> Measured:
        """One rollout for each task."""
        rollouts = [self.rollout(stage, split, model, i, skill, n) for i in range(self.tasks)]
        self.found |= {rollout.id: rollout for rollout in rollouts}
        cost = Cost()
        for rollout in rollouts:
            assert rollout.end is not None
            cost = cost + rollout.end.cost
        return Measured(
            stage=stage,
            model=model,
            temperature=0.8,
            scores=tuple(score_of(rollout, n) for rollout in rollouts),
            cost=cost,
            rollouts=tuple(rollout.id for rollout in rollouts),
        )

    def rollout(
        self, stage: str, split: Split, model: str, task: int, skill: float, n: int
    ) -> Trajectory:
        """One rollout of `n` answers."""
        id = f"{stage.replace('/', '_')}-{task:03}"
        brief = make_brief(self.text, split, task)
        passes = [self.random.random() < self.chance(task, skill) for _ in range(n)]
        codes = [make_code(self.text, brief.entry_point, i, ok) for i, ok in enumerate(passes)]
        step = f"{id}/reply"
        answered = tuple(
            Choice(
                text=f"{self.text('Here you are.')}\n```python\n{code}\n```",
                finish_reason="stop" if i % 5 else "length",
                token_ids=tuple(range(40)),
                logprobs=tuple(-self.random.expovariate(2.0) for _ in range(40)),
            )
            for i, code in enumerate(codes)
        )
        asked = StepInput(
            agent="coder",
            model=model,
            template="coder 1a2b3c",
            parent=None,
            messages=(Message(role="user", content=f"Complete this.\n\n{brief.prompt}"),),
            sampling={"temperature": 0.8, "n": n},
        )
        verdicts = [make_verdict(self.text, ok) for ok in passes]
        proposals = tuple(
            Proposal(
                candidate=Candidate.of(code),
                origin=StepRef(step=step, choice=i),
                visible=verdict.model_copy(update={"tests": "visible"}),
                verdict=verdict,
            )
            for i, (code, verdict) in enumerate(zip(codes, verdicts, strict=True))
        )
        effects = [
            effect(
                step,
                "reply",
                asked.model_dump(mode="json"),
                StepOutput(
                    model=model, choices=answered, prompt_tokens=180, completion_tokens=60 * n
                ).model_dump(mode="json"),
            )
        ]
        effects += [
            effect(
                f"{id}/{kind}/{i}",
                kind,
                {"files": p.candidate.files, "entry_point": "f", "tests": tests, "cases": []},
                verdict.model_dump(mode="json"),
            )
            for kind, tests in (("execution", "visible"), ("verdict", "sealed"))
            for i, (p, verdict) in enumerate(zip(proposals, verdicts, strict=True))
        ]
        chosen = passes.index(True) if any(passes) else 0
        return Trajectory(
            id=id,
            at=1.0,
            start=RolloutStart(
                run=RUN,
                stage=stage,
                brief=brief,
                task_hash="0" * 64,
                graph="solo",
                graph_version="abc",
                models={"all": model},
            ),
            effects=tuple(effects),
            end=RolloutEnd(
                proposals=proposals,
                chosen=chosen,
                verdict=proposals[chosen].verdict,
                cost=Cost(prompt_tokens=180, completion_tokens=60 * n, calls=1, seconds=2.5),
                deliverable={"solution.py": codes[chosen]},
            ),
        )


def make_brief(text: Callable[[str], str], split: Split, task: int) -> Brief:
    """A task with one visible case."""
    name = f"{NAMES[task % len(NAMES)]}_{split[0]}{task}"
    return Brief(
        task_id=text(f"katas/{name}"),
        suite="katas",
        family=text(f"{split}-family-{task // 2}"),
        split=split,
        prompt=text(f"Write `{name}(s)` that returns the number of vowels in a string."),
        entry_point=name,
        starter=f"def {name}(s: str) -> int:",
        visible=Tests(source="visible", cases=(make_case("v0", ["tea"], 2),)),
    )


def make_code(text: Callable[[str], str], name: str, i: int, ok: bool) -> str:
    """Code that says whether it is right."""
    kind = "right" if ok else "wrong"
    body = f'    """{text("Count.")}"""\n    total = {i % 4}  # {text(kind)}\n    return total'
    return f"def {name}(s: str) -> int:\n{body}"


def make_verdict(text: Callable[[str], str], ok: bool) -> Verdict:
    """A verdict of three sealed tests."""
    return Verdict(
        status="passed" if ok else "failed",
        reason="" if ok else text("mismatch"),
        tests="sealed",
        outcomes=tuple(
            Outcome(
                id=f"s{i}",
                status="passed" if ok or i == 0 else "failed",
                detail=text("" if ok or i == 0 else "gave None"),
            )
            for i in range(3)
        ),
        isolation="bubblewrap",
        duration_s=0.04,
    )


def effect(key: str, kind: str, asked: Any, gave: Any) -> Effect:
    """An effect as the log holds it."""
    return Effect(key=key, effect=kind, path=("code@2",), input=asked, output=gave, duration_s=1.25)


class NoGuard:
    """Finds nothing."""

    def find(self, text: str) -> list[str]:
        return []


def manifest(rows: int, rows_digest: str) -> Manifest:
    """How an adapter was made."""
    recipe = Recipe(
        base="/models/base",
        base_hash="b" * 64,
        rows_hash=rows_digest,
        rank=16,
        alpha=32,
        learning_rate=5e-4,
        epochs=3,
        max_steps=0,
        batch_size=8,
        max_length=512,
        seed=0,
    )
    return Manifest(
        recipe=recipe,
        recipe_hash=recipe.hash,
        tokenizer_hash="c" * 64,
        weights_hash="d" * 64,
        rows=rows,
        too_long=2,
        steps=24,
        tokens=31_250,
        label_tokens=9_120,
        losses=tuple(1.9 * 0.93**i + 0.03 * (i % 3) for i in range(24)),
        seconds=141.2,
        resumed_at=0,
        accumulate=1,
        versions={"torch": "2.9.0", "trl": "1.16.0"},
    )


def gate_report(world: World, skill: float, guard_drop: int = 0) -> GateReport:
    """What the gate says of two models of those skills."""

    def scores(factor: float) -> list[TaskScore]:
        source = random.Random(f"{world.seed}/{factor}")
        return [
            TaskScore(
                world.text(f"katas/gate_{i}"),
                world.text(f"gate-family-{i // 2}"),
                8,
                sum(source.random() < world.chance(100 + i, factor) for _ in range(8)),
            )
            for i in range(24)
        ]

    def guard(drop: int) -> list[TaskScore]:
        return [TaskScore(f"q{i}", f"q{i}", 8, max(0, (i % 9) - drop)) for i in range(40)]

    return decide(
        scores(1.0),
        scores(skill),
        guard_champion=guard(0),
        guard_candidate=guard(guard_drop),
        greedy_champion={f"g{i}": i % 3 == 0 for i in range(24)},
        greedy_candidate={f"g{i}": i % 2 == 0 for i in range(24)},
        look=1,
        settings=Settings().gate,
        seed=0,
    )


def improve_report(
    outcome: Ending | None, world: World | None = None, *, skill: float = 1.7
) -> tuple[ImproveReport, dict[str, Trajectory]]:
    """A run of one round with that outcome, or of no round, and its rollouts."""
    world = world or World()
    text = world.text
    before = world.measure("held-out/before", "held_out", BASE, 0.9, world.samples)
    rounds: tuple[RoundReport, ...] = ()
    if outcome:
        rounds = (_round(world, outcome, skill),)
    won = outcome == "promoted"
    after = (
        world.measure("held-out/after", "held_out", ADAPTER, skill, world.samples) if won else None
    )
    places = ["solve", "train", "gate-champion", "gate-candidate", "greedy-champion"]
    places += ["greedy-candidate", "guard-champion", "guard-candidate"]
    stages = [StageCost(stage="held-out/before", seconds=64.5, cost=before.cost)]
    stages += [
        StageCost(
            stage=f"round-1/{place}",
            seconds=30.0 + 17 * i,
            cost=Cost()
            if place == "train"
            else Cost(prompt_tokens=900 * i, completion_tokens=4_000),
        )
        for i, place in enumerate(places)
        if rounds
    ]
    report = ImproveReport(
        run=RUN,
        plan=ImprovePlan(suite="katas", rounds=len(rounds) or 1, held_out_samples=world.samples),
        tasks={"train": world.tasks, "gate": world.tasks, "held_out": world.tasks},
        before=before,
        rounds=rounds,
        after=after,
        champion=ADAPTER if won else None,
        stages=tuple(stages),
        versions={"python": "3.12", "engine": text("vllm 0.32"), "isolation": "bubblewrap"},
        settings=Settings().model_dump(mode="json"),
        reasked=1,
        graph=GRAPH + text(""),
    )
    return report, world.found


def _round(world: World, outcome: Ending, skill: float) -> RoundReport:
    text = world.text
    solved = world.measure(
        "round-1/solve", "train", BASE, 0.0 if outcome == "nothing_to_learn" else 1.0, 8
    )
    curated = rft([world.found[id] for id in solved.rollouts], guard=NoGuard(), per_task=4)
    so_far: dict[str, Any] = {
        "number": 1,
        "champion": None,
        "solved": solved,
        "curated": curated.report,
        "rows": len(curated.rows),
        "rows_hash": rows_hash(curated.rows),
    }
    if outcome == "nothing_to_learn":
        return RoundReport(**so_far, outcome=outcome, reason=text("no candidate passed"))
    so_far |= {
        "training": manifest(len(curated.rows), rows_hash(curated.rows)),
        "adapter": ADAPTER,
    }
    checks = [CheckResult(name, True, text("fine")) for name in ("files", "manifest", "weights")]
    if outcome == "rejected":
        checks[2] = CheckResult("weights", False, text("all of lora_B is zero"))
        return RoundReport(
            **so_far, checks=tuple(checks), outcome=outcome, reason=text("weights: zero")
        )
    gate = gate_report(world, 2.4 if outcome == "promoted" else 1.05)
    assert gate.promote == (outcome == "promoted")
    return RoundReport(
        **so_far,
        checks=tuple(checks),
        gate=gate,
        outcome=outcome,
        reason=text(" ".join(gate.reasons)),
        swap_s=0.214,
    )


def score(task: str, family: str, samples: int, passed: int) -> Score:
    """A score by position."""
    return Score(task_id=task, family=family, samples=samples, passed=passed)
