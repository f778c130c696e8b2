"""Proof that something is forgotten: every byte of a folder is searched for lines that only it held."""

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from codojo.trajectories.forget import Doomed, Events, forms, is_about, texts
from codojo.trajectories.log import Event

MIN_LINE = 24
"""Characters of a line that is searched for; shorter ones stand everywhere."""
MAX_LINES = 2_000


class Proof(NamedTuple):
    """Lines by which it shows whether something is forgotten."""

    lines: tuple[str, ...]
    """Of the rollouts that go, and of nothing that stays; the longest."""
    shared: int
    """Lines of theirs that others hold as well, in answers or tasks of their own."""


def proof(events: Events, doomed: Doomed, change: Callable[[Event], Event | None]) -> Proof:
    """What to search for once the rollouts are forgotten; reads the log twice."""
    rollouts = frozenset(doomed.rollouts)
    own = {
        line
        for e in events()
        if e.rollout in rollouts or is_about(e, doomed)
        for line in _lines(e.data)
    }
    kept: set[str] = set()
    for event in events() if own else ():
        after = change(event)
        if after is not None:
            kept |= own.intersection(_lines(after.data))
    own -= {doomed.session, *doomed.rollouts}  # the notes that stay name them
    alone = sorted(own - kept, key=lambda line: (-len(line), line))[:MAX_LINES]
    return Proof((*alone, doomed.match) if doomed.match else tuple(alone), len(kept))


def _lines(data: Any) -> Iterator[str]:
    for text in texts(data):
        if len(text) >= MIN_LINE:
            for line in text.split("\n"):
                if len(line.strip()) >= MIN_LINE:
                    yield line.strip()


class Searched(NamedTuple):
    """What a search of a folder found."""

    files: int
    bytes: int
    """After decompression."""
    left: dict[Path, int]
    """Files that hold some of the texts, and how many."""


def search(folder: Path, lines: Iterable[str], *, base64: Sequence[str] = ()) -> Searched:
    """Search every byte below a folder for texts: as they stand, as JSON and HTML write them.

    Args:
        base64: Texts that are also searched for in base64.
    """
    wanted = [_as_bytes(line) for line in dict.fromkeys(lines)]
    encoded = [_as_base64(text) for text in base64]
    count = size = 0
    left: dict[Path, int] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        data = _content(path)
        count, size = count + 1, size + len(data)
        if found := sum(any(form in data for form in ways) for ways in (*wanted, *encoded)):
            left[path] = found
    return Searched(count, size, left)


def _content(path: Path) -> bytes:
    """A file's bytes, unpacked where it is packed; both where that fails half-way."""
    data = path.read_bytes()
    if data[:4] != b"\x28\xb5\x2f\xfd":
        return data
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            return reader.read()
    except zstandard.ZstdError:
        return data


def _as_bytes(text: str) -> tuple[bytes, ...]:
    from markupsafe import escape

    ways = {*forms(text), str(escape(text))}
    return tuple(way.encode("utf-8", "surrogatepass") for way in ways)


def _as_base64(text: str) -> tuple[bytes, ...]:
    """What base64 of anything around a text has in common, for each place where it may begin."""
    data = text.encode("utf-8", "surrogatepass")
    ways = (
        b64encode(b"\0" * before + data)[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        for before in range(3)
    )
    return tuple(way for way in ways if len(way) >= 6)
