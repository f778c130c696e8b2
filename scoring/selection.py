"""Which of several candidates to hand in, from what the visible tests said."""

from collections import Counter
from collections.abc import Sequence


def choose(shares: Sequence[float | None], behaviours: Sequence[str | None]) -> int | None:
    """Index of the candidate to hand in, or None if there is none to choose from.

    Most visible tests passed wins; among equals the one that most candidates agree with, since
    wrong programs tend to be wrong in ways of their own (as in CodeT, Chen et al. 2022,
    arXiv:2207.10397, but with the task's own tests and no weights); among equals the first.

    Args:
        shares: Share of the visible tests that each candidate passed; None: not judged.
        behaviours: Hash of what each candidate returned, equal for equal behaviour; None:
            unknown, which agrees with nobody.

    >>> choose([0.5, 1.0, 1.0, 1.0], ["a", "b", "c", "c"])
    2
    """
    if len(shares) != len(behaviours):
        raise ValueError(f"{len(shares)} shares for {len(behaviours)} behaviours; need one each")
    judged = [i for i, share in enumerate(shares) if share is not None]
    agreeing = Counter(behaviours[i] for i in judged if behaviours[i] is not None)

    def rank(i: int) -> tuple[float, int, int]:
        return (shares[i] or 0.0, agreeing.get(behaviours[i], 1), -i)

    return max(judged, key=rank, default=None)
