"""SQLite files made from the log: opened, checked, brought up to date, and thrown away when in doubt.

Nothing in such a file is the truth. Each remembers how far it has read each segment; what was appended
since is read at the next `refresh`. A file that is damaged is set aside, one of another version or of
another history (a segment was rewritten, or is gone) is removed, and either is made anew.
"""

import logging
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Protocol, Self

from codojo.errors import Busy, LogError
from codojo.trajectories.artifacts import Artifacts
from codojo.trajectories.framing import Event, is_whole, unframe
from codojo.trajectories.segments import damage, open_segment, refuse_newer, segments

logger = logging.getLogger(__name__)

BUSY_S = 10.0
"""How long to wait for another process that writes to the file."""

_WAL_S = 0.02
_LINES = 10_000
"""Lines of one transaction: others wait no longer than those take."""
_PLACES = """
CREATE TABLE places (
    segment INTEGER PRIMARY KEY,
    first TEXT NOT NULL,       -- the first line's checksum: another one, another history
    offset INTEGER NOT NULL,   -- where the next line begins, counted before packing
    stamp TEXT NOT NULL        -- of the file that was read to its end
);
"""


def folder_of(log: Path) -> Path:
    """Where the derived files of a log lie."""
    return log.parent / "index"


def discard(log: Path) -> None:
    """Remove every derived file of a log, those that were set aside too."""
    with suppress(FileNotFoundError):
        shutil.rmtree(folder_of(log))


class Content(Protocol):
    """What a derived file is made of."""

    version: int
    schema: str

    def take(self, db: sqlite3.Connection, lines: "list[Line]") -> None:
        """Put lines of one segment into the file; all are whole."""


class Line:
    """A line of the log on its way into a derived file."""

    __slots__ = ("_load", "offset", "segment", "text")

    def __init__(self, segment: int, offset: int, text: bytes, load: Callable[[str], str]) -> None:
        self.segment, self.offset, self.text, self._load = segment, offset, text, load

    def event(self) -> Event:
        """The whole event.

        Raises:
            LogDamaged: If an artifact is missing.
        """
        event = unframe(self.text, self.segment, self._load)
        assert event is not None, "only whole lines come here"
        return event


class _Stale(Exception):
    """The file was made from another history than the log has now."""


