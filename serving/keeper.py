"""The keeper: a small process that runs one engine, restarts it, and never lets it outlive its use.

`python -m codojo.serving.keeper` reads a `Job` as one line of JSON from standard input. A bound
keeper then treats its standard input as a lifeline: at its end, or when the parent is another
process than before, the engine and everything it started are killed. So nothing survives a
SIGKILL of the command that opened the engine. A detached keeper holds a lock instead and lives
until SIGTERM. Only the standard library and psutil are loaded here.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

RESTARTS = 2
STEADY_S = 600.0
"""An engine that has been well for so long may be restarted twice again."""

GRACE_S = 1.0
"""Between asking the engine to end and killing what is left of it."""

_ECHOES = ("See root cause", "EngineDeadError")

KEEP = "keep"
"""A bound keeper that ends in order takes its folder along, unless a file of this name is there."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None)

Phase = Literal["starting", "ready", "restarting", "failed", "stopped"]


@dataclass(frozen=True)
class Job:
    """What a keeper is asked to keep."""

    argv: list[str]
    env: dict[str, str]
    health_url: str
    folder: str
    """Gets `engine.log` and `state.json`."""
    ready_timeout_s: float
    bound: bool
    """Whether standard input is a lifeline; otherwise `lock` in the folder is held."""


@dataclass(frozen=True)
class State:
    """How the engine is; written to `state.json` at every change."""

    phase: Phase
    generation: int
    """Starts so far: adapters loaded in an earlier generation are gone."""
    engine_pid: int
    keeper_pid: int
    reason: str = ""


def read_state(path: str | Path) -> State | None:
    """The keeper's last word; None where there is none."""
    try:
        return State(**json.loads(Path(path).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def tail(log: Path) -> list[str]:
    """The last lines of a log that hold anything."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 64_000))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]


def last_words(log: Path) -> str:
    """The line of an engine's log that best says why it ended."""
    lines = tail(log)
    errors = [at for at, line in enumerate(lines) if "Error: " in line or line.endswith("Error")]
    # The first cause is the telling one; what follows is each process reporting the one below.
    told = [at for at in errors if not any(echo in lines[at] for echo in _ECHOES)]
    if not (found := told or errors):
        return lines[-1] if lines else "nothing was logged"
    said = lines[found[-1]]
    # pydantic says which class first, and what was wrong with which field on the lines below.
    said = " ".join(lines[found[-1] :][:2]) if "validation error" in said else said
    return said if len(said) <= 400 else f"{said[:400]}..."


class Keeper:
    """Runs the job until told to stop; `run` returns only by ending the process."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._folder = Path(job.folder)
        self._log = self._folder / "engine.log"
        self._generation = 0
        self._engine: subprocess.Popen[bytes] | None = None
        self._spawning = threading.Lock()
        self._ending = False
        # Sockets and caches of the engine; short, because paths of sockets must be.
        self._scratch = tempfile.mkdtemp(prefix="codojo-")

    def run(self) -> None:
        """Start the engine, keep it, and end with it."""
        failures: list[float] = []
        while True:
            self._start()
            if not self._wait_ready():
                break
            self._say("ready")
            well_since = time.monotonic()
            reason = self._wait_ill()
            if time.monotonic() - well_since > STEADY_S:
                failures.clear()
            failures.append(time.monotonic())
            if len(failures) > RESTARTS:
                self.end("failed", f"died {len(failures)} times, last: {reason}")
            self._say("restarting", reason)
            self._kill_all()
        self.end("failed", last_words(self._log))

    def end(self, phase: Phase, reason: str = "") -> None:
        """Kill everything, leave the last word, exit."""
        self._spawning.acquire()  # never released: nothing may start from here on
        self._ending = True
        self._kill_all()
        self._write(phase, reason)
        shutil.rmtree(self._scratch, ignore_errors=True)
        if self._job.bound and phase == "stopped" and not (self._folder / KEEP).exists():
            shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0 if phase == "stopped" else 1)

    def _start(self) -> None:
        with self._spawning, self._log.open("ab") as log:
            self._generation += 1
            self._engine = subprocess.Popen(
                self._job.argv,
                env=self._job.env | {"TMPDIR": self._scratch},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._scratch,
                preexec_fn=_die_with_parent,
            )
        self._say("starting" if self._generation == 1 else "restarting")

    def _wait_ready(self) -> bool:
        deadline = time.monotonic() + self._job.ready_timeout_s
        while time.monotonic() < deadline:
            if self._exited():
                return False
            if self._probe() == "well":
                return True
            time.sleep(0.1)
        with self._log.open("a") as log:
            log.write(f"TimeoutError: not ready after {self._job.ready_timeout_s:.0f} s\n")
        return False

    def _wait_ill(self) -> str:
        """Why the engine cannot go on. A slow answer is no illness: it may be busy."""
        while True:
            for _ in range(5):
                time.sleep(0.2)
                if self._exited():
                    return f"it exited: {last_words(self._log)}"
            if self._probe() == "ill":
                return last_words(self._log)

    def _exited(self) -> bool:
        return self._engine is None or self._engine.poll() is not None

    def _probe(self) -> Literal["well", "ill", "silent"]:
        try:
            with urllib.request.urlopen(self._job.health_url, timeout=2) as answer:  # noqa: S310
                return "well" if answer.status == 200 else "ill"
        except urllib.error.HTTPError as err:
            err.close()
            return "ill"
        except OSError:
            return "silent"

    def _kill_all(self) -> None:
        """End every descendant; as their reaper we find the orphaned ones too."""
        if self._engine and self._engine.poll() is None:
            self._engine.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._engine.wait(GRACE_S)
        while alive := psutil.Process().children(recursive=True):
            for process in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(alive, timeout=0.5)

    def _say(self, phase: Phase, reason: str = "") -> None:
        if not self._ending:
            self._write(phase, reason)

    def _write(self, phase: Phase, reason: str) -> None:
        state = State(
            phase, self._generation, self._engine.pid if self._engine else 0, os.getpid(), reason
        )
        path = self._folder / "state.json"
        with contextlib.suppress(OSError):  # the folder may be gone with the command that made it
            aside = path.with_suffix(".partial")
            aside.write_text(json.dumps(asdict(state)))
            aside.replace(path)


def _die_with_parent() -> None:
    """In the engine's first process: asked to end should the keeper itself be killed."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _watch_lifeline(keeper: Keeper) -> None:
    """Ends the keeper with its parent.

    A child that the parent forked may hold the pipe open, so the parent itself is watched too.
    """
    parent = os.getppid()
    closed = threading.Event()

    def read_to_end() -> None:
        while os.read(0, 1024):
            pass
        closed.set()

    threading.Thread(target=read_to_end, daemon=True).start()
    while not closed.wait(0.3) and os.getppid() == parent:
        pass
    keeper.end("stopped")


def _end_when(stop: threading.Event, keeper: Keeper) -> None:
    stop.wait()
    keeper.end("stopped")


def main() -> None:
    """Entry of the process."""
    line = bytearray()
    while not line.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            return  # the parent died before it said what to do
        line += byte
    job = Job(**json.loads(line))
    lock = os.open(Path(job.folder) / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if not job.bound and os.fork():
        return  # whoever started us need not wait for us; the lock stays with the child
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    keeper = Keeper(job)
    if job.bound:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_watch_lifeline, args=(keeper,), daemon=True).start()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_end_when, args=(stop, keeper), daemon=True).start()
    keeper.run()


if __name__ == "__main__":
    main()
