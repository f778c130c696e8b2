"""The gate: the paired test that a candidate adapter must win before it serves."""

from collections.abc import Iterator, Mapping, Sequence
from math import fsum
from typing import Literal

import numpy as np

from codojo.errors import TrainingError
from codojo.scoring.intervals import TaskScore, by_task, difference_interval, paired_differences
from codojo.scoring.paired import (
    alpha_at,
    alpha_spent,
    detectable_difference,
    mcnemar,
    sign_flip_p,
)
from codojo.settings import GateSettings
from codojo.tasks.schema import Record

POWER = 0.8


class TaskRates(Record):
    """One task, answered by both."""

    task_id: str
    family: str
    samples: int
    """Answers of the champion; the candidate gave as many unless some were lost."""
    champion: float
    candidate: float

    @property
    def difference(self) -> float:
        """What the candidate gained, as a share of the answers."""
        return self.candidate - self.champion


class Comparison(Record):
    """Champion and candidate on the same tasks."""

    tasks: tuple[TaskRates, ...]
    champion: float
    """Mean over tasks of the share of answers that passed."""
    candidate: float
    difference: float
    low: float
    """Lower end of the 95 % interval of the difference, with families drawn as wholes."""
    high: float


class Greedy(Record):
    """One answer per task at temperature 0. Shown, never decisive: on few tasks it is noise."""

    champion: float
    candidate: float
    gained: int
    lost: int
    p: float
    """One-sided exact McNemar."""


class GateReport(Record):
    """Everything the gate saw, and what it decided."""

    version: Literal[1] = 1
    look: int
    """Number of this test in the life of the dojo, from 1."""
    alpha: float
    """Error that this look may spend; p must not exceed it."""
    alpha_total: float
    alpha_spent: float
    """What all looks so far spent, this one included."""
    samples: int
    """Answers asked for per task, of each."""
    gate: Comparison
    p: float
    """One-sided sign-flip test over tasks."""
    detectable: float | None
    """Smallest gain that this test would have seen in four of five cases; None: no gain at all."""
    greedy: Greedy | None
    guard: Comparison | None
    """The guard suite; None if it was not asked."""
    max_guard_drop: float
    promote: bool
    reasons: tuple[str, ...]
    """Why, in plain sentences, the decisive ones first."""

    @property
    def guard_lost(self) -> bool:
        """Whether the guard suite alone refuses the candidate."""
        guard = self.guard
        return guard is not None and (guard.high < 0 or -guard.difference > self.max_guard_drop)


def decide(
    champion: Sequence[TaskScore],
    candidate: Sequence[TaskScore],
    *,
    guard_champion: Sequence[TaskScore],
    guard_candidate: Sequence[TaskScore],
    greedy_champion: Mapping[str, bool] | None = None,
    greedy_candidate: Mapping[str, bool] | None = None,
    look: int,
    settings: GateSettings,
    seed: int,
) -> GateReport:
    """Whether the candidate may replace the champion.

    It must answer more often right on the `gate` tasks than luck explains, and must not have lost
    what the guard suite asks. The same scores and seed give the same report.

    Args:
        champion: Scores on the `gate` split; sampled anew for each look, since a champion that
            was lucky once would stay lucky.
        candidate: Scores on the same tasks.
        guard_champion: Scores on the guard suite, a question counting as a task; empty: not asked.
        guard_candidate: Scores on the same questions.
        greedy_champion: By task, whether the answer at temperature 0 passed.
        greedy_candidate: The same for the candidate.
        look: How many tests this dojo has made, this one included.
        seed: Of the random draws behind p and the intervals.

    Raises:
        TrainingError: If the two were not measured on the same tasks.
    """
    rng = np.random.default_rng(seed)
    try:
        gate = _compare(champion, candidate, rng)
        guarded = guard_champion or guard_candidate
        guard = _compare(guard_champion, guard_candidate, rng) if guarded else None
        greedy = _greedy(greedy_champion, greedy_candidate)
    except ValueError as err:
        raise TrainingError(
            f"the gate cannot compare: {err}; measure champion and candidate on the same tasks"
        ) from err
    alpha = alpha_at(look, settings.alpha)
    p = sign_flip_p([task.difference for task in gate.tasks], rng=rng)
    detectable = detectable_difference(champion, candidate, alpha=alpha, power=POWER)
    report = GateReport(
        look=look,
        alpha=alpha,
        alpha_total=settings.alpha,
        alpha_spent=alpha_spent(look, settings.alpha),
        samples=settings.samples,
        gate=gate,
        p=p,
        detectable=detectable,
        greedy=greedy,
        guard=guard,
        max_guard_drop=settings.max_guard_drop,
        promote=False,
        reasons=(),
    )
    report = report.model_copy(update={"promote": p <= alpha and not report.guard_lost})
    return report.model_copy(update={"reasons": tuple(_reasons(report))})


