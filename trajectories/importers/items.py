"""The conversations of a file, each with where it was found."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pydantic import ValidationError

from codojo.canonical import content_hash
from codojo.errors import ImportRefused
from codojo.trajectories.importers.conversation import Conversation
from codojo.trajectories.importers.formats import importer_named, importer_of, importers
from codojo.trajectories.importers.reading import Source, Value, place, values
from codojo.trajectories.schema import Imported


class Item(NamedTuple):
    """One conversation and where it was found."""

    conversation: Conversation
    imported: Imported
    stem: str
    """For the task's id, where the source has none."""


def items(
    source: Source, format: str, refused: Callable[[ImportRefused], None] | None = None
) -> Iterator[Item]:
    """The conversations of a file in order.

    Args:
        format: Name of an importer; empty: each value's own.
        refused: Gets what is wrong with a conversation, which is then left out.

    Raises:
        ImportRefused: With file and line, at the first that cannot be read.
    """
    for value in values(source.path, refused):
        for part in _parts(value):
            try:
                item = _item(source, part, format)
            except ImportRefused as err:
                if refused is None:
                    raise
                refused(err)
            else:
                yield item


def _parts(value: Value) -> Iterator[Value]:
    """The value; or the conversations of a document that is a list of them."""
    held = value.value
    is_list = isinstance(held, list) and len(held) > 0 and value.line is None
    if not is_list or any(importer.recognise(held) for importer in importers().values()):
        yield value
        return
    for one in held:
        yield Value(one, content_hash(one), None)


def _item(source: Source, value: Value, format: str) -> Item:
    try:
        importer = importer_named(format) if format else importer_of(value.value)
        if not isinstance(value.value, dict) and not importer.recognise(value.value):
            raise ImportRefused(f"it is no {importer.name}")
        conversation = importer.read(value.value)
    except (ImportRefused, ValidationError) as err:
        told = str(err) if isinstance(err, ImportRefused) else "a field is not of its type"
        raise ImportRefused(f"{place(source.path, value.line)}: {told}") from None
    stem = source.path.name.partition(".")[0]
    imported = Imported(
        format=conversation.format,
        file=source.path.name,
        sha256=source.sha256,
        item=value.sha256,
        line=value.line,
        agent=conversation.agent,
        version=conversation.version,
        claims=conversation.claims,
    )
    return Item(conversation, imported, stem if value.line is None else f"{stem}:{value.line}")
