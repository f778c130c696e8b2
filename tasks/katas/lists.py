# ruff: noqa: B905, RUF007  # references are written the way a learner would
"""Katas on the values in a list of numbers: choosing, measuring, comparing."""

from codojo.tasks.katas import draws
from codojo.tasks.katas.kata import kata


@kata("even_and_odd", examples=[([1, 2, 3, 4],), ([],)], draw=lambda r: (draws.ints(r),))
def sum_of_even_numbers(numbers: list[int]) -> int:
    """Return the sum of the even numbers in `numbers`; 0 if there are none."""
    return sum(n for n in numbers if n % 2 == 0)


@kata("even_and_odd", examples=[([1, 2, 3, 4],)], draw=lambda r: (draws.ints(r),))
def keep_odd_numbers(numbers: list[int]) -> list[int]:
    """Return the list of the odd numbers in `numbers`, in the same order."""
    return [n for n in numbers if n % 2 == 1]


@kata("even_and_odd", examples=[([1, 2, 3, 4, 5],)], draw=lambda r: (draws.ints(r),))
def count_odd_numbers(numbers: list[int]) -> int:
    """Return the count of odd numbers in the list `numbers`."""
    return sum(n % 2 for n in numbers)


@kata(
    "even_and_odd",
    examples=[([2, 4],), ([2, 3],)],
    draw=lambda r: ([n * r.choice([1, 2, 2]) for n in draws.ints(r, 0, 6)],),
)
def are_all_even(numbers: list[int]) -> bool:
    """Return True if every number in `numbers` is even, else False; True for an empty list."""
    return all(n % 2 == 0 for n in numbers)


@kata("every_nth", examples=[([1, 2, 3, 4, 5, 6, 7],)], draw=lambda r: (draws.ints(r, 0, 12),))
def every_third_item(items: list[int]) -> list[int]:
    """Return every third item of `items`, starting with the first."""
    return items[::3]


@kata("every_nth", examples=[([5, 6, 7, 8],)], draw=lambda r: (draws.ints(r, 0, 9),))
def items_at_odd_positions(items: list[int]) -> list[int]:
    """Return the items at the positions 1, 3, 5 and so on (the first item is at position 0)."""
    return items[1::2]


@kata("every_nth", examples=[([5, 6, 7, 8],)], draw=lambda r: (draws.ints(r, 0, 9),))
def sum_at_even_positions(numbers: list[int]) -> int:
    """Return the sum of the items at the positions 0, 2, 4 and so on."""
    return sum(numbers[::2])


@kata(
    "every_nth",
    examples=[([1, 2, 3, 4, 5, 6], 2)],
    draw=lambda r: (draws.ints(r, 0, 10), r.randint(1, 5)),
)
def drop_every_nth(items: list[int], n: int) -> list[int]:
    """Return `items` without the n-th, 2n-th, 3n-th item and so on, counted from 1."""
    return [item for i, item in enumerate(items, 1) if i % n]


@kata("extremes", examples=[([3, 9, 4],)], draw=lambda r: (draws.ints(r, 1, 8),))
def difference_of_extremes(numbers: list[int]) -> int:
    """Return the largest minus the smallest number of the non-empty list `numbers`."""
    return max(numbers) - min(numbers)


@kata("extremes", examples=[([3, 9, 4],)], draw=lambda r: (draws.ints(r, 1, 8),))
def position_of_largest(numbers: list[int]) -> int:
    """Return the position (from 0) of the first largest number of the non-empty list `numbers`."""
    return numbers.index(max(numbers))


@kata(
    "extremes",
    examples=[([3, 9, 4],), ([5, 5, 1],)],
    draw=lambda r: ([*draws.ints(r, 0, 5, 0, 9), 11, r.randint(0, 11)],),
)
def second_largest(numbers: list[int]) -> int:
    """Return the second largest different number; there are at least two different numbers."""
    return sorted(set(numbers))[-2]


@kata(
    "extremes",
    examples=[([3, 9, 4], 0), ([], 7)],
    draw=lambda r: (draws.ints(r, 0, 4), r.randint(-9, 9)),
)
def largest_or_default(numbers: list[int], default: int) -> int:
    """Return the largest number of `numbers`, or `default` if the list is empty."""
    return max(numbers, default=default)


