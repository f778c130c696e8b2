# ruff: noqa: PTH108, PTH110, PTH116, PTH123, PTH208, S108, T201
# Its own program, inside a cage: standard output is its report, and pathlib costs a start.
"""Runs inside a cage and tries to get out; prints, as JSON, what it got hold of.

Sent as source, so standard library only. A list holds what went through and should be empty.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

MB = 1 << 20
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000


def tried(attempts: dict[str, Callable[[], object]]) -> list[str]:
    """Names of the attempts that were not refused."""
    through = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except (OSError, MemoryError):
            continue
        through.append(name)
    return through


def connect(family: int, address: tuple[str, int] | str) -> None:
    with socket.socket(family) as client:
        client.settimeout(1)
        client.connect(address)


def send(address: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", address)


def write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def call(name: str, *args: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*args) != 0:
        raise OSError(ctypes.get_errno(), name)


def system_call(number: int) -> None:
    """Raise where the call is refused; one that gets as far as its arguments was let through."""
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.syscall(number, 0, 0, 0, 0, 0) == -1
    if failed and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS):
        raise OSError(ctypes.get_errno(), "refused")


def processes() -> None:
    """Say how many processes there are at once, this one included, as it goes: at a cap it may be killed."""
    count = 1
    while count < 2000:
        os.write(1, b"%d\n" % count)
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        count += 1


def megabytes() -> int:
    """How much one process could hold."""
    held: list[bytearray] = []
    try:
        while len(held) < 4096:
            held.append(bytearray(MB))
    except MemoryError:
        pass
    return len(held)


def disk(folder: str) -> int:
    """Megabytes, rounded up, that fit in a folder over several files."""
    total = 0
    try:
        for number in range(64):
            with open(f"{folder}/fill{number}", "wb", buffering=0) as file:
                for _ in range(16):
                    total += file.write(bytes(MB // 16))
    except OSError:
        pass
    finally:
        for number in range(64):
            if os.path.exists(f"{folder}/fill{number}"):
                os.unlink(f"{folder}/fill{number}")
    return -(-total // MB)


def look(path: str, own: dict[str, list[int]]) -> None:
    """Raise unless it is there, and is the host's or cannot be told from it."""
    seen = os.stat(path)
    if path in own and own[path] != [seen.st_dev, seen.st_ino]:
        raise FileNotFoundError(path)


def list_processes(own: dict[str, list[int]]) -> None:
    """Raise unless others than the cage's first process and this one can be seen."""
    names = os.listdir("/proc")
    strangers = {name for name in names if name.isdigit()} - {"1", str(os.getpid())}
    if "/proc" in own and not strangers:
        raise FileNotFoundError("/proc")


def descriptors() -> list[int]:
    found = []
    for number in range(1024):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(number)
    return found


def main(bait: dict[str, Any]) -> None:
    seen: dict[str, object] = {"descriptors": descriptors(), "uid": os.getuid()}
    seen["environment"] = sorted(os.environ)
    seen["network"] = tried(
        {
            "loopback of the host": lambda: connect(socket.AF_INET, ("127.0.0.1", bait["port"])),
            "abstract socket of the host": lambda: connect(socket.AF_UNIX, "\0" + bait["abstract"]),
            "UDP to the outside": lambda: send(("192.0.2.1", 53)),
            "TCP to the outside": lambda: connect(socket.AF_INET, ("192.0.2.1", 80)),
        }
    )
    reads = [bait["canary"], "/etc/passwd", "/etc/hostname", "/root", "/home", "/var", "/sys"]
    own = bait["own"]
    seen["host files"] = tried({path: partial(look, path, own) for path in reads})
    seen["host processes"] = tried(
        {
            "signal to codojo": lambda: os.kill(bait["pid"], 0),
            "/proc": lambda: list_processes(own),
        }
    )
    places = ["/x", "/usr/x", "/usr/lib/x", "/etc/x", "/dev/x", "/bin/x", "/opt/x", "/var/x"]
    seen["writes outside /tmp"] = tried({path: partial(write, path) for path in places})
    seen["privileges"] = tried(
        {
            "chroot": lambda: os.chroot("/tmp"),
            "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
            "new mount namespace": lambda: call("unshare", CLONE_NEWNS),
            "new user namespace": lambda: call("unshare", CLONE_NEWUSER),
            "host name": lambda: socket.sethostname("x"),
            "user 0": lambda: os.setuid(0),
        }
    )
    calls = bait["calls"].items()
    seen["system calls"] = tried({name: partial(system_call, number) for name, number in calls})
    seen["/tmp"], seen["/dev/shm"] = disk("/tmp"), disk("/dev/shm")
    seen["memory"] = megabytes()
    print(json.dumps(seen))


if sys.argv[1] == "processes":
    processes()
else:
    main(json.loads(sys.argv[1]))
