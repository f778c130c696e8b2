# ruff: noqa: S102, S606, T201, PTH103, PTH108, PTH120, SIM105
# Every module imported here is paid for by every cage; pathlib and subprocess cost a start.
"""Runs inside a cage as its first process: keeps files, and runs programs one after the other.

Sent as source, so standard library only, down to Python 3.9. Whatever a program leaves in the
workspace is read in here, where a link can point nowhere but into the cage, and leaves as bytes in
a frame; the host never touches a candidate's file system. A frame is a line of JSON and a body.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
import time
import types

from codojo.sandboxes import forks
from codojo.sandboxes.frames import claim_pipes, read_question, write_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MAX_LISTED = 10_000
OURS = [name for name in sys.modules if name.partition(".")[0] == "codojo"]
"""Modules that a program must not find. Listed once, because a fork that looks through every name
there is copies the pages that they lie in; it keeps the modules alive for the same reason."""


def put(path: str, content: bytes) -> None:
    """Write a file, over whatever stands in its place."""
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(path, flags, 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(file, view) :]
    finally:
        os.close(file)


def get(path: str, cap: int) -> bytes:
    """The content of a regular file of at most `cap` bytes; never waits for a pipe or a device."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    file = os.open(path, flags)
    try:
        seen = os.fstat(file)
        if not stat.S_ISREG(seen.st_mode):
            raise OSError(0, "not a regular file")
        if seen.st_size > cap:
            raise OSError(0, f"{seen.st_size} bytes, more than {cap}")
        data = bytearray()
        while chunk := os.read(file, min(cap + 1 - len(data), 1 << 20)):
            data += chunk
        return bytes(data)
    finally:
        os.close(file)


def listed() -> list[str]:
    """Relative paths of the regular files below the working directory, sorted; links left out."""
    found: list[str] = []
    queue = [""]
    while queue and len(found) < MAX_LISTED:
        folder = queue.pop()
        try:
            entries = list(os.scandir(folder or "."))
        except OSError:
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                queue.append(path)
            elif entry.is_file(follow_symlinks=False):
                found.append(path)
    return sorted(found)[:MAX_LISTED]


def run(question: dict[str, Any], stdin: bytes, target: int) -> dict[str, Any]:
    """Run a program, pass its output on as it comes, and say how it ended."""
    began = time.monotonic()
    (in_r, in_w), (out_r, out_w), (err_r, err_w) = os.pipe(), os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(question, (in_r, out_w, err_w))
    for number in (in_r, out_w, err_w):
        os.close(number)
    handle = os.pidfd_open(pid)
    flow = _Flow(question, target, in_w, stdin, {out_r: 1, err_r: 2})
    ended = flow.until_gone(handle, began + question["wall_s"])
    os.close(handle)
    status, _ = forks.end(pid)
    flow.drain()
    flow.close()
    signalled = os.WIFSIGNALED(status)
    return {
        "returncode": -os.WTERMSIG(status) if signalled else os.WEXITSTATUS(status),
        "ended": flow.ended or ended,
        "truncated": flow.truncated,
        "duration_s": time.monotonic() - began,
    }


