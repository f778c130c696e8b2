# ruff: noqa: B905, RUF005, RUF007  # references are written the way a learner would
"""Katas on the order and grouping of list items: sorting, rotating, chunks, duplicates, search."""

from codojo.tasks.katas import draws
from codojo.tasks.katas.kata import kata


def _list_and_count(r):
    return draws.ints(r, 1, 8), r.randint(0, 9)


@kata(
    "moving_items",
    examples=[([1, 2, 3, 4], 1)],
    draw=lambda r: ((items := draws.ints(r, 1, 8)), r.randint(0, len(items))),
)
def rotate_left(items: list[int], n: int) -> list[int]:
    """Return `items` with the first `n` items moved to the end; `n` is at most the length."""
    return items[n:] + items[:n]


@kata("moving_items", examples=[([1, 2, 3],), ([],)], draw=lambda r: (draws.ints(r, 0, 7),))
def last_item_to_front(items: list[int]) -> list[int]:
    """Return `items` with its last item moved to the front; an empty list stays empty."""
    return items[-1:] + items[:-1]


@kata("moving_items", examples=[([1, 2, 3, 4],)], draw=lambda r: (draws.ints(r, 2, 8),))
def swap_ends(items: list[int]) -> list[int]:
    """Return `items`, which has at least two items, with the first and the last item swapped."""
    return [items[-1], *items[1:-1], items[0]]


@kata("chunks", examples=[([1, 2, 3, 4, 5], 2)], draw=lambda r: (draws.ints(r), r.randint(1, 4)))
def split_into_chunks(items: list[int], size: int) -> list[list[int]]:
    """Return `items` cut into lists of `size` items; the last one may be shorter."""
    return [items[i : i + size] for i in range(0, len(items), size)]


@kata("chunks", examples=[([1, 2, 3],)], draw=lambda r: (draws.ints(r),))
def neighbour_pairs(items: list[int]) -> list[tuple[int, int]]:
    """Return the list of tuples of each item and the item after it."""
    return list(zip(items, items[1:]))


