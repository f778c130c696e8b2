"""Data to bytes and back: the quick way says what the canonical one says."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codojo.canonical import as_read, canonical_json, quick_json
from codojo.trajectories.framing import frame, unframe

TEXTS = st.text(st.characters(), max_size=8)  # lone surrogates too
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
DATA = st.recursive(
    PLAIN | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(TEXTS, inner, max_size=4)
    ),
    max_leaves=20,
)


def reread(data: bytes) -> object:
    return json.loads(data.decode("utf-8", "surrogatepass"))


@given(DATA)
def test_a_reader_gets_the_same_data_from_both_ways(value: object) -> None:
    expected = repr(reread(canonical_json(value)))  # repr: -0.0, and 1 is not True
    assert repr(reread(quick_json(value))) == expected
    assert repr(as_read(value)) == expected


@given(DATA)
def test_a_line_of_the_log_gives_back_what_was_put_into_it(value: object) -> None:
    event = unframe(frame(0, 0.5, "kind", None, {"value": value}), 1)
    assert event is not None
    assert repr(event.data["value"]) == repr(as_read(value))


@given(DATA)
def test_the_members_stand_in_one_order(value: object) -> None:
    assert _keys(reread(quick_json(value))) == _keys(reread(canonical_json(value)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, [1.0, -math.inf], {"a": [math.nan, None]}])
def test_what_json_cannot_say_is_refused_in_both_ways(bad: object) -> None:
    for way in (canonical_json, quick_json, as_read):
        with pytest.raises(ValueError, match="not JSON compliant"):
            way(bad)


@pytest.mark.parametrize("odd", [2**70, -(2**63) - 1, "\ud800", {"\udfff": 1}, {1: "a", 2: "b"}])
def test_what_the_quick_way_cannot_say_is_said_the_other_way(odd: object) -> None:
    assert quick_json(odd) == canonical_json(odd)
    assert as_read([odd]) == reread(canonical_json([odd]))


def _keys(value: object) -> list[str]:
    if isinstance(value, dict):
        return [key for name, inner in value.items() for key in [name, *_keys(inner)]]
    return [key for inner in value for key in _keys(inner)] if isinstance(value, list) else []
