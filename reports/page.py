"""What all pages share: escaping, number formats, the content policy, and files that appear whole.

Everything a model wrote is hostile. It reaches a page only as an expression of a template, where it is
made visible (no control character survives) and escaped; the content policy forbids scripts, outside
files and every style but our own, should a fault ever let something through.
"""

import base64
import hashlib
import os
import tempfile
import unicodedata
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from codojo.errors import LogError

THIN = "\u202f"
"""Narrow no-break space, between a number and its unit."""

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

MAX_TEXT, MAX_NOTE = 4_000, 300
"""Characters of one text, and of one remark, that a page shows; the log has the rest."""


def visible(text: str) -> str:
    """The text with every character that could drive a terminal or reorder a line written as a code.

    Line feeds and tabs stay; lone surrogates, escapes and direction marks do not.

    >>> visible("a\\x1b[31m\\u202eb\\n")
    'a\\\\x1b[31m\\\\u202eb\\n'
    """
    if text.isprintable():
        return text
    return "".join(c if _harmless(c) else _code(c) for c in text)


def _harmless(c: str) -> bool:
    return c.isprintable() or c in "\n\t" or unicodedata.category(c) == "Zs"


def _code(c: str) -> str:
    number = ord(c)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def percent(share: float) -> str:
    """A share as a percentage, for example `41.2 %`."""
    return f"{100 * share:.1f}{THIN}%"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign, for example `+11.1`."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def count(n: float) -> str:
    """A whole number with its thousands set apart."""
    return f"{n:,.0f}"


def plural(n: int, noun: str) -> str:
    """A count with its noun: `1 task`, `1,204 tasks`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: `0.4 s`, `3 min 12 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f}{THIN}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{THIN}min{THIN}{rest:02}{THIN}s"
    return f"{minutes // 60}{THIN}h{THIN}{minutes % 60:02}{THIN}min"


def chance(p: float) -> str:
    """A probability with two digits that mean something."""
    if p == 0 or p >= 1e-3:
        return f"{p:.2g}"
    digits, power = f"{p:.1e}".split("e-")
    return f"{digits} × 10⁻{power.lstrip('0').translate(_RAISED)}"


def render(template: str, **values: object) -> str:
    """A page: the template filled in, with its one style sheet and the policy that allows no other."""
    style = _style()
    policy = (
        f"default-src 'none'; style-src 'sha256-{_digest(style)}'; base-uri 'none'; "
        "form-action 'none'"
    )
    css = Markup(style)  # noqa: S704  # our own file
    return _environment().get_template(template).render(style=css, policy=policy, **values)


def write_page(path: Path, text: str) -> Path:
    """Put a page where it belongs, whole or not at all.

    Raises:
        LogError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=".", delete=False) as file:
            file.write(text.encode())
        Path(file.name).chmod(0o644)
        os.replace(file.name, path)  # noqa: PTH105  # says that an older page gives way
    except OSError as err:
        raise LogError(
            f"cannot write {path}: {err.strerror}; check the folder's permissions and the free space"
        ) from err
    return path


def cut(text: str) -> str:
    """The text, or its beginning with a word on how much more the log has."""
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]}\n… {len(text) - MAX_TEXT:,} more characters are in the log"


def short(text: str) -> str:
    """The text, or its beginning where a remark is longer than anyone would read."""
    return text if len(text) <= MAX_NOTE else f"{text[:MAX_NOTE]}…"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("codojo.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters.update(
        percent=percent,
        points=points,
        count=count,
        plural=plural,
        duration=duration,
        chance=chance,
        short=short,
    )
    return environment


def _finalize(value: object) -> object:
    """Applied to every expression before it is escaped: nothing too long, nothing that is not visible."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(cut(value))
    return value


@cache
def _style() -> str:
    return (Path(__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")


def _digest(style: str) -> str:
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
