"""Numbers and lists of numbers: one short calculation each, as on a beginner's first pages."""

from codojo.tasks.katas import draws
from codojo.tasks.katas.kata import kata


def _number(r):
    return (r.randint(-40, 60),)


def _count(r):
    return (r.randint(0, 99),)


def _two_numbers(r):
    return r.randint(-20, 40), r.randint(-20, 40)


def _three_numbers(r):
    return r.randint(-20, 30), r.randint(-20, 30), r.randint(-20, 30)


def _dividend(r):
    return r.randint(0, 90), r.randint(2, 12)


def _close_pair(r):
    a = r.randint(-30, 40)
    return a, a + r.choice([0, 0, 1, -1, r.randint(-9, 9)])


@kata("squares", examples=[(5,)], draw=_number)
def square_number(number: int) -> int:
    """Return the square of `number`."""
    return number**2


@kata("squares", examples=[(5,)], draw=_count)
def square_area(side: int) -> int:
    """Return the area of a square with the given `side`."""
    return side * side


@kata("squares", examples=[(5,)], draw=_count)
def square_perimeter(side: int) -> int:
    """Return the perimeter of a square with the given `side`."""
    return 4 * side


@kata("squares", examples=[(2, 3)], draw=_two_numbers)
def sum_of_two_squares(a: int, b: int) -> int:
    """Return the square of `a` plus the square of `b`."""
    return a**2 + b**2


@kata("powers", examples=[(3,)], draw=_number)
def fourth_power(number: int) -> int:
    """Return `number` to the power of four."""
    return number**4


@kata("powers", examples=[(2, 3)], draw=lambda r: (r.randint(1, 12), r.randint(0, 5)))
def raise_to_power(base: int, exponent: int) -> int:
    """Return `base` raised to the power of `exponent`."""
    return base**exponent


@kata("powers", examples=[(3,)], draw=lambda r: (r.randint(0, 40),))
def power_of_ten(exponent: int) -> int:
    """Return ten to the power of `exponent`."""
    return 10**exponent


@kata("products", examples=[(5,)], draw=_number)
def triple_number(number: int) -> int:
    """Return three times `number`."""
    return number * 3


@kata("products", examples=[(5,)], draw=_number)
def ten_times_number(number: int) -> int:
    """Return `number` multiplied by 10."""
    return number * 10


@kata("products", examples=[(2, 3, 4)], draw=_three_numbers)
def multiply_three_numbers(a: int, b: int, c: int) -> int:
    """Return the product of `a`, `b` and `c`."""
    return a * b * c


@kata(
    "products",
    examples=[(2, 3, 4)],
    draw=lambda r: (r.randint(1, 20), r.randint(1, 20), r.randint(1, 20)),
)
def box_volume(length: int, width: int, height: int) -> int:
    """Return the volume of a box: `length` times `width` times `height`."""
    return length * width * height


@kata("near_numbers", examples=[(5,)], draw=_number)
def next_number(number: int) -> int:
    """Return `number` plus one."""
    return number + 1


@kata("near_numbers", examples=[(5,)], draw=_number)
def previous_number(number: int) -> int:
    """Return `number` minus one."""
    return number - 1


@kata("near_numbers", examples=[(5,)], draw=_number)
def add_ten(number: int) -> int:
    """Return `number` plus 10."""
    return number + 10


@kata("near_numbers", examples=[(30,)], draw=_number)
def subtract_from_hundred(number: int) -> int:
    """Return 100 minus `number`."""
    return 100 - number


@kata(
    "opposites",
    examples=[(5,)],
    draw=_number,
    wrong=["lambda number: abs(number)", "lambda number: -abs(number)"],
)
def opposite_number(number: int) -> int:
    """Return the negative of `number`."""
    return -number


@kata(
    "opposites",
    examples=[(-5,)],
    draw=_number,
    wrong=["lambda number: -number", "lambda number: max(number, 0)"],
)
def absolute_value(number: int) -> int:
    """Return the absolute value of `number`."""
    return abs(number)


@kata("opposites", examples=[(-5, 2)], draw=_two_numbers)
def absolute_sum(a: int, b: int) -> int:
    """Return the absolute value of `a` plus the absolute value of `b`."""
    return abs(a) + abs(b)


@kata(
    "opposites",
    examples=[([3, -9, 4],)],
    draw=lambda r: (draws.ints(r),),
    wrong=["lambda numbers: [-abs(n) for n in numbers]"],
)
def negate_each(numbers: list[int]) -> list[int]:
    """Return the list of the negatives of `numbers`."""
    return [-n for n in numbers]


@kata("dividing", examples=[(17, 5)], draw=_dividend)
def whole_quotient(a: int, b: int) -> int:
    """Return `a` divided by `b` as a whole number, rounded down."""
    return a // b


@kata("dividing", examples=[(17, 5)], draw=_dividend)
def division_remainder(a: int, b: int) -> int:
    """Return the remainder of `a` divided by `b`."""
    return a % b


@kata("dividing", examples=[(5,)], draw=_number, rule="close")
def half_of_number(number: int) -> float:
    """Return half of `number`."""
    return number / 2


@kata("dividing", examples=[(10,)], draw=_number, rule="close")
def quarter_of_number(number: int) -> float:
    """Return `number` divided by four."""
    return number / 4


@kata("three_numbers", examples=[(2, 4, 9)], draw=_three_numbers, rule="close")
def average_of_three(a: int, b: int, c: int) -> float:
    """Return the average of `a`, `b` and `c`."""
    return (a + b + c) / 3


@kata("three_numbers", examples=[(3, 9, 4)], draw=_three_numbers)
def largest_of_three(a: int, b: int, c: int) -> int:
    """Return the largest of `a`, `b` and `c`."""
    return max(a, b, c)


