"""Values cross the wall unchanged, and nothing else gets through."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codojo.tasks.values import MAX_DEPTH, MAX_NODES, MAX_TEXT, Opaque, ValueRefused, decode, encode

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**200), max_value=2**200)
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
)
# `deferred` keeps the strategies' names short; small sizes keep the values small.
HASHABLE: st.SearchStrategy[object] = st.deferred(
    lambda: SCALARS | st.frozensets(SCALARS, max_size=3) | st.tuples(SCALARS, SCALARS)
)
VALUES: st.SearchStrategy[object] = st.deferred(
    lambda: (
        HASHABLE
        | st.lists(VALUES, max_size=3)
        | st.tuples(VALUES)
        | st.sets(HASHABLE, max_size=3)
        | st.dictionaries(HASHABLE, VALUES, max_size=3)
    )
)


@given(VALUES)
def test_values_come_back_as_they_were(value: object) -> None:
    back = decode(json.loads(json.dumps(encode(value))))
    assert back == value
    assert type(back) is type(value)
    assert repr(encode(back)) == repr(encode(value))


def test_nan_infinities_ranges_and_negative_zero_come_back() -> None:
    back = decode(json.loads(json.dumps(encode([math.nan, math.inf, -math.inf, range(1, 9, 3)]))))
    assert isinstance(back, list)
    assert math.isnan(back[0])
    assert back[1:] == [math.inf, -math.inf, range(1, 9, 3)]
    assert math.copysign(1, float(str(decode(encode(-0.0))))) == -1


def test_subclasses_arrive_as_the_builtin_without_their_methods() -> None:
    class Sly(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    back = decode(encode([Sly(3)]))
    assert isinstance(back, list)
    assert back == [3]
    assert type(back[0]) is int


def test_what_is_no_plain_value_becomes_opaque_and_equals_nothing() -> None:
    back = decode(encode(object()))
    assert isinstance(back, Opaque)
    assert back
    assert back != decode(encode(object()))


def test_an_object_that_pretends_to_be_an_integer_is_refused() -> None:
    liar = type("Liar", (), {"__class__": property(lambda self: int)})()
    assert isinstance(liar, int)
    with pytest.raises(ValueRefused):
        encode([liar])


@pytest.mark.parametrize(
    "data",
    [
        [1],
        {"list": [1], "tuple": [1]},
        {},
        {"nothing": []},
        {"list": 3},
        {"list": {"list": []}},
        {"dict": [[1]]},
        {"dict": [[1, 2, 3]]},
        {"dict": ["ab"]},
        {"dict": [[{"list": []}, 1]]},
        {"set": [{"list": []}]},
        {"int": "zz"},
        {"int": "0x1f"},
        {"int": " 1f"},
        {"int": "1_f"},
        {"int": 5},
        {"float": "1.5"},
        {"float": "NAN"},
        {"bytes": "not base64!"},
        {"complex": [1.0]},
        {"complex": ["1", 2.0]},
        {"range": [1, 2]},
        {"range": [1, 2, 0]},
        {"range": [True, 2, 1]},
        {"opaque": 3},
        2**53 + 1,
        math.nan,
        math.inf,
        pytest.param(object(), id="no-json"),
    ],
    ids=repr,
)
def test_malformed_encodings_are_refused(data: object) -> None:
    with pytest.raises(ValueRefused):
        decode(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["list", "dict", "set", "int", "range", "x"]), inner)
        ),
    )
)
def test_any_json_is_either_decoded_to_what_encodes_again_or_refused(data: object) -> None:
    try:
        value = decode(data)
    except ValueRefused:
        return
    encoded = encode(value)
    assert encode(decode(encoded)) == encoded


def test_caps_on_depth_size_and_text_hold_both_ways() -> None:
    deep: object = 1
    encoded: object = 1
    for _ in range(MAX_DEPTH + 1):
        deep, encoded = [deep], {"list": [encoded]}
    wide, long = [0] * MAX_NODES, ["x" * MAX_TEXT, "x"]
    for value in (deep, wide, long, 1 << (4 * MAX_TEXT + 8)):
        with pytest.raises(ValueRefused, match=r"deeper|more than"):
            encode(value)
    for data in (encoded, {"list": wide}, {"list": long}):
        with pytest.raises(ValueRefused, match=r"deeper|more than"):
            decode(data)


def test_equal_sets_encode_equally_whatever_their_order() -> None:
    assert encode({"a", "b", "c"}) == encode({"c", "b", "a"})
