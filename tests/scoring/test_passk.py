"""pass@k against numbers worked out by hand and by enumeration."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codojo.scoring.passk import mean_pass_at_k, pass_at_k


@pytest.mark.parametrize(
    ("n", "c", "k", "expected"),
    [(1, 0, 1, 0.0), (1, 1, 1, 1.0), (10, 3, 1, 0.3), (5, 2, 2, 0.7), (4, 2, 3, 1.0), (8, 0, 8, 0)],
)
def test_pass_at_k_matches_hand_computed_values(n: int, c: int, k: int, expected: float) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(expected)


@given(st.data())
def test_pass_at_k_is_the_share_of_draws_that_hold_a_pass(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 9))
    c = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    draws = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_does_not_overflow_with_many_answers() -> None:
    assert 0.99 < pass_at_k(100_000, 1_000, 1_000) < 1


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0), (0, 0, 1)])
def test_pass_at_k_refuses_what_it_cannot_know(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="need"):
        pass_at_k(n, c, k)


def test_mean_weighs_tasks_equally_whatever_their_number_of_answers() -> None:
    assert mean_pass_at_k([(2, 2), (100, 0), (4, 2)], k=1) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="at least one"):
        mean_pass_at_k([], k=1)
