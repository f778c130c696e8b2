"""Katas on words and lines: lengths, spaces, joining, affixes, padding, names, initials."""

from codojo.tasks.katas import draws
from codojo.tasks.katas.kata import kata


@kata("word_lengths", examples=[(["sun", "river", "a"],), ([],)], draw=lambda r: (draws.words(r),))
def word_lengths(words: list[str]) -> list[int]:
    """Return the list of the lengths of the strings in `words`, in the same order."""
    return [len(word) for word in words]


@kata("word_lengths", examples=[("the green river",)], draw=lambda r: (draws.sentence(r, 1, 7),))
def longest_word(sentence: str) -> str:
    """Return the longest word of the non-empty `sentence`; if several are longest, the first."""
    return max(sentence.split(), key=len)


@kata(
    "word_lengths",
    examples=[(["sun", "river", "a"], 3)],
    draw=lambda r: (draws.words(r), r.randint(1, 5)),
)
def words_longer_than(words: list[str], n: int) -> list[str]:
    """Return the strings in `words` that have more than `n` characters, in the same order."""
    return [word for word in words if len(word) > n]


@kata("word_lengths", examples=[(["sun", "river", "a"],), ([],)], draw=lambda r: (draws.words(r),))
def total_letters(words: list[str]) -> int:
    """Return the total number of characters in all strings of `words`."""
    return sum(len(word) for word in words)


@kata(
    "word_lengths",
    examples=[("one three",)],
    draw=lambda r: (draws.sentence(r, 1, 7),),
    rule="close",
)
def average_word_length(sentence: str) -> float:
    """Return the average length of the words of `sentence`, which has at least one word."""
    words = sentence.split()
    return sum(len(word) for word in words) / len(words)


def _spaced(r):
    return ("".join(word + " " * r.randint(1, 3) for word in draws.words(r)),)


@kata("spaces", examples=[("a b  c",)], draw=_spaced)
def remove_spaces(text: str) -> str:
    """Return `text` without any spaces."""
    return text.replace(" ", "")


@kata("spaces", examples=[("big  red   car",)], draw=_spaced)
def single_spaces(text: str) -> str:
    """Return the words of `text` with exactly one space between them and none at either end."""
    return " ".join(text.split())


@kata("spaces", examples=[("big red car",), ("",)], draw=_spaced)
def count_words(text: str) -> int:
    """Return the number of words in `text`; words are separated by one or more spaces."""
    return len(text.split())


@kata("spaces", examples=[("big red car",)], draw=lambda r: (draws.sentence(r),))
def spaces_to_underscores(text: str) -> str:
    """Return `text` with every space replaced by an underscore `_`."""
    return text.replace(" ", "_")


@kata(
    "joining",
    examples=[(["red", "green", "blue"],), ([],)],
    draw=lambda r: (draws.words(r),),
    wrong=["lambda words: ','.join(words)", "lambda words: ', '.join(sorted(words))"],
)
def join_with_commas(words: list[str]) -> str:
    """Return the strings in `words` joined with a comma and a space between them."""
    return ", ".join(words)


@kata("joining", examples=[([1, 2, 3],)], draw=lambda r: (draws.ints(r),))
def join_numbers(numbers: list[int]) -> str:
    """Return the numbers as text, joined with a dash `-` between them."""
    return "-".join(str(n) for n in numbers)


@kata(
    "joining",
    examples=[(["red", "green", "blue"],), (["red"],)],
    draw=lambda r: (draws.words(r, 1, 6),),
)
def join_with_and(words: list[str]) -> str:
    """Return the words with commas between them, but "and" before the last: "a, b and c".

    A list of one word gives that word. The list is never empty.
    """
    if len(words) == 1:
        return words[0]
    return ", ".join(words[:-1]) + " and " + words[-1]


@kata("joining", examples=[(["tea", "milk"],)], draw=lambda r: (draws.words(r),))
def number_the_lines(lines: list[str]) -> list[str]:
    """Return each line with its number from 1, a dot and a space before it, like "1. tea"."""
    return [f"{i}. {line}" for i, line in enumerate(lines, 1)]


