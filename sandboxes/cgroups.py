"""Memory, processes and processor time of a whole cage, kept by the kernel where this machine lets us ask it.

With a control group nothing can be held where nobody counts it (socket buffers, pipes, files in
memory), and no sampling is needed. A cage of a thousand runnable threads gets as much processor time as
one of a single thread. Version 2 and version 1 of the interface; neither is writable for
an ordinary user unless someone delegated it, and then the supervisor's own sums have to do.
"""

import asyncio
import contextlib
import itertools
import os
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from codojo.sandboxes.contract import Limits

PREFIX = "codojo-"
SHARES = 1024
"""Of processor time, for a group of ordinary priority; a step of niceness is a fifth less or more."""
CLOSE_TRIES, CLOSE_WAIT_S = 100, 0.01
_number = itertools.count()


class Hierarchy(NamedTuple):
    """Where groups can be made."""

    version: int
    memory: Path
    pids: Path
    """The same folder as `memory` in version 2."""
    processor: Path | None = None
    """In version 1; in version 2 it is the same folder, too. None: threads compete one by one."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """Each place where a group has a folder, once."""
        places = (self.memory, self.pids, self.processor or self.memory)
        return tuple(dict.fromkeys(places))


class Cgroup:
    """A group of processes with limits of its own."""

    def __init__(self, hierarchy: Hierarchy) -> None:
        name = f"{PREFIX}{os.getpid()}-{next(_number)}"
        self._version = hierarchy.version
        self._memory, self._pids = hierarchy.memory / name, hierarchy.pids / name
        self._folders = [place / name for place in hierarchy.folders]
        self._processes = 0
        self._refusals = 0
        for folder in self._folders:
            folder.mkdir()
        # As it would be without a group: whoever runs codojo at a low priority means its cages, too.
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        if self._version == 2:
            with contextlib.suppress(OSError):  # the controller may not be ours to use
                (self._memory / "cpu.weight.nice").write_text(str(nice))
        elif hierarchy.processor is not None:
            shares = max(2, round(SHARES / 1.25**nice))
            (hierarchy.processor / name / "cpu.shares").write_text(str(shares))
        if self._version == 1:
            # The kernel kills one process only, which the cage would report as that one's own end.
            # So it waits instead, and the supervisor ends the whole cage.
            (self._memory / "memory.oom_control").write_text("1")

    def limit(self, limits: Limits, *, more_processes: int) -> None:
        """Set what the group may hold.

        Args:
            more_processes: Processes of ours that are in it beside the program's.
        """
        self._processes = limits.processes + more_processes
        size = str(limits.memory_mb << 20)
        if self._version == 2:
            names = {"memory.max": size, "memory.swap.max": "0", "memory.oom.group": "1"}
        else:
            names = {"memory.limit_in_bytes": size}
        for name, value in names.items():
            with contextlib.suppress(FileNotFoundError):
                (self._memory / name).write_text(value)
        (self._pids / "pids.max").write_text(str(self._processes))
        self.mark()

    def add(self, pid: int) -> None:
        """Take in a process; those that it starts from now on are in as well."""
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(pid))

    @property
    def is_full(self) -> bool:
        """Whether there are as many processes as may be."""
        return int((self._pids / "pids.current").read_text()) >= self._processes

    @property
    def is_out_of_memory(self) -> bool:
        """Whether something in it waits for memory, or was killed for it."""
        if self._version == 2:
            events = (self._memory / "memory.events").read_text()
            return "oom_kill 0" not in events
        return "under_oom 1" in (self._memory / "memory.oom_control").read_text()

    def mark(self) -> None:
        """Count refusals of memory from now on: a program begins."""
        self._refusals = self._counted_refusals()

    def lacked_memory(self) -> bool:
        """Whether the kernel had none left for it since it was marked, or since this was last asked.

        What asks in a system call is then refused, and may die of that by any signal.
        """
        before = self._refusals
        self.mark()
        return self._refusals > before

    def _counted_refusals(self) -> int:
        """How often it was at its limit; in version 2 without what could be freed in time."""
        if self._version == 1:
            return int((self._memory / "memory.failcnt").read_text())
        events = dict(map(str.split, (self._memory / "memory.events").read_text().splitlines()))
        return int(events.get("oom", 0)) + int(events.get("oom_kill", 0))

    def drop(self) -> None:
        """Remove it, empty as it was made."""
        for folder in self._folders:
            folder.rmdir()

    async def close(self) -> None:
        """Remove it. What is in it has been killed; the last of that may take a moment to be gone."""
        for folder in self._folders:
            for _ in range(CLOSE_TRIES):
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    await asyncio.sleep(CLOSE_WAIT_S)


def make(limits: Limits, *, more_processes: int) -> Cgroup | None:
    """A new group; None where the machine has none for us."""
    hierarchy = find()
    if hierarchy is None:
        return None
    try:
        group = Cgroup(hierarchy)
        group.limit(limits, more_processes=more_processes)
    except OSError:
        return None
    return group


@cache
def find() -> Hierarchy | None:
    """The hierarchy in which we can make groups; what a killed harness left there is removed."""
    for hierarchy in _candidates():
        _sweep(hierarchy)
        if _works(hierarchy):
            return hierarchy
    return None


def _candidates() -> list[Hierarchy]:
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        own = dict(re.findall(r"^\d+:([^:]*):(.*)$", Path("/proc/self/cgroup").read_text(), re.M))
    except OSError:
        return []
    places: dict[str, Path] = {}
    for line in mounts:
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            places[""] = Path(before.split()[4])
        elif kind == "cgroup":
            places |= {name: Path(before.split()[4]) for name in options.split(",")}
    found = []
    if "memory" in places and "pids" in places:
        paths = [
            [places[name] / own[key].lstrip("/") for key in own if name in key.split(",")]
            for name in ("memory", "pids")
        ]
        processor = _processor(places, own)
        found += [
            Hierarchy(1, memory, pids, processor) for memory, pids in zip(*paths, strict=False)
        ]
        found.append(Hierarchy(1, places["memory"], places["pids"], processor))
    if "" in places:
        here = places[""] / own.get("", "/").lstrip("/")
        found += [Hierarchy(2, here, here), Hierarchy(2, here.parent, here.parent)]
    return [each for each in found if each.memory.is_dir() and each.pids.is_dir()]


def _processor(places: dict[str, Path], own: dict[str, str]) -> Path | None:
    """Where processor time is shared out below us; None where that is not ours to do."""
    below = [own[key] for key in own if "cpu" in key.split(",")]
    if "cpu" not in places or not below:
        return None
    here = places["cpu"] / below[0].lstrip("/")
    return here if (here / "cpu.shares").exists() and os.access(here, os.W_OK) else None


def _works(hierarchy: Hierarchy) -> bool:
    limits = Limits(wall_s=1, cpu_s=1, memory_mb=64, processes=8, tmp_mb=1, output_bytes=1)
    try:
        group = Cgroup(hierarchy)
    except OSError:
        return False
    try:
        group.limit(limits, more_processes=0)
        return not group.is_full and not group.is_out_of_memory
    except (OSError, ValueError):
        return False
    finally:
        group.drop()


def _sweep(hierarchy: Hierarchy) -> None:
    for place in hierarchy.folders:
        for folder in place.glob(f"{PREFIX}*"):
            owner = folder.name.removeprefix(PREFIX).partition("-")[0]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                with contextlib.suppress(OSError):
                    folder.rmdir()
