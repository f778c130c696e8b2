# ruff: noqa: RUF005  # references are written the way a learner would
"""First katas of texts, lists and dictionaries: one call or operator each, as beginners meet them."""

from codojo.tasks.katas import draws
from codojo.tasks.katas.kata import kata

DIGITS = "0123456789"


def _word(r):
    return (draws.word(r),)


def _words(r):
    return (draws.words(r),)


def _sentence(r):
    return (draws.sentence(r, 1, 4),)


def _name(r):
    return (draws.letters(r, 1, 6).title(),)


def _two_words(r):
    return draws.word(r), draws.word(r)


def _spaced_text(r):
    return (" " * r.randint(0, 3) + draws.sentence(r, 1, 2) + " " * r.randint(0, 3),)


def _word_and_start(r):
    word = draws.word(r)
    return word, r.choice([word[:1], word[:2], draws.letters(r, 1, 2)])


def _word_and_end(r):
    word = draws.word(r)
    return word, r.choice([word[-1:], word[-2:], draws.letters(r, 1, 2)])


def _word_and_part(r):
    word = draws.word(r)
    return word, r.choice([word[1:3], draws.letters(r, 1, 2)])


def _words_and_word(r):
    words = draws.words(r, 1, 5)
    return words, r.choice([r.choice(words), draws.word(r)])


def _table_and_word(r):
    table = draws.table(r, 1, 5)
    return table, r.choice([*table, *draws.words(r, len(table), len(table))])


def _table_and_key(r):
    table = draws.table(r, 1, 5)
    return table, r.choice(list(table))


def _text_of(*alphabets):
    """Draws one text from one of the alphabets."""
    return lambda r: (draws.letters(r, 2, 6, r.choice(alphabets)),)


def _number(r):
    return (r.randint(0, 60),)


@kata("beginnings_and_ends", examples=[("hello", "he"), ("sun", "x")], draw=_word_and_start)
def starts_with(text: str, prefix: str) -> bool:
    """Return True if `text` starts with `prefix`, else False."""
    return text.startswith(prefix)


@kata("beginnings_and_ends", examples=[("hello", "lo"), ("sun", "x")], draw=_word_and_end)
def ends_with(text: str, suffix: str) -> bool:
    """Return True if `text` ends with `suffix`, else False."""
    return text.endswith(suffix)


@kata(
    "beginnings_and_ends",
    examples=[("Who is it?",), ("It is me.",)],
    draw=lambda r: (draws.sentence(r, 1, 3) + r.choice("??.!"),),
)
def is_question(sentence: str) -> bool:
    """Return True if `sentence` ends with a question mark, else False."""
    return sentence.endswith("?")


@kata("being_inside", examples=[("hello", "ell"), ("sun", "x")], draw=_word_and_part)
def contains_part(text: str, part: str) -> bool:
    """Return True if `part` occurs in `text`, else False."""
    return part in text


@kata("being_inside", examples=[(["a", "b"], "b"), (["a"], "c")], draw=_words_and_word)
def is_in_list(items: list[str], item: str) -> bool:
    """Return True if `item` is in the list `items`, else False."""
    return item in items


@kata("being_inside", examples=[({"a": 1}, "a"), ({"a": 1}, "b")], draw=_table_and_word)
def has_key(table: dict[str, int], key: str) -> bool:
    """Return True if the dictionary `table` has the key `key`, else False."""
    return key in table


@kata(
    "being_inside",
    examples=[("red car",), ("red",)],
    draw=lambda r: (draws.sentence(r, 1, 2),),
)
def has_space(text: str) -> bool:
    """Return True if there is a space in `text`, else False."""
    return " " in text


@kata("repetition", examples=[(3,)], draw=_number)
def row_of_stars(n: int) -> str:
    """Return a text of `n` stars "*"."""
    return "*" * n


@kata("repetition", examples=[(3,)], draw=_number)
def laughter(n: int) -> str:
    """Return the text "ha" repeated `n` times."""
    return "ha" * n


@kata("repetition", examples=[("hello",)], draw=_word)
def echo_text(text: str) -> str:
    """Return `text`, then a space, then `text` again."""
    return text + " " + text


@kata("repetition", examples=[(3,)], draw=_number)
def list_of_zeros(n: int) -> list[int]:
    """Return a list of `n` zeros."""
    return [0] * n


@kata("saying_things", examples=[("Ann",)], draw=_name)
def good_morning(name: str) -> str:
    """Return the text "Good morning, " followed by `name`."""
    return "Good morning, " + name


@kata("saying_things", examples=[("tea",)], draw=_word)
def i_like(thing: str) -> str:
    """Return the text "I like " followed by `thing`."""
    return "I like " + thing


@kata("saying_things", examples=[("Hello",)], draw=_sentence)
def add_exclamation_mark(text: str) -> str:
    """Return `text` with an exclamation mark at the end."""
    return text + "!"


