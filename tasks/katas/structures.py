# ruff: noqa: B905  # references are written the way a learner would
"""Katas on matrices, sets, intervals and simple simulations."""

from codojo.tasks.katas import draws
from codojo.tasks.katas.kata import kata


@kata("transposing", examples=[([[1, 2, 3], [4, 5, 6]],)], draw=lambda r: (draws.grid(r),))
def transpose(matrix: list[list[int]]) -> list[list[int]]:
    """Return the matrix with its rows and columns exchanged, as a list of lists."""
    return [list(column) for column in zip(*matrix)]


@kata(
    "transposing",
    examples=[([[1, 2], [3, 4]], 1)],
    draw=lambda r: (draws.grid(r, None, 3), r.randint(0, 2)),
)
def column_of_matrix(matrix: list[list[int]], n: int) -> list[int]:
    """Return the list of the numbers in column `n` (from 0) of the matrix, from top to bottom."""
    return [row[n] for row in matrix]


@kata("transposing", examples=[([[1, 2], [3, 4]],)], draw=lambda r: (draws.grid(r),))
def mirror_rows(matrix: list[list[int]]) -> list[list[int]]:
    """Return the matrix with each row reversed from left to right."""
    return [row[::-1] for row in matrix]


@kata("transposing", examples=[([[1, 2], [3, 4]],)], draw=lambda r: (draws.grid(r),))
def turn_right(matrix: list[list[int]]) -> list[list[int]]:
    """Return the matrix turned by 90 degrees clockwise, as a list of lists."""
    return [list(column) for column in zip(*matrix[::-1])]


@kata("matrix_sums", examples=[([[1, 2], [3, 4]],)], draw=lambda r: (draws.grid(r),))
def row_sums(matrix: list[list[int]]) -> list[int]:
    """Return the list of the sums of the rows of the matrix."""
    return [sum(row) for row in matrix]


@kata("matrix_sums", examples=[([[1, 2], [3, 4]],)], draw=lambda r: (draws.grid(r),))
def column_sums(matrix: list[list[int]]) -> list[int]:
    """Return the list of the sums of the columns of the matrix, from left to right."""
    return [sum(column) for column in zip(*matrix)]


@kata("matrix_sums", examples=[([[1, 2], [3, 4]],)], draw=lambda r: (draws.square(r),))
def diagonal_sum(matrix: list[list[int]]) -> int:
    """Return the sum of the diagonal of a square matrix, from the top left to the bottom right."""
    return sum(row[i] for i, row in enumerate(matrix))


@kata("matrix_sums", examples=[([[1, 7], [3, 4]],)], draw=lambda r: (draws.grid(r),))
def largest_in_matrix(matrix: list[list[int]]) -> int:
    """Return the largest number in the matrix."""
    return max(max(row) for row in matrix)


@kata("matrix_building", examples=[(2, 3)], draw=lambda r: (r.randint(1, 6), r.randint(1, 6)))
def zero_matrix(rows: int, columns: int) -> list[list[int]]:
    """Return a matrix of zeros, as a list of `rows` lists with `columns` zeros each."""
    return [[0] * columns for _ in range(rows)]


@kata("matrix_building", examples=[(3,)], draw=lambda r: (r.randint(1, 25),))
def identity_matrix(size: int) -> list[list[int]]:
    """Return a square matrix with 1 on the diagonal from the top left and 0 everywhere else."""
    return [[1 if i == j else 0 for j in range(size)] for i in range(size)]


@kata("matrix_building", examples=[(3,)], draw=lambda r: (r.randint(1, 25),))
def times_table(n: int) -> list[list[int]]:
    """Return a matrix in which row i and column j, both counted from 1 to `n`, hold i * j."""
    return [[i * j for j in range(1, n + 1)] for i in range(1, n + 1)]


@kata(
    "matrix_search",
    examples=[([[1, 0], [0, 4]], 0)],
    draw=lambda r: (draws.grid(r, None, None, 0, 3), r.randint(0, 3)),
)
def count_in_matrix(matrix: list[list[int]], number: int) -> int:
    """Return how many cells of the matrix are equal to `number`."""
    return sum(row.count(number) for row in matrix)


@kata(
    "matrix_search",
    examples=[([[1, 9], [7, 4]], 7), ([[1]], 2)],
    draw=lambda r: (draws.grid(r, None, None, 0, 6), r.randint(0, 6)),
)
def find_in_matrix(matrix: list[list[int]], number: int) -> tuple[int, int] | None:
    """Return (row, column), from 0, of the first cell equal to `number`, or None if there is none.

    Rows are read from top to bottom, each from left to right.
    """
    for i, row in enumerate(matrix):
        if number in row:
            return i, row.index(number)
    return None


def _maybe_symmetric(r):
    matrix = draws.square(r, 0, 3)
    if r.random() < 0.5:
        matrix = [
            [matrix[min(i, j)][max(i, j)] for j in range(len(matrix))] for i in range(len(matrix))
        ]
    return (matrix,)


@kata("matrix_search", examples=[([[1, 2], [2, 5]],), ([[1, 2], [3, 5]],)], draw=_maybe_symmetric)
def is_symmetric(matrix: list[list[int]]) -> bool:
    """Return True if the square matrix stays the same when rows and columns change places."""
    return all(matrix[i][j] == matrix[j][i] for i in range(len(matrix)) for j in range(i))


def _two_lists(r):
    return draws.ints(r, 0, 7, 0, 9), draws.ints(r, 0, 7, 0, 9)


@kata("set_operations", examples=[([1, 2, 2], [2, 3])], draw=_two_lists)
def values_in_both(first: list[int], second: list[int]) -> list[int]:
    """Return the sorted list of the different values that are in both lists."""
    return sorted(set(first) & set(second))


