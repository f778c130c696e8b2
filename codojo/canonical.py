"""One way to turn data into bytes and bytes into a name, shared by every room."""

import hashlib
import json
from collections.abc import Mapping, Sequence

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
"""What JSON can say. Records that cross a process, a file or a hash hold nothing else."""


_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
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
