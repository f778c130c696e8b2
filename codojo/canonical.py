"""Data to bytes and back, and bytes to a name, in one way for every room."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
"""What JSON can say. Records that cross a process, a file or a hash hold nothing else."""


_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)
_QUICK = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)


def canonical_json(value: object) -> bytes:
    """The same bytes for the same data: sorted keys, no white space, UTF-8.

    Lone surrogates, which models do produce, travel as they are (`surrogatepass`).

    Raises:
        ValueError: For NaN and infinities, which JSON cannot say.
        TypeError: For anything that is not plain JSON data.
    """
    return _ENCODER.encode(value).encode("utf-8", "surrogatepass")


def content_hash(value: object) -> str:
    """SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def quick_json(value: object) -> bytes:
    """JSON that nobody hashes: as `canonical_json`, but an exponent may be spelt otherwise (1e-7 for
    1e-07), and many times as fast.

    Raises:
        ValueError: For NaN and infinities.
        TypeError: For anything that is not plain JSON data.
    """
    try:
        data = orjson.dumps(value, option=_QUICK)
    except TypeError:  # a lone surrogate, an integer of more than 64 bits, a key that is no text
        return canonical_json(value)
    if b"null" in data and orjson.loads(data) != value:  # NaN became null
        return canonical_json(value)
    return data


def as_read(value: object) -> Any:
    """A copy of the data as a reader of its JSON gets it: tuples are lists, keys are texts.

    Raises:
        ValueError: For NaN and infinities.
        TypeError: For anything that is not plain JSON data.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    try:
        copy = orjson.loads(orjson.dumps(value, option=_QUICK))
        if copy == value:
            return copy
    except TypeError:
        pass
    return json.loads(_ENCODER.encode(value))
