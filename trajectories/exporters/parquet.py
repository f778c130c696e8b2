"""Records as Parquet, row group by row group.

The same records give the same bytes with the same release of pyarrow, whose name stands in the file.
"""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, chain, zip_longest
from pathlib import Path
from typing import Any

from codojo.errors import SettingsError
from codojo.trajectories.exporters.formats import Column, JsonObject, NotExpressible
from codojo.trajectories.exporters.sinks import HashedFile, Part

GROUP_ROWS = 8192
GROUP_CHARS = 16_000_000
"""Records, and about how many characters, of a row group at most: what waits in memory."""


class Parquet:
    """One Parquet file, compressed with zstd, by a thread beside the one that makes the records."""

    def __init__(self, path: Path, columns: Mapping[str, Column]) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as err:
            raise SettingsError(
                "Parquet needs pyarrow; install it with 'pip install pyarrow', or name a .jsonl file"
            ) from err
        self._columns = columns
        self._fit = _object_fitter(columns)
        self._schema = pa.schema([(name, _type(column)) for name, column in columns.items()])
        self._batch = pa.RecordBatch.from_arrays
        self._file = HashedFile(path)
        self._writer: Any = pq.ParquetWriter(
            self._file, self._schema, compression="zstd", compression_level=1
        )
        self._thread = ThreadPoolExecutor(1, "parquet")
        self._written: Future[None] | None = None
        """The row group that the thread has in hand; there is never a second."""
        self._waiting: list[JsonObject] = []
        self._chars = self._rows = 0

    def add(self, record: JsonObject, name: str) -> None:
        """Take one record."""
        self._chars += self._fit(record)
        self._waiting.append(record)
        self._rows += 1
        if len(self._waiting) == GROUP_ROWS or self._chars > GROUP_CHARS:
            self._write_group()

    def close(self) -> Part:
        """Write what waits, and sync."""
        if self._waiting:
            self._write_group()
        self._wait()
        self._writer.close()
        self._thread.shutdown()
        return Part(self._rows, self._file.finish())

    def abandon(self) -> None:
        """Close as it is; pyarrow must not try to finish it later."""
        self._thread.shutdown()
        self._writer.is_open = False
        self._file.close()

    def _write_group(self) -> None:
        try:
            arrays = self._arrays(self._waiting)
        except UnicodeEncodeError:
            arrays = self._arrays([_utf8(record) for record in self._waiting])
        batch = self._batch(arrays, schema=self._schema)
        self._wait()
        self._written = self._thread.submit(
            self._writer.write_batch, batch, row_group_size=GROUP_ROWS
        )
        self._waiting, self._chars = [], 0

    def _arrays(self, records: list[JsonObject]) -> list[Any]:
        return [
            _array(column, [record.get(name) for record in records])
            for name, column in self._columns.items()
        ]

    def _wait(self) -> None:
        """Until the thread is idle.

        Raises:
            OSError: If the disk refused what it wrote.
        """
        if self._written:
            self._written.result()


def _type(column: Column) -> Any:
    import pyarrow as pa

    if isinstance(column, tuple):
        return pa.list_(_type(column[0]))
    if isinstance(column, Mapping):
        return pa.struct([(name, _type(inner)) for name, inner in column.items()])
    return {
        "text": pa.string(),
        "json": pa.string(),
        "bool": pa.bool_(),
        "int": pa.int64(),
        "float": pa.float64(),
    }[column]


def _array(column: Column, values: list[Any]) -> Any:
    """The values of one column. Columns are built whole: pyarrow's way by records takes three times as long."""
    import pyarrow as pa

    if isinstance(column, tuple):
        ends = accumulate((len(value) if value else 0 for value in values), initial=0)
        offsets = [None if v is None else at for v, at in zip_longest(values, ends, fillvalue=0)]
        inner = list(chain.from_iterable(value for value in values if value))
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), _array(column[0], inner))
    if isinstance(column, Mapping):
        gone = [value is None for value in values]
        mask = pa.array(gone) if any(gone) else None
        whole = [value or {} for value in values] if mask else values
        members = [_array(c, [value.get(name) for value in whole]) for name, c in column.items()]
        return pa.StructArray.from_arrays(members, fields=list(_type(column)), mask=mask)
    return pa.array(values, _type(column))


def _fitter(column: Column) -> Callable[[Any], int]:
    """A function that says about how many characters a value has and makes JSON columns text in place.

    It raises `NotExpressible` for an object with a key that its column does not have.
    """
    if isinstance(column, tuple):
        inner = _fitter(column[0])
        return lambda values: sum(inner(value) for value in values if value is not None)
    if isinstance(column, Mapping):
        return _object_fitter(column)
    return len if column in ("text", "json") else lambda value: 8


def _object_fitter(columns: Mapping[str, Column]) -> Callable[[JsonObject], int]:
    fitters = {name: _fitter(column) for name, column in columns.items()}
    as_text = [name for name, column in columns.items() if column == "json"]

    def fit(record: JsonObject) -> int:
        for name in as_text:
            if record.get(name) is not None:
                record[name] = json.dumps(record[name], ensure_ascii=False)
        size = 0
        for name, value in record.items():
            fitter = fitters.get(name)
            if fitter is None:
                raise NotExpressible("not_in_parquet")
            if value is not None:
                size += fitter(value)
        return size

    return fit


def _utf8(value: Any) -> Any:
    """A value whose lone surrogates have become `?`."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_utf8(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _utf8(inner) for name, inner in value.items()}
    return value
