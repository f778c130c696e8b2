"""What the benchmarks of cages share: the backends, proved before anything is timed, and what is left of them."""

import asyncio
import ctypes
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from codojo.bench.rounds import Sheet, show
from codojo.sandboxes.bubblewrap import Bubblewrap
from codojo.sandboxes.contract import Capabilities, Limits
from codojo.sandboxes.warm import Warm
from codojo.settings import SandboxSettings

PR_SET_CHILD_SUBREAPER = 36
OUR_FOLDERS = ("codojo-bwrap-", "codojo-bench-", "codojo-canary-", "codojo-plain-")


@dataclass(frozen=True, slots=True)
class Objects:
    """What a run may leave behind."""

    processes: int
    mounts: int
    """Of the whole machine: whoever else mounts something meanwhile is counted as well."""
    descriptors: int
    folders: int

    @classmethod
    def now(cls) -> "Objects":
        """What there is; orphans of ours count, because they become our children (`adopt_orphans`)."""
        living = [
            child
            for child in psutil.Process().children(recursive=True)
            if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
        ]
        return cls(
            processes=len(living),
            mounts=len(Path("/proc/self/mountinfo").read_text().splitlines()),
            descriptors=len(os.listdir("/proc/self/fd")),  # noqa: PTH208  # only a count
            folders=sum(
                p.name.startswith(OUR_FOLDERS) for p in Path(tempfile.gettempdir()).iterdir()
            ),
        )

    def since(self, before: "Objects") -> dict[str, int]:
        """How many more there are."""
        old = asdict(before)
        return {name: number - old[name] for name, number in asdict(self).items()}


@dataclass(slots=True)
class Cages:
    """The backends that are measured."""

    fresh: Bubblewrap
    warm: Warm
    left: dict[str, int] = field(default_factory=dict)
    """What all runs left behind; known once the cages are closed."""

    @property
    def proved(self) -> tuple[Capabilities, Capabilities]:
        """What the self-test proved of each."""
        return self.fresh.capabilities, self.warm.capabilities


@asynccontextmanager
async def proved_cages() -> AsyncIterator[Cages]:
    """Both backends with the default limits, their barriers printed; then what is left is counted."""
    limits = Limits.of(SandboxSettings())
    cages = Cages(Bubblewrap(limits), Warm(limits))
    adopt_orphans()
    before = Objects.now()
    async with cages.fresh, cages.warm:
        show([barriers(each) for each in cages.proved])
        yield cages
    await asyncio.sleep(0.5)
    cages.left = Objects.now().since(before)


def barriers(proved: Capabilities) -> Sheet:
    """What the self-test proved before anything was timed."""
    rows = tuple((b.name, "proved" if b.proved else "NOT PROVED", b.how) for b in proved.barriers)
    return Sheet(f"barriers of '{proved.level}'", ("barrier", "", "how"), rows)


def adopt_orphans() -> None:
    """Have orphans below us become our children, so that none is overlooked."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
