"""Bytes put aside by key in an unnamed temporary file, so that memory stays flat."""

import tempfile
from types import TracebackType
from typing import IO, Self

from codojo.errors import LogError


class Spill:
    """Appends bytes under keys and gives all of a key back at once. Use as a context manager.

    The file is made on first use in the folder that `TMPDIR` names, and is gone when this is closed.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._places: dict[object, list[tuple[int, int]]] = {}
        """Offset and length of each piece."""

    def put(self, key: object, data: bytes) -> None:
        """Append to what is kept under a key.

        Raises:
            LogError: If the disk refuses.
        """
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="codojo-")  # noqa: SIM115  # closed at exit
            self._places.setdefault(key, []).append((self._file.seek(0, 2), len(data)))
            self._file.write(data)
        except OSError as err:
            raise LogError(
                f"cannot write a temporary file in {tempfile.gettempdir()}: {err.strerror}; set TMPDIR to a "
                "folder with more room"
            ) from err

    def take(self, key: object) -> bytes:
        """All that was put under a key, in order; it is forgotten."""
        pieces = []
        for offset, length in self._places.pop(key, ()):
            assert self._file is not None
            self._file.seek(offset)
            pieces.append(self._file.read(length))
        return b"".join(pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
