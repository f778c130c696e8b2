"""The events of a log, told by the ends of their lines: the data of one is parsed when it is asked for.

Kind and rollout stand behind the data, so a reader that wants few of the events skips the others without
parsing them. Every line's checksum is checked, unless it is said otherwise.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from codojo.trajectories.artifacts import Artifacts
from codojo.trajectories.framing import is_whole, unframe
from codojo.trajectories.segments import damage, open_segment, refuse_newer, segments

_END_BYTES = 200
_END = re.compile(
    rb',"kind":"(\w+)","rollout":(?:null|"(\w+)"),"seq":\d+,"sum":"[0-9a-f]{8}"\}\n\Z', re.ASCII
)
"""How nearly all lines end; one that names artifacts, or is not canonical, is parsed at once."""


class Line:
    """One event, read as the log's `Event` is; `at` and `data` parse the line when they are first asked for.

    Raises:
        LogDamaged: From both, where an artifact is missing, or the line is no event for all its checksum.
    """

    __slots__ = ("_at", "_data", "_load", "_number", "_place", "_text", "kind", "rollout")

    def __init__(
        self, place: tuple[Path, int], number: int, text: bytes, load: Callable[[str], str]
    ) -> None:
        self._place, self._number, self._text, self._load = place, number, text, load
        self._at = 0.0
        self._data: dict[str, Any] | None = None
        found = _END.search(text, len(text) - _END_BYTES if len(text) > _END_BYTES else 0)
        if found is None:
            self._parse_whole()
        else:
            kind, rollout = found.groups()
            self.kind: str = kind.decode()
            self.rollout: str | None = None if rollout is None else rollout.decode()

    @property
    def data(self) -> dict[str, Any]:
        """What the event says."""
        if self._data is None:
            self._parse()
        assert self._data is not None
        return self._data

    @property
    def at(self) -> float:
        """When it was written, in seconds since 1970, UTC."""
        if self._data is None:
            self._parse()
        return self._at

    def _parse(self) -> None:
        try:
            raw = from_json(self._text, cache_strings="keys")
            self._at, self._data = raw["at"], raw["data"]
        except (
            ValueError,
            KeyError,
            TypeError,
        ):  # lone surrogates, which only the log's own parser reads
            self._parse_whole()

    def _parse_whole(self) -> None:
        event = unframe(self._text, self._number, self._load)
        if event is None:
            raise damage(*self._place)
        self.kind, self.rollout = event.kind, event.rollout
        self._at, self._data = event.at, event.data


def read_lines(folder: Path) -> Iterator[Line]:
    """All events of a log in order; a torn last line of a segment is left out.

    Raises:
        LogDamaged: Where bytes before the end of a segment are not what was written.
        LogTooNew: If a newer codojo wrote a segment.
    """
    load = Artifacts.of(folder).text
    for number, path in segments(folder):
        with open_segment(path) as file:
            refuse_newer(path, file.readline())
            file.seek(0)
            offset = 0
            for text in file:
                if not is_whole(text):
                    if not text.endswith(b"\n"):
                        break
                    raise damage(path, offset)
                yield Line((path, offset), number, text, load)
                offset += len(text)


def read_kinds(folder: Path, kinds: frozenset[str]) -> Iterator[Line]:
    """The events of a few kinds. Only their lines are checked: who goes on to read all of the log
    (`read_lines`) is told there of damage in the others.

    Raises:
        LogDamaged: Where a line of these kinds is not what was written.
        LogTooNew: If a newer codojo wrote a segment.
    """
    load = Artifacts.of(folder).text
    wanted = {kind.encode() for kind in kinds}
    search = _END.search
    for number, path in segments(folder):
        with open_segment(path) as file:
            refuse_newer(path, file.readline())
            file.seek(0)
            offset = 0
            for text in file:
                found = search(text, len(text) - _END_BYTES if len(text) > _END_BYTES else 0)
                if found is None or found[1] in wanted:
                    if is_whole(text):
                        line = Line((path, offset), number, text, load)
                        if line.kind in kinds:
                            yield line
                    elif text.endswith(b"\n"):
                        raise damage(path, offset)
                offset += len(text)
