"""Decisions of the graphs, as pure functions of what was seen."""

from collections.abc import Sequence

from codojo.scoring.selection import choose
from codojo.tasks.schema import Task, Verdict

SELF_MADE_WEIGHT = 0.1
"""Tests that the team wrote itself break ties and no more: many of them are wrong."""


def worth(visible: Verdict | None, self_made: Verdict | None) -> float:
    """How well a candidate does on what the team may know; the task's own examples come first."""
    score = visible.share if visible else 0.0
    return score + SELF_MADE_WEIGHT * (self_made.share if self_made else 0.0)


def pick(
    visible: Sequence[Verdict | None], self_made: Sequence[Verdict | None] | None = None
) -> int | None:
    """Index of the candidate to hand in; None where there is none."""
    others = self_made or [None] * len(visible)
    worths = [worth(seen, made) for seen, made in zip(visible, others, strict=True)]
    return choose(worths, [seen.behaviour if seen else None for seen in visible])


def needs_repair(visible: Sequence[Verdict | None], rounds_done: int, rounds: int) -> bool:
    """Whether to go on: rounds are left, the task has examples, and no candidate passes them."""
    seen = [verdict for verdict in visible if verdict is not None]
    return rounds_done < rounds and bool(seen) and not any(verdict.passed for verdict in seen)


def spread(tasks: Sequence[Task], count: int) -> tuple[Task, ...]:
    """`count` tasks taken in turn from each family, so that a small choice still covers many."""
    if not count or count >= len(tasks):
        return tuple(tasks)
    families: dict[str, list[Task]] = {}
    for task in tasks:
        families.setdefault(task.family, []).append(task)
    chosen: list[Task] = []
    depth = 0
    while len(chosen) < count:
        chosen += [family[depth] for family in families.values() if depth < len(family)]
        depth += 1
    return tuple(chosen[:count])
