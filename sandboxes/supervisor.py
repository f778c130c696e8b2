"""Watches the process trees of cages from outside and kills the ones over a limit.

One daemon thread serves all cages of a process, so that a busy event loop never means that nobody
is watching. It looks about every 30 ms. Where there are no control groups (`cgroups.py`) it adds up the
tree itself, and has large ones give way to others: memory can then overshoot by what is written in that time, which `RLIMIT_AS` bounds for each
process.
"""

import contextlib
import os
import select
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from codojo.sandboxes.cgroups import Cgroup
from codojo.sandboxes.contract import Ended, Limits

INTERVAL_S = 0.03
PAGE = os.sysconf("SC_PAGE_SIZE")
INODE_BYTES = 1024
"""Kernel memory that one file of a tmpfs costs beside its content, rounded up."""
TMPFS = ("tmp", "dev/shm")
PATIENT_TASKS = 8
"""A tree of more threads than this runs when others do not, where no control group keeps it in its share."""
FREE_DESCRIPTORS = 16
SOCKET_BYTES = 208 << 10
"""What may wait in a socket, unseen; each open file of a process past the free ones counts as that."""


Role = Literal["leader", "guard", "first"]
"""What the process is that we watch: the leader of a session, in no namespace of its own; or the guard
of a pid namespace, whose first process is its one child; or that first process itself."""


@dataclass(slots=True, eq=False)
class Watched:
    """One cage: the process that stands for it, and when and why it must end."""

    pid: int
    limits: Limits
    deadline: float
    """On the monotonic clock."""
    role: Role
    tmpfs: bool = False
    """Whether `/tmp` and `/dev/shm` in there are mounted, and so count as its memory."""
    cgroup: Cgroup | None = None
    """Counts memory and processes where the machine lets us; else this module does."""
    pidfd: int = field(init=False)
    ended: Ended | None = None
    """Set once, by whoever decided to end it."""

    def __post_init__(self) -> None:
        self.pidfd = os.pidfd_open(self.pid)

    def end(self, why: Ended) -> None:
        """Kill the tree; the first reason given stays."""
        self.ended = self.ended or why
        if self.role == "guard":
            kill_cage(self.pid, self.pidfd)
        elif self.role == "first":
            self.kill()
        else:
            kill_plain(self.pid)

    def kill(self) -> None:
        """Kill the process itself; with a guard or a first process the kernel ends the whole cage."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def exited(self) -> bool:
        """Whether the process we started is gone (a zombie counts as gone)."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Forget the process; it must have been waited for."""
        os.close(self.pidfd)


class Supervisor:
    """The thread; it lives while there is something to watch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: set[Watched] = set()
        self._thread: threading.Thread | None = None

    def watch(self, watched: Watched) -> None:
        """Enforce its limits until `release`."""
        with self._lock:
            self._watched.add(watched)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="codojo-cages", daemon=True)
                self._thread.start()

    def release(self, watched: Watched) -> None:
        """Stop watching; after this the thread does not touch it."""
        with self._lock:
            self._watched.discard(watched)

    def _run(self) -> None:
        while True:
            time.sleep(INTERVAL_S)
            with self._lock:
                if not self._watched:
                    self._thread = None
                    return
                for watched in self._watched:
                    if not watched.exited():
                        self._check(watched)

    def _check(self, watched: Watched) -> None:
        if time.monotonic() > watched.deadline:
            watched.end("timeout")
            return
        if watched.cgroup is not None:
            _check_group(watched, watched.cgroup)
            return
        tasks, pids = tree(watched.pid, itself=watched.role != "guard")
        if tasks >= watched.limits.processes:
            watched.end("pids")
        elif memory(pids, tmpfs=watched.tmpfs, cap=watched.limits.memory_mb << 20) is None:
            watched.end("memory")
        elif tasks > PATIENT_TASKS:
            # But for the first, which is ours in most cages, and answers for the others.
            yield_processor(pids[1:])


def _check_group(watched: Watched, group: Cgroup) -> None:
    with contextlib.suppress(OSError):  # it is gone with the cage
        if group.is_out_of_memory:
            watched.end("memory")
        elif group.is_full:
            watched.end("pids")


SUPERVISOR = Supervisor()


class Tree(NamedTuple):
    """What runs below a process."""

    tasks: int
    """Threads of all its processes."""
    pids: list[int]
    """Parents before their children."""


def tree(pid: int, *, itself: bool = False) -> Tree:
    """The processes below one; `itself` counts that one as well."""
    tasks, found, queue = 0, [], [pid] if itself else children(pid)
    while queue:
        pid = queue.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            tasks += len(list(Path(f"/proc/{pid}/task").iterdir()))
            queue += children(pid)
    return Tree(tasks, found)


def children(pid: int) -> list[int]:
    """Ids of the direct children of a process, by any of its threads; none if it is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def yield_processor(pids: list[int]) -> None:
    """Have every thread of these processes, and so what they start, give way to whoever else wants to run."""
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))


def memory(pids: list[int], *, tmpfs: bool, cap: int) -> int | None:
    """Bytes that a tree holds, tmpfs and sockets included; None if that is more than `cap`.

    The sum of resident sizes counts shared pages once per process, so it is asked first because it
    is cheap, and the proportional sizes only where it is over the cap.
    """
    used = sum(_buffers(pid) for pid in pids) + (_tmpfs_bytes(pids) if tmpfs else 0)
    resident = used + sum(_resident(pid) for pid in pids)
    if resident <= cap:
        return resident
    proportional = used + sum(_proportional(pid) for pid in pids)
    return proportional if proportional <= cap else None


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return _resident(pid)


def _buffers(pid: int) -> int:
    """What the sockets of a process may hold; 0 before Linux 6.2, which does not count open files."""
    try:
        return max(0, Path(f"/proc/{pid}/fd").stat().st_size - FREE_DESCRIPTORS) * SOCKET_BYTES
    except OSError:
        return 0


def _tmpfs_bytes(pids: list[int]) -> int:
    """Content and files of the cage's own file systems, seen through its first process."""
    used = 0
    for pid in pids[:1]:
        for place in TMPFS:
            with contextlib.suppress(OSError):
                stat = os.statvfs(f"/proc/{pid}/root/{place}")
                used += (stat.f_blocks - stat.f_bfree) * stat.f_frsize
                used += (stat.f_files - stat.f_ffree) * INODE_BYTES
    return used


def kill_cage(pid: int, pidfd: int) -> None:
    """Kill the first process of a pid namespace or, before there is one, the process guarding it.

    The kernel ends that first process only after everything else in there is dead, and its parent
    is left to reap it and exit: once the parent is gone, so is the tree.
    """
    for first in children(pid):
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(first)
            try:
                if first in children(pid):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    return
            finally:
                os.close(handle)
    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def kill_plain(pid: int) -> None:
    """Kill a process that leads a session of its own, and what is left below it."""
    below = tree(pid).pids
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    for other in below:
        with contextlib.suppress(OSError):
            os.kill(other, signal.SIGKILL)
