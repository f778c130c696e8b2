"""Large texts of the log: kept once each, beside it, under the hash of what they say.

The log in `<dojo>/log` has its artifacts in `<dojo>/artifacts`, each in `ab/<sha256>`: the hash is of
the UTF-8 bytes (lone surrogates as they are), the file holds them as one Zstandard frame. A text goes
there when it is longer than `LIMIT`; the line that names it is written once it is on disk.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from codojo.errors import LogDamaged
from codojo.trajectories.files import make_folder, sync_folder, write_aside

LIMIT = 16_384
"""Bytes of UTF-8; a longer text moves to the store."""

_LEVEL = 3
_NAME = re.compile(r"[0-9a-f]{64}")


class Lifted(NamedTuple):
    """Data without its large texts."""

    data: Any
    large: dict[str, str]
    """Name of the artifact by the JSON pointer of its place."""
    contents: dict[str, bytes]
    """Bytes of each artifact by name."""


class Artifacts:
    """The store of one log.

    Args:
        folder: Of the store; made when something is put there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._durable: set[str] = set()
        """Names, and the first two digits of names, known to be on disk."""

    @classmethod
    def of(cls, log: Path) -> "Artifacts":
        """The store of the log in that folder."""
        return cls(log.parent / "artifacts")

    def path(self, name: str) -> Path:
        """Where the artifact lies.

        Raises:
            LogDamaged: If that is no name of an artifact.
        """
        if not _NAME.fullmatch(name):
            raise LogDamaged(
                f"{name[:80]!r} is no name of an artifact; 'codojo trajectories repair' says what can be saved"
            )
        return self.folder / name[:2] / name

    def read(self, name: str) -> bytes:
        """The content of an artifact.

        Raises:
            LogDamaged: If it is missing, or is not what was written.
        """
        import zstandard

        path = self.path(name)
        try:
            content = zstandard.ZstdDecompressor().decompress(path.read_bytes())
        except FileNotFoundError:
            raise LogDamaged(_lost(path, "is missing")) from None
        except (OSError, MemoryError, zstandard.ZstdError) as err:
            raise LogDamaged(_lost(path, f"cannot be read ({err})")) from err
        if hashlib.sha256(content).hexdigest() != name:
            raise LogDamaged(_lost(path, "is not what was written"))
        return content

    def text(self, name: str) -> str:
        """The text of an artifact; see `read`."""
        return self.read(name).decode("utf-8", "surrogatepass")

    def is_whole(self, name: str) -> bool:
        """Whether it is here and is what was written."""
        try:
            self.read(name)
        except LogDamaged:
            return False
        return True

    def put(self, contents: Mapping[str, bytes]) -> None:
        """Keep contents by name; they are on disk when this returns.

        One that another process has put there may not be on disk yet, so its folder is synced too.

        Raises:
            OSError: If the disk refuses.
        """
        new = {n: content for n, content in contents.items() if n not in self._durable}
        if not new:
            return
        import zstandard

        packer = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        for name, content in new.items():
            path = self.path(name)
            make_folder(path.parent)
            if not (path.exists() and self.is_whole(name)):
                write_aside(path, packer.compress(content))
        shards = {name[:2] for name in new}
        for shard in shards:
            sync_folder(self.folder / shard)
        if not shards <= self._durable:
            sync_folder(self.folder)
            sync_folder(self.folder.parent)
        self._durable |= shards | new.keys()

    def names(self) -> Iterator[str]:
        """All artifacts, in order."""
        for path in sorted(self.folder.glob("[0-9a-f][0-9a-f]/*")):
            if _NAME.fullmatch(path.name):
                yield path.name

    def remove_all_but(self, kept: set[str]) -> list[str]:
        """Remove what nobody names, and what a crash left half written; nobody may be writing."""
        removed = []
        for path in sorted(self.folder.glob("[0-9a-f][0-9a-f]/*")):
            if path.name not in kept:
                path.unlink()
                removed.append(path.name)
                self._durable.discard(path.name)
        for shard in {name[:2] for name in removed if _NAME.fullmatch(name)}:
            sync_folder(self.folder / shard)
        return [name for name in removed if _NAME.fullmatch(name)]


def lift(data: object, limit: int = LIMIT) -> Lifted:
    """Take the texts longer than `limit` bytes out of data; what was given is not changed."""
    large: dict[str, str] = {}
    contents: dict[str, bytes] = {}

    def walk(value: Any, pointer: str) -> Any:
        if isinstance(value, str):
            if len(value) * 4 <= limit:
                return value
            content = value.encode("utf-8", "surrogatepass")
            if len(content) <= limit:
                return value
            name = hashlib.sha256(content).hexdigest()
            large[pointer] = name
            contents[name] = content
            return None
        if isinstance(value, Mapping):
            return {
                key: walk(inner, f"{pointer}/{_escaped(key)}") if isinstance(key, str) else inner
                for key, inner in value.items()
            }
        if isinstance(value, list | tuple):
            if _holds_no_text(value):
                return value
            return [walk(inner, f"{pointer}/{i}") for i, inner in enumerate(value)]
        return value

    return Lifted(walk(data, ""), large, contents)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _holds_no_text(values: Any) -> bool:
    """Token ids and log-probabilities: thousands of numbers that need no walk of their own."""
    return all(isinstance(value, int | float) for value in values)


def _lost(path: Path, how: str) -> str:
    return (
        f"the artifact {path} {how}; put it back from a copy, or see with 'codojo trajectories repair' "
        "what can be saved"
    )