@kata("chunks", examples=[([1, 2, 3, 4, 5],)], draw=lambda r: (draws.ints(r, 0, 9),))
def split_in_halves(items: list[int]) -> list[list[int]]:
    """Return a list of two lists: the first and the second half of `items`.

    If the length is odd, the middle item belongs to the second half.
    """
    return [items[: len(items) // 2], items[len(items) // 2 :]]


@kata(
    "chunks",
    examples=[([1, 2, 3, 4], 2)],
    draw=lambda r: (draws.ints(r, 1, 8), r.randint(1, 4)),
)
def window_sums(numbers: list[int], size: int) -> list[int]:
    """Return the sums of every `size` neighbouring numbers, from left to right."""
    return [sum(numbers[i : i + size]) for i in range(len(numbers) - size + 1)]


@kata("duplicates", examples=[([3, 1, 3, 2],)], draw=lambda r: (draws.ints(r, 0, 9, 0, 5),))
def remove_duplicates(items: list[int]) -> list[int]:
    """Return `items` without repeats; each value stays where it occurs first."""
    return list(dict.fromkeys(items))


@kata(
    "duplicates",
    examples=[([1, 2, 1],), ([1, 2],)],
    draw=lambda r: (draws.ints(r, 0, 6, 0, 12),),
)
def has_duplicates(items: list[int]) -> bool:
    """Return True if some value occurs more than once in `items`, else False."""
    return len(set(items)) < len(items)


@kata("duplicates", examples=[([4, 1, 4, 2, 1],)], draw=lambda r: (draws.ints(r, 0, 9, 0, 6),))
def repeated_values(items: list[int]) -> list[int]:
    """Return the sorted list of the values that occur more than once in `items`, each one time."""
    return sorted({item for item in items if items.count(item) > 1})


@kata(
    "flattening",
    examples=[([[1, 2], [], [3]],)],
    draw=lambda r: ([draws.ints(r, 0, 3) for _ in range(r.randint(0, 4))],),
    wrong=["lambda lists: sorted(sum(lists, []))", "lambda lists: lists[0]"],
)
def flatten(lists: list[list[int]]) -> list[int]:
    """Return one list with the items of all inner lists, in order."""
    return [item for inner in lists for item in inner]


def _two_equal_lists(r):
    size = r.randint(0, 5)
    return draws.ints(r, size, size), draws.ints(r, size, size)


@kata("flattening", examples=[([1, 2], [8, 9])], draw=_two_equal_lists)
def interleave(first: list[int], second: list[int]) -> list[int]:
    """Return one list that takes items in turn from two lists of equal length, `first` first."""
    return [item for pair in zip(first, second) for item in pair]


@kata("flattening", examples=[([1, 2], 3)], draw=lambda r: (draws.ints(r, 0, 4), r.randint(0, 4)))
def repeat_each_item(items: list[int], n: int) -> list[int]:
    """Return a list in which each item of `items` stands `n` times in a row."""
    return [item for item in items for _ in range(n)]


@kata(
    "flattening",
    examples=[([1, [2, [3, 4]], 5],)],
    draw=lambda r: ([r.choice([n, [n], [n, [n + 1]]]) for n in draws.ints(r, 0, 5)],),
)
def flatten_deeply(items: list) -> list[int]:
    """Return all numbers of a list that may contain lists inside lists, in order, as one flat list."""
    flat = []
    for item in items:
        flat += flatten_deeply(item) if isinstance(item, list) else [item]
    return flat


@kata("sorting", examples=[([2, 3, 1],)], draw=lambda r: (draws.ints(r),))
def sort_descending(numbers: list[int]) -> list[int]:
    """Return the numbers sorted from the largest to the smallest."""
    return sorted(numbers, reverse=True)


@kata("sorting", examples=[(["river", "sun", "bird"],)], draw=lambda r: (draws.words(r),))
def sort_by_length(words: list[str]) -> list[str]:
    """Return the words sorted from the shortest to the longest; ties keep their order."""
    return sorted(words, key=len)


@kata("sorting", examples=[([("a", 3), ("b", 1)],)], draw=lambda r: (list(draws.table(r).items()),))
def sort_by_second(pairs: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the pairs sorted by their second value, smallest first; ties keep their order."""
    return sorted(pairs, key=lambda pair: pair[1])


@kata("sorting", examples=[([4, 9, 1, 7],)], draw=lambda r: (draws.ints(r, 0, 7),))
def three_largest(numbers: list[int]) -> list[int]:
    """Return the three largest numbers, largest first, or all of them if there are fewer."""
    return sorted(numbers, reverse=True)[:3]


@kata("sorting", examples=[([12, 31, 25],)], draw=lambda r: (draws.ints(r, 0, 7, 0, 99),))
def sort_by_last_digit(numbers: list[int]) -> list[int]:
    """Return the numbers, none negative, sorted by their last digit; ties keep their order."""
    return sorted(numbers, key=lambda n: n % 10)


@kata(
    "finding",
    examples=[([4, 7, 4], 4)],
    draw=lambda r: (draws.ints(r, 0, 9, 0, 4), r.randint(0, 4)),
)
def count_occurrences(items: list[int], target: int) -> int:
    """Return how many items of the list are equal to `target`."""
    return items.count(target)


@kata(
    "finding",
    examples=[([4, 7, 4], 7), ([4], 1)],
    draw=lambda r: (draws.ints(r, 0, 8, 0, 6), r.randint(0, 6)),
)
def position_of(items: list[int], target: int) -> int:
    """Return the position (from 0) of the first item equal to `target`, or -1 if there is none."""
    return items.index(target) if target in items else -1


@kata(
    "finding",
    examples=[([4, 7, 9], 5), ([4], 8)],
    draw=lambda r: (draws.ints(r, 0, 6), r.randint(-9, 18)),
)
def first_greater_than(numbers: list[int], limit: int) -> int | None:
    """Return the first number in the list that is greater than `limit`, or None if there is none."""
    return next((n for n in numbers if n > limit), None)


@kata(
    "finding",
    examples=[([1, 4, 6], 5)],
    draw=lambda r: (sorted(draws.ints(r, 0, 7, 0, 20)), r.randint(-2, 22)),
)
def insert_position(ordered: list[int], number: int) -> int:
    """Return how many items of the sorted list `ordered` are less than `number`."""
    return sum(item < number for item in ordered)


@kata("list_pairs", examples=[([1, 2], [10, 20])], draw=_two_equal_lists)
def add_lists(first: list[int], second: list[int]) -> list[int]:
    """Return the list of the sums of the items at the same positions of two equally long lists."""
    return [a + b for a, b in zip(first, second)]


@kata("list_pairs", examples=[([1, 2], [10, 20])], draw=_two_equal_lists)
def dot_product(first: list[int], second: list[int]) -> int:
    """Return the sum of the products of the items at the same positions of two equal-length lists."""
    return sum(a * b for a, b in zip(first, second))


@kata("list_pairs", examples=[([1, 9], [3, 4])], draw=_two_equal_lists)
def larger_of_each_pair(first: list[int], second: list[int]) -> list[int]:
    """Return the list of the larger of the two numbers at each position of two equally long lists."""
    return [max(a, b) for a, b in zip(first, second)]


@kata(
    "list_pairs",
    examples=[([1, 3], [2, 3, 5])],
    draw=lambda r: (sorted(draws.ints(r, 0, 5)), sorted(draws.ints(r, 0, 5))),
)
def merge_sorted(first: list[int], second: list[int]) -> list[int]:
    """Return one sorted list with all items of two sorted lists."""
    return sorted(first + second)


@kata(
    "replacing",
    examples=[([1, 2, 1], 1, 9)],
    draw=lambda r: (draws.ints(r, 0, 8, 0, 3), r.randint(0, 3), r.randint(10, 19)),
)
def replace_value(items: list[int], old: int, new: int) -> list[int]:
    """Return `items` with every item equal to `old` replaced by `new`."""
    return [new if item == old else item for item in items]


@kata(
    "replacing",
    examples=[([1, 2, 3], 1, 9)],
    draw=lambda r: ((items := draws.ints(r, 0, 7)), r.randint(0, len(items)), r.randint(30, 39)),
)
def insert_at(items: list[int], position: int, value: int) -> list[int]:
    """Return a new list with `value` inserted before `position` (from 0, at most the length)."""
    return items[:position] + [value] + items[position:]


@kata("replacing", examples=[([1, 2, 3], 4)], draw=lambda r: (draws.ints(r, 0, 5), r.randint(0, 8)))
def fill_to_length(items: list[int], length: int) -> list[int]:
    """Return `items` with zeros added at the end until it has `length` items; never shortened."""
    return items + [0] * (length - len(items))


@kata(
    "replacing",
    examples=[([1, 2, 3, 4], 1)],
    draw=lambda r: ((items := draws.ints(r, 1, 8)), r.randint(0, len(items) - 1)),
)
def without_position(items: list[int], position: int) -> list[int]:
    """Return a new list without the item at `position`, counted from 0."""
    return items[:position] + items[position + 1 :]
