"""What of a log an export takes: filters as a person writes them, and the pick they mean for a format."""

import re
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field, ValidationError

from codojo.errors import SettingsError
from codojo.finetune.curating import Curator
from codojo.finetune.curators import CURATORS
from codojo.finetune.picks import WALLS, Dedupe, Only, Pick
from codojo.tasks.schema import Integrity, Record, Split
from codojo.trajectories.exporters.formats import Format
from codojo.trajectories.rows import Preference, Row

WORDS = {
    "only": ("passed", "failed", "all"),
    "split": ("train", "none", "gate", "held_out"),
    "integrity": ("isolated", "shared_process", "any"),
    "dedupe": ("shape", "text", "none"),
}
"""What filters of a few words may be, as a person writes them."""


class Filters(Record):
    """What of a log is exported. None: the format's own default."""

    only: Only | None = None
    """Default: `passed` for prompts and completions, `all` for everything that needs both or is a record."""
    role: tuple[str, ...] = ()
    suite: tuple[str, ...] = ()
    split: tuple[Split | None, ...] = ("train", None)
    """`gate` and `held_out` only where they are named; None: work without a suite."""
    since: float = 0.0
    """Only rollouts that began then or later; seconds since 1970."""
    graph: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    integrity: Integrity | Literal["any"] | None = None
    min_isolation: str | None = None
    max_per_task: int = Field(default=0, ge=0)
    """0: no bound."""
    dedupe: Dedupe | None = None
    feedback: bool = True
    """Rows of what people said of answers, beside those of verdicts; a person's word goes before."""
    whole_answers: bool = False
    """Learn the answer as it was said, not only its code."""
    validation: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the families that goes into a part of its own."""
    license: str = ""
    """For the card; a person must know it."""

    @classmethod
    def of(cls, **values: object) -> "Filters":
        """Filters from options; single words stand for a tuple of one.

        Raises:
            SettingsError: Naming the first that cannot be used, and what can.
        """
        tuples = {"role", "suite", "split", "graph", "model"}
        given = {
            name: (value,)
            if name in tuples and (value is None or isinstance(value, str))
            else value
            for name, value in values.items()
        }
        try:
            return cls.model_validate(given)
        except ValidationError as err:
            first = err.errors(include_url=False)[0]
            name = str(first["loc"][0]) if first["loc"] else "filter"
            shown = str(first.get("input"))[:60].encode("unicode_escape").decode()
            told = (
                f"choose one of {', '.join(WORDS[name])}" if name in WORDS else first["msg"].lower()
            )
            raise SettingsError(f"--{name.replace('_', '-')} cannot be '{shown}': {told}") from err

    def pick(self, format: Format) -> Pick:
        """The pick for a format: its own defaults, and what was asked for instead.

        Raises:
            SettingsError: For a filter that means nothing for this format.
        """
        is_rows = takes_rows(format)
        base = curator_of(format).pick if is_rows else WHOLE
        if format.takes is Preference and self.only not in (None, "all"):
            raise SettingsError(
                f"'{format.name}' pairs passed with failed answers; leave --only away"
            )
        if not is_rows and (self.role or self.dedupe or self.whole_answers):
            raise SettingsError(
                f"'{format.name}' holds whole rollouts; --role, --dedupe and --whole-answers are for formats "
                "of single model calls (see --list)"
            )
        if self.min_isolation is not None and self.min_isolation not in WALLS:
            raise SettingsError(
                f"no isolation level is called {self.min_isolation!r}; choose one of {', '.join(WALLS)}"
            )
        asked: dict[str, object] = {
            "only": self.only,
            "roles": self.role,
            "models": self.model,
            "splits": self.split,
            "integrity": self.integrity,
            "min_isolation": self.min_isolation,
            "dedupe": self.dedupe,
            "learn": "answer" if self.whole_answers else None,
            "per_task": self.max_per_task or None,
        }
        update = {name: value for name, value in asked.items() if value}
        if self.integrity == "any":
            update["integrity"] = None
        return base.model_copy(update=update)


WHOLE = Pick(only="all", integrity=None, min_isolation="none", dedupe="none")
"""The default for formats of whole rollouts, which are records more than lessons."""


def takes_rows(format: Format) -> bool:
    """Whether a format is of rows, and not of whole rollouts."""
    return issubclass(format.takes, Row)


def curator_of(format: Format) -> Curator[Any]:
    """The curator that makes a format's rows."""
    assert issubclass(format.takes, Row)
    return CURATORS[format.takes]


_AGO = re.compile(r"(\d+)([dhm])")


def when(text: str, now: float) -> float:
    """Seconds since 1970 of `2026-11-24`, `2026-11-24T10:00` (UTC where it names no zone), or `7d`, `12h`, `30m` ago.

    Raises:
        SettingsError: If it is neither.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return now - int(ago[1]) * {"d": 86400, "h": 3600, "m": 60}[ago[2]]
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        shown = text.encode("unicode_escape").decode()[:60]
        raise SettingsError(
            f"--since cannot be '{shown}'; write a date (2026-11-24), a time (2026-11-24T10:00), or 7d, 12h, 30m"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
