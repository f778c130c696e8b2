"""The store: the contract of `BaseStore`, exact search, odd texts, one owner, crashes."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)

from codojo.errors import MemoryStoreError
from codojo.memory.embedder import Embedder
from codojo.memory.schema import MAX_TEXT_CHARS
from codojo.memory.store import ChromaStore, check_vectors, open_memory


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return Embedder.installed()


@pytest.fixture
def store(tmp_path: Path, embedder: Embedder) -> Iterator[ChromaStore]:
    opened = open_memory(tmp_path / "memory", embedder)
    assert opened is not None
    with opened:
        yield opened


WORDS = ("sort", "list", "sum", "even", "string", "reverse", "count", "words", "tree", "matrix")


def sentences(n: int) -> list[str]:
    rng = random.Random(7)
    return [f"{' '.join(rng.choices(WORDS, k=6))} {i}" for i in range(n)]


async def test_put_get_update_delete(store: ChromaStore) -> None:
    await store.aput(("docs",), "one", {"text": "first", "n": 1})
    made = await store.aget(("docs",), "one")
    assert made is not None
    assert (made.namespace, made.key, made.value) == (("docs",), "one", {"text": "first", "n": 1})

    await store.aput(("docs",), "one", {"text": "second"})
    changed = await store.aget(("docs",), "one")
    assert changed is not None
    assert changed.value == {"text": "second"}
    assert changed.created_at == made.created_at
    assert changed.updated_at > made.updated_at
    assert await store.asearch(("docs",), filter={"n": 1}) == []

    await store.adelete(("docs",), "one")
    assert await store.aget(("docs",), "one") is None
    await store.adelete(("docs",), "one")


def test_batch_reads_before_it_writes_and_the_last_write_counts(store: ChromaStore) -> None:
    answers = store.batch(
        [
            PutOp(("docs",), "k", {"v": 1}),
            GetOp(("docs",), "k"),
            PutOp(("docs",), "k", {"v": 2}),
            SearchOp(("docs",)),
            ListNamespacesOp(),
        ]
    )
    assert answers == [None, None, None, [], []]
    item = store.get(("docs",), "k")
    assert item is not None
    assert item.value == {"v": 2}


def test_search_by_filter_pages_and_compares(store: ChromaStore) -> None:
    store.batch([PutOp(("d",), f"k{n}", {"n": n, "in": {"odd": n % 2 == 1}}) for n in range(10)])

    def keys(**search: object) -> set[str]:
        return {item.key for item in store.search(("d",), limit=20, **search)}  # type: ignore[arg-type]  # test data

    assert keys(filter={"n": 3}) == {"k3"}
    assert keys(filter={"n": {"$gte": 3, "$lt": 5}}) == {"k3", "k4"}
    assert keys(filter={"in": {"odd": True}, "n": {"$ne": 1}}) == {"k3", "k5", "k7", "k9"}
    assert len(keys()) == 10
    pages = [store.search(("d",), limit=4, offset=offset) for offset in (0, 4, 8)]
    assert [len(page) for page in pages] == [4, 4, 2]
    assert len({item.key for page in pages for item in page}) == 10
    assert store.search(("d",), limit=0) == []
    assert store.search(("d",), query="x", limit=0) == []


def test_a_filter_that_cannot_be_asked_is_refused(store: ChromaStore) -> None:
    with pytest.raises(ValueError, match="unknown operator"):
        store.search(("d",), filter={"n": {"$near": 1}})
    with pytest.raises(ValueError, match="cannot filter by"):
        store.search(("d",), filter={"n": [1, 2]})


def test_a_long_string_can_be_filtered_by(store: ChromaStore) -> None:
    store.put(("d",), "long", {"s": "x" * 5_000})
    store.put(("d",), "other", {"s": "x" * 5_001})
    assert [item.key for item in store.search(("d",), filter={"s": "x" * 5_000})] == ["long"]


def test_index_says_what_an_item_is_found_by(store: ChromaStore) -> None:
    value = {"title": "bake a chocolate cake", "body": "sort a list of integers"}
    store.put(("d",), "title", value, index=["title"])
    store.put(("d",), "body", value, index=["body"])
    store.put(("d",), "hidden", value, index=False)
    found = store.search(("d",), query="sort a list of integers")
    assert [item.key for item in found] == ["body", "title"]
    assert found[0].score == pytest.approx(1, abs=1e-5)
    assert len(store.search(("d",))) == 3


@pytest.mark.row("F4")
async def test_a_namespace_sees_nothing_of_another(store: ChromaStore) -> None:
    for tenant in ("ann", "bob"):
        for n in range(20):
            await store.aput((tenant, "notes"), f"n{n}", {"text": f"the same secret {n}"})
    for query in (None, "the same secret 3"):
        found = await store.asearch(("ann",), query=query, limit=100)
        assert len(found) == 20
        assert {item.namespace for item in found} == {("ann", "notes")}
    assert await store.asearch(("an",), query="secret") == []
    assert await store.asearch(("notes",), query="secret") == []
    assert await store.aget(("ann",), "n1") is None
    assert await store.asearch(("ann", "notes", "n1")) == []


def test_namespaces_are_listed_by_pattern_and_depth(store: ChromaStore) -> None:
    spaces = [("a", "b", "c"), ("a", "x", "c"), ("a", "x", "d"), ("q",)]
    store.batch([PutOp(space, "k", {"v": 1}, index=False) for space in spaces])
    assert store.list_namespaces() == sorted(spaces)
    assert store.list_namespaces(prefix=("a", "*"), suffix=("c",)) == spaces[:2]
    assert store.list_namespaces(max_depth=2) == [("a", "b"), ("a", "x"), ("q",)]
    assert store.list_namespaces(limit=1, offset=3) == [("q",)]
    listed = store.batch([ListNamespacesOp((MatchCondition("prefix", ("q", "r")),))])
    assert listed == [[]]


@pytest.mark.parametrize("space", [(), ("",), ("a.b",), ("langgraph",), ("a\x00",)])
def test_bad_namespaces_are_refused(store: ChromaStore, space: tuple[str, ...]) -> None:
    with pytest.raises(InvalidNamespaceError):
        store.put(space, "k", {"v": 1})


@pytest.mark.row("F18")
def test_filtered_search_equals_exact_search(store: ChromaStore, embedder: Embedder) -> None:
    texts = sentences(300)
    spaces = [("a", "x"), ("a", "y"), ("b",)]
    store.batch(
        [
            PutOp(spaces[i % 3], str(i), {"text": text, "mod": i % 5, "good": i % 7 == 0})
            for i, text in enumerate(texts)
        ]
    )
    # The default index embeds the whole value; ask exact search for the same text.
    vectors = embedder.embed([_as_stored(i, text) for i, text in enumerate(texts)])
    for query in sentences(12):
        cosine = vectors @ embedder.embed([query])[0]
        for prefix, mod, good in ((("a",), 2, None), (("b",), 1, True), ((), 4, True)):
            allowed = [
                i
                for i in range(300)
                if spaces[i % 3][: len(prefix)] == prefix
                and i % 5 == mod
                and (good is None or (i % 7 == 0) == good)
            ]
            exact = sorted(allowed, key=lambda i: -cosine[i])[:8]
            filter = {"mod": mod} if good is None else {"mod": mod, "good": good}
            found = store.search(prefix, query=query, filter=filter, limit=8)
            assert [float(item.score or 0) for item in found] == pytest.approx(
                [float(cosine[i]) for i in exact], abs=1e-5
            )
            assert {int(item.key) for item in found} <= set(allowed)


def _as_stored(i: int, text: str) -> str:
    return f'{{"good": {str(i % 7 == 0).lower()}, "mod": {i % 5}, "text": "{text}"}}'


@pytest.mark.row("F5")
@pytest.mark.row("F6")
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        ("   ", "   "),
        ("a\x00b", "a\ufffdb"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("\ufeffbom", "\ufffdbom"),
        ("\x1b]0;title\x07", "\ufffd]0;title\ufffd"),
        ("日本語 🙂\n\ttab", "日本語 🙂\n\ttab"),
    ],
)
async def test_odd_texts_are_stored_clean_and_found(
    store: ChromaStore, text: str, kept: str
) -> None:
    await store.aput(("d",), "k", {"text": text}, index=["text"])
    item = await store.aget(("d",), "k")
    assert item is not None
    assert item.value == {"text": kept}
    found = await store.asearch(("d",), query=text)
    assert [hit.key for hit in found] == (["k"] if text.strip() or not text else [])


@pytest.mark.row("F5")
async def test_huge_texts_are_cut_and_huge_items_refused(store: ChromaStore) -> None:
    await store.aput(("d",), "k", {"text": "word " * 4_000_000})
    item = await store.aget(("d",), "k")
    assert item is not None
    assert len(item.value["text"]) == MAX_TEXT_CHARS
    assert item.value["text"].endswith("[cut]")
    with pytest.raises(ValueError, match="characters of JSON"):
        await store.aput(("d",), "big", {str(n): "x" * 20_000 for n in range(20)})
    with pytest.raises(ValueError, match="cannot store under"):
        await store.aput(("d",), "k\ud800", {"text": "x"})
    assert store.count() == 1


@pytest.mark.row("F14")
def test_vectors_that_no_search_finds_are_refused(embedder: Embedder) -> None:
    check_vectors(embedder.embed(["fine"]))
    for bad in (np.nan, np.inf, 0.0, 1e-40):
        with pytest.raises(MemoryStoreError, match="vectors of another length"):
            check_vectors(np.full((1, 384), bad, np.float32))


async def test_concurrent_callers_lose_nothing(store: ChromaStore) -> None:
    texts = sentences(60)
    await asyncio.gather(*(store.aput(("d",), t, {"t": t}, index=["t"]) for t in texts))
    found = await asyncio.gather(*(store.asearch(("d",), query=t, limit=1) for t in texts))
    assert [hits[0].key for hits in found] == texts


def test_a_second_opener_works_without_memory(
    store: ChromaStore, embedder: Embedder, caplog: pytest.LogCaptureFixture
) -> None:
    assert open_memory(store.folder, embedder) is None
    assert "going on without it" in caplog.text
    store.close()
    again = open_memory(store.folder, embedder)
    assert again is not None
    again.close()


def test_a_closed_store_says_so(store: ChromaStore) -> None:
    store.close()
    store.close()
    with pytest.raises(MemoryStoreError, match="is closed"):
        store.get(("d",), "k")


@pytest.mark.row("F7")
def test_a_second_process_finds_the_folder_owned(store: ChromaStore) -> None:
    code = f"""
