"""Tests of one model against another on the same tasks, and what such a test can see."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean, pvariance
from typing import NamedTuple

import numpy as np

from codojo.scoring.intervals import TaskScore, by_task, paired_differences

DRAWS = 20_000
EXACT_TASKS = 14
"""Up to so many tasks that differ, all 2^n sign patterns are tried: fewer than `DRAWS`."""

TIE = 1e-9
"""Means this close count as equal, so that rounding cannot make a tie a win."""


class McNemar(NamedTuple):
    """Tasks that only one of two models solved, and what chance makes of that."""

    gained: int
    lost: int
    p: float


def sign_flip_p(differences: Sequence[float], *, rng: np.random.Generator) -> float:
    """One-sided p of the mean paired difference: how often luck alone gives one as large.

    If both models solve every task equally often, a task's difference could as well have come out
    with the other sign. So each sign is flipped by a coin, again and again, and p is the share of
    patterns whose mean reaches the observed one. Exact for up to 14 tasks that differ; beyond, the
    observed pattern is counted among 20,000 drawn ones, so p is never 0 and never too small.

    Signs are flipped task by task, not family by family: given equal models, answers to two tasks
    are independent draws even if the tasks are alike, so this is exact for what it tests, "equal
    on these tasks". Whether a gain would carry over to other families is what the interval
    clustered by family shows. Flipping whole families would test that, but the six or so families
    of a small gate have 2^6 patterns, and p could never get below 0.016.

    Args:
        differences: One per task, candidate minus champion; any order gives the same exact p.
    """
    moved = np.array(sorted((d for d in differences if d), key=lambda d: (abs(d), d)), float)
    observed = moved.sum() - TIE
    size = np.abs(moved)
    if moved.size <= EXACT_TASKS:
        patterns = np.arange(2**moved.size)[:, None] >> np.arange(moved.size) & 1
        return float(np.mean((2 * patterns - 1) @ size >= observed))
    signs = rng.integers(2, size=(DRAWS, moved.size), dtype=np.int8)
    reached = np.count_nonzero((2 * signs - 1) @ size >= observed)
    return float((reached + 1) / (DRAWS + 1))


def mcnemar(champion: Mapping[str, bool], candidate: Mapping[str, bool]) -> McNemar:
    """Exact one-sided McNemar test on one answer per task.

    McNemar 1947; the tasks on which the two differ are coin tosses if they are equally good.

    Raises:
        ValueError: If the two do not hold the same tasks.
    """
    if champion.keys() != candidate.keys():
        odd = ", ".join(sorted(champion.keys() ^ candidate.keys()))
        raise ValueError(f"a paired test needs the same tasks on both sides; only on one: {odd}")
    gained = sum(candidate[task] and not champion[task] for task in champion)
    lost = sum(champion[task] and not candidate[task] for task in champion)
    n = gained + lost
    return McNemar(gained, lost, sum(math.comb(n, i) for i in range(gained, n + 1)) / 2**n)


def alpha_at(look: int, total: float = 0.05) -> float:
    """The error that test number `look` (from 1) of a dojo may spend.

    `total * 6 / (pi^2 look^2)`: over endless looks these add up to `total`, so however often a
    dojo tries, the chance that it ever promotes an adapter that is no better stays below `total`.

    >>> [round(alpha_at(look), 4) for look in (1, 2, 3)]
    [0.0304, 0.0076, 0.0034]
    """
    if look < 1:
        raise ValueError(f"look is {look}; the first test is look 1")
    return total * 6 / (math.pi * look) ** 2


def alpha_spent(looks: int, total: float = 0.05) -> float:
    """What the first `looks` tests spent together."""
    return math.fsum(alpha_at(look, total) for look in range(1, looks + 1))


def detectable_difference(
    champion: Sequence[TaskScore],
    candidate: Sequence[TaskScore],
    *,
    alpha: float,
    power: float = 0.8,
) -> float | None:
    """Smallest true mean gain that the sign-flip test would have seen with this power.

    Normal approximation, `(z_alpha + z_power) * sd / sqrt(tasks)`. The variance is that of the
    observed differences, but at least what sampling alone causes (rates smoothed by one success
    and one failure), so that two models that happen to agree everywhere do not look like a
    perfect instrument.

    Returns:
        A share between 0 and 1, or None if no gain at all could have passed: with n tasks the
        smallest p is 2^-n.
    """
    differences = paired_differences(champion, candidate)
    n = len(differences)
    if 0.5**n > alpha:
        return None
    noise = fmean(
        _sampling_variance(a) + _sampling_variance(b)
        for a, b in zip(by_task(champion), by_task(candidate), strict=True)
    )
    spread = math.sqrt(max(pvariance(differences), noise))
    normal = NormalDist()
    smallest = (normal.inv_cdf(1 - alpha) + normal.inv_cdf(power)) * spread / math.sqrt(n)
    return min(smallest, 1.0)


def _sampling_variance(score: TaskScore) -> float:
    rate = (score.passed + 1) / (score.samples + 2)
    return rate * (1 - rate) / score.samples
