"""The index: which rollouts a log holds, and where each one's events lie.

Derived from the log and brought up to date when it is opened; `codojo.trajectories.derived` says how.
Opening it reads only what was appended since; one rollout is read without reading the rest. Full-text
search lies in a file of its own (`codojo.trajectories.search`), as most uses need none.
"""

import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from pydantic import ValidationError

from codojo.errors import LogDamaged
from codojo.trajectories.artifacts import Artifacts
from codojo.trajectories.derived import BUSY_S, DerivedFile, Line, clean
from codojo.trajectories.framing import Event, skim, unframe
from codojo.trajectories.schema import FINISHED, STARTED, RolloutEnd, RolloutStart, Trajectory, fold
from codojo.trajectories.segments import damage, open_segment, segments

logger = logging.getLogger(__name__)

NAME = "rollouts.sqlite"

_COLUMNS = (
    *("id", "run", "stage", "attempt", "task", "suite", "split", "graph", "model", "at"),
    *("finished", "verdict", "failure", "candidates", "passed"),
    *("prompt_tokens", "completion_tokens", "calls", "seconds"),
)
_FILTERS = {
    "id": "substr(id, 1, length(:id)) = :id",
    "run": "substr(run, 1, length(:run)) = :run",
    "stage": "substr(stage, 1, length(:stage)) = :stage",
    "task": "instr(task, :task) > 0",
    "suite": "suite = :suite",
    "split": "split = :split",
    "graph": "graph = :graph",
    "model": "instr(model, :model) > 0",
    "verdict": "coalesce(verdict, 'none') = :verdict",
    "since": "at >= :since",
    "finished": "finished = :finished",
}


@dataclass(frozen=True, slots=True)
class IndexedRollout:
    """What the index knows of a rollout."""

    id: str
    run: str
    stage: str
    attempt: int
    task: str
    suite: str
    split: str | None
    graph: str
    model: str
    """Served models, joined by commas."""
    at: float
    """When it began, in seconds since 1970, UTC."""
    finished: bool
    verdict: str | None
    failure: str | None
    candidates: int
    passed: int
    prompt_tokens: int
    completion_tokens: int
    calls: int
    seconds: float

    @property
    def tokens(self) -> int:
        """Of prompts and answers."""
        return self.prompt_tokens + self.completion_tokens


