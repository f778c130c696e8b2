# ruff: noqa: PTH102, S102, S108
# pathlib costs memory in every fork; running the programs that the host sends is the point.
"""The first process of a warm cage: forks a fresh, sealed child for each execution.

It imports what programs usually need, so that no execution pays for it, and knows nothing else: what
is executed goes from the host straight to the child, over a socket that only the child keeps. It
takes one order at a time over a socket that candidates never see:

    host    -> order: limits and program, with the child's socket
    keeper  -> {"started"}     the host learns the keeper's process id from the kernel
    keeper  -> {"status"}      how the child ended
    parent  -> {"ready"}       everything of it is gone

The keeper makes the child's namespaces and small file systems and waits for it. The child is the
first process in there; before it runs anything it gives up every right and takes the filter.
"""

from __future__ import annotations

import array
import ctypes
import json
import os
import resource
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID = 0x00020000, 0x08000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = (
    1,
    22,
    24,
    38,
    47,
)
PR_CAP_AMBIENT_CLEAR_ALL, SECCOMP_MODE_FILTER, CAPABILITY_VERSION_3 = 4, 2, 0x20080522
ORDER_BYTES = 1 << 18
WORK = "/tmp/work"

libc = ctypes.CDLL(None, use_errno=True)


class Filter(ctypes.Structure):
    """What the kernel takes as a filter of system calls (`struct sock_fprog`)."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def must(result: int, what: str) -> None:
    """Raise where a call of the C library failed."""
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def serve(control: socket.socket) -> None:
    """Take orders until the host is gone."""
    programs: dict[str, Callable[[], None]] = {}
    call_filter = b""
    while True:
        data, ancillary, _, _ = control.recvmsg(ORDER_BYTES, socket.CMSG_SPACE(4))
        if not data:
            return
        order = json.loads(data)
        if "programs" in order:
            prepare(order)
            programs = {name: load(name, text) for name, text in order["programs"].items()}
            call_filter = bytes.fromhex(order["filter"])
        else:
            handed = array.array("i")
            handed.frombytes(ancillary[0][2])
            execute(Execution(control, order, handed[0], programs, call_filter))
        control.send(json.dumps({"ready": True}).encode())


def prepare(order: dict[str, Any]) -> None:
    """Load what programs usually need."""
    exec(order["shared"], {})
    for name in order["imports"]:
        __import__(name)


def load(name: str, text: str) -> Callable[[], None]:
    """What runs one of our programs; its definitions are made once, here."""
    scope: dict[str, Any] = {"__name__": name}
    exec(compile(text, f"{name}.py", "exec"), scope)
    main: Callable[[], None] = scope["main"]
    return main


def close_device(path: str) -> None:
    """Leave a device of the host usable, but its times, which anyone may set who may write, alone."""
    kept = os.statvfs(path).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
    flags = MS_REMOUNT | MS_BIND | MS_RDONLY | kept
    must(libc.mount(None, path.encode(), None, flags, None), "mount")


class Execution:
    """One order, and what it takes to carry it out."""

    def __init__(
        self,
        control: socket.socket,
        order: dict[str, Any],
        channel: int,
        programs: dict[str, Callable[[], None]],
        call_filter: bytes,
    ) -> None:
        self.control, self.order, self.channel = control, order, channel
        self.programs, self.call_filter = programs, call_filter


def execute(doing: Execution) -> None:
    """Run one order to its end; the keeper does it, and takes what goes wrong with it."""
    keeper = os.fork()
    if keeper == 0:
        try:
            keep(doing)
        except BaseException as err:
            doing.control.send(
                json.dumps({"failed": f"{type(err).__name__}: {err}"[:500]}).encode()
            )
        finally:
            os._exit(0)
    os.close(doing.channel)
    os.waitpid(keeper, 0)


def keep(doing: Execution) -> None:
    """Make the child's world, start it, and wait for its end."""
    os.setsid()
    must(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    must(libc.unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWPID), "unshare")
    for place in ("/tmp", "/dev/shm"):
        options = (
            f"size={doing.order['tmp_mb']}m,nr_inodes={doing.order['inodes']},mode=1777".encode()
        )
        flags = MS_NOSUID | MS_NODEV
        must(libc.mount(b"tmpfs", place.encode(), b"tmpfs", flags, options), "mount")
    for device in doing.order["devices"]:
        close_device(f"/dev/{device}")
    os.mkdir(WORK)
    child = os.fork()
    if child == 0:
        become(doing)
    os.close(doing.channel)
    doing.control.send(json.dumps({"started": True}).encode())
    _, status = os.waitpid(child, 0)
    doing.control.send(json.dumps({"status": status}).encode())


def become(doing: Execution) -> NoReturn:
    """Give up everything, then run the program. Never returns."""
    try:
        os.setsid()
        # Else it would run on, watched by nobody, when something kills its keeper.
        must(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
        os.chdir(WORK)
        null = os.open("/dev/null", os.O_RDWR)
        for number, descriptor in enumerate((doing.channel, doing.channel, null)):
            os.dup2(descriptor, number)
        doing.control.detach()
        os.closerange(3, 1024)
        for name, value in doing.order["limits"].items():
            resource.setrlimit(getattr(resource, name), (value, value))
        give_up(doing.call_filter)
        sys.argv = ["<codojo>"]
        name = doing.order["name"]
        if "text" in doing.order:
            exec(compile(doing.order["text"], name, "exec"), {"__name__": "__main__"})
        else:
            doing.programs[name]()
    except SystemExit as err:
        os._exit(err.code if isinstance(err.code, int) else 1)
    except BaseException:
        os._exit(1)
    finally:
        os._exit(0)


def give_up(call_filter: bytes) -> None:
    """Capabilities, the chance to regain any, and the system calls that no program needs."""
    capability = 0
    while libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    must(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl")
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    must(libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    must(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    wanted = Filter(len(call_filter) // 8, call_filter)
    must(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0), "prctl")


def main() -> None:
    """Serve on the descriptor that the command line names."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.setblocking(True)
    serve(control)


if __name__ == "__main__":
    main()
