# ruff: noqa: B905, RUF007  # references are written the way a learner would
"""Katas on the characters of one text: vowels, case, reversal, counting, slices, anagrams."""

from codojo.tasks.katas import draws
from codojo.tasks.katas.kata import kata


@kata("vowels", examples=[("Banana",), ("",)], draw=lambda r: (draws.text(r),))
def count_vowels(text: str) -> int:
    """Return how many letters of `text` are vowels (a, e, i, o, u, in either case)."""
    return sum(c in "aeiouAEIOU" for c in text)


@kata("vowels", examples=[("banana",)], draw=lambda r: (draws.letters(r, 0, 9),))
def remove_vowels(word: str) -> str:
    """Return the lower-case text `word` without its vowels (a, e, i, o, u)."""
    return "".join(c for c in word if c not in "aeiou")


@kata(
    "vowels", examples=[("tree",), ("rhythm",)], draw=lambda r: (draws.letters(r, 0, 4, "bcdfae"),)
)
def has_vowel(word: str) -> bool:
    """Return True if the lower-case text `word` contains a vowel (a, e, i, o, u), else False."""
    return any(c in "aeiou" for c in word)


@kata(
    "vowels",
    examples=[("green",), ("xyz",)],
    draw=lambda r: (draws.letters(r, 0, 6, "bcdfgaeiou"),),
)
def first_vowel(word: str) -> str:
    """Return the first vowel (a, e, i, o, u) of the lower-case text `word`, or "" if it has none."""
    return next((c for c in word if c in "aeiou"), "")


@kata("vowels", examples=[("orange",)], draw=lambda r: (draws.letters(r, 0, 9),))
def star_vowels(word: str) -> str:
    """Return the lower-case text `word` with each vowel (a, e, i, o, u) replaced by `*`."""
    return "".join("*" if c in "aeiou" else c for c in word)


@kata("letter_case", examples=[("Hello World",)], draw=lambda r: (draws.text(r),))
def count_capitals(text: str) -> int:
    """Return how many characters of `text` are upper-case letters."""
    return sum(c.isupper() for c in text)


@kata("letter_case", examples=[("hello",)], draw=lambda r: (draws.letters(r, 1, 8),))
def capitalize_last(word: str) -> str:
    """Return the non-empty lower-case text `word` with its last letter in upper case."""
    return word[:-1] + word[-1].upper()


@kata(
    "letter_case",
    examples=[("Hello World",)],
    draw=lambda r: (draws.text(r),),
    wrong=["lambda text: text.upper()", "lambda text: text.title()"],
)
def swap_letter_case(text: str) -> str:
    """Return `text` with upper-case letters made lower case and lower-case letters upper case."""
    return text.swapcase()


@kata("letter_case", examples=[("Hello World",)], draw=lambda r: (draws.text(r),))
def only_capitals(text: str) -> str:
    """Return the upper-case letters of `text`, in order, as one string."""
    return "".join(c for c in text if c.isupper())


@kata("letter_case", examples=[("hello",)], draw=lambda r: (draws.letters(r, 0, 9),))
def alternate_case(word: str) -> str:
    """Return lower-case `word` with the letters at positions 0, 2, 4 and so on in upper case."""
    return "".join(c.upper() if i % 2 == 0 else c for i, c in enumerate(word))


@kata("reversal", examples=[("hello",), ("",)], draw=lambda r: (draws.text(r),))
def reverse_text(text: str) -> str:
    """Return `text` written backwards."""
    return text[::-1]


@kata("reversal", examples=[("red green blue",)], draw=lambda r: (draws.sentence(r),))
def reverse_word_order(sentence: str) -> str:
    """Return the words of `sentence` in reverse order, with one space between them."""
    return " ".join(sentence.split()[::-1])


@kata("reversal", examples=[("abc def",)], draw=lambda r: (draws.sentence(r),))
def reverse_each_word(sentence: str) -> str:
    """Return `sentence` with each word written backwards; the order of the words stays the same."""
    return " ".join(word[::-1] for word in sentence.split())


def _maybe_mirrored(r):
    half = draws.letters(r, 0, 4, "abc")
    other = draws.letters(r, 1, 6, "abc")
    return (r.choice([half + half[::-1], half + "x" + half[::-1], other, other + half]),)


@kata("reversal", examples=[("level",), ("apple",)], draw=_maybe_mirrored)
def is_palindrome(text: str) -> bool:
    """Return True if `text` reads the same forwards and backwards, else False."""
    return text == text[::-1]


@kata(
    "reversal", examples=[("abcdef", 3)], draw=lambda r: (draws.letters(r, 0, 9), r.randint(0, 6))
)
def reverse_start(text: str, n: int) -> str:
    """Return `text` with its first `n` characters reversed and the rest unchanged."""
    return text[:n][::-1] + text[n:]


@kata(
    "letter_counts",
    examples=[("banana", "a")],
    draw=lambda r: (draws.letters(r, 0, 12, "abcd"), r.choice("abcd")),
)
def count_letter(text: str, letter: str) -> int:
    """Return how many times the character `letter` occurs in `text`."""
    return text.count(letter)


@kata("letter_counts", examples=[("banana",)], draw=lambda r: (draws.letters(r, 0, 12, "abcdef"),))
def count_different_letters(text: str) -> int:
    """Return how many different characters `text` contains."""
    return len(set(text))


