"""Whether a text may hold a secret at all: one cheap pass over its bytes, which nearly all text ends with.

The text is squeezed first: without what may part a secret. What is found there is a sign, no proof.
"""

import binascii
import re
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from typing import NamedTuple

from codojo.trajectories.secret_formats import END, FORMATS, LEFT

_RUN = 16
_WORDS = (b"passw", b"passp", b"pwd", b"secret", b"token", b"bearer", b"credential", b"authoriz")
_KEY_OF = re.compile(
    rb"(?:api|app|access|account|private|auth|signing|encryption|master|service|license|admin|ssh|deploy"
    rb"|session|shared|storage|subscription|hmac|webhook|consumer|user)[ _-]?\Z"
)
_WORD_BYTES = bytes(
    ord("a") if chr(i).isascii() and (chr(i).isalnum() or chr(i) in "_-~") else ord(" ")
    for i in range(256)
)
_RUN_BYTES = b"a" * _RUN
_ONE_QUOTE = bytes.maketrans(b"'`", b'""')
_ESCAPED_SPACE = re.compile(rb"\\{1,8}[nrt]")
_DIGIT = re.compile(rb"[0-9]")
_PRINTABLE = bytes(range(32, 127)) + b"\t\r\n"
_LONGEST_DECODED = 2**20


class Signs(NamedTuple):
    """What a text may hold."""

    formats: tuple[int, ...]
    base64: bool
    context: bool


def signs_of(text: str, known: Collection[bytes] = (), *, always: bool = False) -> Signs | None:
    """What a text may hold, found cheaply; None for nothing at all.

    Strong formats have a long run of word characters, also when their pieces are joined; the rest
    needs a word of `_WORDS`. Nearly all text has neither and is done here.

    Args:
        known: Squeezed forms of values to look for.
        always: Whether to look further in any case.
    """
    data = squeezed(text.encode("utf-8", "surrogatepass"))
    formats: set[int] = set()
    has_base64 = False
    for start, end in _runs(data.translate(_WORD_BYTES)):
        run = data[start:end]
        if run.lower() == run and not _DIGIT.search(run):
            continue  # snake_case
        near = slice(max(0, start - 32), end + 128)
        formats.update(_hinted(data[near.start : end + 1], data[near]))
        if end - start > 22 and data[end : end + 1] == b".":
            formats.update(_confirmed(_hints().formats[b"."], data[near]))
        has_base64 = has_base64 or _is_base64_text(run)
    context = _has_word(data.lower())
    if context:  # some formats have a word in place of a run
        formats.update(_hinted(data, data))
    is_known = any(value in data for value in known)
    if formats or has_base64 or context or is_known or always:
        return Signs(tuple(sorted(formats)), has_base64, context)
    return None


def squeezed(data: bytes) -> bytes:
    """The text without what may part a secret: line ends, indentation, quotes, additions, backslashes."""
    if b"\\" in data:
        data = _ESCAPED_SPACE.sub(b"", data)
    if b"#" in data:
        data = data.replace(b"\n# ", b"")
    if b">" in data:
        data = data.replace(b"\n> ", b"")
    data = data.translate(_ONE_QUOTE, b"\r\n\t").replace(b"  ", b"")
    if b"+" in data:
        data = b"".join([part.strip() for part in data.split(b"+")])
    return data.replace(b'" "', b"").translate(None, b'"\\')


def _runs(mapped: bytes) -> Iterator[tuple[int, int]]:
    """Where word characters stand in long runs."""
    start = mapped.find(_RUN_BYTES)
    while start >= 0:
        end = mapped.find(b" ", start + _RUN)
        end = len(mapped) if end < 0 else end
        yield start, end
        start = mapped.find(_RUN_BYTES, end)


def _has_word(lower: bytes) -> bool:
    """Whether a word stands there that a secret may follow."""
    if any(word in lower for word in _WORDS) or (b"://" in lower and b"@" in lower):
        return True
    at = lower.find(b"key")
    while at >= 0:
        if _KEY_OF.search(lower, max(0, at - 14), at):
            return True
        at = lower.find(b"key", at + 3)
    return False


class Hints(NamedTuple):
    """All hints as one pattern, and the formats that each may belong to."""

    pattern: re.Pattern[bytes]
    formats: dict[bytes, tuple[int, ...]]


@cache
def _hints() -> Hints:
    formats: dict[bytes, tuple[int, ...]] = {}
    for number, format in enumerate(FORMATS):
        for text in format.hints:
            formats[text.encode()] = (*formats.get(text.encode(), ()), number)
    # By first letter, so that most places of a text cost one comparison. Longer hints come first.
    by_first: dict[bytes, list[bytes]] = {}
    for hint in sorted(formats.keys() - {b"."}, key=lambda hint: (-len(hint), hint)):
        by_first.setdefault(hint[:1], []).append(re.escape(hint[1:]))
    branches = [
        re.escape(first) + b"(?:" + b"|".join(rest) + b")" for first, rest in by_first.items()
    ]
    return Hints(re.compile(b"|".join(branches)), formats)


def _hinted(data: bytes, around: bytes) -> Iterator[int]:
    """The formats whose hints stand in a squeezed text, and that may be what stands around it."""
    pattern, formats = _hints()
    for hint in set(pattern.findall(data)):
        yield from _confirmed(formats[hint], around)


def _confirmed(numbers: Iterable[int], around: bytes) -> Iterator[int]:
    text = around.decode("latin-1")
    for number in numbers:
        pattern = _squeezed_pattern(number)
        if pattern is None or pattern.search(text):
            yield number


@cache
def pattern_of(number: int, *, over_lines: bool = False) -> re.Pattern[str]:
    """A format's pattern; `over_lines` for texts whose lines were joined."""
    pattern = FORMATS[number].pattern
    return re.compile(_loosened(pattern.removeprefix(LEFT)) if over_lines else pattern)


@cache
def _squeezed_pattern(number: int) -> re.Pattern[str] | None:
    """What a format's squeezed form holds for sure; None where its pattern looks further around."""
    pattern = FORMATS[number].pattern
    if "?P<s>" in pattern or "(?<" in pattern.removeprefix(LEFT):
        return None
    return re.compile(_loosened(pattern.removeprefix(LEFT)))


def _loosened(pattern: str) -> str:
    """A pattern for joined lines: its last part only as long as it must be, more may be the next line's."""
    return re.sub(r"\{(\d+),\}(?!.*\{\d+,\})", r"{\1}", pattern.replace(END, ""))


def _is_base64_text(run: bytes) -> bool:
    """Whether a run of word characters may be text in base64."""
    if len(run) < 20 or run.lower() == run or run.upper() == run:
        return False
    return any(True for _ in decodings(run[:64].decode()))


def decodings(run: str) -> Iterator[str]:
    """What a run of base64 says as text, from each of the four places where it may begin."""
    plain = run[:_LONGEST_DECODED].rstrip("=").replace("-", "+").replace("_", "/")
    for start in range(4):
        piece = plain[start:]
        piece = piece[:-1] if len(piece) % 4 == 1 else piece
        try:
            data = binascii.a2b_base64(piece + "=" * (-len(piece) % 4))
        except binascii.Error:
            continue
        if len(data) >= 12 and len(data.translate(None, _PRINTABLE)) <= 0.15 * len(data):
            yield data.decode("utf-8", "replace")