@kata("saying_things", examples=[("Who is it",)], draw=_sentence)
def add_question_mark(text: str) -> str:
    """Return `text` with a question mark at the end."""
    return text + "?"


@kata(
    "kinds_of_text",
    examples=[("123",), ("12a",)],
    draw=_text_of(DIGITS, DIGITS, "abcdef", "12ab"),
    wrong=["lambda text: text.isalpha()", "lambda text: text.isalnum()"],
)
def is_all_digits(text: str) -> bool:
    """Return True if all characters of `text` are digits, else False."""
    return text.isdigit()


@kata(
    "kinds_of_text",
    examples=[("abc",), ("12a",)],
    draw=_text_of("abcdef", "abcdef", DIGITS, "12ab"),
    wrong=["lambda text: text.isdigit()", "lambda text: text.isalnum()"],
)
def is_all_letters(text: str) -> bool:
    """Return True if all characters of `text` are letters, else False."""
    return text.isalpha()


@kata(
    "kinds_of_text",
    examples=[("ABC",), ("Abc",)],
    draw=_text_of("ABCDEF", "ABCDEF", "abcdef", "ABab"),
    wrong=["lambda word: word.upper()", "lambda word: word.islower()"],
)
def is_upper_case(word: str) -> bool:
    """Return True if `word` is in upper case, else False."""
    return word.isupper()


@kata(
    "kinds_of_text",
    examples=[("abc",), ("Abc",)],
    draw=_text_of("abcdef", "abcdef", "ABCDEF", "ABab"),
    wrong=["lambda word: word.lower()", "lambda word: word.isupper()"],
)
def is_lower_case(word: str) -> bool:
    """Return True if `word` is in lower case, else False."""
    return word.islower()


@kata(
    "trimming",
    examples=[("  hello ",)],
    draw=_spaced_text,
    wrong=["lambda text: text.lstrip()", "lambda text: text.rstrip()"],
)
def strip_spaces(text: str) -> str:
    """Return `text` without the spaces at its start and end."""
    return text.strip()


@kata(
    "trimming",
    examples=[("  hello ",)],
    draw=_spaced_text,
    wrong=["lambda text: text.strip()", "lambda text: text.rstrip()"],
)
def strip_left_spaces(text: str) -> str:
    """Return `text` without the spaces on the left."""
    return text.lstrip()


@kata(
    "trimming",
    examples=[("  hello ",)],
    draw=_spaced_text,
    wrong=["lambda text: text.strip()", "lambda text: text.lstrip()"],
)
def strip_right_spaces(text: str) -> str:
    """Return `text` without the spaces on the right."""
    return text.rstrip()


@kata(
    "exchanging_parts",
    examples=[("red car", "red", "blue")],
    draw=lambda r: (draws.sentence(r, 1, 5), draws.letters(r, 1, 1, "aeinort"), draws.word(r)),
    wrong=["lambda text, old, new: text.replace(old, new, 1)"],
)
def replace_part(text: str, old: str, new: str) -> str:
    """Return `text` with `old` replaced by `new` everywhere."""
    return text.replace(old, new)


@kata(
    "exchanging_parts",
    examples=[("banana", "n")],
    draw=lambda r: (draws.sentence(r, 1, 5), draws.letters(r, 1, 1, "aeinort")),
    wrong=["lambda text, part: text.replace(part, '', 1)"],
)
def remove_part(text: str, part: str) -> str:
    """Return `text` with `part` removed everywhere."""
    return text.replace(part, "")


@kata(
    "exchanging_parts",
    examples=[("red-blue-green",)],
    draw=lambda r: ("-".join(draws.words(r, 1, 5)),),
    wrong=["lambda text: text.replace('-', ' ', 1)"],
)
def dashes_to_spaces(text: str) -> str:
    """Return `text` with spaces in place of the dashes."""
    return text.replace("-", " ")


@kata(
    "exchanging_parts",
    examples=[("1,2,3",)],
    draw=lambda r: (",".join(draws.words(r, 1, 5)),),
    wrong=["lambda text: text.replace(',', '', 1)"],
)
def remove_commas(text: str) -> str:
    """Return `text` without its commas."""
    return text.replace(",", "")


@kata(
    "capital_letters",
    examples=[("red car",)],
    draw=lambda r: (draws.sentence(r),),
    wrong=["lambda text: text.capitalize()", "lambda text: text.upper()"],
)
def to_title_case(text: str) -> str:
    """Return the lower-case `text` in title case: each word starts with a capital letter."""
    return text.title()


@kata("capital_letters", examples=[("hello",)], draw=_word)
def capitalize_word(word: str) -> str:
    """Return the lower-case `word` with its first letter as a capital."""
    return word.capitalize()


@kata("capital_letters", examples=[(["a", "bc"],)], draw=_words)
def words_in_upper_case(words: list[str]) -> list[str]:
    """Return a list with each of the `words` in upper case."""
    return [word.upper() for word in words]