class _Flow:
    """The pipes of one program: feeds it and passes on at most the cap of each stream."""

    def __init__(
        self,
        question: dict[str, Any],
        target: int,
        stdin: int,
        fed: bytes,
        streams: dict[int, int],
    ) -> None:
        self.cap, self.chunk = question["output_bytes"], question["chunk"]
        self.target, self.stdin, self.streams = target, stdin, streams
        self.left = memoryview(fed)
        self.passed = dict.fromkeys(streams, 0)
        self.truncated = False
        self.ended = ""
        self.poll = select.poll()
        for number in (stdin, *streams):
            os.set_blocking(number, False)
            self.poll.register(number, select.POLLOUT if number == stdin else select.POLLIN)

    def until_gone(self, handle: int, deadline: float) -> str:
        """Serve the pipes until the program has ended, its time is over or it floods."""
        self.poll.register(handle, select.POLLIN)
        while not self.ended:
            left = deadline - time.monotonic()
            if left <= 0:
                return "timeout"
            ready = dict(self.poll.poll(left * 1000))
            for number in ready:
                if number == self.stdin:
                    self._feed()
                elif number in self.streams:
                    self._pass_on(number)
            if handle in ready:
                break
        return "exited"

    def drain(self) -> None:
        """What is still in the pipes, once everything that could write is dead."""
        for number in list(self.streams):
            while number in self.streams and self._pass_on(number):
                pass

    def close(self) -> None:
        """Close what is open."""
        for number in (self.stdin, *self.streams):
            if number >= 0:
                os.close(number)

    def _feed(self) -> None:
        try:
            self.left = self.left[os.write(self.stdin, self.left[: self.chunk]) :]
        except BlockingIOError:
            return
        except OSError:
            self.left = memoryview(b"")
        if not self.left:
            self._forget(self.stdin)
            self.stdin = -1

    def _pass_on(self, number: int) -> bool:
        """Whether there was something to pass on."""
        room = self.cap - self.passed[number]
        try:
            data = os.read(number, min(self.chunk, room + 1))
        except BlockingIOError:
            return False
        self.passed[number] += len(data)
        if data[:room]:
            write_frame(self.target, {"stream": self.streams[number]}, data[:room])
        if not data:
            self._forget(number)
            self.streams.pop(number)
        if len(data) > room:
            # Its pipe stays open until it is dead: a broken one would give it something to say.
            self.truncated, self.ended = True, "output"
            return False
        return bool(data)

    def _forget(self, number: int) -> None:
        self.poll.unregister(number)
        os.close(number)


def _become(question: dict[str, Any], pipes: tuple[int, int, int]) -> NoReturn:
    """Turn into the program. Never returns: whatever happens in here ends in `_exit`."""
    try:
        os.setsid()
        for number, pipe in enumerate(pipes):
            os.dup2(pipe, number)
        os.closerange(3, 1024)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        argv = question["argv"]
        os.chdir(question["cwd"] or ".")
        if question["env"]:
            os.environ.update(question["env"])
        if "code" in question:
            _interpret(question["code"], argv)
        if argv[0] == "python":
            argv[0] = sys.executable
        os.execve(argv[0], argv, os.environ)
    except OSError as err:
        os.write(2, f"{question['argv'][0]}: {err.strerror}\n".encode())
    finally:
        os._exit(127)


def _interpret(code: str, argv: list[str]) -> NoReturn:
    """Run Python text in this very process, which is a fresh fork: no interpreter need be started."""
    _kept = [sys.modules.pop(name) for name in ("__main__", *OURS)]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv = argv
    status = 0
    try:
        exec(compile(code, "<string>", "exec"), vars(main))
    except SystemExit as err:
        status = _exit_code(err)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            status = status or 120
    os._exit(status)


def _exit_code(exit: SystemExit) -> int:
    """As the interpreter has it: a text is printed, and is a failure."""
    if exit.code is None or isinstance(exit.code, int):
        return int(exit.code or 0) & 0xFF
    print(exit.code, file=sys.stderr)
    return 1


def answer(question: dict[str, Any], body: bytes, target: int) -> None:
    """Do what was asked, and say so."""
    if question["do"] == "exec":
        write_frame(target, run(question, body, target))
        return
    try:
        if question["do"] == "put":
            put(question["path"], body)
            content = b""
        elif question["do"] == "list":
            content = "\0".join(listed()).encode("utf-8", "surrogateescape")
        else:
            content = get(question["path"], question["cap"])
    except OSError as err:
        write_frame(target, {"error": err.strerror or "failed"})
        return
    for at in range(0, len(content), question["chunk"]):
        write_frame(target, {"more": True}, content[at : at + question["chunk"]])
    write_frame(target, {})


def main() -> None:
    """Answer until the host closes the pipe."""
    source, target = claim_pipes()
    while (asked := read_question(source)) is not None:
        answer(*asked, target)


if __name__ == "__main__":
    main()