@kata(
    "letter_counts",
    examples=[("banana",), ("abab",)],
    draw=lambda r: (draws.letters(r, 1, 12, "abcde"),),
)
def most_common_letter(text: str) -> str:
    """Return the character that occurs most often in the non-empty `text`.

    If several occur equally often, return the one that comes first in `text`.
    """
    return max(text, key=text.count)


@kata(
    "letter_counts",
    examples=[("banana", "a")],
    draw=lambda r: (draws.letters(r, 0, 10, "abcd"), r.choice("abcd")),
)
def letter_positions(text: str, letter: str) -> list[int]:
    """Return the list of positions (from 0) at which the character `letter` occurs in `text`."""
    return [i for i, c in enumerate(text) if c == letter]


@kata(
    "letter_counts",
    examples=[("swiss",), ("aabb",)],
    draw=lambda r: (draws.letters(r, 0, 8, "abcdef"),),
)
def first_single_letter(text: str) -> str:
    """Return the first character that occurs exactly once in `text`, or "" if there is none."""
    return next((c for c in text if text.count(c) == 1), "")


@kata("text_slices", examples=[("abcdef",), ("abcde",)], draw=lambda r: (draws.letters(r, 0, 12),))
def first_half(text: str) -> str:
    """Return the first half of `text`; if the length is odd, leave the middle character out."""
    return text[: len(text) // 2]


@kata("every_nth", examples=[("abcdef",)], draw=lambda r: (draws.letters(r, 0, 12),))
def every_second_letter(text: str) -> str:
    """Return the characters of `text` at positions 0, 2, 4 and so on, as one string."""
    return text[::2]


@kata("text_slices", examples=[("abcdef",), ("ab",)], draw=lambda r: (draws.letters(r, 0, 8),))
def last_three_letters(text: str) -> str:
    """Return the last three characters of `text`, or all of it if it is shorter."""
    return text[-3:]


@kata("text_slices", examples=[("hello",), ("a",)], draw=lambda r: (draws.letters(r, 0, 8),))
def drop_first_and_last(text: str) -> str:
    """Return `text` without its first and its last character; if it is too short, return ""."""
    return text[1:-1]


@kata(
    "text_slices",
    examples=[("hello", 1)],
    draw=lambda r: (draws.letters(r, 1, 8), r.randint(0, 6)),
)
def remove_letter_at(text: str, position: int) -> str:
    """Return `text` without the character at `position` (from 0); if there is none, return `text`."""
    return text[:position] + text[position + 1 :]


@kata("text_slices", examples=[("hello",), ("a",)], draw=lambda r: (draws.letters(r, 0, 8),))
def swap_first_and_last(text: str) -> str:
    """Return `text` with its first and last character swapped; texts under two characters stay."""
    return text if len(text) < 2 else text[-1] + text[1:-1] + text[0]


def _maybe_shuffled(r):
    word = draws.letters(r, 1, 6, "abcd")
    other = "".join(r.sample(word, len(word)))
    return word, r.choice([other, other, word[:-1] + r.choice("abcd"), other + "a"])


@kata("anagrams", examples=[("listen", "silent"), ("aab", "abb")], draw=_maybe_shuffled)
def are_anagrams(first: str, second: str) -> bool:
    """Return True if `first` and `second` consist of the same letters, each as often, else False."""
    return sorted(first) == sorted(second)


@kata("anagrams", examples=[("banana",)], draw=lambda r: (draws.letters(r, 0, 9),))
def sort_letters(word: str) -> str:
    """Return the letters of `word` in alphabetical order, as one string."""
    return "".join(sorted(word))


@kata(
    "anagrams",
    examples=[("planet", "paint")],
    draw=lambda r: (draws.letters(r, 0, 7, "abcdef"), draws.letters(r, 0, 7, "abcdef")),
)
def shared_letters(first: str, second: str) -> str:
    """Return the different letters that occur in both texts, in alphabetical order, as one string."""
    return "".join(sorted(set(first) & set(second)))


@kata(
    "anagrams",
    examples=[("notes", "tone"), ("dog", "good")],
    draw=lambda r: (draws.letters(r, 3, 9, "abcd"), draws.letters(r, 0, 4, "abcd")),
)
def can_build_word(letters: str, word: str) -> bool:
    """Return True if `word` can be written with `letters`, using each letter at most once."""
    return all(letters.count(c) >= word.count(c) for c in word)


def _equally_long(r):
    size = r.randint(0, 8)
    return draws.letters(r, size, size, "abc"), draws.letters(r, size, size, "abc")


@kata("letter_pairs", examples=[("karate", "kayaks")], draw=_equally_long)
def count_different_positions(first: str, second: str) -> int:
    """Return at how many positions two texts of equal length have different characters."""
    return sum(a != b for a, b in zip(first, second))


@kata("letter_pairs", examples=[("hello",)], draw=lambda r: (draws.letters(r, 0, 9, "abc"),))
def count_double_letters(text: str) -> int:
    """Return how many characters of `text` are equal to the character right before them."""
    return sum(a == b for a, b in zip(text, text[1:]))


@kata("letter_pairs", examples=[("aabbbc",)], draw=lambda r: (draws.letters(r, 0, 10, "abc"),))
def squeeze_letters(text: str) -> str:
    """Return `text` with each run of the same character shortened to one character."""
    return "".join(c for i, c in enumerate(text) if i == 0 or c != text[i - 1])


@kata("letter_pairs", examples=[("abc",)], draw=lambda r: (draws.letters(r, 0, 8),))
def double_each_letter(text: str) -> str:
    """Return `text` with every character written twice."""
    return "".join(c * 2 for c in text)