@kata(
    "capital_letters",
    examples=[(["A", "Bc"],)],
    draw=lambda r: ([draws.letters(r, 1, 5).title() for _ in range(r.randint(0, 5))],),
)
def words_in_lower_case(words: list[str]) -> list[str]:
    """Return a list with each of the `words` in lower case."""
    return [word.lower() for word in words]


@kata(
    "things_in_order",
    examples=[(["b", "c", "a"],)],
    draw=_words,
    edges=[(["sun", "car", "sun"],)],
    wrong=["lambda words: sorted(set(words))", "lambda words: words[::-1]"],
)
def sort_words(words: list[str]) -> list[str]:
    """Return the `words` in alphabetical order."""
    return sorted(words)


@kata(
    "things_in_order",
    examples=[(["b", "a", "b"],)],
    draw=lambda r: (draws.words(r, 0, 4) * 2,),
    wrong=["lambda words: sorted(words)"],
)
def sort_different_words(words: list[str]) -> list[str]:
    """Return a sorted list of the set of `words`."""
    return sorted(set(words))


@kata(
    "things_in_order",
    examples=[({"b": 1, "a": 2},)],
    draw=lambda r: (draws.table(r),),
    wrong=["lambda table: list(table)", "lambda table: sorted(table.values())"],
)
def sorted_keys(table: dict[str, int]) -> list[str]:
    """Return the sorted keys of `table`."""
    return sorted(table.keys())


@kata("things_in_order", examples=[({"a": 2, "b": 1},)], draw=lambda r: (draws.table(r),))
def sorted_values(table: dict[str, int]) -> list[int]:
    """Return the sorted values of `table`."""
    return sorted(table.values())


@kata(
    "small_lists",
    examples=[(["a", "b"], "c")],
    draw=_words_and_word,
    wrong=["lambda items, item: [item] + items"],
)
def add_item(items: list[str], item: str) -> list[str]:
    """Return a new list: `items` with `item` added at the end."""
    return items + [item]


@kata(
    "small_lists",
    examples=[(["a", "b"], "c")],
    draw=_words_and_word,
    wrong=["lambda items, item: items + [item]"],
)
def add_item_in_front(items: list[str], item: str) -> list[str]:
    """Return a new list: `items` with `item` added at the front."""
    return [item] + items


@kata(
    "small_lists",
    examples=[("tea", "milk")],
    draw=_two_words,
    wrong=["lambda first, second: [second, first]", "lambda first, second: (first, second)"],
)
def list_of_two(first: str, second: str) -> list[str]:
    """Return a list of the two items `first` and `second`."""
    return [first, second]


@kata("looking_up", examples=[({"a": 1, "b": 2}, "b")], draw=_table_and_key)
def value_of_key(table: dict[str, int], key: str) -> int:
    """Return the value of `key` in the dictionary `table`."""
    return table[key]


@kata(
    "looking_up",
    examples=[({"name": "Ann", "age": 8},)],
    draw=lambda r: ({"name": r.choice(draws.NAMES), "age": r.randint(1, 90)},),
)
def name_of_person(person: dict) -> str:
    """Return the "name" in the dictionary `person`."""
    return person["name"]


@kata(
    "looking_up",
    examples=[([("a", 1), ("b", 2)],)],
    draw=lambda r: (list(draws.table(r).items()),),
    wrong=["lambda pairs: {value: key for key, value in pairs}", "lambda pairs: dict(pairs[:1])"],
)
def pairs_to_table(pairs: list[tuple[str, int]]) -> dict[str, int]:
    """Return a dictionary made of the list of `pairs`."""
    return dict(pairs)


@kata(
    "looking_up",
    examples=[("a", 1)],
    draw=lambda r: (draws.word(r), r.randint(0, 99)),
    wrong=["lambda key, value: {value: key}", "lambda key, value: (key, value)"],
)
def table_of_one(key: str, value: int) -> dict[str, int]:
    """Return a dictionary in which `key` has the value `value`."""
    return {key: value}


@kata("words_to_text", examples=[(["red", "car"],)], draw=_words)
def join_with_spaces(words: list[str]) -> str:
    """Return the `words` joined with spaces."""
    return " ".join(words)


@kata("words_to_text", examples=[(["sun", "day"],)], draw=_words)
def join_without_spaces(words: list[str]) -> str:
    """Return the `words` joined into one string, with nothing between them."""
    return "".join(words)


@kata("words_to_text", examples=[(["red", "car"],)], draw=_words)
def join_with_dashes(words: list[str]) -> str:
    """Return the `words` joined with dashes."""
    return "-".join(words)


@kata("words_to_text", examples=[(["red", "car"],)], draw=_words)
def join_lines(lines: list[str]) -> str:
    """Return the `lines` joined with line breaks."""
    return "\n".join(lines)
