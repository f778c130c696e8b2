"""How alike two texts are, by the word n-grams they share, and which texts belong together."""

import re
from collections.abc import Iterable, Mapping

WORD = re.compile(r"[a-z0-9_]+")
SHINGLE_WORDS = 3
ALIKE = 0.5
"""Share of common shingles (Jaccard) from which two texts count as near-duplicates."""


def words_of(text: str) -> list[str]:
    """The words and numbers of a text in lower case; punctuation and layout do not count."""
    return WORD.findall(text.lower())


def ngrams(tokens: list[str], n: int) -> list[tuple[str, ...]]:
    """Every `n` neighbouring tokens; one shorter tuple where there are fewer than `n`."""
    if len(tokens) < n:
        return [tuple(tokens)] if tokens else []
    return list(zip(*(tokens[i:] for i in range(n)), strict=False))


def likeness(first: str, second: str) -> float:
    """Share of word 3-grams that two texts have in common, between 0 and 1."""
    a, b = _shingles(first), _shingles(second)
    return len(a & b) / len(a | b) if a | b else 1.0


def clusters(*views: Mapping[str, str]) -> dict[str, str]:
    """For each key the smallest key of its cluster of near-duplicate texts.

    Each view maps keys to texts; being alike in one view is enough (a task's prompt, its solution).

    Pairs are proposed by MinHash-LSH and confirmed by their exact likeness; a cluster is whatever
    such pairs connect. The answer depends neither on the order of the texts nor on the machine.
    LSH may miss a pair that is only just alike.
    """
    leader = {key: key for view in views for key in view}

    def find(key: str) -> str:
        while leader[key] != key:
            key = leader[key]
        return key

    for view in views:
        for one, other in _near_pairs(view):
            first, second = sorted((find(one), find(other)))
            leader[second] = first
    return {key: find(key) for key in leader}


def _near_pairs(texts: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    from datasketch import MinHash, MinHashLSH  # numpy comes with it: not for every import of ours

    # The threshold proposes generously; `likeness` decides.
    index = MinHashLSH(threshold=ALIKE - 0.15, num_perm=128)
    for key in sorted(texts):
        sketch = MinHash(num_perm=128, seed=1)
        sketch.update_batch([" ".join(gram).encode() for gram in sorted(_shingles(texts[key]))])
        for other in sorted(index.query(sketch)):
            if likeness(texts[key], texts[other]) >= ALIKE:
                yield key, other
        index.insert(key, sketch)


def _shingles(text: str) -> set[tuple[str, ...]]:
    return set(ngrams(words_of(text), SHINGLE_WORDS))