@kata("set_operations", examples=[([1, 2, 2], [2, 3])], draw=_two_lists)
def values_in_either(first: list[int], second: list[int]) -> list[int]:
    """Return the sorted list of the different values that are in at least one of the lists."""
    return sorted(set(first) | set(second))


@kata("set_operations", examples=[([1, 2, 2], [2, 3])], draw=_two_lists)
def values_only_in_first(first: list[int], second: list[int]) -> list[int]:
    """Return the sorted list of the different values that are in `first` but not in `second`."""
    return sorted(set(first) - set(second))


@kata("set_operations", examples=[([1, 2, 2], [2, 3])], draw=_two_lists)
def values_in_exactly_one(first: list[int], second: list[int]) -> list[int]:
    """Return the sorted list of the different values that are in one of the two lists but not both."""
    return sorted(set(first) ^ set(second))


@kata(
    "set_tests",
    examples=[([1, 2], [1, 2, 3]), ([4], [1])],
    edges=[([1, 2], [2, 1]), ([], []), ([], [1])],
    draw=lambda r: (draws.ints(r, 0, 4, 0, 4), draws.ints(r, 2, 6, 0, 4)),
)
def contains_all(wanted: list[int], items: list[int]) -> bool:
    """Return True if every value of `wanted` is also in `items`, else False."""
    return set(wanted) <= set(items)


@kata(
    "set_tests",
    examples=[([1, 2], [3, 2]), ([4], [1])],
    draw=lambda r: (draws.ints(r, 1, 5, 0, 9), draws.ints(r, 0, 5, 0, 9)),
)
def have_nothing_in_common(first: list[int], second: list[int]) -> bool:
    """Return True if no value is in both lists, else False."""
    return not set(first) & set(second)


@kata(
    "set_tests",
    examples=[([3, 1, 4], 4)],
    draw=lambda r: (draws.ints(r, 0, 8, 1, 9), r.randint(1, 9)),
)
def missing_numbers(numbers: list[int], n: int) -> list[int]:
    """Return the sorted list of the whole numbers from 1 to `n` that are not in the list."""
    return [i for i in range(1, n + 1) if i not in numbers]


def _interval(r, least=0, most=20):
    start = r.randint(least, most)
    return start, start + r.randint(1, 9)


@kata(
    "intervals",
    examples=[((2, 5), 3), ((2, 5), 6)],
    draw=lambda r: (_interval(r, 0, 6), r.randint(0, 16)),
)
def is_inside(interval: tuple[int, int], number: int) -> bool:
    """Return True if `number` is from the start to the end of the interval, both included."""
    return interval[0] <= number <= interval[1]


@kata(
    "intervals",
    examples=[([(1, 4), (6, 8)],)],
    draw=lambda r: ([_interval(r) for _ in range(r.randint(0, 5))],),
)
def total_length(intervals: list[tuple[int, int]]) -> int:
    """Return the sum of end minus start over all intervals (start, end)."""
    return sum(end - start for start, end in intervals)


@kata(
    "intervals",
    examples=[((1, 5), (3, 9)), ((1, 2), (4, 6))],
    draw=lambda r: (_interval(r, 0, 9), _interval(r, 0, 9)),
)
def overlap_length(first: tuple[int, int], second: tuple[int, int]) -> int:
    """Return the length of the part that two intervals (start, end) share, or 0 if there is none."""
    return max(0, min(first[1], second[1]) - max(first[0], second[0]))


@kata(
    "intervals",
    examples=[([(1, 4), (3, 6), (8, 9)],)],
    edges=[([],), ([(1, 2), (4, 9), (5, 6)],), ([(3, 5), (1, 3)],)],
    draw=lambda r: ([_interval(r) for _ in range(r.randint(0, 6))],),
)
def merge_intervals(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the intervals (start, end) sorted, with those that overlap or touch made into one."""
    merged = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


@kata(
    "simulations",
    examples=[([3, 0, 2], 1)],
    draw=lambda r: (draws.ints(r, 0, 6, 0, 5), r.randint(0, 4)),
)
def stock_after_days(stock: list[int], sold: int) -> list[int]:
    """Return the list in which `sold` has been taken from each number, but never below 0."""
    return [max(0, amount - sold) for amount in stock]


@kata("simulations", examples=[(100, 5)], draw=lambda r: (r.randint(1, 500), r.randint(0, 9)))
def halve_times(number: int, times: int) -> int:
    """Return what is left when `number` is divided by 2, rounding down, again and again `times` times."""
    for _ in range(times):
        number //= 2
    return number


@kata(
    "simulations",
    examples=[(["push 3", "push 5", "pop"],)],
    draw=lambda r: (
        [r.choice(["pop", f"push {n}", f"push {n}"]) for n in draws.ints(r, 0, 7, 0, 99)],
    ),
)
def run_stack(commands: list[str]) -> list[int]:
    """Return the stack, from bottom to top, after the commands "push N" and "pop".

    A "pop" on an empty stack does nothing.
    """
    stack = []
    for command in commands:
        if command == "pop":
            stack = stack[:-1]
        else:
            stack.append(int(command.split()[1]))
    return stack


@kata(
    "simulations",
    examples=[(["on", "off", "on"],), ([],)],
    draw=lambda r: ([r.choice(["on", "off", "flip"]) for _ in range(r.randint(0, 5))],),
)
def lamp_is_on(commands: list[str]) -> bool:
    """Return True if the lamp is on after all commands "on", "off" and "flip"; it starts off."""
    is_on = False
    for command in commands:
        is_on = command == "on" if command != "flip" else not is_on
    return is_on
