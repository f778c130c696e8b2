# ruff: noqa: B905, C420  # references are written the way a learner would
"""Katas on dictionaries: inverting, tallies, filters, totals, merging, grouping, records."""

from collections import Counter

from codojo.tasks.katas import draws
from codojo.tasks.katas.kata import kata


def _distinct_table(r):
    keys = draws.names(r, 0, 6)
    return (dict(zip(keys, r.sample(range(50), len(keys)))),)


@kata("inversion", examples=[({"a": 1, "b": 2},), ({},)], draw=_distinct_table)
def invert_dictionary(table: dict[str, int]) -> dict[int, str]:
    """Return a dictionary with the keys and values of `table` swapped; all values differ."""
    return {value: key for key, value in table.items()}


@kata(
    "inversion",
    examples=[({"a": 1, "b": 2, "c": 1},)],
    draw=lambda r: (draws.table(r, 0, 6, 0, 3),),
)
def keys_by_value(table: dict[str, int]) -> dict[int, list[str]]:
    """Return a dictionary from each value of `table` to the sorted list of keys that have it."""
    return {value: sorted(k for k in table if table[k] == value) for value in table.values()}


@kata("inversion", examples=[({"a": 1, "b": 2},)], draw=lambda r: (draws.table(r),))
def table_to_pairs(table: dict[str, int]) -> list[tuple[str, int]]:
    """Return the list of (key, value) tuples of the dictionary, sorted by key."""
    return sorted(table.items())


@kata(
    "tallies",
    examples=[(["red", "blue", "red"],)],
    draw=lambda r: (draws.letters(r, 0, 8, "abc").split("a"),),
)
def count_each(items: list[str]) -> dict[str, int]:
    """Return a dictionary from each item of the list to how often it occurs."""
    return {item: items.count(item) for item in items}


@kata(
    "tallies",
    examples=[("banana",)],
    draw=lambda r: (draws.letters(r, 0, 10, "abcd"),),
    wrong=["lambda text: {c: 1 for c in text}", "lambda text: {c: len(text) for c in text}"],
)
def letter_tally(text: str) -> dict[str, int]:
    """Return a dictionary from each character of `text` to the number of times it occurs."""
    return dict(Counter(text))


@kata(
    "tallies",
    examples=[(["tea", "milk", "tea"],)],
    draw=lambda r: (list(draws.letters(r, 1, 7, "xyz")),),
)
def most_frequent_item(items: list[str]) -> str:
    """Return the item that occurs most often in the non-empty list; for ties the earliest one."""
    return max(items, key=items.count)


@kata("tallies", examples=[([1, 2, 1, 3],)], draw=lambda r: (draws.ints(r, 0, 9, 0, 6),))
def values_seen_once(items: list[int]) -> list[int]:
    """Return the items that occur exactly one time in the list, in the same order."""
    return [item for item in items if items.count(item) == 1]


@kata(
    "table_filters",
    examples=[({"a": 5, "b": 12}, 10)],
    draw=lambda r: (draws.table(r), r.randint(0, 20)),
)
def entries_above(table: dict[str, int], limit: int) -> dict[str, int]:
    """Return a dictionary with the entries of `table` whose value is greater than `limit`."""
    return {key: value for key, value in table.items() if value > limit}


@kata(
    "table_filters",
    examples=[({"a": 1, "b": None},)],
    draw=lambda r: ({k: r.choice([v, None]) for k, v in draws.table(r, 0, 6, 0, 3).items()},),
)
def drop_empty_entries(table: dict) -> dict:
    """Return a dictionary without the entries of `table` whose value is None."""
    return {key: value for key, value in table.items() if value is not None}


def _table_and_keys(r):
    table = draws.table(r, 1, 6)
    return table, r.sample(list(table), r.randint(0, len(table))) + draws.words(r, 0, 1)


@kata("table_filters", examples=[({"a": 1, "b": 2, "c": 3}, ["a", "x"])], draw=_table_and_keys)
def only_these_keys(table: dict[str, int], keys: list[str]) -> dict[str, int]:
    """Return a dictionary with only those entries of `table` whose key is in the list `keys`."""
    return {key: value for key, value in table.items() if key in keys}


@kata("table_filters", examples=[({"a": 1, "b": 2, "c": 3}, ["a", "x"])], draw=_table_and_keys)
def without_these_keys(table: dict[str, int], keys: list[str]) -> dict[str, int]:
    """Return a dictionary with the entries of `table` whose key is not in the list `keys`."""
    return {key: value for key, value in table.items() if key not in keys}


@kata("table_totals", examples=[({"a": 1, "b": 2},), ({},)], draw=lambda r: (draws.table(r),))
def sum_of_values(table: dict[str, int]) -> int:
    """Return the sum of all values of the dictionary; 0 if it is empty."""
    return sum(table.values())


@kata("table_totals", examples=[({"a": 1, "b": 7},)], draw=lambda r: (draws.table(r, 1, 6),))
def key_of_largest_value(table: dict[str, int]) -> str:
    """Return the key with the largest value of the non-empty dictionary; for ties the first key."""
    return max(table, key=table.get)


@kata(
    "table_totals",
    examples=[({"a": 3, "b": 4},)],
    draw=lambda r: (draws.table(r, 1, 6),),
    rule="close",
)
def average_value(table: dict[str, int]) -> float:
    """Return the average of the values of the non-empty dictionary."""
    return sum(table.values()) / len(table)


@kata("sorting", examples=[({"b": 2, "a": 9, "c": 5},)], draw=lambda r: (draws.table(r, 0, 7),))
def keys_by_rising_value(table: dict[str, int]) -> list[str]:
    """Return the keys of the dictionary, the one with the smallest value first; ties keep order."""
    return sorted(table, key=lambda key: table[key])


