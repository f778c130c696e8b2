# ruff: noqa: SIM105
# Every module imported here is paid for by every cage.
"""Children of a program inside a cage: start one, hear it out within limits, end it with all it started.

Sent as source, so standard library only, down to Python 3.9.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


REPORT = 3
"""The descriptor that a child speaks through; it has no other above the standard ones."""


class Ran:
    """What came of a child."""

    def __init__(self, said: bytes, why: str, status: int, cpu_s: float) -> None:
        self.said = said
        self.why = why
        """`whole`, `ended` (without a frame, where one was wanted), `timeout`, `large`."""
        self.status = status
        self.cpu_s = cpu_s


def run(child: Callable[[], None], *, wall_s: float, cap: int, framed: bool) -> Ran:
    """Call a function in a fresh child, which may speak through `REPORT`; see `hear`."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if writer != REPORT:
                os.dup2(writer, REPORT)
            os.closerange(REPORT + 1, 1024)
            child()
        finally:
            os._exit(0)
    os.close(writer)
    try:
        said, why = hear(reader, pid, wall_s, cap, framed=framed)
    finally:
        os.close(reader)
    status, cpu_s = end(pid)
    return Ran(said, why, status, cpu_s)


def say(data: bytes) -> None:
    """In a child: one frame, whole."""
    view = memoryview(struct.pack(">I", len(data)) + data)
    while view:
        view = view[os.write(REPORT, view) :]


def hear(reader: int, pid: int, wall_s: float, cap: int, *, framed: bool) -> tuple[bytes, str]:
    """What a child wrote into its pipe, and why that is all.

    Args:
        cap: Bytes it may write; more is `large`, and nothing of it is returned.
        framed: Whether one frame is all that is wanted of it; else whatever it writes until its end.

    Returns:
        The bytes, and `whole`, `ended` (without a frame, where one was wanted), `timeout`, `large`.
    """
    handle = os.pidfd_open(pid)
    os.set_blocking(reader, False)
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    poll.register(handle, select.POLLIN)
    deadline = time.monotonic() + wall_s
    data = bytearray()
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return bytes(data), "timeout"
            gone = handle in dict(poll.poll(left * 1000))
            try:
                while chunk := os.read(reader, 65536):
                    data += chunk
                    size = struct.unpack(">I", data[:4])[0] if framed and len(data) >= 4 else 0
                    if max(size, 0 if framed else len(data)) > cap:
                        return b"", "large"
                    if framed and 4 <= size + 4 <= len(data):
                        return bytes(data[4 : size + 4]), "whole"
            except BlockingIOError:
                if not gone:
                    continue
            return (b"", "ended") if framed else (bytes(data), "whole")
    finally:
        os.close(handle)


def end(pid: int) -> tuple[int, float]:
    """Kill a child and whatever it started; its exit status and the processor time it took.

    The first process of a cage kills everyone else there is, which is asked of the kernel: outside
    of a cage that would be everyone.
    """
    alone = os.getpid() == 1
    targets = [(os.killpg, pid), (os.kill, pid)]
    if alone:
        targets.append((os.kill, -1))
    for kill, whom in targets:
        try:
            kill(whom, signal.SIGKILL)
        except OSError:
            pass
    _, status, usage = os.wait4(pid, 0)
    while alone:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    return status, usage.ru_utime + usage.ru_stime
