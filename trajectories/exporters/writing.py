"""Writing: every format's files appear whole or not at all, item by item in flat memory.

Files are written aside (a dot before the name, `.part` after it), synced, renamed, and their folder is
synced; so a kill at any moment leaves the old file or the new one under the final name. Equal items give
equal bytes.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from codojo.errors import Busy, LogError, SettingsError
from codojo.trajectories.exporters.formats import Format, NotExpressible
from codojo.trajectories.exporters.parquet import Parquet
from codojo.trajectories.exporters.sinks import (
    Files,
    Lines,
    Nowhere,
    Part,
    Sink,
    sync,
    write_synced,
)

MANIFEST = "export.json"
"""In every folder that an export made: format, files, hashes. Says that the next export may replace it."""

TRAIN = "train"


class Exported(NamedTuple):
    """What was written."""

    path: Path
    """The file, or the folder."""
    rows: int
    """Records of all parts."""
    sha256: str
    """Of the file; for several files, of the lines `<sha256>  <name>` in the order of writing."""
    parts: dict[str, Part] = {}
    left_out: dict[str, int] = {}
    """Items that the format cannot say, by reason."""


def export_items(
    format: Format, items: Iterable[Any], path: Path, *, parquet: bool = False
) -> Exported:
    """Write all items as one part; see `Writer`."""
    with Writer(format, path, parquet=parquet) as writer:
        for item in items:
            writer.write(item)
    return writer.exported


def safe_name(text: str) -> str:
    """A file name made of hostile text: letters, digits, dots, dashes and underscores stay.

    >>> safe_name("../a b")
    'a_b'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip("._-")[:120] or "_"


