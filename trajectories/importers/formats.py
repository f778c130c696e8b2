"""Which formats can be imported, and which one a value is."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, cast

from codojo.errors import ImportRefused, SettingsError
from codojo.trajectories.importers.conversation import Conversation

MODULES = ("atif", "swe_agent", "mini_swe_agent", "openhands", "chat")
"""In the order in which they are asked whether a value is theirs: the plainest comes last."""


class Importer(NamedTuple):
    """One format that can be read."""

    name: str
    recognise: Callable[[Any], bool]
    read: Callable[[Any], Conversation]


def importers() -> dict[str, Importer]:
    """All importers by name."""
    found = {}
    for name in MODULES:
        module = cast(Any, import_module(f"{__package__}.{name}"))
        found[module.NAME] = Importer(module.NAME, module.recognise, module.read)
    return found


def importer_named(name: str) -> Importer:
    """The importer of that name.

    Raises:
        SettingsError: If there is none.
    """
    known = importers()
    if name not in known:
        raise SettingsError(f"no format {name!r} can be imported; choose one of {', '.join(known)}")
    return known[name]


def importer_of(value: Any) -> Importer:
    """The importer that recognises a value.

    Raises:
        ImportRefused: If none does.
    """
    for importer in importers().values():
        if importer.recognise(value):
            return importer
    if isinstance(value, dict):
        keys = ", ".join(sorted(map(str, value))[:8])[:120]
        held = f"an object with the keys {keys}" if keys else "an empty object"
    else:
        held = f"a {type(value).__name__}"
    raise ImportRefused(
        f"it is of no format that can be imported ({', '.join(importers())}): it holds {held}"
    )
