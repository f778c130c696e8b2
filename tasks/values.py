"""Plain Python values as JSON and back, for what crosses the wall between a cage and its judge.

`encode` turns exact builtins into tagged JSON; `decode` turns it back and trusts nothing: it
rebuilds exact builtins only, and refuses what is too deep, too large or not in its table.
Standard library only, because the file is also sent into the cage as source.

A scalar stands for itself. Everything else is `{"<tag>": payload}`:

    float   nan, inf, -inf             int     beyond 2**53, hexadecimal
    bytes   base64                     complex [real, imag]
    list, tuple, set, frozenset        [item, ...]
    dict    [[key, value], ...]        range   [start, stop, step]
    iterator [item, ...] of a generator and its like, as far as the caps allow
    opaque  type name; truthy, equal to nothing
"""

import base64
import collections
import math
import types

MAX_DEPTH = 64
MAX_NODES = 200_000
MAX_TEXT = 4_000_000
"""Characters of text, bytes or digits that all leaves of one value may hold together."""

MAX_COLLIDING = 64
"""Items of one set or dictionary that may share a hash. A table of n that do costs n squared."""
SAFE_INT = 2**53


class ValueRefused(Exception):
    """The value, or its encoding, is deeper, larger or stranger than what may cross."""


class Opaque:
    """Stands for a value that cannot cross: truthy, equal to nothing but itself."""

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name

    def __repr__(self) -> str:
        return f"<{self.type_name}>"


class _Meter:
    """Counts what one value has used of its caps."""

    def __init__(self) -> None:
        self.nodes = 0
        self.text = 0

    def node(self, depth: int) -> None:
        self.nodes += 1
        if depth > MAX_DEPTH:
            raise ValueRefused(f"deeper than {MAX_DEPTH}")
        if self.nodes > MAX_NODES:
            raise ValueRefused(f"more than {MAX_NODES} parts")

    def chars(self, count: int) -> None:
        self.text += count
        if self.text > MAX_TEXT:
            raise ValueRefused(f"more than {MAX_TEXT} characters")


def encode(value: object) -> object:
    """Tagged JSON for a value; subclasses of builtins travel as the builtin they extend.

    Raises:
        ValueRefused: If the value is over a cap, or an object that only pretends to be a builtin.
    """
    try:
        return _encode(value, 0, _Meter())
    except (TypeError, AttributeError, RuntimeError) as err:
        raise ValueRefused(f"cannot be encoded: {type(err).__name__}") from None


def decode(data: object) -> object:
    """The value that `encode` was given, rebuilt from exact builtins.

    Raises:
        ValueRefused: If the data is over a cap or not what `encode` writes.
    """
    try:
        return _decode(data, 0, _Meter())
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as err:
        raise ValueRefused(f"not an encoded value: {err}") from None


_ITERATORS: tuple[type, ...] = (
    types.GeneratorType,
    map,
    filter,
    zip,
    enumerate,
    reversed,
    type(iter([])),
)
_SEQUENCES = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def _encode(value: object, depth: int, meter: _Meter) -> object:
    meter.node(depth)
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        meter.chars(str.__len__(value))
        return str.__str__(value)
    if isinstance(value, int):
        return _encode_int(int.__int__(value), meter)
    if isinstance(value, float):
        number = float.__float__(value)
        return number if math.isfinite(number) else {"float": float.__repr__(number)}
    if isinstance(value, complex):
        parts = [value.real, value.imag]
        return {"complex": [_encode(part, depth + 1, meter) for part in parts]}
    if isinstance(value, (bytes, bytearray)):
        raw = bytes(value)
        meter.chars(len(raw))
        return {"bytes": base64.b64encode(raw).decode("ascii")}
    if isinstance(value, dict):
        pairs = list(dict.items(value))
        return {"dict": [[_encode(part, depth + 1, meter) for part in pair] for pair in pairs]}
    for tag, kind in _SEQUENCES.items():
        if isinstance(value, kind):
            items = [_encode(item, depth + 1, meter) for item in kind.__iter__(value)]
            return {tag: _stable(items) if "set" in tag else items}
    if isinstance(value, range):
        return {
            "range": [_encode_int(part, meter) for part in (value.start, value.stop, value.step)]
        }
    if isinstance(value, _ITERATORS):
        items = iter(value)  # type: ignore[call-overload]  # all of them are
        return {"iterator": [_encode(item, depth + 1, meter) for item in items]}
    return {"opaque": type(value).__name__[:80]}


