"""pass@k: how often at least one of k answers solves a task."""

import math
from collections.abc import Iterable


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate of pass@k from n judged answers of one task, c of which passed.

    Chen et al. 2021, arXiv:2107.03374. It is the chance that k answers drawn without replacement
    from the n hold a passing one; computed as their running product, which does not overflow.

    >>> round(pass_at_k(n=5, c=2, k=2), 3)
    0.7

    Raises:
        ValueError: Unless `0 <= c <= n` and `1 <= k <= n`. Fewer answers than k cannot say.
    """
    if not 0 <= c <= n:
        raise ValueError(f"{c} of {n} answers cannot have passed; need 0 <= c <= n")
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs 1 <= k <= n, but n is {n}; judge more answers per task")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def mean_pass_at_k(counts: Iterable[tuple[int, int]], k: int) -> float:
    """Mean of pass@k over tasks, each given as (answers judged, answers passed).

    >>> mean_pass_at_k([(4, 4), (4, 0)], k=1)
    0.5
    """
    scores = [pass_at_k(n, c, k) for n, c in counts]
    if not scores:
        raise ValueError("pass@k of no tasks is undefined; give at least one")
    return math.fsum(scores) / len(scores)
