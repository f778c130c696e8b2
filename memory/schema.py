"""What the team remembers, as records, and the event of the log that each one comes from.

The log holds every entry (`memory_written`); the index in Chroma is made from it and can be made again.
Texts are cleaned and bounded when a record is made, so that log, index and prompt hold the same one.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, JsonValue

from codojo.canonical import content_hash
from codojo.errors import MemoryStoreError
from codojo.tasks.schema import Record, Split, Status, TestSource

MEMORY_WRITTEN = "memory_written"

Kind = Literal["exemplar", "rule"]
"""The third kind, the reflection, comes with the memory's curation."""

Trust = Literal["verified", "unverified"]

MAX_TEXT_CHARS = 20_000
CUT = "\n[cut]"

_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufeff]")


def clean(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    """Text that can be stored, shown and sent: no control characters, lone surrogates or BOM.

    Each of those becomes U+FFFD; line ends become newlines. Longer texts are cut and say so.

    >>> clean("a\\r\\nb\\x00")
    'a\\nb\\ufffd'
    """
    # Cut first: a text of 100 MB must not be searched whole.
    bounded = text if len(text) <= limit else text[: limit - len(CUT)] + CUT
    return _UNSAFE.sub("\ufffd", bounded.replace("\r\n", "\n"))


def _cleaned(value: object) -> object:
    return clean(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_cleaned)]


class Provenance(Record):
    """Where an entry comes from, and what was known about it there."""

    rollout: Text
    agent: Text
    model: Text
    """Served name of the model that wrote it."""
    verdict: Status
    tests: TestSource
    """Which tests the verdict comes from."""
    isolation: Text
    """The level the sandbox proved."""

    @property
    def trust(self) -> Trust:
        """`verified` only where sealed tests passed; follows from the facts, is never claimed."""
        sealed_pass = self.verdict == "passed" and self.tests == "sealed"
        return "verified" if sealed_pass else "unverified"


class _Entry(Record):
    kind: ClassVar[Kind]
    found_by: ClassVar[str]
    """Name of the field that recall compares with."""

    task_id: Text
    """The task it was learnt from."""
    family: Text
    suite: Text
    split: Split | None
    provenance: Provenance

    @property
    def id(self) -> str:
        """Content hash of the entry."""
        return content_hash({"kind": self.kind, "entry": self.model_dump(mode="json")})

    @property
    def from_train(self) -> bool:
        """Whether its task may be learnt from at all; memory keeps nothing else."""
        return self.split in ("train", None)

    @property
    def may_steer(self) -> bool:
        """Whether it may guide a prompt; what may not is kept as a warning at most."""
        return self.provenance.trust == "verified" and self.from_train


class Exemplar(_Entry):
    """A stored solution, to be shown as an example."""

    kind: ClassVar[Kind] = "exemplar"
    found_by: ClassVar[str] = "prompt"

    prompt: Text
    code: Text

    @property
    def texts(self) -> tuple[str, ...]:
        """All it says, part by part."""
        return self.prompt, self.code


class Rule(_Entry):
    """A line of the team's manual."""

    kind: ClassVar[Kind] = "rule"
    found_by: ClassVar[str] = "text"

    text: Text

    @property
    def texts(self) -> tuple[str, ...]:
        """All it says, part by part."""
        return (self.text,)


Entry = Exemplar | Rule


def written(entry: Entry) -> dict[str, JsonValue]:
    """Data of the event `memory_written`; also what the index holds of it."""
    return {"kind": entry.kind, "id": entry.id, "entry": entry.model_dump(mode="json")}


def entry_of(data: Mapping[str, Any]) -> Entry:
    """The entry that `written` made such data of.

    Raises:
        MemoryStoreError: If it says another content than its id, or is of an unknown kind.
    """
    kinds: dict[str, type[Exemplar] | type[Rule]] = {"exemplar": Exemplar, "rule": Rule}
    if data["kind"] not in kinds:
        raise MemoryStoreError(
            f"memory entry {data['id'][:12]} is of the unknown kind '{data['kind']}'; "
            "it was written by a newer codojo: upgrade to read it"
        )
    entry = kinds[data["kind"]].model_validate(data["entry"])
    if entry.id != data["id"]:
        raise MemoryStoreError(
            f"memory entry {data['id'][:12]} holds another content than its id says; "
            "it was changed after it was written: run 'codojo rebuild' to index the log again"
        )
    return entry
