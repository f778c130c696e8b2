"""The append-only log: the only truth of a dojo; everything else can be rebuilt from it.

A log is a folder of segments, `000001.jsonl`, `000002.jsonl`, ... Each writer makes a new segment
and holds a lock on it, so several processes can write to one dojo at once. One line is one event (see
`codojo.trajectories.framing`; the whole format is in docs/reference/log-format.md). Events are ordered
by segment number, then by `seq`; `at` (seconds since 1970, UTC) is for people and decides nothing.

Durability: an event is acknowledged when `fdatasync` has returned. Appends that arrive while a
sync is under way share the next one. After a failed write or sync nothing is acknowledged any more.
A line cut short by a crash at the end of a segment was never acknowledged: readers leave it out, the
next writer cuts it off and says so. Damage anywhere else is an error with its offset.

Texts of more than `LIMIT` bytes lie in the artifact store, on disk before the line that names them;
readers get them back in place. Large segments that nobody writes are compressed while a log is open.
"""

import logging
import os
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from codojo.errors import LogError
from codojo.trajectories.artifacts import Artifacts
from codojo.trajectories.files import make_folder
from codojo.trajectories.framing import OPENED, SCHEMA, Event, frame, unframe
from codojo.trajectories.group_commit import GroupCommit
from codojo.trajectories.redact import Redactor
from codojo.trajectories.rewrite import enter
from codojo.trajectories.segments import (
    cut_torn_tails,
    new_segment,
    pack_log,
    read_segment,
    segments,
)

__all__ = ["SCHEMA", "Event", "Log", "cut_torn_tails", "frame", "read_log", "segments", "unframe"]

logger = logging.getLogger(__name__)


class Log:
    """One process's pen: appends events to a segment of its own.

    Use as a context manager. Appending is thread-safe; one background thread writes and syncs.

    Args:
        redactor: Takes secrets out of what is appended; default: one that knows all formats, and no
            values of the environment.

    Raises:
        LogError: If the folder cannot be written.
        Busy: If the log is being changed by another process, and still is after some seconds.
    """

    def __init__(self, folder: Path, redactor: Redactor | None = None) -> None:
        self.folder = folder
        self.redactor = redactor or Redactor()
        self._closing = threading.Event()
        try:
            make_folder(folder)
            self._among_writers = enter(folder)
            cut_torn_tails(folder)
            self.segment, self._fd = new_segment(folder)
        except OSError as err:
            raise LogError(
                f"cannot write to {folder}: {err.strerror}; check its permissions and the free space"
            ) from err
        self._lines = GroupCommit(self._fd, Artifacts.of(folder), str(folder))
        self._packer = threading.Thread(target=self._pack, name="codojo-pack", daemon=True)
        self._packer.start()
        try:
            self.put(OPENED, {"schema": SCHEMA, "pid": os.getpid()})
        except LogError:
            self.close()
            raise

    def append(
        self, kind: str, data: object, rollout: str | None = None, *, redacted: bool = False
    ) -> Future[None]:
        """Queue an event; the future is done once it is on disk, or holds the `LogError`.

        Args:
            redacted: Whether secrets were taken out already, by who acts on the data.
        """
        if not redacted:
            data = self.redactor.redact(data).value
        return self._lines.append(kind, data, rollout)

    def put(
        self, kind: str, data: object, rollout: str | None = None, *, redacted: bool = False
    ) -> None:
        """Append an event and return once it is on disk; for code outside of an event loop.

        Raises:
            LogError: If it could not be written; nothing is acknowledged after that.
        """
        if not redacted:
            data = self.redactor.redact(data).value
        self._lines.put(kind, data, rollout)

    def note(self, kind: str, data: object, rollout: str | None = None) -> None:
        """Write an event at once and wait for no sync: it outlives this process, and a power cut only
        together with a later event that was acknowledged.

        Where other events are about to be written it goes with them. It must be short.

        Raises:
            LogError: If it could not be written; nothing is acknowledged after that.
        """
        self._lines.note(kind, self.redactor.redact(data).value, rollout)

    def write(
        self,
        kind: str,
        data: object,
        rollout: str | None = None,
        *,
        redacted: bool = False,
        alone: bool = False,
    ) -> Coroutine[Any, Any, None]:
        """Append an event; to be awaited, and done once it is on disk.

        Args:
            redacted: Whether secrets were taken out already, by who acts on the data.
            alone: The caller knows of nobody with whom to share a sync.

        Raises:
            LogError: If it could not be written; nothing is acknowledged after that.
        """
        if not redacted:
            data = self.redactor.redact(data).value
        return self._lines.write(kind, data, rollout, alone=alone)

    def close(self) -> None:
        """Write what is queued and let go of the segment."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._lines.close()
        self._packer.join()
        os.close(self._fd)
        os.close(self._among_writers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _pack(self) -> None:
        """Compress what earlier writers left; a fault there must not touch this one's work."""
        try:
            pack_log(self.folder, go_on=lambda: not self._closing.is_set())
        except (OSError, LogError) as err:
            logger.warning("could not compress old segments of %s: %s", self.folder, err)


def read_log(folder: Path) -> Iterator[Event]:
    """All events of a log in order; a torn last line of a segment is left out.

    Raises:
        LogDamaged: Where bytes before the end of a segment are not what was written.
        LogTooNew: If a newer codojo wrote a segment.
    """
    for number, path in segments(folder):
        for _, _, event in read_segment(path, number):
            yield event
