"""Scores of tasks, and intervals that know that tasks of one family resemble each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000


@dataclass(frozen=True)
class TaskScore:
    """How often one task was solved."""

    task_id: str
    family: str
    samples: int
    passed: int

    def __post_init__(self) -> None:
        if self.samples < 1 or not 0 <= self.passed <= self.samples:
            raise ValueError(
                f"task '{self.task_id}': {self.passed} of {self.samples} samples passed; "
                "need at least one sample and 0 <= passed <= samples"
            )

    @property
    def rate(self) -> float:
        """Share of the samples that passed, between 0 and 1."""
        return self.passed / self.samples


class Interval(NamedTuple):
    """A closed interval."""

    low: float
    high: float


def cluster_bootstrap(
    values_by_family: Mapping[str, Sequence[float] | NDArray[np.float64]],
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    draws: int = DRAWS,
) -> Interval:
    """Percentile interval of the mean over all values, with families drawn as wholes.

    Tasks of one family share an idea, so a model solves them together or not at all: drawing
    single tasks would count one piece of luck several times and give intervals that are too short.
    Too short they still are with few families (below about ten), which the reader should be told.
    With a single family there is nothing to draw but its values, and those are drawn.

    Args:
        values_by_family: Values of each family, in any order; the interval depends on none.
    """
    groups = [np.sort(np.asarray(values_by_family[f], float)) for f in sorted(values_by_family)]
    groups = [group for group in groups if group.size]
    if not groups:
        raise ValueError("an interval needs at least one value")
    if len(groups) == 1:
        groups = [group[None] for group in groups[0]]
    sums = np.array([group.sum() for group in groups])
    sizes = np.array([group.size for group in groups])
    picks = rng.integers(len(groups), size=(draws, len(groups)))
    means = sums[picks].sum(axis=1) / sizes[picks].sum(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def mean_interval(scores: Sequence[TaskScore], *, rng: np.random.Generator) -> Interval:
    """95 % interval of the mean pass rate over tasks, clustered by family."""
    return cluster_bootstrap(_by_family(scores, [s.rate for s in scores]), rng=rng)


def difference_interval(
    before: Sequence[TaskScore], after: Sequence[TaskScore], *, rng: np.random.Generator
) -> Interval:
    """95 % interval of the mean paired difference `after - before`, clustered by family."""
    differences = paired_differences(before, after)
    return cluster_bootstrap(_by_family(by_task(before), differences), rng=rng)


def paired_differences(before: Sequence[TaskScore], after: Sequence[TaskScore]) -> list[float]:
    """Change of each task's pass rate, `after - before`, in order of task id.

    Raises:
        ValueError: If the two do not score the same tasks of the same families, each once.
    """
    first, second = by_task(before), by_task(after)
    tasks = [(s.task_id, s.family) for s in first]
    others = [(s.task_id, s.family) for s in second]
    if tasks != others:
        odd = sorted({f"{task} ({family})" for task, family in set(tasks) ^ set(others)})
        raise ValueError(
            f"a paired test needs the same tasks on both sides; only on one side: {', '.join(odd)}"
        )
    return [b.rate - a.rate for a, b in zip(first, second, strict=True)]


def by_task(scores: Sequence[TaskScore]) -> list[TaskScore]:
    """The scores in order of task id.

    Raises:
        ValueError: If there are none, or a task is scored twice.
    """
    ordered = sorted(scores, key=lambda s: s.task_id)
    ids = [s.task_id for s in ordered]
    if not ids:
        raise ValueError("no tasks were scored; nothing can be compared")
    if len(set(ids)) < len(ids):
        twice = sorted({id for id in ids if ids.count(id) > 1})
        raise ValueError(f"scored more than once: {', '.join(twice)}; add their samples up first")
    return ordered


def _by_family(scores: Sequence[TaskScore], values: Sequence[float]) -> dict[str, list[float]]:
    families: dict[str, list[float]] = {}
    for score, value in zip(scores, values, strict=True):
        families.setdefault(score.family, []).append(value)
    return families