def _compare(
    champion: Sequence[TaskScore], candidate: Sequence[TaskScore], rng: np.random.Generator
) -> Comparison:
    differences = paired_differences(champion, candidate)
    interval = difference_interval(champion, candidate, rng=rng)
    tasks = tuple(
        TaskRates(
            task_id=before.task_id,
            family=before.family,
            samples=before.samples,
            champion=before.rate,
            candidate=after.rate,
        )
        for before, after in zip(by_task(champion), by_task(candidate), strict=True)
    )
    return Comparison(
        tasks=tasks,
        champion=_mean([task.champion for task in tasks]),
        candidate=_mean([task.candidate for task in tasks]),
        difference=_mean(differences),
        low=interval.low,
        high=interval.high,
    )


def _greedy(
    champion: Mapping[str, bool] | None, candidate: Mapping[str, bool] | None
) -> Greedy | None:
    if not champion or not candidate:
        return None
    found = mcnemar(champion, candidate)
    return Greedy(
        champion=_mean(list(champion.values())),
        candidate=_mean(list(candidate.values())),
        gained=found.gained,
        lost=found.lost,
        p=found.p,
    )


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)


def _reasons(report: GateReport) -> Iterator[str]:
    gate = report.gate
    change = (
        f"On {len(gate.tasks)} tasks that nobody trained on, the champion solved "
        f"{gate.champion:.1%} of its answers and the candidate {gate.candidate:.1%} "
        f"({gate.difference:+.1%}, 95 % interval {gate.low:+.1%} to {gate.high:+.1%})."
    )
    won = report.p <= report.alpha
    yield "The candidate is promoted." if report.promote else "The champion stays."
    yield change
    if won:
        yield (
            f"Luck alone gives such a gain with probability {report.p:.2g}, which is not above the "
            f"{report.alpha:.2g} allowed at test number {report.look}."
        )
    elif gate.difference <= 0:
        yield "The candidate did not get better, so there is no gain to test."
    else:
        yield (
            f"Luck alone gives such a gain with probability {report.p:.2g}, more than the "
            f"{report.alpha:.2g} allowed at test number {report.look}; so it may well be luck."
        )
    if not won and report.detectable is None:
        yield (
            f"With only {len(gate.tasks)} tasks no gain, however large, could have passed at this "
            "look; the gate needs more tasks."
        )
    elif not won:
        yield (
            f"This test finds a gain of {report.detectable:.1%} or more in four of five cases; "
            "smaller gains need more tasks or more samples per task."
        )
    yield from _guard_reasons(report)


def _guard_reasons(report: GateReport) -> Iterator[str]:
    guard = report.guard
    if guard is None:
        yield "The guard suite was not asked, so a loss of other abilities would go unseen."
        return
    seen = (
        f"On the guard suite the candidate answered {guard.candidate:.1%} right, the champion "
        f"{guard.champion:.1%} ({guard.difference:+.1%}, 95 % interval {guard.low:+.1%} to "
        f"{guard.high:+.1%})"
    )
    if -guard.difference > report.max_guard_drop:
        yield f"{seen}: it lost more than the {report.max_guard_drop:.0%} that are allowed."
    elif guard.high < 0:
        yield f"{seen}: the whole interval is below zero, so the loss is real."
    else:
        yield f"{seen}: no loss that refuses it."
