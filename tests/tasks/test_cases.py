"""How an answer is compared with what a case expects."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codojo.tasks.cases import agrees, arguments, make_case, render
from codojo.tasks.schema import Case, Rule
from codojo.tasks.values import Opaque, ValueRefused


def expecting(expected: object, rule: Rule = "equal") -> Case:
    return make_case("c", (1,), expected, rule)


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        (3, 3),
        (3, 3.0),
        ("a", "a"),
        (None, None),
        (True, True),
        ([1, (2, 3)], [1, (2, 3)]),
        ({"a": [1]}, {"a": [1]}),
        ({1, 2}, {2, 1}),
        (math.nan, math.nan),
        ([math.inf], [math.inf]),
        (10**400, 10**400),
    ],
)
def test_equal_accepts_the_same_value(expected: object, answer: object) -> None:
    assert agrees(expecting(expected), answer)


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        (1, True),
        (False, 0),
        ([1], [True]),
        ({"a": 0}, {"a": False}),
        ({1: "x"}, {True: "x"}),
        ({0, 2}, {False, 2}),
        ([1, 2], (1, 2)),
        ([1, 2], [2, 1]),
        ([1, 2], [1]),
        ("1", 1),
        ({"a": 1}, {"a": 1, "b": 2}),
        (None, 0),
        (0.1 + 0.2, 0.3),
        (3, Opaque("int")),
    ],
)
def test_equal_refuses_what_python_alone_would_sometimes_accept(
    expected: object, answer: object
) -> None:
    assert not agrees(expecting(expected), answer)


def test_close_forgives_rounding_inside_lists_and_dicts_but_no_more() -> None:
    assert agrees(expecting([0.3, {"a": 2.0}], "close"), [0.1 + 0.2, {"a": 2}])
    assert agrees(expecting((1e9,), "close"), (1e9 + 10,))
    assert not agrees(expecting(0.3, "close"), 0.301)
    assert not agrees(expecting(1.0, "close"), True)
    assert not agrees(expecting(1.0, "close"), math.nan)
    assert not agrees(expecting(math.inf, "close"), 1e308)


def test_close_survives_integers_that_no_float_can_hold() -> None:
    assert not agrees(expecting(1.5, "close"), 10**400)
    assert agrees(expecting(10**400, "close"), 10**400)


def test_unordered_compares_items_with_their_counts() -> None:
    assert agrees(expecting([1, 2, 2], "unordered"), [2, 1, 2])
    assert agrees(expecting([[1], [2]], "unordered"), ([2], [1]))
    assert not agrees(expecting([1, 2, 2], "unordered"), [1, 1, 2])
    assert not agrees(expecting([1, 2], "unordered"), [1, 2, 3])
    assert not agrees(expecting([1], "unordered"), [True])
    assert not agrees(expecting([1], "unordered"), 1)


def test_raises_agrees_with_no_value_at_all() -> None:
    assert not agrees(expecting("ValueError", "raises"), "ValueError")


@given(st.lists(st.integers() | st.text() | st.booleans()), st.randoms())
def test_unordered_accepts_every_permutation(items: list[object], rng: object) -> None:
    shuffled = list(items)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    assert agrees(expecting(items, "unordered"), shuffled)


def test_cases_read_like_the_calls_a_person_would_write() -> None:
    assert render(make_case("c", (1, "a"), [2]), "f") == "f(1, 'a') == [2]"
    assert render(make_case("c", (), "ValueError", "raises"), "f") == "f() raises ValueError"
    assert render(make_case("c", (2,), 0.5, "close"), "f") == "f(2) == 0.5  # to 6 digits"
    assert render(make_case("c", (2,), [1], "unordered"), "f") == "sorted(f(2)) == sorted([1])"


def test_a_case_without_an_argument_tuple_is_refused() -> None:
    with pytest.raises(ValueRefused, match="no argument tuple"):
        arguments(Case(id="c", args=3, expected=3))
