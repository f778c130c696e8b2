"""Which candidate is handed in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codojo.scoring.selection import choose

SHARES = st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0]))
BEHAVIOURS = st.one_of(st.none(), st.sampled_from("abc"))


@pytest.mark.parametrize(
    ("shares", "behaviours", "chosen"),
    [
        ([], [], None),
        ([None, None], ["a", "a"], None),
        ([0.0, 0.0], [None, None], 0),
        ([0.5, 1.0, 0.5], ["a", "b", "a"], 1),
        ([1.0, 1.0, 1.0], ["a", "b", "b"], 1),
        ([1.0, 1.0, 1.0], [None, None, "b"], 0),
        ([1.0, 1.0, None, None], ["a", "b", "b", "b"], 0),
    ],
)
def test_tests_then_agreement_then_order_decide(
    shares: list[float | None], behaviours: list[str | None], chosen: int | None
) -> None:
    assert choose(shares, behaviours) == chosen


@given(st.lists(st.tuples(SHARES, BEHAVIOURS)))
def test_nothing_beats_the_chosen_one_on_the_visible_tests(
    found: list[tuple[float | None, str | None]],
) -> None:
    shares = [share for share, _ in found]
    chosen = choose(shares, [behaviour for _, behaviour in found])
    judged = [share for share in shares if share is not None]
    if not judged:
        assert chosen is None
    else:
        assert chosen is not None
        assert shares[chosen] == max(judged)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="1 shares for 0"):
        choose([1.0], [])