class DerivedFile:
    """One SQLite file that follows a log.

    Args:
        log: Folder of the log.
        name: Of the file; a log whose place cannot be written has it in memory.
        busy_s: How long to wait for other processes.

    Raises:
        Busy: If another process holds the file for longer.
    """

    def __init__(self, log: Path, name: str, content: Content, *, busy_s: float = BUSY_S) -> None:
        self.log = log
        self.path = folder_of(log) / name
        self._content, self._busy_s = content, busy_s
        self.db = self._open()

    def refresh(self) -> int:
        """Read what the log has got since; returns the number of new events.

        Raises:
            LogDamaged, LogTooNew: As `read_log` does.
            Busy: If another process writes to the file for too long.
        """
        for _ in range(3):
            try:
                return self._catch_up()
            except _Stale:
                self.start_over()
            except sqlite3.OperationalError as err:
                with self.busy():
                    self._go_to_memory(err)
            except sqlite3.DatabaseError as err:
                self.start_over(str(err))
        raise LogError(f"the log in {self.log} changes while it is indexed; try again")

    def start_over(self, damaged: str = "") -> None:
        """Make the file anew, empty.

        Args:
            damaged: What is wrong with it; it is then set aside, and a warning says so.
        """
        self.db.close()
        if damaged:
            self._set_aside(damaged)
        else:
            self._remove()
        self.db = self._open()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Turn SQLite's complaint about another process into ours.

        Raises:
            Busy: With what to do.
        """
        try:
            yield
        except sqlite3.OperationalError as err:
            if "locked" not in str(err):
                raise
            raise Busy(
                f"another process has held {self.path} for more than {self._busy_s:g} s; wait for it, or "
                "remove the file: it is made again from the log"
            ) from err

    def close(self) -> None:
        """Let go of the file."""
        self.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.busy():
                return self._checked(str(self.path))
        except (OSError, sqlite3.OperationalError) as err:
            return self._memory(err)
        except sqlite3.DatabaseError as err:
            self._set_aside(str(err))
            return self._checked(str(self.path))

    def _go_to_memory(self, err: Exception) -> None:
        """Do without the file.

        Raises:
            sqlite3.OperationalError: If another process holds it: then waiting helps.
        """
        if "locked" in str(err):
            raise err
        self.db.close()
        self.db = self._memory(err)

    def _memory(self, err: Exception) -> sqlite3.Connection:
        logger.warning("cannot use %s (%s): reading the whole log instead", self.path, err)
        return self._checked(":memory:")

    def _checked(self, place: str) -> sqlite3.Connection:
        """A connection to a sound file of our version.

        Raises:
            sqlite3.DatabaseError: If it is damaged.
        """
        db = sqlite3.connect(
            place, timeout=self._busy_s, isolation_level=None, check_same_thread=False
        )
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, self._content.version):
                db.close()
                self._remove()
                return self._checked(place)
            self._use_wal(db)
            db.execute("PRAGMA synchronous = NORMAL")
            if version == 0:
                _make(db, self._content)
            elif (said := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(said)
        except BaseException:
            db.close()
            raise
        return db

    def _use_wal(self, db: sqlite3.Connection) -> None:
        """SQLite does not wait by itself for others that open the file at the same moment."""
        until = time.monotonic() + self._busy_s
        while True:
            try:
                db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as err:
                if "locked" not in str(err) or time.monotonic() > until:
                    raise
                time.sleep(_WAL_S)

    def _set_aside(self, why: str) -> None:
        aside = self.path.with_suffix(".damaged")
        logger.warning(
            "%s is damaged (%s): set aside as %s and made again from the log",
            self.path,
            why,
            aside.name,
        )
        with suppress(FileNotFoundError):
            self.path.replace(aside)
        self._remove()

    def _remove(self) -> None:
        for ending in ("", "-wal", "-shm"):
            Path(f"{self.path}{ending}").unlink(missing_ok=True)

    def _catch_up(self) -> int:
        found = segments(self.log)
        known = dict(self.db.execute("SELECT segment, stamp FROM places"))
        if not known.keys() <= {number for number, _ in found}:
            raise _Stale
        return sum(
            self._read(number, path) for number, path in found if known.get(number) != _stamp(path)
        )

    def _read(self, number: int, path: Path) -> int:
        load = Artifacts.of(self.log).text
        stamp, count, going = _stamp(path), 0, True
        with open_segment(path) as file:
            first = file.readline()
            if not first.endswith(b"\n"):
                return 0  # its opening is not written yet
            refuse_newer(path, first)
            mark = first[-11:-3].decode("ascii", "replace")
            while going:
                with _transaction(self.db):
                    place = self._place(number, mark)
                    file.seek(place)
                    lines: list[Line] = []
                    for text in islice(file, _LINES):
                        if not is_whole(text):
                            if text.endswith(b"\n"):
                                raise damage(path, place)
                            break
                        lines.append(Line(number, place, text, load))
                        place += len(text)
                    going = len(lines) == _LINES
                    self._content.take(self.db, lines)
                    self.db.execute(
                        "INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?)",
                        (number, mark, place, "" if going else stamp),
                    )
                count += len(lines)
        return count

    def _place(self, number: int, mark: str) -> int:
        """Where to go on reading a segment.

        Raises:
            _Stale: If it is another than was read.
        """
        row = self.db.execute(
            "SELECT first, offset FROM places WHERE segment = ?", (number,)
        ).fetchone()
        if row is None:
            return 0
        if row[0] != mark:
            raise _Stale
        return int(row[1])


def clean(text: str) -> str:
    """A text that SQLite can keep: no lone surrogates, no NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ")


def _make(db: sqlite3.Connection, content: Content) -> None:
    """The tables, unless another process made them meanwhile."""
    with _transaction(db):
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:
            for statement in f"{_PLACES}{content.schema}".split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {content.version}")


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _stamp(path: Path) -> str:
    """Changes whenever the file does."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return ""
    return f"{path.name} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"