from pathlib import Path
from codojo.memory.store import open_memory, owner_of
folder = Path({str(store.folder)!r})
print(open_memory(folder), owner_of(folder))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["None", str(os.getpid())]


WRITER = """
import sys
from pathlib import Path
from codojo.memory.store import open_memory
store = open_memory(Path(sys.argv[1]))
for n in range(10_000):
    text = f"entry number {n} about topic {n * 7919 % 1000}"
    store.put(("d",), str(n), {"t": text}, index=["t"])
    print(n, flush=True)
"""


@pytest.mark.row("F8")
@pytest.mark.row("F9")
def test_every_acknowledged_entry_is_found_after_kill(tmp_path: Path, embedder: Embedder) -> None:
    folder = tmp_path / "memory"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) == 59:
                writer.send_signal(signal.SIGKILL)
                break
        acknowledged = max([59, *(int(line) for line in writer.stdout if line.strip())]) + 1
    store = open_memory(folder, embedder)
    assert store is not None
    with store:
        assert store.count() >= acknowledged
        for n in range(acknowledged):
            text = f"entry number {n} about topic {n * 7919 % 1000}"
            hit = store.search(("d",), query=text, limit=1)[0]
            assert hit.key == str(n)
            assert hit.score == pytest.approx(1, abs=1e-5)