@kata("extremes", examples=[([-8, 5, 3],)], draw=lambda r: (draws.ints(r, 1, 6),))
def closest_to_zero(numbers: list[int]) -> int:
    """Return the number nearest to 0 in the non-empty list; if two are, the one that comes first."""
    return min(numbers, key=abs)


@kata("averages", examples=[([1.0, 2.0, 4.5],)], draw=lambda r: (draws.decimals(r),), rule="close")
def mean(numbers: list[float]) -> float:
    """Return the mean of the non-empty list `numbers`."""
    return sum(numbers) / len(numbers)


@kata(
    "averages",
    examples=[([5, 1, 3],), ([4, 1, 3, 2],)],
    draw=lambda r: (draws.ints(r, 1, 7),),
    rule="close",
)
def median(numbers: list[int]) -> float:
    """Return the median of the non-empty list: the middle one of the sorted numbers.

    With an even count it is the mean of the two in the middle.
    """
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    if len(ordered) % 2 == 1:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


@kata("averages", examples=[([1, 2, 6],)], draw=lambda r: (draws.ints(r, 1, 7),))
def count_above_average(numbers: list[int]) -> int:
    """Return how many numbers of the non-empty list are greater than its average."""
    return sum(n > sum(numbers) / len(numbers) for n in numbers)


@kata(
    "averages",
    examples=[([9, 1, 5, 3],)],
    draw=lambda r: (draws.ints(r, 3, 8),),
    rule="close",
)
def average_without_extremes(numbers: list[int]) -> float:
    """Return the average after one smallest and one largest number are left out.

    There are at least three numbers.
    """
    return (sum(numbers) - min(numbers) - max(numbers)) / (len(numbers) - 2)


@kata("list_filters", examples=[([-1, 0, 5],)], draw=lambda r: (draws.ints(r, 0, 8, -4, 4),))
def keep_positive_numbers(numbers: list[int]) -> list[int]:
    """Return the numbers greater than 0, in the same order."""
    return [n for n in numbers if n > 0]


@kata(
    "list_filters",
    examples=[([1, 5, 9, 12], 5, 10)],
    draw=lambda r: (draws.ints(r, 0, 9, 0, 20), r.randint(0, 9), r.randint(9, 20)),
)
def numbers_between(numbers: list[int], low: int, high: int) -> list[int]:
    """Return the numbers from `low` to `high`, both included, in the same order."""
    return [n for n in numbers if low <= n <= high]


@kata(
    "list_filters",
    examples=[([3, 1, 3, 2], 3)],
    draw=lambda r: (draws.ints(r, 0, 8, 0, 4), r.randint(0, 4)),
)
def remove_all_of(items: list[int], unwanted: int) -> list[int]:
    """Return `items` without any item equal to `unwanted`."""
    return [item for item in items if item != unwanted]


@kata(
    "list_filters",
    examples=[([0, 1, None, 2, None],)],
    draw=lambda r: ([r.choice([None, n, n]) for n in draws.ints(r, 0, 8, 0, 5)],),
    wrong=["lambda items: [item for item in items if item]"],
)
def remove_none(items: list) -> list:
    """Return `items` without the values that are None; zeros stay."""
    return [item for item in items if item is not None]


@kata("signs", examples=[([-3, 4, -1],)], draw=lambda r: (draws.ints(r),))
def count_negative_numbers(numbers: list[int]) -> int:
    """Return how many numbers in `numbers` are less than 0."""
    return sum(n < 0 for n in numbers)


@kata("signs", examples=[([-3, 4, -1],)], draw=lambda r: (draws.ints(r),))
def make_all_positive(numbers: list[int]) -> list[int]:
    """Return the list of the absolute values of `numbers`."""
    return [abs(n) for n in numbers]


@kata("signs", examples=[([-3, 4, 0],)], draw=lambda r: (draws.ints(r),))
def replace_negatives_with_zero(numbers: list[int]) -> list[int]:
    """Return `numbers` with every negative number replaced by 0."""
    return [max(n, 0) for n in numbers]


@kata(
    "signs",
    examples=[(-7,)],
    edges=[(0,), (1,), (-1,)],
    draw=lambda r: (r.choice([0, 1, -1]) * r.randint(1, 30),),
)
def sign_of(number: int) -> str:
    """Return "positive", "negative" or "zero", whichever `number` is."""
    if number == 0:
        return "zero"
    return "positive" if number > 0 else "negative"


