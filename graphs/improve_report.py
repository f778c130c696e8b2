"""What a run of the improve loop is asked for, and everything that it reports."""

from typing import Literal

from pydantic import Field

from codojo.finetune.curating import CurationReport
from codojo.finetune.gate import GateReport
from codojo.finetune.load_check import CheckResult
from codojo.finetune.recipe import Manifest
from codojo.scoring.intervals import TaskScore
from codojo.tasks.schema import Record, Split
from codojo.trajectories.schema import Cost, Trajectory

REPORT = "improve_report"
"""Kind of the event that holds an `ImproveReport`."""


class ImprovePlan(Record):
    """How much of everything; 0 tasks means all of the split."""

    suite: str
    rounds: int = 1
    samples: int = Field(8, ge=1, le=64)
    """Candidates per train task and round."""
    train_tasks: int = 0
    gate_tasks: int = 0
    held_out_tasks: int = 0
    held_out_samples: int = Field(16, ge=1, le=64)
    """Candidates per held-out task, before the first and after the last round."""


class Score(Record):
    """How one task went under one model."""

    task_id: str
    family: str
    samples: int
    passed: int

    @property
    def task_score(self) -> TaskScore:
        """The same, as scoring functions take it."""
        return TaskScore(self.task_id, self.family, self.samples, self.passed)


class Measured(Record):
    """One model on one set of tasks."""

    stage: str
    model: str
    temperature: float
    scores: tuple[Score, ...]
    cost: Cost
    rollouts: tuple[str, ...] = ()


class StageCost(Record):
    """What a stage took."""

    stage: str
    seconds: float
    cost: Cost = Cost()


class MemoryEffect(Record):
    """What recall did to the champion's pass rate on the gate tasks: measured, never assumed."""

    entries: int
    """What memory held by then."""
    without: float
    with_recall: float
    difference: float
    low: float
    """Lower end of the paired 95 % interval, clustered by family."""
    high: float


class RoundReport(Record):
    """What one round did and why."""

    number: int
    champion: str | None
    solved: Measured
    curated: CurationReport
    rows: int
    rows_hash: str
    rehearsed: int = 0
    """Rows of the base model's own answers to plain questions that were mixed in."""
    training: Manifest | None = None
    adapter: str | None = None
    checks: tuple[CheckResult, ...] = ()
    gate: GateReport | None = None
    memory: MemoryEffect | None = None
    """None where memory is off."""
    outcome: Literal["promoted", "refused", "rejected", "nothing_to_learn"]
    reason: str
    swap_s: float | None = None
    """Seconds it took to hot-load the adapter into the running engine."""


class ImproveReport(Record):
    """Everything a run of the loop measured; the HTML report is drawn from it."""

    run: str
    plan: ImprovePlan
    tasks: dict[Split, int]
    before: Measured
    rounds: tuple[RoundReport, ...]
    after: Measured | None
    """None where the champion is what it was: the figures would be the same model's."""
    champion: str | None
    stages: tuple[StageCost, ...]
    versions: dict[str, str]
    settings: dict[str, object]
    reasked: int
    redacted: int = 0
    """Secrets that were taken out of tasks and results."""
    graph: str
    """Mermaid text of the graph that solved."""


def score_of(trajectory: Trajectory, samples: int) -> Score:
    """Passed candidates among the samples asked for; an answer without code is a failed sample."""
    passed = sum(bool(p.verdict and p.verdict.passed) for p in trajectory.proposals)
    return Score(
        task_id=trajectory.brief.task_id,
        family=trajectory.brief.family,
        samples=max(samples, len(trajectory.proposals)),
        passed=passed,
    )
