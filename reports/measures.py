"""The figures of an improve report, from its scores: estimates with intervals, curves, changes.

Pure functions. Every interval draws families as wholes (`codojo.scoring.intervals`) from a generator
with a fixed seed, so that the same report always gives the same page.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codojo.graphs.improve_report import ImproveReport, Measured, Score
from codojo.scoring.intervals import (
    DRAWS,
    cluster_bootstrap,
    difference_interval,
    mean_interval,
    paired_differences,
)
from codojo.scoring.passk import mean_pass_at_k, pass_at_k

SEED = 0
FEW_FAMILIES = 10
"""With fewer families an interval from drawing them is too short, and the page says so."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def is_gain(self) -> bool:
        """The whole interval is above zero."""
        return self.low > 0

    @property
    def is_loss(self) -> bool:
        """The whole interval is below zero."""
        return self.high < 0


@dataclass(frozen=True)
class CurvePoint:
    """pass@k of one model, and what k answers cost."""

    k: int
    estimate: Estimate
    tokens: float
    """Tokens spent per task: k times the mean of one answer."""


@dataclass(frozen=True)
class Side:
    """One model on the held-out tasks."""

    model: str
    curve: tuple[CurvePoint, ...]
    """For k from 1 to the smallest number of answers that any task has."""
    tokens_per_sample: float
    samples: int
    passed: int
    solved: int
    """Tasks with at least one passing answer."""
    tasks: int

    def at(self, k: int) -> Estimate:
        """pass@k."""
        return self.curve[k - 1].estimate


@dataclass(frozen=True)
class TaskChange:
    """One task before and after."""

    task_id: str
    family: str
    before: float
    after: float
    passed_before: str
    passed_after: str

    @property
    def difference(self) -> float:
        """What was gained, as a share of the answers."""
        return self.after - self.before


@dataclass(frozen=True)
class BudgetRow:
    """What both models reach for the tokens that k answers of the adapter cost."""

    tokens: float
    k_before: int
    k_after: int
    before: float | None
    """None where the tokens do not buy one answer."""
    after: float
    capped: bool
    """The tokens would buy the model before more answers than it gave."""


@dataclass(frozen=True)
class HeldOut:
    """The published figures."""

    k: int
    """Largest k that every task has answers for."""
    families: int
    before: Side
    after: Side | None
    difference: Estimate | None
    """Of pass@1, paired by task."""
    difference_k: Estimate | None
    """Of pass@k at the largest k."""
    gap_closed: Estimate | None
    """Gain in pass@1 as a share of what separates pass@1 from pass@k before."""
    changes: tuple[TaskChange, ...]
    """The largest gain first."""
    budget: tuple[BudgetRow, ...]


def held_out(report: ImproveReport) -> HeldOut:
    """The figures before and, where the champion changed, after."""
    first, last = report.before, report.after
    scores = [*first.scores, *(last.scores if last else ())]
    k = min(score.samples for score in scores)
    before = side(first, k)
    after = side(last, k) if last else None
    return HeldOut(
        k=k,
        families=len({score.family for score in first.scores}),
        before=before,
        after=after,
        difference=difference(first, last) if last else None,
        difference_k=_difference_at(first, last, k) if last else None,
        gap_closed=gap_closed(first.scores, last.scores, k) if last else None,
        changes=_changes(first, last) if last else (),
        budget=_budget(before, after) if after else (),
    )


def side(measured: Measured, k: int) -> Side:
    """One model's figures, with the curve up to k."""
    scores = measured.scores
    samples = sum(score.samples for score in scores)
    tokens = measured.cost.tokens / samples
    return Side(
        model=measured.model,
        curve=tuple(CurvePoint(n, estimate_at(scores, n), n * tokens) for n in range(1, k + 1)),
        tokens_per_sample=tokens,
        samples=samples,
        passed=sum(score.passed for score in scores),
        solved=sum(score.passed > 0 for score in scores),
        tasks=len(scores),
    )


