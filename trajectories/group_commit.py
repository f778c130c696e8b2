"""Group commit: lines that arrive while a sync is under way share the next one.

Whoever waits for a line and finds nobody at the disk commits all that is pending, so a lone writer pays
for no change of thread, and of many writers one works for all. Three kinds of writers meet here:

- a thread commits itself, or waits until another thread has done it or hands it the next batch;
- coroutines of one turn of an event loop are committed together at the end of that turn, in the loop's
  own thread while syncs are quick: they hold it up for no longer than `QUICK_S`, and handing lines to
  another thread and back costs more than that;
- what nobody stands for (queued events, a slow disk, large contents) the background thread commits.

An order holds for all: lines are on disk in the order of their numbers, and artifacts before the line
that names them. After a failed write or sync nothing is acknowledged any more.
"""

import asyncio
import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from codojo.errors import LogError
from codojo.trajectories.artifacts import LIMIT, Artifacts, lift
from codojo.trajectories.files import write_all
from codojo.trajectories.framing import frame, now

logger = logging.getLogger(__name__)

QUICK_S = 0.0005
"""A sync that takes no longer is made where it is wanted, even in an event loop."""


@dataclass(slots=True, eq=False)
class _Pending:
    """A line that waits for the next sync, and who waits for it."""

    line: bytes
    """Empty once it is written."""
    contents: Mapping[str, bytes]
    """Artifacts that the line names: they are to be on disk before it is written."""
    done: "Future[None] | None" = None
    waiting: "asyncio.Future[None] | None" = None
    """A coroutine's."""
    turn: "threading.Lock | None" = None
    """A thread's, held until its line is on disk or the thread is to commit `batch`."""
    batch: "Sequence[_Pending]" = ()
    failure: LogError | None = None


