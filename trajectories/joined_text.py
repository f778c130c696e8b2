"""Texts read as what they say when they are put together: split strings joined, escapes decoded.

A `View` is such a reading of a text. It knows where in the text each of its characters came from, so
that what is found in the view can be replaced in the text.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import NamedTuple

_QUOTE = r"\\{0,8}[\"'`]"
_GAP = r"(?:\s|\\{1,8}[nrt]|\\\r?\n){0,200}+"
_CONCATENATION = rf"(?P<q>{_QUOTE})(?:{_GAP}\+{_GAP}[rbfuRBFU]{{0,2}}{_QUOTE}|\s{{1,200}}+[rbfuRBFU]{{0,2}}{_QUOTE}|(?P=q))"
_CONTINUATION = r"\\{1,8}\r?\n[ \t]{0,200}+"
_INVISIBLE = "[\u00ad\u200b\u200c\u200d\u2060\ufeff]"
_ESCAPE = r"\\{1,8}(?:u(?P<u>[0-9a-fA-F]{4})|x(?P<x>[0-9a-fA-F]{2})|(?P<c>[nrtbf\"'`/]))"

_GLUE = re.compile(rf"{_CONCATENATION}|{_CONTINUATION}|{_INVISIBLE}|{_ESCAPE}")
_LINE_END = re.compile(r"[ \t]{0,8}\r?\n[ \t]{0,200}(?:[#>*|]{1,3}[ \t]?|//[ \t]?)?")

_DECODED = {"n": "\n", "r": "\n", "t": "\t", "b": " ", "f": " "}


class Span(NamedTuple):
    """A stretch of a text."""

    start: int
    end: int


class View:
    """A reading of a text."""

    def __init__(self, text: str, pieces: list[tuple[int, int, int]] | None = None) -> None:
        self.text = text
        self._pieces = pieces or [(0, 0, 1)]
        """(where a piece begins here, where it comes from, characters there for each here)"""
        self._starts = [piece[0] for piece in self._pieces]

    def span(self, start: int, end: int) -> Span:
        """Where in the text a non-empty stretch of the view came from."""
        return Span(self._origin(start), self._origin(end - 1, past=True))

    def _origin(self, at: int, *, past: bool = False) -> int:
        begins, comes_from, width = self._pieces[bisect_right(self._starts, at) - 1]
        return comes_from + (at - begins) * width + (width if past else 0)

    def without(self, glue: re.Pattern[str], put: Callable[[re.Match[str]], str]) -> "View":
        """The view with each match of `glue` replaced by at most one character."""
        parts: list[str] = []
        pieces: list[tuple[int, int, int]] = []
        length = last = 0

        def keep(start: int, end: int) -> None:
            nonlocal length
            if start == end:
                return
            at = bisect_right(self._starts, start) - 1
            begins, comes_from, width = self._pieces[at]
            pieces.append((length, comes_from + (start - begins) * width, width))
            for begins, comes_from, width in self._pieces[at + 1 : bisect_left(self._starts, end)]:
                pieces.append((length + begins - start, comes_from, width))
            parts.append(self.text[start:end])
            length += end - start

        for match in glue.finditer(self.text):
            keep(last, match.start())
            last = match.end()
            if char := put(match):
                origin = self.span(match.start(), match.end())
                pieces.append((length, origin.start, origin.end - origin.start))
                parts.append(char)
                length += 1
        if last == 0:
            return self
        keep(last, len(self.text))
        return View("".join(parts), pieces)


def joined_strings(text: str) -> View:
    """The text with string concatenations and continued lines joined, escapes decoded.

    >>> joined_strings('key = "abc" + \\\\\\n  "def"').text
    'key = "abcdef"'
    """
    return View(text).without(_GLUE, _decoded)


def joined_lines(view: View) -> View:
    """A view whose lines stand in one row, without indentation, comment and quotation marks."""
    return view.without(_LINE_END, lambda match: "")


def _decoded(match: re.Match[str]) -> str:
    if code := match["u"] or match["x"]:
        return chr(int(code, 16))
    if char := match["c"]:
        return _DECODED.get(char, char)
    return ""