def estimate_at(scores: Sequence[Score], k: int) -> Estimate:
    """pass@k over tasks with its interval."""
    if k == 1:
        interval = mean_interval([score.task_score for score in scores], rng=_rng())
    else:
        interval = cluster_bootstrap(_by_family(scores, _pass_at(scores, k)), rng=_rng())
    return Estimate(mean_pass_at_k([(s.samples, s.passed) for s in scores], k), *interval)


def difference(before: Measured, after: Measured) -> Estimate:
    """Mean change of pass@1, task by task."""
    first, second = ([score.task_score for score in m.scores] for m in (before, after))
    differences = paired_differences(first, second)
    interval = difference_interval(first, second, rng=_rng())
    return Estimate(float(np.mean(differences)), *interval)


def gap_closed(before: Sequence[Score], after: Sequence[Score], k: int) -> Estimate | None:
    """Gain in pass@1 as a share of the gap between pass@1 and pass@k before; None without a gap.

    A ratio of two means over the same tasks; each draw of families gives one ratio. A draw without
    a gap has no ratio and is left out.
    """
    first, second = _sorted(before), _sorted(after)
    ones = np.array(_pass_at(first, 1))
    gain = np.array(_pass_at(second, 1)) - ones
    gap = np.array(_pass_at(first, k)) - ones
    if gap.sum() <= 0:
        return None
    families = sorted({score.family for score in first})
    member = np.array([[score.family == family for score in first] for family in families])
    picks = _rng().integers(len(families), size=(DRAWS, len(families)))
    gains, gaps = (member @ gain)[picks].sum(axis=1), (member @ gap)[picks].sum(axis=1)
    ratios = gains[gaps > 1e-12] / gaps[gaps > 1e-12]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Estimate(float(gain.sum() / gap.sum()), float(low), float(high))


def table_ks(k: int) -> list[int]:
    """The values of k worth a line in a table: powers of two, and k itself."""
    return sorted({2**i for i in range(k.bit_length()) if 2**i <= k} | {k})


def _difference_at(before: Measured, after: Measured, k: int) -> Estimate:
    first, second = _sorted(before.scores), _sorted(after.scores)
    pairs = zip(_pass_at(first, k), _pass_at(second, k), strict=True)
    differences = [b - a for a, b in pairs]
    interval = cluster_bootstrap(_by_family(first, differences), rng=_rng())
    return Estimate(float(np.mean(differences)), *interval)


def _changes(before: Measured, after: Measured) -> tuple[TaskChange, ...]:
    pairs = zip(_sorted(before.scores), _sorted(after.scores), strict=True)
    changes = [
        TaskChange(
            task_id=a.task_id,
            family=a.family,
            before=a.passed / a.samples,
            after=b.passed / b.samples,
            passed_before=f"{a.passed} of {a.samples}",
            passed_after=f"{b.passed} of {b.samples}",
        )
        for a, b in pairs
    ]
    return tuple(sorted(changes, key=lambda c: (-c.difference, -c.after, c.task_id)))


def _budget(before: Side, after: Side) -> tuple[BudgetRow, ...]:
    rows: list[BudgetRow] = []
    for point in (after.curve[k - 1] for k in table_ks(len(after.curve))):
        spent = before.tokens_per_sample
        affordable = int(point.tokens / spent + 1e-9) if spent else point.k
        reached = min(affordable, len(before.curve))
        rows.append(
            BudgetRow(
                tokens=point.tokens,
                k_before=reached,
                k_after=point.k,
                before=before.at(reached).value if reached else None,
                after=point.estimate.value,
                capped=affordable > reached,
            )
        )
    return tuple(rows)


def _sorted(scores: Sequence[Score]) -> list[Score]:
    return sorted(scores, key=lambda score: score.task_id)


def _pass_at(scores: Sequence[Score], k: int) -> list[float]:
    return [pass_at_k(score.samples, score.passed, k) for score in scores]


def _by_family(scores: Sequence[Score], values: Sequence[float]) -> dict[str, list[float]]:
    families: dict[str, list[float]] = {}
    for score, value in zip(scores, values, strict=True):
        families.setdefault(score.family, []).append(value)
    return families


def _rng() -> np.random.Generator:
    return np.random.default_rng(SEED)
