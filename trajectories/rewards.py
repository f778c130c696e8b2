"""Rewards: numbers made from verdicts by named functions.

Exporters write a reward's name and its verdict beside the number, which says nothing without them.
"""

from collections.abc import Callable

from codojo.tasks.schema import Verdict

Reward = Callable[[Verdict | None], float | None]


def passed(verdict: Verdict | None) -> float | None:
    """1 where every test passed, else 0; None where nothing that could judge has judged."""
    if verdict is None or verdict.status in ("unverified", "infra_error"):
        return None
    return 1.0 if verdict.passed else 0.0


def share(verdict: Verdict | None) -> float | None:
    """Share of the tests that passed, between 0 and 1; None where nothing that could judge has judged."""
    if passed(verdict) is None or verdict is None:
        return None
    return 1.0 if verdict.passed else verdict.share


REWARDS: dict[str, Reward] = {"passed": passed, "share": share}


def rewards(verdict: Verdict | None) -> dict[str, float]:
    """All rewards that a verdict has, by name."""
    found = {name: reward(verdict) for name, reward in REWARDS.items()}
    return {name: value for name, value in found.items() if value is not None}
