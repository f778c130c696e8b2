"""What a format is, and which ones there are."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from codojo.errors import SettingsError
from codojo.trajectories.rows import Row
from codojo.trajectories.schema import Trajectory

MODULES = (
    "trl",
    "llama_factory",
    "axolotl",
    "openai_jsonl",
    "atif",
    "swe_agent",
    "tokens",
    "verl",
    "otel",
)
"""Modules of this package that define formats, in the order in which formats are listed."""

Column = Literal["text", "bool", "int", "float", "json"] | Mapping[str, "Column"] | tuple["Column"]
"""Type of a column, for Parquet: a plain one (`json` is stored as JSON text), an object by its keys, or a
tuple of one type for a list of it. A key that a record lacks becomes null."""

MESSAGE: Column = {"role": "text", "content": "text"}
MESSAGES: Column = (MESSAGE,)

JsonObject = dict[str, Any]


class NotExpressible(ValueError):
    """A format has no way to say this row. Its text is the reason, a word or two joined by `_`; it is
    counted and told in the dataset card."""


@dataclass(frozen=True)
class Format:
    """One file format.

    The function `records` is pure: the same item gives the same records. It may be given many millions
    of items, so it keeps nothing of them. Keys are written in the order in which the record has them.
    """

    name: str
    about: str
    """One line for `codojo export --list`: what it is, and who reads it."""
    takes: type[Row] | type[Trajectory]
    """What `records` is given: rows of that class, or whole trajectories."""
    records: Callable[[Any], Iterable[JsonObject]]
    """The JSON records of one item. Raises `NotExpressible` for an item that the format cannot say."""
    suffix: str = ".jsonl"
    """`.jsonl`: one record a line. `.parquet`: columns. Else every record is a file of its own in a
    folder, its name ending so."""
    columns: Mapping[str, Column] | None = None
    """Type of each column, for Parquet; None: the format is written as JSON only. Records with other keys
    (tool calls, say) are left out of Parquet and counted."""
    name_of: Callable[[Any], str] | None = None
    """Path of an item's file in the folder, without the suffix; for formats of one file an item."""
    beside: Callable[[Mapping[str, str]], Mapping[str, str]] | None = None
    """Further files of the folder, by name: made from the data files' names by part (`train`, ...)."""
    token_exact: bool = False
    """Whether the records hold token ids: rows of redacted steps are then left out."""

    @property
    def is_folder(self) -> bool:
        """Whether the output is always a folder."""
        return self.name_of is not None or self.beside is not None


def formats() -> dict[str, Format]:
    """All formats by name."""
    found: dict[str, Format] = {}
    for module in MODULES:
        for format in import_module(f"{__package__}.{module}").FORMATS:
            assert format.name not in found, f"two formats are called {format.name}"
            found[format.name] = format
    return found


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        SettingsError: If there is none.
    """
    known = formats()
    if name not in known:
        raise SettingsError(f"unknown format {name!r}; choose one of {', '.join(known)}")
    return known[name]
