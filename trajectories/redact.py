"""Secrets taken out of everything that arrives, before it is logged and before anyone acts on it.

A `Redactor` finds formats that a prefix gives away (`secret_formats`), values that their context gives away
(`secret_context`), private keys, and values it was told (the environment's own), each as it stands, split
over lines, concatenated, escaped or in base64; in their place it puts `[redacted:KIND]`. Redacting twice
changes nothing more, and the same text always becomes the same text.

Not found: secrets without a format or a context; what a program puts together otherwise than by adding
strings; hexadecimal, encrypted or compressed text; a piece of a secret too short to know it by.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from codojo.settings import RedactionSettings
from codojo.trajectories.joined_text import View, joined_lines, joined_strings
from codojo.trajectories.secret_context import (
    Found,
    find_in_context,
    looks_random,
    next_lines,
    secret_by_name,
    varied,
)
from codojo.trajectories.secret_formats import FORMATS, KEY_BLOCK, PUTTY_BLOCK
from codojo.trajectories.secret_signs import Signs, decodings, pattern_of, signs_of, squeezed

MIN_KNOWN_CHARS = 6
"""Values of the environment shorter than this are not searched for: they stand everywhere."""

TOKEN_FIELDS = frozenset(
    [
        "token_ids",
        "logprobs",
        "token_logprobs",
        "top_logprobs",
        "prompt_token_ids",
        "prompt_logprobs",
        "completion_token_ids",
        "vector",
        "embedding",
        "embeddings",
    ]
)
"""What would give a secret away although its text is gone; dropped with it."""

_PROMPTS = ("messages", "prompt", "input")
_PASSES = 16
_DEPTH = 2
_SEPARATOR = "\n\x00\n"


class Redacted(NamedTuple):
    """A value without its secrets."""

    value: Any
    """JSON data; the value itself where nothing was found."""
    findings: dict[str, int]
    """How many secrets of each kind were found; never what they were."""


def together(findings: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Findings of several values together, by kind."""
    counts: Counter[str] = Counter()
    for found in findings:
        counts.update(found)
    return dict(sorted(counts.items()))