class GroupCommit:
    """Numbers lines and brings them to one file; thread-safe.

    Args:
        fd: The file, opened for appending and empty; closed by the caller after `close`.
        place: Names the file in errors.
    """

    def __init__(self, fd: int, artifacts: Artifacts, place: str) -> None:
        self._fd = fd
        self._artifacts = artifacts
        self._place = place
        self._lock = threading.Lock()
        self._seq = 0
        self._written = self._synced = 0
        """Bytes of the file: all, and those on disk."""
        self._pending: list[_Pending] = []
        self._committing = False
        self._delayed = False
        """What is committed waits for its artifacts and is not written yet, so nothing else may be."""
        self._ticking: set[asyncio.AbstractEventLoop] = set()
        """Loops that will commit what is pending at the end of their turn."""
        self._latest: str | None = None
        """The rollout whose coroutine was the last to write."""
        self._sync_s = 0.0
        """Seconds that a sync takes lately."""
        self._failure: LogError | None = None
        self._wanted: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="codojo-log", daemon=True)
        self._thread.start()

    def append(self, kind: str, data: object, rollout: str | None) -> Future[None]:
        """Queue an event; the future is done once it is on disk, or holds the `LogError`."""
        done: Future[None] = Future()
        with self._lock:
            if self._failure:
                done.set_exception(self._failure)
                return done
            self._add(kind, data, rollout).done = done
        self._wanted.put(None)
        return done

    def put(self, kind: str, data: object, rollout: str | None) -> None:
        """Return once the event is on disk; for threads without an event loop."""
        batch: Sequence[_Pending] = ()
        with self._lock:
            added = self._add(kind, data, rollout)
            if not self._committing:
                batch = self._take()
            else:
                added.turn = threading.Lock()
                added.turn.acquire()
        if added.turn is not None:
            added.turn.acquire()
            batch, added.batch = added.batch, ()
        if batch:
            self._commit(batch)
        if added.failure:
            raise added.failure

    def note(self, kind: str, data: object, rollout: str | None) -> None:
        """Write at once and wait for no sync; where artifacts have to come first it goes with their lines."""
        with self._lock:
            line, contents = self._line(kind, data, rollout)
            if contents or self._delayed or any(p.contents for p in self._pending):
                self._pending.append(_Pending(line, contents))
                self._wanted.put(None)
                return
            self._flush(self._pending, line)
            if self._failure:
                raise self._failure

    async def write(self, kind: str, data: object, rollout: str | None, *, alone: bool) -> None:
        """Return once the event is on disk.

        Args:
            alone: Nobody of the same run is known to write soon. Where the last line was of the same rollout
                too, this one is committed without waiting for the end of the loop's turn.
        """
        loop = asyncio.get_running_loop()
        batch: list[_Pending] = []
        with self._lock:
            lonely = alone and rollout == self._latest and self._sync_s < QUICK_S
            self._latest = rollout
            added = self._add(kind, data, rollout)
            if lonely and not self._committing and not added.contents:
                batch = self._take()
            else:
                added.waiting = loop.create_future()
                if loop not in self._ticking:
                    self._ticking.add(loop)
                    loop.call_soon(self._tick, loop)
        if added.waiting is not None:
            await added.waiting
            return
        self._commit(batch, loop)
        if added.failure:
            raise added.failure

    def close(self) -> None:
        """Write what is pending."""
        self._closing = True
        self._wanted.put(None)
        self._thread.join()
        with self._lock:
            self._failure = self._failure or LogError(f"the log in {self._place} is closed")

    def _line(
        self, kind: str, data: object, rollout: str | None
    ) -> tuple[bytes, Mapping[str, bytes]]:
        """The line of an event as of now, and what goes to the artifact store first; under the lock."""
        if self._failure:
            raise self._failure
        at = now()
        line, contents = frame(self._seq, at, kind, rollout, data), {}
        if len(line) > LIMIT and (lifted := lift(data)).large:
            line = frame(self._seq, at, kind, rollout, lifted.data, lifted.large)
            contents = lifted.contents
        self._seq += 1
        return line, contents

    def _add(self, kind: str, data: object, rollout: str | None) -> _Pending:
        """Give an event its number and its place among the pending; under the lock."""
        added = _Pending(*self._line(kind, data, rollout))
        self._pending.append(added)
        return added

    def _take(self) -> list[_Pending]:
        """All that is pending, for the caller to commit; under the lock, where nobody commits."""
        batch, self._pending = self._pending, []
        self._committing = bool(batch)
        self._ticking.clear()
        self._delayed = any(p.contents for p in batch)
        if not self._delayed:
            self._flush(batch)
        return batch

    def _flush(self, batch: Sequence[_Pending], more: bytes = b"") -> None:
        """Write what is not written yet, and another line; under the lock."""
        lines = b"".join([*(each.line for each in batch), more])
        if not lines or self._failure:
            return
        try:
            write_all(self._fd, lines)
        except OSError as err:
            self._fail(err, self._written)
            return
        self._written += len(lines)
        for each in batch:
            each.line = b""

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """The end of a turn of a loop in which coroutines wrote."""
        with self._lock:
            self._ticking.discard(loop)
            if not self._pending or self._committing:
                return  # who commits sees to what is pending by then
            quick = self._sync_s < QUICK_S and not any(p.contents for p in self._pending)
            batch = self._take() if quick else []
        if batch:
            self._commit(batch, loop)
        else:
            self._wanted.put(None)

    def _serve(self) -> None:
        """The background thread: commit whenever somebody wants it and nobody does."""
        while True:
            self._wanted.get()
            with self._lock:
                batch = [] if self._committing else self._take()
                if self._closing and not batch and not self._committing:
                    return
            if batch:
                self._commit(batch)

    def _commit(
        self, batch: Sequence[_Pending], here: asyncio.AbstractEventLoop | None = None
    ) -> None:
        """Write a batch with one sync, see to the next one, and wake who waited.

        Args:
            here: The loop whose thread this is.
        """
        failure = self._write(batch)
        with self._lock:
            self._committing = False
            heir = next((p for p in self._pending if p.turn is not None), None)
            if heir is not None:
                heir.batch = self._take()
            elif self._pending or self._closing:
                self._wanted.put(None)
        if heir is not None and heir.turn is not None:
            heir.turn.release()
        loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for each in batch:
            each.failure = failure
            if each.waiting is not None:
                loops.setdefault(each.waiting.get_loop(), []).append(each.waiting)
            elif each.done is not None and failure:
                each.done.set_exception(failure)
            elif each.done is not None:
                each.done.set_result(None)
            elif each.turn is not None:
                each.turn.release()
        for loop, waiting in loops.items():
            if loop is here:
                _wake(waiting, failure)
            else:
                with contextlib.suppress(RuntimeError):  # a loop that was closed waits for nothing
                    loop.call_soon_threadsafe(_wake, waiting, failure)

    def _write(self, batch: Sequence[_Pending]) -> LogError | None:
        """Bring lines to the disk, their artifacts before them; what went wrong, if anything."""
        try:
            if self._delayed and not self._failure:
                self._artifacts.put({k: v for each in batch for k, v in each.contents.items()})
                with self._lock:
                    self._delayed = False
                    self._flush(batch)
            if self._failure:
                return self._failure
            began, written = time.perf_counter(), self._written
            os.fdatasync(self._fd)
        except OSError as err:
            with self._lock:
                return self._fail(err, self._synced)
        self._synced = written
        self._sync_s += (time.perf_counter() - began - self._sync_s) / 4
        return None

    def _fail(self, err: OSError, keep: int) -> LogError:
        """From now on nothing is acknowledged, and only so many bytes stay; under the lock."""
        self._failure = LogError(
            f"cannot write to the log in {self._place}: {err.strerror}; free some space "
            "or check the disk, then go on with --resume"
        )
        try:
            os.ftruncate(self._fd, keep)  # where the disk still lets us
        except OSError:
            logger.warning("could not take back an unfinished record; the next writer will cut it")
        return self._failure


def _wake(waiting: "list[asyncio.Future[None]]", failure: LogError | None) -> None:
    """Tell coroutines that their events are on disk, or why not."""
    for each in waiting:
        if each.done():
            continue  # it was cancelled
        if failure:
            each.set_exception(failure)
        else:
            each.set_result(None)
