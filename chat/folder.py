"""The working folder of a conversation: what of it is read, and how approved changes get into it.

Nothing outside of it is ever read or written: no path with `..` or from the root, no link anywhere on the
way (each folder is opened from its parent without following links), nothing hidden. A file is changed only
if it still is what the person saw.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from codojo.errors import SettingsError
from codojo.settings import DOJO_FILE
from codojo.tasks.changes import SKIPPED, Change, refusal

MAX_FILE_BYTES = 64 << 10
MAX_FILES = 400
MAX_FOLDER_BYTES = 1 << 20
_SECRET_SUFFIXES = (".pem", ".key", ".p12", ".pfx", ".kdbx")
_NOFOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC


def read_folder(root: Path) -> dict[str, str]:
    """The text files of a folder by relative path, sorted.

    Left out: hidden ones, links, dojos, what is no UTF-8 text or larger than 64 KiB, what looks like a key,
    and folders that hold no one's work (`node_modules` and such). At most 400 files and 1 MiB.

    Raises:
        SettingsError: If the folder cannot be read.
    """
    if not root.is_dir():
        raise SettingsError(f"{root} is no folder; name one with --dir")
    if (root / DOJO_FILE).exists():
        raise SettingsError(f"{root} is a dojo; name the folder of your work with --dir")
    found: dict[str, str] = {}
    size = 0
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(
            name
            for name in folders
            if _is_work(name) and not Path(folder, name, DOJO_FILE).exists()
        )
        for name in sorted(names):
            path = str(PurePosixPath(Path(folder, name).relative_to(root).as_posix()))
            if _is_work(name) and not name.lower().endswith(_SECRET_SUFFIXES):
                text = read_file(root, path)
                if text is not None and size + len(text) <= MAX_FOLDER_BYTES:
                    found[path] = text
                    size += len(text)
            if len(found) == MAX_FILES:
                return found
    return found


def _is_work(name: str) -> bool:
    return not name.startswith(".") and name not in SKIPPED and not name.endswith(".egg-info")


def read_file(root: Path, path: str) -> str | None:
    """The text of a file; None where there is none, or none that may be read."""
    if refusal(path):
        return None
    try:
        with _parent(root, path) as (parent, name):
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _NOFOLLOW, dir_fd=parent)
            with os.fdopen(fd, "rb") as file:
                is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
                data = file.read(MAX_FILE_BYTES + 1) if is_file else None
    except OSError:
        return None
    if data is None or len(data) > MAX_FILE_BYTES or b"\0" in data:
        return None
    with suppress(UnicodeDecodeError):
        return data.decode()
    return None


def apply(root: Path, changes: Sequence[Change]) -> None:
    """Write changes that a person approved: all of them, or none where one may not be made.

    Raises:
        SettingsError: If a path may not be written, or a file is not what the person saw any more.
    """
    for change in changes:
        if why := refusal(change.path) or _in_a_dojo(root, change.path):
            raise SettingsError(f"{change.path!r} was not written: {why}; nothing was changed")
        _check_unchanged(root, change)
    for change in changes:
        try:
            _write(root, change)
        except OSError as err:
            raise SettingsError(
                f"cannot write {change.path!r} in {root}: {err.strerror}; check the folder, then say it again"
            ) from err


def _in_a_dojo(root: Path, path: str) -> str:
    inside = any((root / folder / DOJO_FILE).exists() for folder in PurePosixPath(path).parents)
    return "it lies in a dojo" if inside else ""


def _check_unchanged(root: Path, change: Change) -> None:
    try:
        with _parent(root, change.path) as (parent, name):
            os.lstat(name, dir_fd=parent)
            exists = True
    except FileNotFoundError:
        exists = False
    except OSError as err:
        raise SettingsError(
            f"{change.path!r} was not written: a link or a file is in its way ({err.strerror}); nothing was changed"
        ) from err
    now = read_file(root, change.path) if exists else None
    if exists and now is not None and now == change.after:
        return  # written before a crash, and not logged
    if now != change.before or (exists and change.before is None):
        raise SettingsError(
            f"{change.path!r} has changed since the team saw it; nothing was changed: ask again"
        )


def _write(root: Path, change: Change) -> None:
    """Aside and renamed, so that nobody sees half a file."""
    with _parent(root, change.path, make=change.after is not None) as (parent, name):
        if change.after is None:
            os.unlink(name, dir_fd=parent)
            return
        mode = 0o644
        if change.before is not None:
            mode = stat.S_IMODE(os.lstat(name, dir_fd=parent).st_mode) & 0o777
        aside = f".{name}.codojo"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW
        with suppress(FileNotFoundError):
            os.unlink(aside, dir_fd=parent)
        with os.fdopen(os.open(aside, flags, mode, dir_fd=parent), "wb") as file:
            file.write(change.after.encode("utf-8", "replace"))
        os.rename(aside, name, src_dir_fd=parent, dst_dir_fd=parent)


@contextmanager
def _parent(root: Path, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """The folder of a path, opened step by step without following a link, and the last name."""
    *folders, name = PurePosixPath(path).parts
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(folder, 0o755, dir_fd=here)
            below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        yield here, name
    finally:
        os.close(here)