class Index:
    """The index of one log, up to date as of opening it. Use as a context manager.

    Args:
        log: Folder of the log; one that cannot be written beside is indexed in memory.

    Raises:
        LogDamaged, LogTooNew: As `read_log` does.
        Busy: If another process writes to the index for longer than `busy_s`.
    """

    def __init__(self, log: Path, *, busy_s: float = BUSY_S) -> None:
        self.log = log
        self._lock = threading.RLock()
        self._files: dict[int, BinaryIO] = {}
        self._load = Artifacts.of(log).text
        self._derived = DerivedFile(log, NAME, _Rollouts(), busy_s=busy_s)
        try:
            self.refresh()
        except BaseException:
            self.close()
            raise

    def refresh(self) -> int:
        """Read what the log has got since; returns the number of new events."""
        with self._lock:
            self._forget_files()
            return self._derived.refresh()

    def rollouts(self, *, limit: int = 0, **filters: object) -> list[IndexedRollout]:
        """Rollouts in the order in which they began.

        Args:
            limit: The newest so many; 0: all.
            filters: `id`, `run`, `stage` (by their beginning), `task`, `model` (by a part), `suite`,
                `split`, `graph`, `verdict` (`none`: without one), `since` (seconds since 1970),
                `finished`, and `ids` (a collection of whole ids).

        Raises:
            ValueError: For a filter of another name.
        """
        where, values = _where(filters)
        newest = f"ORDER BY segment DESC, offset DESC LIMIT {int(limit) or -1}"
        rows = self._query(f"SELECT {', '.join(_COLUMNS)} FROM rollouts {where} {newest}", values)
        return [_rollout(row) for row in reversed(rows)]

    def count(self, **filters: object) -> int:
        """How many rollouts pass the filters; see `rollouts`."""
        where, values = _where(filters)
        return int(self._query(f"SELECT count(*) FROM rollouts {where}", values)[0][0])

    def count_by_run(self) -> dict[str, int]:
        """How many rollouts each run has begun."""
        rows = self._query(
            "SELECT run, count(*) FROM rollouts WHERE run IS NOT NULL GROUP BY run", {}
        )
        return {str(run): int(count) for run, count in rows}

    def events(self, rollout: str) -> list[Event]:
        """Every event under that id, in order; the rest of the log is not read.

        Raises:
            LogDamaged: If one is not what was written.
        """
        places = self._query(
            "SELECT segment, offset, length FROM events JOIN streams USING (stream) WHERE id = :id "
            "ORDER BY segment, offset",
            {"id": clean(rollout)},
        )
        return list(self._read(places))

    def marks(self, *kinds: str) -> list[Event]:
        """Events that belong to no rollout, of some kinds, in order."""
        names = {f"k{i}": clean(kind) for i, kind in enumerate(kinds)}
        places = self._query(
            f"SELECT segment, offset, length FROM marks WHERE kind IN ({_names(names)}) ORDER BY segment, offset",
            names,
        )
        return list(self._read(places))

    def trajectory(self, rollout: str) -> Trajectory:
        """One rollout, whole.

        Raises:
            KeyError: If the log holds none of that id.
        """
        return fold(self.events(rollout))[rollout]

    def close(self) -> None:
        """Let go of all files."""
        self._forget_files()
        self._derived.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _query(self, statement: str, values: dict[str, Any]) -> list[Any]:
        with self._lock:
            try:
                with self._derived.busy():
                    return self._derived.db.execute(statement, values).fetchall()
            except sqlite3.DatabaseError as err:
                self._derived.start_over(str(err))
                self.refresh()
                return self._derived.db.execute(statement, values).fetchall()

    def _read(self, places: Iterable[tuple[int, int, int]]) -> Iterator[Event]:
        paths: dict[int, Path] = {}
        with self._lock:
            for number, offset, length in places:
                if number not in self._files:
                    paths = paths or dict(segments(self.log))
                    self._files[number] = open_segment(paths[number])
                file = self._files[number]
                file.seek(offset)
                event = unframe(file.read(length), number, self._load)
                if event is None:
                    raise self._misfit(number, offset)
                yield event

    def _misfit(self, number: int, offset: int) -> LogDamaged:
        """The log does not hold what the index says: throw the index away; the log itself may be damaged."""
        self._forget_files()
        self._derived.start_over(f"it does not fit segment {number}")
        return damage(dict(segments(self.log))[number], offset)

    def _forget_files(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()


class _Rollouts:
    """What the file holds: each rollout's row, and the places of its events."""

    version = 1
    schema = """
CREATE TABLE streams (stream INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
CREATE TABLE events (
    stream INTEGER, segment INTEGER, offset INTEGER, length INTEGER NOT NULL,
    PRIMARY KEY (stream, segment, offset)
) WITHOUT ROWID;
CREATE TABLE marks (
    kind TEXT, segment INTEGER, offset INTEGER, length INTEGER NOT NULL,
    PRIMARY KEY (kind, segment, offset)
) WITHOUT ROWID;
CREATE TABLE rollouts (
    id TEXT PRIMARY KEY, segment INTEGER, offset INTEGER, run TEXT, stage TEXT, attempt INTEGER, task TEXT,
    suite TEXT, split TEXT, graph TEXT, model TEXT, at REAL, finished INTEGER NOT NULL DEFAULT 0,
    verdict TEXT, failure TEXT, candidates INTEGER NOT NULL DEFAULT 0, passed INTEGER NOT NULL DEFAULT 0,
    prompt_tokens INTEGER NOT NULL DEFAULT 0, completion_tokens INTEGER NOT NULL DEFAULT 0,
    calls INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0
);
CREATE INDEX rollouts_by_run ON rollouts (run);
CREATE INDEX rollouts_in_order ON rollouts (segment, offset)
"""

    def take(self, db: sqlite3.Connection, lines: list[Line]) -> None:
        """Skim each line; only the first and last events of rollouts are read whole."""
        streams: dict[str, int] = {}
        events, marks = [], []
        for line in lines:
            skimmed = skim(line.text) or line.event()
            kind, rollout, place = skimmed.kind, skimmed.rollout, (line.segment, line.offset)
            if rollout is None:
                marks.append((clean(kind), *place, len(line.text)))
                continue
            if rollout not in streams:
                streams[rollout] = _stream(db, clean(rollout))
            events.append((streams[rollout], *place, len(line.text)))
            if kind in (STARTED, FINISHED):
                try:
                    _started(db, line) if kind == STARTED else _finished(db, line)
                except ValidationError as err:
                    logger.warning(
                        "rollout %s is not in the index: its '%s' has %d fields that this version does not know",
                        *(rollout, kind, err.error_count()),
                    )
        db.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", events)
        db.executemany("INSERT INTO marks VALUES (?, ?, ?, ?)", marks)


def _stream(db: sqlite3.Connection, id: str) -> int:
    db.execute("INSERT OR IGNORE INTO streams (id) VALUES (?)", (id,))
    return int(db.execute("SELECT stream FROM streams WHERE id = ?", (id,)).fetchone()[0])


def _started(db: sqlite3.Connection, line: Line) -> None:
    event = line.event()
    start = RolloutStart.model_validate(event.data)
    row = {
        "id": clean(event.rollout or ""),
        "segment": line.segment,
        "offset": line.offset,
        "run": start.run,
        "stage": start.stage,
        "attempt": start.attempt,
        "task": start.brief.task_id,
        "suite": start.brief.suite,
        "split": start.brief.split,
        "graph": start.graph,
        "model": ", ".join(sorted(set(start.models.values()))),
        "at": event.at,
    }
    _insert(db, row, "run")


def _finished(db: sqlite3.Connection, line: Line) -> None:
    event = line.event()
    end = RolloutEnd.model_validate(event.data)
    row = {
        "id": clean(event.rollout or ""),
        "finished": 1,
        "verdict": end.verdict.status if end.verdict else None,
        "failure": end.failure,
        "candidates": len(end.proposals),
        "passed": sum(bool(p.verdict and p.verdict.passed) for p in end.proposals),
        "prompt_tokens": end.cost.prompt_tokens,
        "completion_tokens": end.cost.completion_tokens,
        "calls": end.cost.calls,
        "seconds": end.cost.seconds,
    }
    _insert(db, row, "nullif(finished, 0)")


def _insert(db: sqlite3.Connection, row: dict[str, Any], unset: str) -> None:
    """Put values into a rollout's row, made if need be; the first word counts, as in `fold`."""
    values = {
        name: clean(value) if isinstance(value, str) else value for name, value in row.items()
    }
    db.execute("INSERT OR IGNORE INTO rollouts (id) VALUES (:id)", {"id": values["id"]})
    changes = ", ".join(f"{name} = :{name}" for name in values)
    db.execute(f"UPDATE rollouts SET {changes} WHERE id = :id AND {unset} IS NULL", values)


def _rollout(row: tuple[Any, ...]) -> IndexedRollout:
    values = dict(zip(_COLUMNS, row, strict=True))
    return IndexedRollout(**{**values, "finished": bool(values["finished"])})


def _where(filters: dict[str, object]) -> tuple[str, dict[str, Any]]:
    """A condition with placeholders alone: no name and no value of a caller becomes SQL."""
    conditions, values = ["run IS NOT NULL"], dict[str, Any]()
    for name, value in filters.items():
        if name == "ids" and isinstance(value, list | tuple | set | frozenset):
            wanted = {f"i{i}": clean(str(id)) for i, id in enumerate(value)}
            conditions.append(f"id IN ({_names(wanted)})")
            values |= wanted
        elif name in _FILTERS:
            conditions.append(_FILTERS[name])
            values[name] = clean(value) if isinstance(value, str) else value
        else:
            raise ValueError(
                f"no filter is called {name!r}; choose from {', '.join(_FILTERS)} and ids"
            )
    return f"WHERE {' AND '.join(conditions)}", values


def _names(values: dict[str, Any]) -> str:
    return ", ".join(f":{name}" for name in values)
