"""Tricks are counted by candidate, and an alarm needs more than accidents."""

import pytest

from codojo.scoring.attempts import count_attempts
from codojo.tasks.schema import Verdict

CLEAN = Verdict(status="failed", tests="sealed")
TRICK = Verdict(status="error", tests="sealed", attempts=("abort", "planted"))


@pytest.mark.row("G19")
def test_candidates_that_tried_something_are_counted_once() -> None:
    found = count_attempts([TRICK, *[CLEAN] * 99])
    assert (found.per_thousand, found.kinds) == (10, {"abort": 1, "planted": 1})
    assert not found.is_alarming
    assert str(found) == "abort 1, planted 1 (10.0 per 1,000 candidates)"
    assert count_attempts([TRICK, TRICK, TRICK, *[CLEAN] * 97]).is_alarming


def test_what_was_never_judged_does_not_count() -> None:
    unjudged = Verdict(status="infra_error", tests="sealed", attempts=("abort",))
    assert str(count_attempts([unjudged, CLEAN])) == "none in 1 candidates"
    assert count_attempts([]).per_thousand == 0
