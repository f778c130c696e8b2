"""Ends containers that are over a limit which the kernel does not answer by ending them.

Out of memory, the kernel kills one process of a container and lets the rest live; at the cap of
processes it only refuses the next. One daemon thread asks about both and holds the deadlines, so
that a busy event loop never means that nobody is watching.

Docker tells of the kernel's killing as an event, wherever it runs. Podman tells nobody before the end
of the container, so there the kernel is asked itself, which needs an engine on this machine.
"""

import logging
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from codojo.sandboxes.contract import Limits, Signal
from codojo.sandboxes.docker_client import OWNER

INTERVAL_S = 0.05
ASK_S = 0.2
"""How often the engine is asked; a request takes it a few milliseconds."""

CGROUPS = Path("/sys/fs/cgroup")

logger = logging.getLogger(__name__)


class Watchable(Protocol):
    """A container as the watch sees it."""

    id: str
    limits: Limits
    deadline: float
    """On the monotonic clock."""

    def end(self, why: Signal) -> None:
        """Kill it; the first reason given stays."""
        ...


class Watch:
    """The thread of one connection; it lives while there is something to watch."""

    def __init__(self, client: Any, owner: str, *, events: bool) -> None:
        """Watch the containers of `owner`.

        Args:
            events: Whether the engine tells when the kernel was out of memory.
        """
        self._client = client
        self._owner = owner
        self._events = events
        self._lock = threading.Lock()
        self._watched: dict[str, Watchable] = {}
        self._thread: threading.Thread | None = None

    def add(self, container: Watchable) -> None:
        """Enforce its limits until `discard`."""
        with self._lock:
            self._watched[container.id] = container
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="codojo-containers", daemon=True
                )
                self._thread.start()

    def discard(self, container: Watchable) -> None:
        """Stop watching."""
        with self._lock:
            self._watched.pop(container.id, None)

    def _run(self) -> None:
        asked = time.monotonic()
        ahead_s: float | None = None
        while True:
            time.sleep(INTERVAL_S)
            with self._lock:
                watched = list(self._watched.values())
                if not watched:
                    self._thread = None
                    return
            try:
                now = time.monotonic()
                for container in watched:
                    if now > container.deadline:
                        container.end("timeout")
                if now - asked >= ASK_S:
                    asked = now
                    ahead_s = self._ahead_s() if ahead_s is None else ahead_s
                    if self._events:
                        self._check_events(watched, time.time() + ahead_s)
                    else:
                        self._check_kernel(watched)
                    self._check_processes(watched)
            except Exception as err:
                # Gone between two questions, or the engine is busy, or answers what nobody expects:
                # the next round asks again, and the deadlines of all the others must hold.
                logger.debug("the container engine did not answer: %r", err)

    def _ahead_s(self) -> float:
        """How far the engine's clock is ahead of ours; it may run on another machine."""
        said = str(self._client.info()["SystemTime"])
        return datetime.fromisoformat(said).timestamp() - time.time()

    def _check_events(self, watched: list[Watchable], now: float) -> None:
        """End containers in which the kernel killed something for want of memory."""
        events = self._client.events(
            # Looking back further than to the last question costs nothing and misses nothing.
            since=f"{now - 5:.6f}",
            until=f"{now:.6f}",
            filters={"event": "oom", "label": f"{OWNER}={self._owner}"},
            decode=True,
        )
        hit = {event.get("id") for event in events}
        for container in watched:
            if container.id in hit:
                container.end("memory")

    def _check_kernel(self, watched: list[Watchable]) -> None:
        """The same, as the kernel of this machine has counted it."""
        for container in watched:
            state = self._client.inspect_container(container.id)["State"]
            if state["Pid"] and killed_for_memory(state["Pid"]):
                container.end("memory")

    def _check_processes(self, watched: list[Watchable]) -> None:
        """End containers that are at their cap of processes."""
        for container in watched:
            stats = self._client.stats(container.id, stream=False, one_shot=True)
            alive = (stats.get("pids_stats") or {}).get("current") or 0
            if alive >= container.limits.processes:
                container.end("pids")


def killed_for_memory(pid: int) -> int:
    """How often the kernel has killed for want of memory in the control group of a process."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        counts = CGROUPS / path.lstrip("/") / "memory.events"
        if "memory" in controllers.split(","):
            counts = CGROUPS / "memory" / path.lstrip("/") / "memory.oom_control"
        if counts.is_file():
            told = dict(count.split() for count in counts.read_text().splitlines())
            return int(told.get("oom_kill", 0))
    return 0