@kata("joining", examples=[(["sun", "moon"],)], draw=lambda r: (draws.words(r),))
def glue_first_letters(words: list[str]) -> str:
    """Return a string made of the first letter of each word in `words`; no word is empty."""
    return "".join(word[0] for word in words)


@kata(
    "word_endings",
    examples=[("cat",)],
    draw=lambda r: (draws.letters(r, 1, 5) + r.choice(["s", "x", "t", "n", ""]),),
)
def simple_plural(word: str) -> str:
    """Return `word` with "es" added if it ends with "s" or "x", otherwise with "s" added."""
    return word + "es" if word.endswith(("s", "x")) else word + "s"


@kata(
    "word_endings",
    examples=[("working",), ("work",)],
    draw=lambda r: (r.choice(["ing", ""]) + draws.letters(r, 1, 5) + r.choice(["ing", ""]),),
)
def remove_ing(word: str) -> str:
    """Return `word` without its ending "ing"; if it does not end with "ing", return it unchanged."""
    return word.removesuffix("ing")


@kata(
    "word_endings",
    examples=[(["taking", "book", "sing"], "ing")],
    draw=lambda r: (draws.words(r, 2, 9), r.choice(["e", "t", "d", "r", "ht"])),
)
def words_ending_with(words: list[str], ending: str) -> list[str]:
    """Return the strings in `words` that end with `ending`, in the same order."""
    return [word for word in words if word.endswith(ending)]


def _similar_beginnings(r):
    start = draws.letters(r, 0, 4, "abc")
    return start + draws.letters(r, 0, 3, "ab"), start + draws.letters(r, 0, 3, "bc")


@kata(
    "word_endings",
    examples=[("flower", "flow"), ("abc", "xbc")],
    draw=_similar_beginnings,
)
def common_beginning(first: str, second: str) -> str:
    """Return the longest text with which both `first` and `second` begin; it may be empty."""
    n = 0
    while n < min(len(first), len(second)) and first[n] == second[n]:
        n += 1
    return first[:n]


@kata("text_padding", examples=[(7, 3)], draw=lambda r: (r.randint(0, 2000), r.randint(1, 6)))
def pad_with_zeros(number: int, width: int) -> str:
    """Return `number` as text with zeros in front up to `width` characters; never cut digits off."""
    return str(number).zfill(width)


@kata("text_padding", examples=[("hi", 5)], draw=lambda r: (draws.word(r), r.randint(1, 10)))
def pad_right_with_dots(text: str, width: int) -> str:
    """Return `text` followed by dots `.` up to `width` characters; longer text stays unchanged."""
    return text.ljust(width, ".")


@kata("text_padding", examples=[("hi",)], draw=lambda r: (draws.sentence(r),))
def put_in_brackets(text: str) -> str:
    """Return `text` with "[" before it and "]" after it."""
    return "[" + text + "]"


@kata(
    "text_padding", examples=[("ab", 3), ("ab", 0)], draw=lambda r: (draws.word(r), r.randint(0, 5))
)
def repeat_text(text: str, n: int) -> str:
    """Return `text` repeated `n` times with a dash `-` between the copies; "" if `n` is 0."""
    return "-".join([text] * n)


@kata(
    "text_padding",
    examples=[("hello world", 5), ("hi", 5)],
    draw=lambda r: (draws.sentence(r, 0, 3), r.randint(3, 14)),
)
def shorten_text(text: str, limit: int) -> str:
    """Return `text` if it has at most `limit` characters, else its first `limit` ones and "..."."""
    return text if len(text) <= limit else text[:limit] + "..."


@kata("initials", examples=[("Ada Lovelace",)], draw=lambda r: (" ".join(draws.names(r, 1, 4)),))
def initials(name: str) -> str:
    """Return the first letter of each word of `name`, each followed by a dot, like "A.L."."""
    return "".join(part[0] + "." for part in name.split())


@kata("initials", examples=[("for your information",)], draw=lambda r: (draws.sentence(r),))
def acronym(phrase: str) -> str:
    """Return the first letters of the words of `phrase`, in upper case, as one string."""
    return "".join(word[0].upper() for word in phrase.split())


