# ruff: noqa: PTH102, S102, S108
# pathlib costs memory in every fork; running the programs that the host sends is the point.
"""The first process of a warm cage: forks a fresh, sealed child for each execution, ahead of its order.

It imports what programs usually need, so that no execution pays for it, and knows nothing else. It
has one child at a time. The host asks for a child with its limits, over a socket that candidates never
see; the child makes its world, gives up every right, takes the filter, and only then waits for what it
is to run, over a channel that the host shares with it alone:

    host   -> parent: limits, with the child's end of the channel
    child  -> {"started"}    it is sealed; the host learns its process id from the kernel
    host   -> child, over the channel: the program

The child is the first process of its namespace, so with it everything ends that it started. The parent
reaps it and takes the next order.
"""

from __future__ import annotations

import array
import ctypes
import gc
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

SYS_CLONE3 = 435
"""On every architecture."""
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
CONTROL = 3
"""The descriptor over which a child says that it is sealed."""

libc = ctypes.CDLL(None, use_errno=True)
python = ctypes.PyDLL(None, use_errno=True)
"""The same, for calls that keep the interpreter's lock: what comes back in a child must hold it."""


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
            # A collection in a child would write to, and so copy, whatever it looks at.
            gc.freeze()
            tell(control.fileno(), "ready")
        else:
            handed = array.array("i")
            handed.frombytes(ancillary[0][2])
            bear(Child(control.fileno(), order, handed[0], programs, call_filter))


def tell(control: int, what: str, detail: str = "") -> None:
    """Say something to the host."""
    os.write(control, json.dumps({what: detail}).encode())


def prepare(order: dict[str, Any]) -> None:
    """Load what programs usually need, and do what children need not each do again.

    Without a bounding set nobody gains a right by running a program; the rights that this process
    has, it keeps: a child needs them until its world is made.
    """
    exec(order["shared"], {})
    for name in order["imports"]:
        __import__(name)
    # Mounts are changed in a namespace of ours; children's are copies of it.
    must(libc.unshare(CLONE_NEWNS), "unshare")
    for device in order["devices"]:
        close_device(f"/dev/{device}")
    capability = 0
    while libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    must(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl")
    must(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


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


class Child:
    """What a child is made of."""

    def __init__(
        self,
        control: int,
        order: dict[str, Any],
        channel: int,
        programs: dict[str, Callable[[], None]],
        call_filter: bytes,
    ) -> None:
        self.control, self.order, self.channel = control, order, channel
        self.programs, self.call_filter = programs, call_filter


def bear(child: Child) -> None:
    """Fork a child, and wait for its end."""
    try:
        pid = fork_apart()
    except OSError as err:
        tell(child.control, "failed", str(err))
        return
    if pid == 0:
        become(child)
    os.close(child.channel)
    os.waitpid(pid, 0)


def fork_apart() -> int:
    """`os.fork` into fresh mount, process and IPC namespaces, of which the parent joins none.

    By the system call itself, which the C library's fork does not offer: this process has one thread,
    and is the first of its namespace as the child is, so that the id it remembers stays true.
    """
    asked = (ctypes.c_uint64 * 8)(
        CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWPID, 0, 0, 0, signal.SIGCHLD
    )
    python.PyOS_BeforeFork()
    pid: int = python.syscall(
        ctypes.c_long(SYS_CLONE3), asked, ctypes.c_size_t(ctypes.sizeof(asked))
    )
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    must(min(pid, 0), "clone3")
    return pid


def become(child: Child) -> NoReturn:
    """Seal the process it is called in, then run what the host sends. Never returns."""
    try:
        try:
            seal(child)
        except BaseException as err:
            tell(child.control, "failed", f"{type(err).__name__}: {err}"[:500])
            raise
        tell(child.control, "started")
        os.close(child.control)
        run(child.programs)
    except SystemExit as err:
        os._exit(err.code if isinstance(err.code, int) else 1)
    except BaseException:
        os._exit(1)
    finally:
        os._exit(0)


def seal(child: Child) -> None:
    """Make its world and give up everything but the channel, and the way to say so."""
    os.setsid()
    must(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    options = f"size={child.order['tmp_mb']}m,nr_inodes={child.order['inodes']},mode=1777".encode()
    for place in (b"/tmp", b"/dev/shm"):
        must(libc.mount(b"tmpfs", place, b"tmpfs", MS_NOSUID | MS_NODEV, options), "mount")
    os.mkdir(WORK)
    os.chdir(WORK)
    null = os.open("/dev/null", os.O_RDWR)
    for number, descriptor in enumerate((child.channel, child.channel, null, child.control)):
        os.dup2(descriptor, number)
    child.control = CONTROL
    os.closerange(CONTROL + 1, 1024)
    for name, value in child.order["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    give_up(child.call_filter)


def run(programs: dict[str, Callable[[], None]]) -> None:
    """Run the program that the host names or sends."""
    from codojo.sandboxes.frames import read_question

    asked = read_question(0)
    if asked is None:
        return
    name, text = asked[0]["name"], asked[1]
    sys.argv = ["<codojo>"]
    if name in programs:
        programs[name]()
    else:
        exec(compile(text, name, "exec"), {"__name__": "__main__"})


def give_up(call_filter: bytes) -> None:
    """Capabilities, none of which can be regained, and the system calls that no program needs."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    must(libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    wanted = Filter(len(call_filter) // 8, call_filter)
    must(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0), "prctl")


def main() -> None:
    """Serve on the descriptor that the command line names."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.setblocking(True)
    serve(control)


if __name__ == "__main__":
    main()