@kata("three_numbers", examples=[(3, 9, 4)], draw=_three_numbers)
def smallest_of_three(a: int, b: int, c: int) -> int:
    """Return the smallest of `a`, `b` and `c`."""
    return min(a, b, c)


@kata("three_numbers", examples=[(9, 3, 4)], draw=_three_numbers)
def subtract_two_numbers(a: int, b: int, c: int) -> int:
    """Return `a` minus both `b` and `c`."""
    return a - b - c


@kata("smaller_units", examples=[(3,)], draw=_count)
def days_to_hours(days: int) -> int:
    """Return the number of hours in `days` days."""
    return days * 24


@kata("smaller_units", examples=[(3,)], draw=_count)
def years_to_months(years: int) -> int:
    """Return the number of months in `years` years."""
    return years * 12


@kata("smaller_units", examples=[(3,)], draw=_count)
def dollars_to_cents(dollars: int) -> int:
    """Return the number of cents in `dollars` dollars."""
    return dollars * 100


@kata("smaller_units", examples=[(3,)], draw=_count)
def kilometers_to_meters(kilometers: int) -> int:
    """Return the number of meters in `kilometers` kilometers."""
    return kilometers * 1000


@kata("number_checks", examples=[(4,), (7,)], draw=_number)
def is_odd(number: int) -> bool:
    """Return True if `number` is odd, else False."""
    return number % 2 == 1


@kata("number_checks", examples=[(4,), (-7,)], draw=_number, edges=[(0,), (-1,)])
def is_negative(number: int) -> bool:
    """Return True if `number` is negative, else False."""
    return number < 0


@kata("number_checks", examples=[(4,), (17,)], draw=_number, edges=[(10,), (11,)])
def is_greater_than_ten(number: int) -> bool:
    """Return True if `number` is greater than 10, else False."""
    return number > 10


@kata(
    "number_checks",
    examples=[(12,), (30,)],
    draw=lambda r: (r.randint(0, 36),),
    edges=[(18,), (17,)],
)
def is_adult(age: int) -> bool:
    """Return True if `age` is at least 18, else False."""
    return age >= 18


@kata("comparing_two", examples=[(3, 3), (3, 4)], draw=_close_pair)
def are_equal(a: int, b: int) -> bool:
    """Return True if `a` and `b` are equal, else False."""
    return a == b


@kata("comparing_two", examples=[(9, 3), (3, 9)], draw=_close_pair)
def is_greater(a: int, b: int) -> bool:
    """Return True if `a` is greater than `b`, else False."""
    return a > b


@kata(
    "comparing_two",
    examples=[(3, 4), (3, -4)],
    draw=_two_numbers,
    edges=[(0, 5), (5, 0), (1, 1)],
    wrong=["lambda a, b: a > 0 or b > 0", "lambda a, b: a + b > 0"],
)
def are_both_positive(a: int, b: int) -> bool:
    """Return True if `a` and `b` are both positive, else False."""
    return a > 0 and b > 0


@kata(
    "comparing_two",
    examples=[(2, 4), (2, 3)],
    draw=_two_numbers,
    edges=[(6, 8), (4, 2), (1, 3)],
    wrong=["lambda a, b: (a + b) % 2 == 0"],
)
def are_both_even(a: int, b: int) -> bool:
    """Return True if `a` and `b` are both even, else False."""
    return a % 2 == 0 and b % 2 == 0


@kata("each_number", examples=[([3, 9, 4],)], draw=lambda r: (draws.ints(r),))
def double_each(numbers: list[int]) -> list[int]:
    """Return the list of `numbers` with each number doubled."""
    return [n * 2 for n in numbers]


@kata("each_number", examples=[([3, 9, 4],)], draw=lambda r: (draws.ints(r),))
def triple_each(numbers: list[int]) -> list[int]:
    """Return the list of `numbers` with each number multiplied by 3."""
    return [n * 3 for n in numbers]


@kata("each_number", examples=[([1, 2, 3],)], draw=lambda r: (draws.ints(r),))
def cube_each(numbers: list[int]) -> list[int]:
    """Return the list of the cubes of `numbers`."""
    return [n**3 for n in numbers]


@kata("each_number", examples=[([3, 9, 4],)], draw=lambda r: (draws.ints(r),), rule="close")
def halve_each(numbers: list[int]) -> list[float]:
    """Return the list of `numbers` with each number divided by 2."""
    return [n / 2 for n in numbers]


@kata("sums_of_many", examples=[([1, 2, 3],)], draw=lambda r: (draws.ints(r),))
def sum_of_cubes(numbers: list[int]) -> int:
    """Return the sum of the cubes of `numbers`."""
    return sum(n**3 for n in numbers)


@kata(
    "sums_of_many",
    examples=[([3, -9, 4],)],
    draw=lambda r: (draws.ints(r),),
    wrong=["lambda numbers: abs(sum(numbers))", "lambda numbers: sum(n for n in numbers if n > 0)"],
)
def sum_of_absolute_values(numbers: list[int]) -> int:
    """Return the sum of the absolute values of `numbers`."""
    return sum(abs(n) for n in numbers)


@kata("sums_of_many", examples=[([1, 2], [3, 4])], draw=lambda r: (draws.ints(r), draws.ints(r)))
def sum_of_two_lists(first: list[int], second: list[int]) -> int:
    """Return the sum of all numbers in `first` and `second`."""
    return sum(first) + sum(second)


@kata("sums_of_many", examples=[([3, 9, 4],)], draw=lambda r: (draws.ints(r),))
def double_of_sum(numbers: list[int]) -> int:
    """Return two times the sum of `numbers`."""
    return sum(numbers) * 2