@kata(
    "initials",
    examples=[("Ada", "Lovelace")],
    draw=lambda r: tuple(draws.names(r, 2, 2)),
)
def last_name_first(first: str, last: str) -> str:
    """Return the name as last name, comma, space, first name, like "Lovelace, Ada"."""
    return f"{last}, {first}"


def _snake(r):
    return ("_".join(draws.words(r, 1, 4)),)


@kata("naming_styles", examples=[("max_file_size",)], draw=_snake)
def snake_to_camel(name: str) -> str:
    """Return a name like "max_file_size" in camel case: "maxFileSize"."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


@kata(
    "naming_styles",
    examples=[("maxFileSize",)],
    draw=lambda r: (draws.word(r) + "".join(w.capitalize() for w in draws.words(r, 0, 3)),),
)
def camel_to_snake(name: str) -> str:
    """Return a name like "maxFileSize" in snake case: "max_file_size"."""
    return "".join("_" + c.lower() if c.isupper() else c for c in name)


@kata("naming_styles", examples=[("max_file_size",)], draw=_snake)
def snake_to_title(name: str) -> str:
    """Return a name like "max_file_size" as a title: "Max File Size"."""
    return name.replace("_", " ").title()


@kata(
    "naming_styles",
    examples=[("My First Post",)],
    draw=lambda r: (" ".join(r.choice([w, w.title()]) for w in draws.words(r, 1, 5)),),
)
def title_to_slug(title: str) -> str:
    """Return `title` in lower case with each space replaced by a dash `-`."""
    return title.lower().replace(" ", "-")


def _digit_text(r):
    return ("".join(r.choice("ab 0123456789") for _ in range(r.randint(0, 10))),)


@kata("digits_in_text", examples=[("a1b22",)], draw=_digit_text)
def sum_digits_in_text(text: str) -> int:
    """Return the sum of all digits in `text`; 0 if there are none."""
    return sum(int(c) for c in text if c.isdigit())


@kata("digits_in_text", examples=[("a1b22",)], draw=_digit_text)
def keep_digits(text: str) -> str:
    """Return only the digits of `text`, in the same order, as one string."""
    return "".join(c for c in text if c.isdigit())


@kata("digits_in_text", examples=[("a1b22",)], draw=_digit_text)
def count_digits_in_text(text: str) -> int:
    """Return the number of digits that occur anywhere in `text`."""
    return sum(c.isdigit() for c in text)


@kata("digits_in_text", examples=[("room 42, floor 3",), ("none",)], draw=_digit_text)
def numbers_in_text(text: str) -> list[int]:
    """Return the whole numbers written with digits in `text`, in order, as a list of integers."""
    return [int(n) for n in "".join(c if c.isdigit() else " " for c in text).split()]


@kata(
    "shift_codes",
    examples=[("abz", 1)],
    draw=lambda r: (draws.letters(r, 0, 8, "abcdefghvwxyz"), r.randint(0, 25)),
)
def caesar_shift(word: str, n: int) -> str:
    """Return lower-case `word` with each letter moved `n` places on in the alphabet; a follows z."""
    return "".join(chr((ord(c) - 97 + n) % 26 + 97) for c in word)


@kata("shift_codes", examples=[("abz",)], draw=lambda r: (draws.letters(r, 0, 8),))
def alphabet_positions(word: str) -> list[int]:
    """Return the place of each letter of lower-case `word` in the alphabet; "a" is 1, "z" is 26."""
    return [ord(c) - 96 for c in word]


@kata("shift_codes", examples=[("aaabcc",), ("",)], draw=lambda r: (draws.letters(r, 0, 9, "ab"),))
def run_length_code(text: str) -> str:
    """Return each run of the same character as that character and its length, like "a3b1c2"."""
    coded = ""
    start = 0
    for i in range(1, len(text) + 1):
        if i == len(text) or text[i] != text[start]:
            coded += text[start] + str(i - start)
            start = i
    return coded


@kata(
    "shift_codes",
    examples=[([8, 9],)],
    draw=lambda r: (draws.ints(r, 0, 8, 1, 26),),
)
def letters_from_positions(places: list[int]) -> str:
    """Return the text spelled by places in the alphabet: 1 is "a", 2 is "b", 26 is "z"."""
    return "".join(chr(96 + n) for n in places)