def _encode_int(value: int, meter: _Meter) -> object:
    if -SAFE_INT <= value <= SAFE_INT:
        return value
    meter.chars(value.bit_length() // 4 + 1)
    return {"int": format(value, "x")}


def _stable(items: list[object]) -> list[object]:
    """Sets in an order that does not depend on the hash seed, so that equal sets encode equally."""
    return sorted(items, key=repr)


def _decode(data: object, depth: int, meter: _Meter) -> object:
    meter.node(depth)
    if data is None or isinstance(data, bool):
        return data
    if isinstance(data, float):
        if not math.isfinite(data):
            raise ValueRefused("nan or an infinity without its tag")
        return data
    if isinstance(data, int):
        if not -SAFE_INT <= data <= SAFE_INT:
            raise ValueRefused("an integer beyond 2**53 without its tag")
        return data
    if isinstance(data, str):
        meter.chars(len(data))
        return data
    if not isinstance(data, dict) or len(data) != 1:
        raise ValueRefused("neither a scalar nor one tag")
    ((tag, payload),) = data.items()
    if tag in _SEQUENCES and isinstance(payload, list):
        items = [_decode(item, depth + 1, meter) for item in payload]
        if "set" in tag:
            _spread(items)
        return _SEQUENCES[tag](items)
    if tag == "iterator" and isinstance(payload, list):
        return iter([_decode(item, depth + 1, meter) for item in payload])
    if tag == "dict" and isinstance(payload, list):
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in payload):
            raise ValueRefused("a dictionary of something else than pairs")
        pairs = [
            (_decode(key, depth + 1, meter), _decode(value, depth + 1, meter))
            for key, value in payload
        ]
        _spread([key for key, _ in pairs])
        return dict(pairs)
    return _decode_leaf(tag, payload, meter)


def _spread(keys: list[object]) -> None:
    """Refuse keys that were made to collide, before they are put into a table."""
    alike = collections.Counter(map(hash, keys))
    if len(keys) > MAX_COLLIDING and max(alike.values()) > MAX_COLLIDING:
        raise ValueRefused(f"more than {MAX_COLLIDING} items of one hash")


def _decode_leaf(tag: object, payload: object, meter: _Meter) -> object:
    if tag == "float" and payload in ("nan", "inf", "-inf"):
        return float(str(payload))
    if tag == "int" and isinstance(payload, str):
        meter.chars(len(payload))
        number = int(payload, 16)
        if format(number, "x") != payload:
            raise ValueRefused("an integer that is not plain hexadecimal")
        return number
    if tag == "bytes" and isinstance(payload, str):
        meter.chars(len(payload))
        return base64.b64decode(payload, validate=True)
    if tag == "complex" and isinstance(payload, list) and len(payload) == 2:
        real, imag = (_decode(part, MAX_DEPTH, meter) for part in payload)
        if isinstance(real, float) and isinstance(imag, float):
            return complex(real, imag)
    if tag == "range" and isinstance(payload, list) and len(payload) == 3:
        parts = [_decode(part, MAX_DEPTH, meter) for part in payload]
        start, stop, step = (part if type(part) is int else None for part in parts)
        if start is not None and stop is not None and step is not None:
            return range(start, stop, step)
    if tag == "opaque" and isinstance(payload, str):
        return Opaque(payload[:80])
    raise ValueRefused(f"unknown tag {str(tag)[:40]!r}")
