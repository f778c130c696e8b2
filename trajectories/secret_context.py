"""Secrets that nothing but their surroundings give away: assignments, headers, addresses, sentences.

Code holds words like `password` and `token` everywhere, so a value must be one that nobody writes but as a
secret: no placeholder, no name, no expression, no sentence; and where the word alone proves little
(`token`), it must look random. What merely looks random, without such a word, stays: hashes, ids, data.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

MARK = re.compile(r"\[redacted:[a-z0-9-]+\]")
"""What stands in place of a secret."""


class Found(NamedTuple):
    """A secret in a text."""

    start: int
    end: int
    name: str


class Word(NamedTuple):
    """A word that a secret may follow."""

    start: int
    end: int
    text: str
    sure: bool
    """Whether what is assigned to it is a secret as a rule."""


_ANCHOR = re.compile(
    r"pass(?=w(?:or)?d|phrase)|pwd|secret|token|key|credential|bearer|connection|authorization"
)
_WORD = re.compile(
    r"passw(?:or)?d|passphrase|pwd|secret(?:[ _-]?access)?(?:[ _-]?key)?|token|key(?:[_-]id)?|credential|bearer"
    r"|connection[ _-]?string|authorization"
)
_KEY_OF = re.compile(
    r"(?:api|app|access|private|auth|account|signing|encryption|master|service|license|admin|ssh|deploy"
    r"|session|shared|storage|subscription|hmac|webhook|consumer)[ _-]?\Z"
)
_TOKEN_OF = re.compile(
    r"(?:auth|access|refresh|bearer|api|bot|personal|deploy|npm|session)[ _-]?\Z"
)
_SUFFIX = re.compile(
    r"(?:s|[_-]?(?:\d{1,3}|prod|dev|test|live|b64|base64|value))?(?![A-Za-z0-9_-])", re.I
)
_ENV_SUFFIX = re.compile(r"[A-Z0-9_]{0,40}(?![A-Za-z0-9_-])")
_OTHER = re.compile(r"_(?:FILE|PATH|URL|NAME|ID|DIR|HASH|LENGTH)\Z")
_ASSIGN = re.compile(
    r"""(?x)
    \\{0,8} ["'`\]]? (?: [ \t]{0,8} : [ \t]{0,8} (?:str|bytes|string|String|SecretStr|str[ ]\|[ ]None) )?
    [ \t]{0,8} (?P<op> => | := | [:=] ) [ \t]{0,8}
    (?: [rbuf]{0,2} \\{0,8} (?P<q>["'`]) (?P<quoted> (?: (?!(?P=q)) [^\n\\] ){4,400} ) \\{0,8} (?P=q)
      | (?P<bare> [^\s"'`,;<>(){}\[\]&]{2,400} ) (?= (?P<after> \\{0,8} (?: \Z | [\s,;&}"'`] ) ) )
    )"""
)
_TOKEN = re.compile(r"[A-Za-z0-9+/_.=~-]{2,400}")
_LINE_ENDS = re.compile(r"[ \t]{0,8}(?:\r?\n|\\{1,8}n)")
_SENTENCE_CHARS = 60
_HEADER = re.compile(
    r"""(?ix) (?: authorization \\{0,8} ["']? \s{0,3} [:=,] \s{0,3} \\{0,8} ["']?
         (?: bearer | basic | token | apikey | digest | negotiate ) | \b bearer )
    [ ]{1,4} (?P<s> [A-Za-z0-9._~+/=:-]{2,4000} )"""
)
_USERINFO = re.compile(
    r"""(?x) :// (?: (?P<owner> [^\s:/@"'<>]{0,200} ) : (?P<password> [^\s/"'<>]{1,400} (?: \r?\n [ \t]{0,99} [^\s/"'<>]{1,400} )? )
        | (?P<user> [^\s:/@"'<>]{16,400} ) ) @"""
)
_NETRC = re.compile(r"\blogin\s{1,8}\S{1,200}\s{1,8}password\s{1,8}(?P<s>\S{4,200})")

_NEXT_LINE = re.compile(
    r"[ \t]{0,8}(?:\r?\n|\\{1,8}n)[ \t]{0,200}(?:[#>*|]{1,3}[ \t]?|//[ \t]?)?([A-Za-z0-9_+/=.-]{6,})[ \t]{0,8}(?=\r?\n|\\{1,8}[nr]|[;&\"'@]|\Z)"
)

_EXPRESSION = re.compile(
    r"[${%<*&]|\.\.\.|\*\*\*|(?i:xxx)|\A(?:self|cls|os|settings|config|env|args|request|secrets|process)\.|\A(?:[~.]{0,2}/|[A-Z]:\\)"
)
_PLACEHOLDER = re.compile(
    r"(?i)your|changeme|change_me|placeholder|example|dummy|insert|redacted|none|null|true|false|string|value|todo|foo|bar"
)
_HASH = re.compile(
    r"(?i)(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{56}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128}"
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-hjkmnp-tv-z]{26}|sha\d+[-:=].*)"
)
_IDENTIFIER = re.compile(
    r"[a-z_][a-z0-9_]*|[A-Z_][A-Z0-9_]*|[A-Za-z_][A-Za-z]*[0-9]{0,2}|[\w]+(?:\.[A-Za-z_]\w*)+"
)
_PIECE = re.compile(r"[A-Za-z0-9]+")


def find_in_context(text: str) -> Iterator[Found]:
    """The secrets of a text that their context gives away; they may overlap."""
    for match in _USERINFO.finditer(text):
        group = "password" if match["password"] is not None else "user"
        value = match[group]
        sure = (
            group == "password"
            and "\n" not in value
            and value != match["owner"]
            and not _is_placeholder(value)
        )
        if sure or looks_random(value, at_least=16 if group == "user" else 8):
            yield Found(*match.span(group), "url-password")
    for match in _NETRC.finditer(text):
        if not _is_placeholder(match["s"]):
            yield Found(*match.span("s"), "password")
    for word in _words(text):
        if word.text.lower() in ("authorization", "bearer"):
            yield from _in_header(text, word)
        yield from _after_word(text, word)


def secret_by_name(name: str, value: str) -> bool:
    """Whether a value that stands under a name in a record is a secret.

    >>> secret_by_name("api_key", "9f8a7b6c5d4e3f2a"), secret_by_name("key", "9f8a7b6c5d4e3f2a")
    (True, False)
    """
    sure = _names_a_secret(name)
    return sure is not None and _is_value(value, sure=sure)


@lru_cache(4096)
def _names_a_secret(name: str) -> bool | None:
    """Whether a name is that of a secret, and whether surely; None where it is not."""
    ending = [word for word in _words(name) if _name_end(name, word) is not None]
    return any(word.sure for word in ending) if ending else None


def _words(text: str) -> Iterator[Word]:
    lower = text.lower()
    if len(lower) != len(text):  # a letter whose small form is longer
        lower = "".join(c.lower() if c.isascii() else c for c in text)
    for anchor in _ANCHOR.finditer(lower):
        match = _WORD.match(lower, anchor.start())
        if match is None:
            continue
        start, end = match.span()
        before = lower[max(0, start - 16) : start]
        sure = match.group() not in ("token", "credential", "bearer", "authorization")
        if anchor.group() == "key":
            of = _KEY_OF.search(before)
            if of is None:
                continue
            start -= len(of.group())
        elif anchor.group() == "token" and (of := _TOKEN_OF.search(before)):
            start -= len(of.group())
            sure = True
        yield Word(start, end, text[start:end], sure)


def looks_random(text: str, *, at_least: int = 20) -> bool:
    """Whether letters and digits change as often as chance would have them.

    Words joined by underscores or capitals change less often; lower-case letters alone never count.

    >>> looks_random("k3Jx9QmZ2vLr8TnW4bYc"), looks_random("ThisIsALongIdentifierNumber2")
    (True, False)
    """
    if len(text) < at_least:
        return False
    pieces = _PIECE.findall(text)
    letters = sum(map(len, pieces))
    changes = digit_runs = 0
    for piece in pieces:
        kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" for c in piece]
        changes += sum(a != b for a, b in pairwise(kinds))
        digit_runs += sum(
            kind == "d" and (i == 0 or kinds[i - 1] != "d") for i, kind in enumerate(kinds)
        )
    share = changes / max(letters - 1, 1)
    return (digit_runs >= 1 and share >= 0.5) or (digit_runs >= 3 and share >= 0.3)


def _in_header(text: str, word: Word) -> Iterator[Found]:
    if match := _HEADER.match(text, word.start):
        value, end = _whole(text, *match.span("s"))
        if len(value) >= 8 and _mixed(value) and not _is_placeholder(value):
            yield Found(match.start("s"), end, "authorization")


def _after_word(text: str, word: Word) -> Iterator[Found]:
    name_end = _name_end(text, word)
    if name_end is not None and (match := _ASSIGN.match(text, name_end)):
        if match["quoted"] is not None:
            if _is_value(match["quoted"], sure=word.sure):
                yield Found(*match.span("quoted"), _kind(word))
                return
        else:
            value, end = _whole(text, *match.span("bare"))
            if _is_value(value, sure=word.sure) and _is_bare_value(value, text, word, match):
                yield Found(match.start("bare"), end, _kind(word))
                return
    yield from _in_sentence(text, word)


def _in_sentence(text: str, word: Word) -> Iterator[Found]:
    """A random token soon after the word: `the API key is ...`."""
    line_end = text.find("\n", word.end, word.end + _SENTENCE_CHARS)
    limit = line_end if line_end >= 0 else word.end + _SENTENCE_CHARS
    for match in _TOKEN.finditer(text, word.end, limit + 400):
        if match.start() >= limit:
            return
        if len(match.group()) < 20 and not _LINE_ENDS.match(text, match.end()):
            continue
        token, end = _whole(text, *match.span())
        if looks_random(token) and not _HASH.fullmatch(token) and not MARK.search(token):
            yield Found(match.start(), end, _kind(word))
            return


def next_lines(text: str, end: int) -> int:
    """Where a secret ends that goes on, from its line's end, in lines that hold nothing else."""
    while match := _NEXT_LINE.match(text, end):
        if not varied(match[1]):
            break
        end = match.end(1)
    return end


def varied(text: str) -> bool:
    """Whether a text is more than words: it has digits, or capitals among small letters."""
    capitals = sum(c.isupper() for c in text)
    return any(c.isdigit() for c in text) or 2 <= capitals <= len(text) - 2


class Whole(NamedTuple):
    """A value and where it ends."""

    value: str
    end: int


def _whole(text: str, start: int, end: int) -> Whole:
    """A value with the lines it goes on in, if only then it looks random."""
    value = text[start:end].rstrip(".")
    further = next_lines(text, end)
    joined = re.sub(r"\s|\\{1,8}n", "", text[start:further])
    if further > end and looks_random(joined, at_least=12):
        return Whole(joined, further)
    return Whole(value, start + len(value))


def _name_end(text: str, word: Word) -> int | None:
    """Where the name ends that the word stands in; None for names of other things: `token_count`."""
    if word.text.isupper() and (match := _ENV_SUFFIX.match(text, word.end)):
        return None if _OTHER.search(match.group()) else match.end()
    suffix = _SUFFIX.match(text, word.end)
    return suffix.end() if suffix else None


def _is_value(value: str, *, sure: bool) -> bool:
    if MARK.search(value) or " " in value or _EXPRESSION.search(value):
        return False
    if not sure:
        return looks_random(value, at_least=16)
    if len(value) < 6 or _is_placeholder(value) or not _mixed(value):
        return False
    return len(value) >= 8 or not _IDENTIFIER.fullmatch(value)


def _is_bare_value(value: str, text: str, word: Word, match: re.Match[str]) -> bool:
    """Whether a value without quotes is text of a configuration, not a name of a program."""
    if not any(c.isdigit() for c in value):
        return False
    line_end = text.find("\n", match.end())
    after = text[match.end() : line_end if line_end >= 0 else len(text)].strip(" \t\r,;\"'`}")
    tight = (
        match["op"] == "=" and text[match.start("op") - 1] != " " and text[match.end("op")] != " "
    )
    if after and not after.startswith("#") and not tight:
        return looks_random(value, at_least=16)
    if not _IDENTIFIER.fullmatch(value) or looks_random(value, at_least=16) or word.text.isupper():
        return True
    if word.text.lower() in value.lower():
        return False
    before = text[text.rfind("\n", 0, word.start) + 1 : word.start]
    alone = not after and re.fullmatch(r"\s*(?:export\s+)?[\w.-]*", before)
    in_query = match["op"] == "=" and re.search(r"[?&][\w.-]*\Z", before[-40:])
    return bool((alone and (tight or match["op"] == ":")) or in_query)


def _mixed(value: str) -> bool:
    """Whether letters come with digits, signs or the other case."""
    lower = any(c.islower() for c in value)
    upper = any(c.isupper() for c in value)
    other = any(not c.isalpha() and c not in "_-." for c in value)
    return (
        (other and (lower or upper))
        or (lower and upper and len(value) >= 12)
        or (other and len(value) >= 12)
    )


def _is_placeholder(value: str) -> bool:
    """Whether a value only says that a secret would stand there."""
    if MARK.fullmatch(value) or not MARK.sub("", value):
        return True
    if looks_random(value, at_least=16):
        return False
    if _EXPRESSION.search(value) or _PLACEHOLDER.search(value):
        return True
    return bool(
        re.fullmatch(
            r"(?i)\W*(?:pass(?:w(?:or)?d)?|pwd|pw|secret|token|key|user(?:name)?|api)+\W*\d{0,3}",
            value,
        )
    )


def _kind(word: Word) -> str:
    said = word.text.lower()
    if said.startswith(("passw", "passp", "pwd")):
        return "password"
    if "token" in said or said == "bearer":
        return "token"
    return "secret" if said.startswith(("secret", "cred", "conn")) else "key"