@pytest.mark.row("F13")
def test_an_index_of_another_model_is_refused(
    store: ChromaStore, embedder: Embedder, tmp_path: Path
) -> None:
    store.close()
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(embedder._tokenizer.read_text() + "\n")
    with pytest.raises(MemoryStoreError, match=r"model_hash .*run 'codojo rebuild'"):
        open_memory(store.folder, Embedder(embedder._weights, tokenizer))
    reopened = open_memory(store.folder, embedder)
    assert reopened is not None  # a refusal lets go of the lock
    reopened.close()


@pytest.mark.row("F13")
def test_an_index_of_another_dimension_is_refused(store: ChromaStore, embedder: Embedder) -> None:
    class Wider(Embedder):
        dim = 768

    store.close()
    with pytest.raises(MemoryStoreError, match=r"dim '384'.*'768'"):
        open_memory(store.folder, Wider(embedder._weights, embedder._tokenizer))


def test_a_damaged_index_is_an_error_with_its_remedy(
    store: ChromaStore, embedder: Embedder
) -> None:
    store.put(("d",), "k", {"v": 1})
    store.close()
    shutil.rmtree(store.folder / "chroma")
    (store.folder / "chroma").mkdir()
    (store.folder / "chroma" / "chroma.sqlite3").write_bytes(b"not a database" * 1_000)
    with pytest.raises(MemoryStoreError, match="codojo rebuild"):
        open_memory(store.folder, embedder)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, embedder: Embedder) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MemoryStoreError, match="cannot write to"):
        open_memory(tmp_path / "file" / "memory", embedder)