class Writer:
    """Takes items and writes one format's file or folder. Use as a context manager.

    A path with a suffix is a file; further parts stand beside it (`rows.validation.jsonl`). A path without
    one, or of a folder that is there, is a folder that holds `train.jsonl` and so on. If the block raises,
    nothing changes on disk.

    Args:
        parquet: Write Parquet whatever the path's suffix is; `.parquet` says so too.
        dry_run: Only count and hash what would be written.

    Raises:
        SettingsError: If the path does not fit the format, or is a folder that no export made.
        Busy: If another export is writing there.
        LogError: If the disk refuses.
    """

    exported: Exported

    def __init__(
        self, format: Format, path: Path, *, parquet: bool = False, dry_run: bool = False
    ) -> None:
        self._format = format
        self.path = path
        self.folder = format.is_folder or path.suffix == "" or path.is_dir()
        self._suffix = format.suffix if self.folder else path.suffix
        if parquet or path.suffix == ".parquet":
            self._suffix = ".parquet"
        self._check()
        self._stage = path.with_name(f".{path.name}.part")
        self._lock: int | None = None
        self._dry_run = dry_run
        self._left_out: Counter[str] = Counter()
        self._parts: dict[str, Sink] = {}
        self._texts: dict[str, str] = {}

    def write(self, item: Any, part: str = TRAIN) -> int:
        """Write the records of one item; returns how many there were."""
        sink = self._parts.get(part) or self._open(part)
        name = self._format.name_of(item) if self._format.name_of else ""
        written = 0
        try:
            for record in self._format.records(item):
                sink.add(record, name)
                written += 1
        except NotExpressible as err:
            self._left_out[str(err)] += 1
        except OSError as err:
            raise _refused(self.path, err) from err
        return written

    def add_text(self, name: str, text: str) -> None:
        """A further file: in the folder, or beside the file as `<stem>.<name>`."""
        self._texts[name] = text

    @property
    def left_out(self) -> dict[str, int]:
        """Items so far that the format cannot say, by reason."""
        return dict(sorted(self._left_out.items()))

    def close_data(self) -> Exported:
        """Finish the data files, still aside, and say what they are; texts may be added after that."""
        if TRAIN not in self._parts:
            self._open(TRAIN)
        with _telling(self.path):
            parts = {name: self._parts[name].close() for name in sorted(self._parts)}
        if len(parts) == 1 and not self.folder:
            digest = parts[TRAIN].sha256
        else:
            listed = "".join(f"{p.sha256}  {self.file_name(n)}\n" for n, p in parts.items())
            digest = hashlib.sha256(listed.encode()).hexdigest()
        rows = sum(part.rows for part in parts.values())
        self.exported = Exported(self.path, rows, digest, parts, self.left_out)
        return self.exported

    def file_name(self, part: str) -> str:
        """Name of a part's file (or folder), without its folder."""
        if self._format.name_of:
            return part
        if self.folder:
            return f"{part}{self._suffix}"
        return self.path.name if part == TRAIN else f"{self.path.stem}.{part}{self.path.suffix}"

    def __enter__(self) -> Self:
        if self._dry_run:
            return self
        with _telling(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _own(self._stage, self.path)
            for left in self._stage.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                if not hasattr(self, "exported"):
                    self.close_data()
                if not self._dry_run:
                    with _telling(self.path):
                        self._publish()
        finally:
            for sink in self._parts.values():
                sink.abandon()
            if self._lock is not None:
                shutil.rmtree(self._stage, ignore_errors=True)
                os.close(self._lock)

    def _check(self) -> None:
        path, format = self.path, self._format
        if self._suffix == ".parquet" and (format.columns is None or format.name_of):
            raise SettingsError(
                f"'{format.name}' cannot be written as Parquet; name a file without that suffix"
            )
        if format.is_folder and path.suffix in (".jsonl", ".json", ".parquet", format.suffix):
            raise SettingsError(
                f"'{format.name}' writes a folder, but {path.name} looks like a file; leave the suffix away"
            )
        if self.folder and path.exists():
            ours = path.is_dir() and (not any(path.iterdir()) or (path / MANIFEST).is_file())
            if not ours:
                raise SettingsError(
                    f"{path} exists and was not made by an export (it has no {MANIFEST}); choose a new folder"
                )

    def _open(self, part: str) -> Sink:
        place = self._stage / self.file_name(part)
        sink: Sink
        with _telling(self.path):
            if self._dry_run:
                sink = Nowhere()
            elif self._format.name_of:
                sink = Files(place, self._format.suffix)
            elif self._suffix == ".parquet":
                assert self._format.columns is not None
                sink = Parquet(place, self._format.columns)
            else:
                sink = Lines(place)
        self._parts[part] = sink
        return sink

    def _publish(self) -> None:
        names = {part: self.file_name(part) for part in sorted(self._parts)}
        held = {part: name for part, name in names.items() if self.exported.parts[part].rows}
        texts = dict(self._format.beside(held)) if self._format.beside else {}
        texts |= self._texts
        if self.folder:
            files = {names[n]: part._asdict() for n, part in self.exported.parts.items()}
            made = {"made_by": "codojo export", "format": self._format.name, "files": files}
            texts[MANIFEST] = json.dumps(made, indent=1, sort_keys=True) + "\n"
        for name, text in texts.items():
            target = name if self.folder else f"{self.path.stem}.{name}"
            write_synced(self._stage / target, text.encode("utf-8", "replace"))
        sync(self._stage)
        if self.folder:
            self._replace_folder()
        else:
            for made_file in sorted(self._stage.iterdir()):
                made_file.replace(self.path.with_name(made_file.name))
        sync(self.path.parent)

    def _replace_folder(self) -> None:
        """Put the new folder in the old one's place; between the two renames neither is there."""
        old = self.path.with_name(f".{self.path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if self.path.exists():
            self.path.rename(old)
        self._stage.rename(self.path)
        shutil.rmtree(old, ignore_errors=True)


def _refused(path: Path, err: OSError) -> LogError:
    return LogError(
        f"cannot write {path}: {err.strerror}; check the folder's permissions and the free space"
    )


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise _refused(path, err) from err


def _own(stage: Path, wanted: Path) -> int:
    """Make the folder that files are written in, and lock it until it is closed or its process dies."""
    while True:
        stage.mkdir(exist_ok=True)
        fd = os.open(stage, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            os.close(fd)
            raise Busy(
                f"another export is writing {wanted}; wait for it, or choose another place"
            ) from err
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(fd).st_ino == stage.stat().st_ino:
                return fd
        os.close(fd)  # the other export finished in between, and its folder is gone
