"""A workspace: files and programs in one cage, one program after the other.

Works in any sandbox, since all it needs is a program that is spoken to in frames (`attendant.py`).
"""

import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from codojo.errors import SandboxError
from codojo.sandboxes.contract import (
    GRACE_S,
    CageEnded,
    ExecResult,
    Limits,
    Metered,
    OpenProcess,
    Sandbox,
)
from codojo.sandboxes.sources import program

MAX_FILE_BYTES = 8 << 20
MAX_FILES = 1000
PYTHON = "python"
"""Stands for the interpreter that runs the cage, as the first word of a command line."""
CHUNK = 32768


class _Frame(NamedTuple):
    head: dict[str, Any]
    body: bytes


class Workspace:
    """An open cage with a working directory. Its files live in memory and die with it."""

    def __init__(self, process: OpenProcess, limits: Limits) -> None:
        self._process = process
        self._limits = limits
        self._chunk = min(CHUNK, limits.output_bytes // 2)

    async def put_files(self, files: Mapping[str, str | bytes]) -> None:
        """Write files, over what stands in their place; paths are relative.

        Raises:
            ValueError: For a path that leaves the workspace.
            SandboxError: If a file cannot be written (no space, a folder in its place).
        """
        for path, content in files.items():
            name = inside(path)
            data = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
            await self._ask({"do": "put", "path": name}, data, what=f"write {path!r}")

    async def get_files(
        self, paths: Iterable[str] | None = None, *, max_bytes: int = MAX_FILE_BYTES
    ) -> dict[str, bytes]:
        """The content of regular files, read inside the cage; links are never followed.

        Args:
            paths: Default: every regular file there is, at most 1,000 of them.
            max_bytes: Of each file, and of all of them together eight times as much.

        Raises:
            SandboxError: If one is missing, no regular file, or too large.
        """
        wanted = list(paths) if paths is not None else await self.list_files()
        if len(wanted) > MAX_FILES:
            raise SandboxError(
                f"the workspace holds {len(wanted)} files, more than {MAX_FILES}; name those you need"
            )
        found: dict[str, bytes] = {}
        left = 8 * max_bytes
        for path in wanted:
            question = {"do": "get", "path": inside(path), "cap": min(max_bytes, left)}
            found[path] = await self._ask(question, what=f"read {path!r}")
            left -= len(found[path])
        return found

    async def list_files(self) -> list[str]:
        """Relative paths of the regular files, sorted."""
        names = await self._ask({"do": "list"}, what="list the files")
        return [
            name
            for name in names.decode("utf-8", "surrogateescape").split("\0")
            if name and _is_inside(name)
        ]

    async def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] = {},
        cwd: str = "",
        wall_s: float | None = None,
        code: str | None = None,
    ) -> ExecResult:
        """Run a program to its end; whatever it leaves running is killed then.

        Args:
            argv: Absolute path of the program inside, and its arguments.
            env: Beside the almost empty environment of the cage.
            cwd: Relative to the workspace.
            wall_s: Instead of that of the limits.
            code: Python text to run instead of a program, in a fresh fork of the cage's first
                process, so that no interpreter is started; `argv` is its `sys.argv`.
        """
        wall_s = self._limits.wall_s if wall_s is None else wall_s
        question: dict[str, Any] = {
            "do": "exec",
            "argv": list(argv),
            "env": dict(env),
            "cwd": inside(cwd) if cwd else "",
            "wall_s": wall_s,
            "output_bytes": self._limits.output_bytes,
        }
        if code is not None:
            question["code"] = code
        output = {1: bytearray(), 2: bytearray()}
        began = time.monotonic()
        try:
            await self._send(question, stdin)
            while "stream" in (frame := await self._receive()).head:
                held = output[frame.head["stream"]]
                held += frame.body[: self._limits.output_bytes - len(held)]
        except CageEnded as end:
            return ExecResult(
                returncode=-9,
                stdout=bytes(output[1]),
                stderr=bytes(output[2]),
                ended="killed" if end.ended == "exited" else end.ended,
                truncated=False,
                duration_s=time.monotonic() - began,
            )
        ended, returncode = frame.head["ended"], frame.head["returncode"]
        if ended == "exited" and returncode < 0 and isinstance(self._process, Metered):
            ended = "memory" if await self._process.lacked_memory() else ended
        return ExecResult(
            returncode=returncode,
            stdout=bytes(output[1]),
            stderr=bytes(output[2]),
            ended=ended,
            truncated=frame.head["truncated"],
            duration_s=frame.head["duration_s"],
        )

    async def _ask(self, question: dict[str, Any], body: bytes = b"", *, what: str) -> bytes:
        try:
            await self._send(question, body)
            content = bytearray()
            while "more" in (frame := await self._receive()).head:
                content += frame.body
                if len(content) > MAX_FILE_BYTES * 8:
                    raise CageEnded("output", "more content than was asked for")
        except CageEnded as end:
            raise SandboxError(f"cannot {what}: the cage has ended ({end.ended}): {end}") from end
        if "error" in frame.head:
            raise SandboxError(f"cannot {what} in the workspace: {frame.head['error']}")
        return bytes(content)

    async def _send(self, question: dict[str, Any], body: bytes) -> None:
        question["chunk"] = self._chunk
        await self._process.send(json.dumps(question).encode() + b"\n" + body)

    async def _receive(self) -> _Frame:
        line, _, body = (await self._process.receive()).partition(b"\n")
        try:
            head = json.loads(line)
        except (ValueError, RecursionError) as err:
            raise CageEnded("killed", "a frame that cannot be read") from err
        if not isinstance(head, dict):
            raise CageEnded("killed", "a frame without a head")
        return _Frame(head, body)


@asynccontextmanager
async def open_workspace(
    sandbox: Sandbox, *, limits: Limits | None = None, lifetime_s: float = 600
) -> AsyncIterator[Workspace]:
    """A workspace in a fresh cage; leaving kills everything in it.

    Args:
        limits: `wall_s` counts for each program.
        lifetime_s: Of the cage.

    Raises:
        SandboxError: If the cage could not be started.
    """
    limits = limits or sandbox.limits
    cage = replace(limits, wall_s=lifetime_s)
    async with sandbox.open(program("attendant"), limits=cage) as process:
        yield Workspace(process, limits)


async def execute(
    sandbox: Sandbox,
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    files: Mapping[str, str | bytes] = {},
    env: Mapping[str, str] = {},
    limits: Limits | None = None,
    code: str | None = None,
) -> ExecResult:
    """Run a program, or Python text, to its end in a fresh cage of its own; see `Workspace.exec`.

    Raises:
        SandboxError: If the cage could not be started. What the program does never raises.
    """
    for path in files:
        inside(path)
    limits = limits or sandbox.limits
    lifetime_s = limits.wall_s + GRACE_S
    async with open_workspace(sandbox, limits=limits, lifetime_s=lifetime_s) as workspace:
        await workspace.put_files(files)
        return await workspace.exec(argv, stdin=stdin, env=env, code=code)


def inside(path: str) -> str:
    """The path, if it is relative and stays below where it starts.

    Raises:
        ValueError: If it does not.
    """
    if not _is_inside(path):
        raise ValueError(f"file {path!r} must have a relative path inside the cage")
    return str(PurePosixPath(path))


def _is_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return (
        bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts and "\0" not in path
    )
