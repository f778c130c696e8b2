"""Crash images: what a disk may hold after a power cut, made from a trace of what a process did to it.

A trace of system calls gives, in order, every write, sync, rename, unlink and truncation below a folder.
From it any moment can be made again: what was synced is there; of what was not, an image keeps all,
nothing, only names, or only a part of the last bytes. POSIX allows each of these.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    "openat,creat,mkdir,mkdirat,write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,"
    "ftruncate,close,lseek,dup,dup2,dup3,fcntl"
)
_LINE = re.compile(r"^(?P<pid>\d+) +(?P<call>\w+)\((?P<args>.*)\) += (?P<result>-?\d+)")
_UNFINISHED = re.compile(r"^(?P<pid>\d+) +(?P<head>.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(?P<pid>\d+) +<\.\.\. \w+ resumed>(?P<rest>.*)$")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')

IMAGES = ("synced", "all", "names", "half")
"""Only what was synced; everything; names without unsynced content; content with its last write cut."""


@dataclass
class File:
    """Content of one inode: as programs see it, and as the disk has it for sure."""

    now: bytearray = field(default_factory=bytearray)
    safe: bytes = b""
    last: int = 0
    """Bytes of the last write."""


@dataclass
class Disk:
    """Names and files below one folder."""

    root: str
    names: dict[str, File | None] = field(default_factory=dict)
    """None: a folder."""
    safe_names: dict[str, File | None] = field(default_factory=dict)

    def image(self, kind: str) -> dict[str, bytes | None]:
        """What a power cut now may leave, by relative path; None: a folder."""
        names = self.safe_names if kind == "synced" else self.names
        found: dict[str, bytes | None] = {}
        for name, file in names.items():
            if not all(above in names for above in _above(name)):
                continue
            if file is None:
                found[name] = None
            elif kind in ("synced", "names"):
                found[name] = file.safe
            elif kind == "all" or bytes(file.now) == file.safe:
                found[name] = bytes(file.now)
            else:
                found[name] = bytes(file.now[: len(file.now) - (file.last + 1) // 2])
        return found

    def sync_folder(self, path: str) -> None:
        """Entries of a folder become safe."""
        here = {n: f for n, f in self.names.items() if n.rpartition("/")[0] == path}
        self.safe_names = {
            n: f for n, f in self.safe_names.items() if n.rpartition("/")[0] != path
        } | here


def _above(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def trace(script: str, folder: Path, out: Path) -> list[str]:
    """Run a script under strace; its lines, with calls that were interrupted put together."""
    command = [
        "strace",
        "-f",
        "-qq",
        "-xx",
        "-s",
        "10000000",
        "-e",
        f"trace={CALLS}",
        "-o",
        str(out),
    ]
    subprocess.run(
        [*command, sys.executable, "-c", script, str(folder)], check=True, capture_output=True
    )
    waiting: dict[str, str] = {}
    lines = []
    for line in out.read_text().splitlines():
        if begun := _UNFINISHED.match(line):
            waiting[begun["pid"]] = begun["head"]
        elif done := _RESUMED.match(line):
            lines.append(f"{done['pid']} {waiting.pop(done['pid'])}{done['rest']}")
        else:
            lines.append(line)
    return lines


@dataclass(frozen=True)
class Moment:
    """The disk after one call, and what the script had said by then."""

    disk: Disk
    said: bytes
    call: str


def moments(lines: list[str], root: Path) -> Iterator[Moment]:
    """The disk after each call that changes it or its safety; the same object, changed each time."""
    disk = Disk(str(root))
    files: dict[tuple[str, int], tuple[str, File | None]] = {}
    said = b""

    def relative(path: str) -> str | None:
        if path == disk.root:
            return ""
        return path[len(disk.root) + 1 :] if path.startswith(disk.root + "/") else None

    for line in lines:
        found = _LINE.match(line)
        if found is None or int(found["result"]) < 0:
            continue
        call, args, result = found["call"], found["args"], int(found["result"])
        texts = [ast.literal_eval(f'b"{text}"') for text in _STRING.findall(args)]
        number = int(args.split(",")[0]) if args[:1].isdigit() else -1
        key = ("", number)
        if call in ("openat", "creat"):
            name = relative(texts[0].decode())
            files.pop(("", result), None)
            if name is None:
                continue
            if name and name not in disk.names and "O_CREAT" in args:
                disk.names[name] = File()
            file = disk.names.get(name) if name else None
            if file is not None and "O_TRUNC" in args:
                file.now.clear()
            files["", result] = (name, file)
            if "O_CREAT" not in args:
                continue
        elif call == "close":
            files.pop(key, None)
            continue
        elif call in ("mkdir", "mkdirat"):
            name = relative(texts[0].decode())
            if not name:
                continue
            disk.names[name] = None
        elif call == "write" and number == 1:
            said += texts[0]
            continue
        elif key in files and call in ("write", "pwrite64"):
            _, file = files[key]
            assert file is not None
            at = int(args.rsplit(",", 1)[1]) if call == "pwrite64" else len(file.now)
            file.now[at : at + result] = texts[0][:result]
            file.last = result
        elif key in files and call in ("fsync", "fdatasync"):
            name, file = files[key]
            if file is None:
                disk.sync_folder(name)
            else:
                file.safe, file.last = bytes(file.now), 0
        elif key in files and call == "ftruncate":
            _, file = files[key]
            assert file is not None
            size = int(args.rsplit(",", 1)[1])
            file.now[size:] = b"\0" * max(0, size - len(file.now))
        elif call.startswith("rename"):
            source, target = (relative(text.decode()) for text in texts[:2])
            if not source or not target:
                continue
            disk.names[target] = disk.names.pop(source)
        elif call.startswith("unlink"):
            name = relative(texts[0].decode())
            if not name:
                continue
            disk.names.pop(name, None)
        else:
            continue
        yield Moment(disk, said, call)


def lay_out(image: dict[str, bytes | None], folder: Path) -> None:
    """Write an image into an empty folder."""
    folder.mkdir(parents=True)
    for name in sorted(image, key=lambda name: name.count("/")):
        content = image[name]
        if content is None:
            (folder / name).mkdir(exist_ok=True)
        else:
            (folder / name).write_bytes(content)