def _two_tables(r):
    keys = "abcde"
    return tuple({k: r.randint(0, 9) for k in keys if r.random() < 0.6} for _ in range(2))


@kata(
    "table_merging",
    examples=[({"a": 1, "b": 2}, {"b": 9})],
    draw=_two_tables,
    wrong=["lambda first, second: {**second, **first}"],
)
def merge_tables(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    """Return one dictionary with the entries of both; where both have a key, `second` wins."""
    return {**first, **second}


@kata("table_merging", examples=[({"a": 1, "b": 2}, {"b": 9})], draw=_two_tables)
def add_tables(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    """Return one dictionary with the keys of both; where both have a key, the values are added."""
    return {key: first.get(key, 0) + second.get(key, 0) for key in {**first, **second}}


@kata("table_merging", examples=[({"a": 1, "b": 2}, {"b": 9, "c": 3})], draw=_two_tables)
def common_keys(first: dict[str, int], second: dict[str, int]) -> list[str]:
    """Return the sorted list of the keys that both dictionaries have."""
    return sorted(key for key in first if key in second)


@kata("table_merging", examples=[({"a": 1, "b": 2}, {"b": 9, "a": 1})], draw=_two_tables)
def keys_that_changed(old: dict[str, int], new: dict[str, int]) -> list[str]:
    """Return the sorted list of keys that are in both dictionaries but with different values."""
    return sorted(key for key in old if key in new and old[key] != new[key])


def _keys_and_values(r):
    keys = draws.names(r, 0, 5)
    return keys, draws.ints(r, len(keys), len(keys))


@kata("table_building", examples=[(["a", "b"], [1, 2])], draw=_keys_and_values)
def table_from_lists(keys: list[str], values: list[int]) -> dict[str, int]:
    """Return a dictionary that maps each key to the value at the same position of `values`."""
    return dict(zip(keys, values))


@kata("table_building", examples=[(3,), (0,)], draw=lambda r: (r.randint(0, 60),))
def table_of_squares(n: int) -> dict[int, int]:
    """Return a dictionary from each whole number from 1 to `n` to its square."""
    return {i: i * i for i in range(1, n + 1)}


@kata("table_building", examples=[(["red", "blue"],)], draw=lambda r: (draws.words(r),))
def lengths_by_word(words: list[str]) -> dict[str, int]:
    """Return a dictionary from each word of the list to its number of letters."""
    return {word: len(word) for word in words}


@kata(
    "table_building", examples=[(["a", "b"], 0)], draw=lambda r: (draws.names(r), r.randint(0, 9))
)
def table_with_default(keys: list[str], value: int) -> dict[str, int]:
    """Return a dictionary in which every key of the list `keys` has the same `value`."""
    return {key: value for key in keys}


@kata("grouping", examples=[(["sun", "sky", "bird"],)], draw=lambda r: (draws.words(r, 0, 8),))
def group_by_first_letter(words: list[str]) -> dict[str, list[str]]:
    """Return a dictionary from each first letter to the list of the words that begin with it.

    The words in each list keep their order, and no word is empty.
    """
    groups = {}
    for word in words:
        groups.setdefault(word[0], []).append(word)
    return groups


@kata("grouping", examples=[(["sun", "sky", "bird"],)], draw=lambda r: (draws.words(r, 0, 8),))
def group_by_length(words: list[str]) -> dict[int, list[str]]:
    """Return a dictionary from each length to the list of the words of that length, in order."""
    groups = {}
    for word in words:
        groups.setdefault(len(word), []).append(word)
    return groups


@kata("grouping", examples=[([4, -1, 0, -7],)], draw=lambda r: (draws.ints(r),))
def split_by_sign(numbers: list[int]) -> tuple[list[int], list[int]]:
    """Return a tuple of two lists: the numbers below 0 and the numbers from 0 up, in order."""
    return [n for n in numbers if n < 0], [n for n in numbers if n >= 0]


def _people(r):
    return (
        [{"name": name, "age": r.choice([18, r.randint(5, 80)])} for name in draws.names(r, 1, 5)],
    )


@kata(
    "records", examples=[([{"name": "Ann", "age": 30}, {"name": "Ben", "age": 20}],)], draw=_people
)
def names_of_people(people: list[dict]) -> list[str]:
    """Return the list of the values under the key "name" of the dictionaries in `people`."""
    return [person["name"] for person in people]


@kata(
    "records", examples=[([{"name": "Ann", "age": 30}, {"name": "Ben", "age": 20}],)], draw=_people
)
def oldest_person(people: list[dict]) -> str:
    """Return the "name" of the person with the largest "age"; for ties the first such person."""
    return max(people, key=lambda person: person["age"])["name"]


@kata(
    "records",
    examples=[([{"name": "Ann", "age": 30}, {"name": "Ben", "age": 12}],)],
    edges=[([{"name": "Ann", "age": 17}, {"name": "Ben", "age": 18}],), ([],)],
    draw=_people,
)
def names_of_adults(people: list[dict]) -> list[str]:
    """Return the "name" of each person whose "age" is at least 18, in the same order."""
    return [person["name"] for person in people if person["age"] >= 18]


def _cart(r):
    return (
        [{"price": r.randint(1, 30), "count": r.randint(0, 5)} for _ in range(r.randint(0, 4))],
    )


@kata("records", examples=[([{"price": 5, "count": 2}, {"price": 3, "count": 1}],)], draw=_cart)
def cart_total(items: list[dict]) -> int:
    """Return the sum of "price" times "count" over all dictionaries in `items`."""
    return sum(item["price"] * item["count"] for item in items)