def without_tokens(value: Any) -> Any:
    """A record without what would say its text again in numbers; its steps are no longer token-exact."""
    if isinstance(value, list):
        return [without_tokens(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {n: None if n in TOKEN_FIELDS else without_tokens(item) for n, item in value.items()}
    return kept | {"token_exact": False} if value.get("token_ids") is not None else kept


class Redactor:
    """Takes secrets out of JSON data. Immutable; safe to share between threads.

    Args:
        settings: Whether it works at all, and further patterns.
        known: Values that are secret wherever they stand, such as passwords of the environment.
    """

    def __init__(
        self, settings: RedactionSettings | None = None, known: Iterable[str] = ()
    ) -> None:
        self.settings = settings or RedactionSettings()
        self.known = tuple(
            sorted({k for k in known if len(k) >= MIN_KNOWN_CHARS}, key=lambda k: (-len(k), k))
        )
        self._squeezed = {
            squeezed(form.encode("utf-8", "surrogatepass"))
            for known in self.known
            for form in _forms(known)
        }
        self._patterns = [re.compile(pattern) for pattern in self.settings.patterns]
        self._allowed = [re.compile(pattern) for pattern in self.settings.allow]

    def knowing(self, *secrets: str) -> "Redactor":
        """The same with further values that are secret."""
        return Redactor(self.settings, (*self.known, *secrets))

    def redact(self, value: object) -> Redacted:
        """The value without its secrets, keys of objects included.

        An object in which text was replaced loses its token ids, log-probabilities and vectors, and
        its `token_exact` becomes false where it has token ids.
        """
        if not self.settings.enabled:
            return Redacted(value, {})
        texts = list(_texts(value))
        if self._signs(_SEPARATOR.join(texts)) is None:
            return Redacted(value, {})
        findings: Counter[str] = Counter()
        return Redacted(self._walk(value, "", findings), dict(sorted(findings.items())))

    def text(self, text: str) -> str:
        """A text without its secrets."""
        return self._text(text, Counter()) if self.settings.enabled else text

    def _walk(self, value: Any, name: str, findings: Counter[str]) -> Any:
        if isinstance(value, str):
            if name and secret_by_name(name, value) and not self._is_allowed(value):
                findings["named"] += 1
                return "[redacted:named]"
            return self._text(value, findings)
        if isinstance(value, list | tuple):
            kept = [self._walk(item, name, findings) for item in value]
            same = all(a is b for a, b in zip(kept, value, strict=True))
            return value if same else kept
        if isinstance(value, dict):
            return self._object(value, findings)
        return value

    def _object(self, value: dict[str, Any], findings: Counter[str]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        changed: list[str] = []
        for key, item in value.items():
            new_key, new_item = self._text(key, findings), self._walk(item, key, findings)
            if new_key != key or new_item is not item:
                changed.append(key)
            while new_key in kept:
                new_key += "'"
            kept[new_key] = new_item
        if not changed:
            return value
        prompt_too = any(isinstance(value[key], str) or key in _PROMPTS for key in changed)
        for field in TOKEN_FIELDS & kept.keys():
            if prompt_too or not field.startswith("prompt_"):
                kept[field] = None
        if "token_ids" in kept:
            kept["token_exact"] = False
        return kept

    def _text(self, text: str, findings: Counter[str]) -> str:
        """Replace until nothing is found: what one pass leaves may be a secret to the next."""
        for _ in range(_PASSES):
            found = self._found(text)
            if not found:
                return text
            findings.update(secret.name for secret in found)
            text = _replaced(text, found)
        findings["text"] += 1
        return "[redacted:text]"

    def _found(self, text: str, depth: int = 0) -> list[Found]:
        """The secrets of a text, in order and apart from each other."""
        signs = self._signs(text)
        if not signs:
            return []
        view = joined_strings(text)
        found = list(self._in_view(view.text, signs, depth))
        spans = [Found(*view.span(f.start, f.end), f.name) for f in found]
        if view.text != text:
            spans += self._in_view(text, signs, depth)
        if signs.formats or signs.base64 or self.known:
            lines = joined_lines(view)
            if lines is not view:
                spans += self._over_lines(text, lines, signs, depth)
        spans = [
            f if f.name in _ONE_LINE else f._replace(end=next_lines(text, f.end)) for f in spans
        ]
        return [f for f in _apart(spans) if not self._is_allowed(text[f.start : f.end])]

    def _in_view(self, text: str, signs: Signs, depth: int) -> Iterator[Found]:
        for number in signs.formats:
            name, loose = FORMATS[number].name, FORMATS[number].loose
            for match in pattern_of(number).finditer(text):
                group = "s" if match.re.groupindex else 0
                if not loose or _telling(match[group]):
                    yield Found(*match.span(group), name)
        if signs.context:
            yield from find_in_context(text)
            if "PRIVATE KEY" in text:
                yield from (Found(*m.span(), "private-key") for m in KEY_BLOCK.finditer(text))
            if "PuTTY" in text:
                yield from (Found(*m.span("s"), "private-key") for m in PUTTY_BLOCK.finditer(text))
        for pattern in self._patterns:
            yield from (Found(*m.span(), "pattern") for m in pattern.finditer(text) if m.group())
        yield from self._known_in(text)
        if signs.base64:
            yield from self._in_base64(text, depth)

    def _over_lines(self, text: str, lines: View, signs: Signs, depth: int) -> Iterator[Found]:
        """Secrets that a line end cuts: only as much of them as their format is sure to have."""
        for number in signs.formats:
            name, loose = FORMATS[number].name, FORMATS[number].loose
            for match in pattern_of(number, over_lines=True).finditer(lines.text):
                secret = match["s" if match.re.groupindex else 0]
                span = lines.span(*match.span("s" if match.re.groupindex else 0))
                crosses = span.end - span.start > len(secret)
                telling = _telling(secret) if loose else varied(secret)
                if crosses and telling and _begins_token(text, span.start):
                    yield Found(span.start, _token_end(text, span.end), name)
        for found in self._known_in(lines.text):
            yield Found(*lines.span(found.start, found.end), found.name)
        if signs.base64:
            for found in self._in_base64(lines.text, depth):
                yield Found(*lines.span(found.start, found.end), found.name)

    def _known_in(self, text: str) -> Iterator[Found]:
        for known in self.known:
            for form in _forms(known):
                start = text.find(form)
                while start >= 0:
                    yield Found(start, start + len(form), "environment")
                    start = text.find(form, start + len(form))

    def _in_base64(self, text: str, depth: int) -> Iterator[Found]:
        """Runs of base64 that say a secret; the whole run is one."""
        if depth >= _DEPTH:
            return
        for match in _BASE64.finditer(text):
            for decoded in decodings(match.group()):
                if inner := self._found(decoded, depth + 1):
                    yield Found(*match.span(), inner[0].name)
                    break

    def _is_allowed(self, secret: str) -> bool:
        return any(pattern.fullmatch(secret) for pattern in self._allowed)

    def _signs(self, text: str) -> Signs | None:
        return signs_of(text, self._squeezed, always=bool(self._patterns))


_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{20,}={0,2}")
_TOKEN_END = re.compile(r"[A-Za-z0-9_+/=-]*")


def _texts(value: object) -> Iterator[str]:
    """All strings of a value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            if type(item) is not int and type(item) is not float:
                yield from _texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)


@cache
def _forms(known: str) -> tuple[str, ...]:
    """A value as it stands, and as URLs and JSON write it."""
    from json import dumps
    from urllib.parse import quote

    forms = (known, quote(known, safe=""), quote(known), dumps(known)[1:-1])
    return tuple(sorted(set(forms), key=lambda form: (-len(form), form)))


def _telling(secret: str) -> bool:
    """Whether what follows a prefix that others have too is no name."""
    if looks_random(secret[-40:], at_least=12):
        return True
    kinds = [any(map(kind, secret)) for kind in (str.isdigit, str.isupper, str.islower)]
    return all(kinds) and varied(secret)


def _begins_token(text: str, at: int) -> bool:
    """Whether no letter or digit stands before; the `n` of an escaped line end is none."""
    return (
        at == 0 or not text[at - 1].isalnum() or text[max(0, at - 2) : at] in ("\\n", "\\t", "\\r")
    )


def _token_end(text: str, at: int) -> int:
    match = _TOKEN_END.match(text, at)
    return match.end() if match else at


_ONE_LINE = frozenset(
    {
        "aws-access-key",
        "twilio-key",
        "mailgun-key",
        "private-key",
        "environment",
        "pattern",
        "password",
        "url-password",
    }
)


def _apart(found: Iterable[Found]) -> list[Found]:
    """Overlapping finds as one, named after the one that begins first, the longest of those."""
    apart: list[Found] = []
    for f in sorted(found, key=lambda f: (f.start, -f.end, f.name)):
        if apart and f.start < apart[-1].end:
            last = apart[-1]
            apart[-1] = Found(last.start, max(last.end, f.end), last.name)
        else:
            apart.append(f)
    return apart


def _replaced(text: str, found: Iterable[Found]) -> str:
    parts: list[str] = []
    last = 0
    for f in found:
        parts += (text[last : f.start], f"[redacted:{f.name}]")
        last = f.end
    return "".join((*parts, text[last:]))
