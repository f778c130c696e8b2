"""What every cage promises: limits in, results out, and the barriers it proved.

A backend runs programs that a model wrote. Nothing the program prints, writes or exits with is a
verdict; `judge.py` makes verdicts, from values only.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable

from codojo.sandboxes.sources import Program
from codojo.settings import SandboxSettings

Ended = Literal["exited", "killed", "timeout", "memory", "pids", "output"]
"""How a program ended. `exited`: by itself, by exit code or signal. `killed`: by us, because nobody
needs it any more, or by someone outside. The rest: by us, at that limit."""

Signal = Literal["timeout", "memory", "pids", "output"]

GRACE_S = 2.0
"""How much longer than a program in a cage takes its time the host waits, before it gives up the cage."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program and everything it starts may use together."""

    wall_s: float
    cpu_s: int
    """Seconds of processor time of each process; `wall_s` bounds the tree."""
    memory_mb: int
    """Resident memory of the tree, and address space of each process."""
    processes: int
    """Processes and threads alive at once, the first one included."""
    tmp_mb: int
    """Size of `/tmp`, and again of `/dev/shm`."""
    output_bytes: int
    """Bytes of each of stdout and stderr; in an open process, of one frame."""

    @classmethod
    def of(cls, settings: SandboxSettings) -> Self:
        """The limits that the settings name, for one program."""
        return cls(
            wall_s=settings.wall_s,
            cpu_s=settings.cpu_s,
            memory_mb=settings.memory_mb,
            processes=settings.processes,
            tmp_mb=settings.tmp_mb,
            output_bytes=settings.output_kb * 1024,
        )


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What is known of a program that has ended."""

    returncode: int
    """As `subprocess` has it: negative for a signal. Written by the program: proves nothing."""
    stdout: bytes
    stderr: bytes
    ended: Ended
    truncated: bool
    """Whether stdout or stderr was cut at `output_bytes`."""
    duration_s: float


@dataclass(frozen=True, slots=True)
class Barrier:
    """One thing a program must not do, and what happened when the self-test tried it."""

    name: str
    proved: bool
    how: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The isolation that a sandbox proved at its start."""

    level: str
    """Stamped on every verdict: `bubblewrap`, `docker`, `none`."""
    barriers: tuple[Barrier, ...] = ()
    image: str = ""
    """Content hash of what the cage's files come from; empty where that is `/usr` of the host."""

    @property
    def failed(self) -> tuple[Barrier, ...]:
        """The barriers that did not hold."""
        return tuple(barrier for barrier in self.barriers if not barrier.proved)


@dataclass(frozen=True, slots=True)
class Fittings:
    """What the cages of a backend hold by its nature, so that finding it there is no leak."""

    environment: frozenset[str] = frozenset()
    """Names of variables."""
    paths: frozenset[str] = frozenset()
    """Files and folders that are the cage's own, though the host has some of the same name."""


class CageEnded(Exception):
    """The program at the other end is gone, or broke the framing; `ended` says which limit, if any."""

    def __init__(self, ended: Ended, message: str) -> None:
        super().__init__(message)
        self.ended = ended

    @property
    def lost(self) -> bool:
        """Whether no limit of ours explains it: it ended by itself or by another hand."""
        return self.ended in ("exited", "killed")


class OpenProcess(Protocol):
    """A running program that is spoken to in frames: four bytes of length, then that many bytes."""

    async def send(self, frame: bytes) -> None:
        """Hand over one frame.

        Raises:
            CageEnded: If the program is gone.
        """
        ...

    async def receive(self) -> bytes:
        """The next frame, of at most `Limits.output_bytes`.

        Raises:
            CageEnded: If the program is gone, or the frame is too large (`output`).
        """
        ...


@runtime_checkable
class Metered(Protocol):
    """An open process whose memory the kernel counts; of others nobody knows why something in them died."""

    async def lacked_memory(self) -> bool:
        """Whether memory was refused in there, since it was opened or since this was last asked."""
        ...


class Sandbox(Protocol):
    """A place to run untrusted programs; entering it proves its barriers or raises `SandboxError`.

    A backend opens cages and no more: files and programs in one are `workspace.py`, verdicts `judge.py`.
    Others can add theirs through the entry point group `codojo.sandboxes`.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What was proved; the level alone before the sandbox is entered."""
        ...

    @property
    def limits(self) -> Limits:
        """What a program may use unless it is opened with other limits."""
        ...

    @property
    def sealed(self) -> bool:
        """Whether a cage has process ids, `/tmp` and `/dev/shm` of its own."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def open(
        self, program: Program, *, limits: Limits | None = None
    ) -> AbstractAsyncContextManager[OpenProcess]:
        """Run a program in a fresh cage and talk to it over its stdin and stdout.

        It is the first process of its cage. Leaving the context kills the whole tree.

        Raises:
            SandboxError: On entry, if the cage could not be started.
        """
        ...


@runtime_checkable
class Fitted(Protocol):
    """A sandbox whose cages hold more than a process needs; others say nothing and may hold nothing."""

    @property
    def fittings(self) -> Fittings:
        """What the self-test must not take for the host's, after looking that it is not."""
        ...
