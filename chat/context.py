"""What of a conversation goes into a prompt, and what is left out: the one policy. Pure.

Everything is given whole or not at all, in this order while there is room: the request itself, the code
as it stands, files that the request names, further files from the smallest on, earlier requests from the
newest back. What did not fit is named, to the model and to the person.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

CHARS_PER_TOKEN = 3
"""Fewer than in most texts, so that a prompt that fits by this count fits."""
OVERHEAD_TOKENS = 400
"""For the words that templates put around it, and a plan."""


class Context(NamedTuple):
    """What a prompt is made of."""

    code: str
    """The code as it stands; empty where there is none or it did not fit."""
    files: dict[str, str]
    earlier: tuple[str, ...]
    """Earlier requests, oldest first."""
    left_out: tuple[str, ...]
    """Names of what did not fit."""


def room(max_model_len: int, max_tokens: int) -> int:
    """Characters that a request and its context may have."""
    return max(0, max_model_len - max_tokens - OVERHEAD_TOKENS) * CHARS_PER_TOKEN


def trim(
    request: str,
    *,
    chars: int,
    code: str = "",
    files: Mapping[str, str] = {},
    earlier: Sequence[str] = (),
) -> Context:
    """As much as fits.

    Args:
        chars: Room for everything together; the request is kept even where it alone is longer.
        files: Text by relative path.
        earlier: Requests, oldest first.
    """
    left = chars - len(request)
    left_out: list[str] = []

    def fits(text: str, name: str) -> bool:
        nonlocal left
        if len(text) <= left:
            left -= len(text)
            return True
        left_out.append(name)
        return False

    kept_code = code if code and fits(code, "the code so far") else ""
    kept_files = {p: files[p] for p in _by_use(files, request) if fits(files[p] + p, p)}
    kept_earlier: list[str] = []
    for said in reversed(earlier):
        if not fits(said, f"the request {_short(said)!r}"):
            break
        kept_earlier.insert(0, said)
    ordered = {path: kept_files[path] for path in sorted(kept_files)}
    return Context(kept_code, ordered, tuple(kept_earlier), tuple(left_out))


def _by_use(files: Mapping[str, str], request: str) -> list[str]:
    """Files that the request names first, then the small ones."""
    named = {p for p in files if p in request or p.rpartition("/")[2] in request}
    return sorted(files, key=lambda p: (p not in named, len(files[p]), p))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:40]}…"
