# ruff: noqa: SIM905  # as lists, the word pools would fill the file
"""Seeded inputs that many katas share; each function takes the `random.Random` to draw from.

Lengths include empty unless `low` says otherwise, so that the edge cases come up by themselves.
Only methods of `Random` whose streams are the same in every Python from 3.11 on are used.
"""

from random import Random

WORDS = (
    "apple river stone cat dog bird house green blue red train paper window door light night day "
    "sun moon star tree leaf fish bread milk sugar salt pepper table chair lamp book page letter "
    "word sky rain snow wind fire earth water glass cup plate fork knife spoon bag box key lock "
    "road bridge car bus bike boat ship plane king queen level noon radar stats a an it go up"
).split()
NAMES = "Ann Ben Cleo Dan Eva Finn Gus Hana Ivo June Kai Lena Max Nora Otto Pia".split()


def word(r: Random) -> str:
    """One common lower-case word."""
    return r.choice(WORDS)


def words(r: Random, low: int = 0, high: int = 6) -> list[str]:
    """Common words, some of them more than once."""
    return [r.choice(WORDS) for _ in range(r.randint(low, high))]


def names(r: Random, low: int = 0, high: int = 5) -> list[str]:
    """Different first names."""
    return r.sample(NAMES, r.randint(low, high))


def letters(r: Random, low: int = 0, high: int = 10, alphabet: str = "abcdefghilmnoprstu") -> str:
    """Letters of an alphabet in random order."""
    return "".join(r.choice(alphabet) for _ in range(r.randint(low, high)))


def sentence(r: Random, low: int = 0, high: int = 6) -> str:
    """Words with one space between them, without punctuation."""
    return " ".join(words(r, low, high))


def text(r: Random) -> str:
    """Words in mixed case with digits and punctuation among them; sometimes empty."""
    parts = [r.choice([w, w, w.title(), w.upper(), str(r.randint(0, 99))]) for w in words(r, 0, 6)]
    return " ".join(parts) + (r.choice(["", ".", "!", "?"]) if parts else "")


def ints(r: Random, low: int = 0, high: int = 8, least: int = -20, most: int = 20) -> list[int]:
    """Whole numbers between `least` and `most`."""
    return [r.randint(least, most) for _ in range(r.randint(low, high))]


def natural(r: Random) -> int:
    """A whole number of one to six digits, not negative."""
    return r.randint(0, 10 ** r.randint(1, 6) - 1)


def decimals(r: Random, low: int = 1, high: int = 7) -> list[float]:
    """Numbers with one digit after the point."""
    return [r.randint(-100, 300) / 10 for _ in range(r.randint(low, high))]


def table(
    r: Random, low: int = 0, high: int = 6, least: int = -9, most: int = 30
) -> dict[str, int]:
    """A dictionary from different words to whole numbers."""
    keys = r.sample(WORDS, r.randint(low, high))
    return {key: r.randint(least, most) for key in keys}


def grid(
    r: Random, rows: int | None = None, cols: int | None = None, least: int = -9, most: int = 20
) -> list[list[int]]:
    """A matrix of whole numbers with at least one row and one column."""
    height, width = rows or r.randint(1, 4), cols or r.randint(1, 4)
    return [[r.randint(least, most) for _ in range(width)] for _ in range(height)]


def square(r: Random, least: int = -9, most: int = 20) -> list[list[int]]:
    """A matrix with as many rows as columns."""
    size = r.randint(1, 4)
    return grid(r, size, size, least, most)


def day(r: Random) -> tuple[int, int, int]:
    """Year, month and day of a date that exists, between 1950 and 2050."""
    return r.randint(1950, 2050), r.randint(1, 12), r.randint(1, 28)