@kata("map_numbers", examples=[([1, 2, 3],)], draw=lambda r: (draws.ints(r),))
def square_each(numbers: list[int]) -> list[int]:
    """Return the list of the squares of `numbers`."""
    return [n * n for n in numbers]


@kata("map_numbers", examples=[([1, 2, 3],)], draw=lambda r: (draws.ints(r),))
def sum_of_squares(numbers: list[int]) -> int:
    """Return the sum of the squares of `numbers`; 0 for an empty list."""
    return sum(n * n for n in numbers)


@kata(
    "map_numbers",
    examples=[([1, 2, 3], 10)],
    draw=lambda r: (draws.ints(r), r.randint(-9, 9)),
)
def add_to_each(numbers: list[int], amount: int) -> list[int]:
    """Return the list in which `amount` has been added to each number."""
    return [n + amount for n in numbers]


@kata("map_numbers", examples=[([2, 3, 4],), ([],)], draw=lambda r: (draws.ints(r, 0, 6, 1, 9),))
def product(numbers: list[int]) -> int:
    """Return the product of all `numbers`; 1 for an empty list."""
    result = 1
    for n in numbers:
        result *= n
    return result


@kata("running_values", examples=[([1, 2, 3],)], draw=lambda r: (draws.ints(r),))
def running_totals(numbers: list[int]) -> list[int]:
    """Return a list in which item i is the sum of `numbers` from the first up to position i."""
    return [sum(numbers[: i + 1]) for i in range(len(numbers))]


@kata("running_values", examples=[([3, 1, 5, 2],)], draw=lambda r: (draws.ints(r),))
def running_maximum(numbers: list[int]) -> list[int]:
    """Return a list in which item i is the largest of `numbers` from the first up to position i."""
    return [max(numbers[: i + 1]) for i in range(len(numbers))]


@kata("running_values", examples=[([3, 5, 4],)], draw=lambda r: (draws.ints(r),))
def steps_between(numbers: list[int]) -> list[int]:
    """Return each number minus the one before it; a list shorter than two gives an empty list."""
    return [b - a for a, b in zip(numbers, numbers[1:])]


@kata(
    "running_values", examples=[(100, [20, -5])], draw=lambda r: (r.randint(0, 99), draws.ints(r))
)
def lowest_balance(start: int, changes: list[int]) -> int:
    """Return the lowest value reached when `changes` are added to `start` one by one.

    The value at the start counts too.
    """
    lowest = start
    for change in changes:
        start += change
        lowest = min(lowest, start)
    return lowest


def _nearly_sorted(r):
    numbers = sorted(draws.ints(r, 1, 6, 0, 9))
    if r.random() < 0.6:
        r.shuffle(numbers)
    return (numbers,)


@kata("neighbours", examples=[([1, 2, 2],), ([2, 1],)], draw=_nearly_sorted)
def is_sorted(numbers: list[int]) -> bool:
    """Return True if no number in the list is smaller than the number before it, else False."""
    return numbers == sorted(numbers)


@kata("neighbours", examples=[([1, 3, 2, 4],)], draw=lambda r: (draws.ints(r, 0, 9, 0, 9),))
def count_rises(numbers: list[int]) -> int:
    """Return how many numbers in the list are greater than the number right before them."""
    return sum(b > a for a, b in zip(numbers, numbers[1:]))


@kata("neighbours", examples=[([1, 5, 2, 3, 1],)], draw=lambda r: (draws.ints(r, 0, 10, 0, 9),))
def inner_peaks(numbers: list[int]) -> list[int]:
    """Return the numbers that are greater than both of their neighbours; the ends never count."""
    return [b for a, b, c in zip(numbers, numbers[1:], numbers[2:]) if a < b > c]


@kata(
    "neighbours",
    examples=[([1, 1, 0, 1, 1, 1],), ([],)],
    draw=lambda r: (draws.ints(r, 0, 10, 0, 1),),
)
def longest_run_of_ones(bits: list[int]) -> int:
    """Return the length of the longest unbroken run of the number 1 in the list; 0 if none."""
    return max(len(run) for run in "".join(str(b) for b in bits).split("0"))
