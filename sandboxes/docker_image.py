"""The image of the Docker backend, made from this machine: a Python, what it links to, a few programs.

No registry is asked, so it works offline, and what is in a cage is what a person has installed and
can look at. The tag is a hash of the content: building the same thing twice is building it once.
"""

import hashlib
import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from codojo.errors import SandboxError

NAME = "codojo-sandbox"
PYTHON = "/usr/bin/python3"
"""In the image; taken from the same place here, or else ours."""
MIN_PYTHON = (3, 9)
PROGRAMS = ("sh", "env", "true", "false", "cat", "ls", "cp", "mv", "rm", "mkdir", "sleep")
DATA = ("/usr/share/zoneinfo", "/usr/lib/locale/C.utf8")
"""What the standard library looks up beside its own files."""
LEFT_OUT = {
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3"),
    *("site-packages", "dist-packages", "right", "posix"),
}
"""Folders of the standard library and of the time zones that no task needs."""
ASK_PYTHON = """
import os, sys, sysconfig
print(*sys.version_info[:2])
print(os.path.realpath(sys.executable))
for name in ("stdlib", "platstdlib"): print(os.path.realpath(sysconfig.get_path(name)))
"""


class Interpreter(NamedTuple):
    """A Python of this machine."""

    program: Path
    libraries: tuple[Path, ...]


def build_image(client: Any) -> str:
    """Make the image in the engine and give its id; tagged `latest`, and by its content.

    Args:
        client: A `docker.APIClient`.

    Raises:
        SandboxError: If something that belongs in it is missing here.
    """
    content = archive()
    tag = hashlib.sha256(content).hexdigest()[:16]
    if not client.images(f"{NAME}:{tag}"):
        # In one word, since Podman does not look at the tag otherwise.
        client.import_image_from_data(content, repository=f"{NAME}:{tag}")
    id = str(client.inspect_image(f"{NAME}:{tag}")["Id"])
    client.tag(id, NAME, "latest", force=True)
    return id


def archive() -> bytes:
    """The image's root as a tar, the same for the same files: about 45 MB."""
    python = find_python()
    binaries = [python.program, *filter(Path.is_file, (Path("/usr/bin") / p for p in PROGRAMS))]
    files = [path for place in (*python.libraries, *map(Path, DATA)) for path in _below(place)]
    files += [*binaries, *linked_by([*binaries, *(path for path in files if ".so" in path.name)])]
    links = {name: str(path.readlink()) for name, path in _top().items() if path.is_symlink()}
    if str(python.program) != PYTHON:
        links[PYTHON.lstrip("/")] = str(python.program)
    return _packed({_name(path, links): path for path in files}, links)


def find_python() -> Interpreter:
    """The system's Python if it is new enough, else the one that runs codojo.

    Raises:
        SandboxError: If neither can be asked where its parts are.
    """
    for program in (PYTHON, getattr(sys, "_base_executable", sys.executable)):
        command = [program, "-I", "-S", "-c", ASK_PYTHON]
        try:
            ran = subprocess.run(command, env={}, capture_output=True, check=True, text=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        version, real, *libraries = ran.stdout.splitlines()
        if tuple(map(int, version.split())) >= MIN_PYTHON:
            return Interpreter(Path(real), tuple(map(Path, dict.fromkeys(libraries))))
    raise SandboxError(f"no Python of version 3.9 or later for the image; install {PYTHON}")


def linked_by(binaries: Iterable[Path]) -> set[Path]:
    """Every shared library that programs need, the linker included."""
    try:
        ran = subprocess.run(["ldd", *binaries], capture_output=True, text=True)
    except OSError as err:
        raise SandboxError(f"cannot ask 'ldd' what Python links to: {err.strerror}") from err
    found = {Path(path) for path in re.findall(r"(?:=> |^\t)(/\S+) \(0x", ran.stdout, re.MULTILINE)}
    if not found:
        raise SandboxError(f"'ldd' names no library of Python: {ran.stderr.strip()[:200]}")
    # Loaded by its name, when a thread ends.
    more = {path.with_name("libgcc_s.so.1") for path in found if path.name == "libc.so.6"}
    return found | {path for path in more if path.exists()}


def _top() -> dict[str, Path]:
    """`/lib` and its like, which are links into `/usr` on most systems."""
    return {name: Path("/") / name for name in ("bin", "lib", "lib64")}


def _name(path: Path, links: dict[str, str]) -> str:
    """Where a file lies in the image: never behind one of the links."""
    first, _, rest = str(path).lstrip("/").partition("/")
    return f"{links.get(first, first)}/{rest}".lstrip("/")


def _below(place: Path) -> Iterator[Path]:
    for path in sorted(place.rglob("*")) if place.is_dir() else []:
        inner = path.relative_to(place).parts[:-1]
        unwanted = LEFT_OUT.intersection(inner) or any(part.startswith("config-") for part in inner)
        if path.is_file() and not unwanted:
            yield path


def _packed(files: dict[str, Path], links: dict[str, str]) -> bytes:
    """A tar of files, the folders above them and links, all of them root's and read-only to others."""
    folders = {str(parent) for name in (*files, *links) for parent in Path(name).parents} - {"."}
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted({*folders, *files, *links}):
            member = tarfile.TarInfo(name)
            member.mode = 0o755
            if name in links:
                member.type, member.linkname = tarfile.SYMTYPE, links[name]
                tar.addfile(member)
            elif name in folders:
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            else:
                content = files[name].read_bytes()
                member.size = len(content)
                # Compiled Python is checked against the time of its source.
                member.mtime = int(files[name].stat().st_mtime)
                tar.addfile(member, io.BytesIO(content))
    return target.getvalue()
