"""Decisions of the graphs, as pure functions of what was seen."""

from collections.abc import Collection, Sequence

from codojo.scoring.selection import choose
from codojo.tasks.schema import Task, Verdict

SELF_MADE_WEIGHT = 0.1
"""Tests that the team wrote itself break ties and no more: many of them are wrong."""


def worth(visible: Verdict | None, self_made: float) -> float:
    """How well a candidate does on what the team may know; the task's own examples come first.

    Args:
        self_made: Share of the useful self-made tests that it passes.
    """
    return (visible.share if visible else 0.0) + SELF_MADE_WEIGHT * self_made


def share_of(self_made: Verdict | None, useful: Collection[str]) -> float:
    """Share of the useful tests that passed; 0 where none is useful."""
    if self_made is None or not useful:
        return 0.0
    return sum(o.status == "passed" and o.id in useful for o in self_made.outcomes) / len(useful)


def pick(visible: Sequence[Verdict | None], self_made: Sequence[float] | None = None) -> int | None:
    """Index of the candidate to hand in; None where there is none.

    Args:
        self_made: For each candidate the share of the useful self-made tests that it passes.
    """
    others = self_made or [0.0] * len(visible)
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
