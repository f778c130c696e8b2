"""First katas: one short step each, so that the smallest models have something to start from."""

from codojo.tasks.katas import draws
from codojo.tasks.katas.kata import kata


def _number(r):
    return (r.randint(-40, 60),)


def _two_numbers(r):
    return r.randint(-30, 40), r.randint(-30, 40)


@kata("adding", examples=[(2, 3)], draw=_two_numbers)
def add_two_numbers(a: int, b: int) -> int:
    """Return the sum of `a` and `b`."""
    return a + b


@kata("adding", examples=[(2, 3, 4)], draw=lambda r: (*_two_numbers(r), r.randint(-9, 9)))
def add_three_numbers(a: int, b: int, c: int) -> int:
    """Return the sum of the three numbers `a`, `b` and `c`."""
    return a + b + c


@kata("adding", examples=[([1, 2, 3],), ([],)], draw=lambda r: (draws.ints(r),))
def sum_of_numbers(numbers: list[int]) -> int:
    """Return the sum of all numbers in the list; 0 if it is empty."""
    return sum(numbers)


@kata("multiplying", examples=[(2, 3)], draw=_two_numbers)
def multiply_two_numbers(a: int, b: int) -> int:
    """Return the product of `a` and `b`."""
    return a * b


@kata("multiplying", examples=[(5,)], draw=_number)
def double_number(number: int) -> int:
    """Return two times `number`."""
    return number * 2


@kata("multiplying", examples=[(3,)], draw=_number)
def cube_of_number(number: int) -> int:
    """Return the cube of `number`."""
    return number**3


@kata("multiplying", examples=[(3, 4)], draw=lambda r: (r.randint(1, 40), r.randint(1, 40)))
def rectangle_area(width: int, height: int) -> int:
    """Return the area of a rectangle with the given `width` and `height`."""
    return width * height


@kata("number_tests", examples=[(4,), (7,)], draw=_number)
def is_even(number: int) -> bool:
    """Return True if `number` is even, else False."""
    return number % 2 == 0


@kata("number_tests", examples=[(4,), (-7,)], draw=_number, edges=[(0,), (1,)])
def is_positive(number: int) -> bool:
    """Return True if `number` is greater than zero, else False."""
    return number > 0


@kata("number_tests", examples=[(8, 4), (9, 4)], draw=lambda r: (r.randint(0, 30), r.randint(2, 4)))
def is_multiple(number: int, n: int) -> bool:
    """Return True if `number` can be divided by `n` without a remainder, else False."""
    return number % n == 0


@kata("two_numbers", examples=[(3, 9)], draw=_two_numbers)
def larger_number(a: int, b: int) -> int:
    """Return the larger of the two numbers `a` and `b`."""
    return max(a, b)


@kata("two_numbers", examples=[(3, 9)], draw=_two_numbers)
def smaller_number(a: int, b: int) -> int:
    """Return the smaller of the two numbers `a` and `b`."""
    return min(a, b)


@kata("two_numbers", examples=[(9, 3)], draw=_two_numbers)
def subtract_numbers(a: int, b: int) -> int:
    """Return `a` minus `b`."""
    return a - b


@kata("two_numbers", examples=[(2, 4)], draw=_two_numbers, rule="close")
def average_of_two(a: int, b: int) -> float:
    """Return the average of `a` and `b`."""
    return (a + b) / 2


@kata("largest_and_smallest", examples=[([3, 9, 4],)], draw=lambda r: (draws.ints(r, 1, 7),))
def largest_number(numbers: list[int]) -> int:
    """Return the largest of the numbers; the list has at least one."""
    return max(numbers)


@kata("largest_and_smallest", examples=[([3, 9, 4],)], draw=lambda r: (draws.ints(r, 1, 7),))
def smallest_number(numbers: list[int]) -> int:
    """Return the smallest of the numbers; the list has at least one."""
    return min(numbers)


@kata("list_ends", examples=[([3, 9, 4],)], draw=lambda r: (draws.ints(r, 1, 7),))
def first_item(items: list[int]) -> int:
    """Return the first item of the non-empty list."""
    return items[0]


@kata("list_ends", examples=[([3, 9, 4],)], draw=lambda r: (draws.ints(r, 1, 7),))
def last_item(items: list[int]) -> int:
    """Return the last item of the non-empty list."""
    return items[-1]


@kata("list_ends", examples=[([3, 9, 4],), ([],)], draw=lambda r: (draws.ints(r, 0, 9),))
def reverse_list(items: list[int]) -> list[int]:
    """Return a new list with the items in reverse order."""
    return items[::-1]


@kata("sizes", examples=[([3, 9, 4],)], draw=lambda r: (draws.ints(r, 0, 9),))
def number_of_items(items: list[int]) -> int:
    """Return how many items the list has."""
    return len(items)


@kata("sizes", examples=[("hello",)], draw=lambda r: (draws.text(r),))
def text_length(text: str) -> int:
    """Return the number of characters in `text`."""
    return len(text)


@kata("changing_case", examples=[("Hello",)], draw=lambda r: (draws.text(r),))
def to_upper_case(text: str) -> str:
    """Return `text` in upper case."""
    return text.upper()


@kata("changing_case", examples=[("Hello",)], draw=lambda r: (draws.text(r),))
def to_lower_case(text: str) -> str:
    """Return `text` in lower case."""
    return text.lower()


@kata("gluing_texts", examples=[("sun", "day")], draw=lambda r: (draws.word(r), draws.word(r)))
def glue_texts(first: str, second: str) -> str:
    """Return `first` followed directly by `second`."""
    return first + second


@kata("gluing_texts", examples=[("Ann",)], draw=lambda r: (draws.letters(r, 1, 6).title(),))
def greeting(name: str) -> str:
    """Return the text "Hello, " followed by `name` and an exclamation mark."""
    return f"Hello, {name}!"


@kata("gluing_texts", examples=[("Ann", "Lee")], draw=lambda r: (draws.word(r), draws.word(r)))
def full_name(first: str, last: str) -> str:
    """Return the `first` name and the `last` name with one space between them."""
    return first + " " + last


@kata("first_letters", examples=[("hello",)], draw=lambda r: (draws.letters(r, 1, 6),))
def first_letter(word: str) -> str:
    """Return the first letter of the non-empty `word`."""
    return word[0]


@kata("first_letters", examples=[("hello",)], draw=lambda r: (draws.letters(r, 1, 6),))
def last_letter(word: str) -> str:
    """Return the last letter of the non-empty `word`."""
    return word[-1]


@kata(
    "words_as_list",
    examples=[("red green blue",)],
    draw=lambda r: (draws.sentence(r),),
    wrong=["lambda sentence: sorted(sentence.split())", "lambda sentence: list(sentence)"],
)
def split_into_words(sentence: str) -> list[str]:
    """Return the list of the words in `sentence`, which are separated by spaces."""
    return sentence.split()


@kata(
    "words_as_list",
    examples=[("abc",)],
    draw=lambda r: (draws.letters(r, 0, 7),),
    wrong=["lambda text: sorted(text)", "lambda text: text.split()"],
)
def list_of_letters(text: str) -> list[str]:
    """Return the list of the characters of `text`."""
    return list(text)


@kata(
    "table_parts",
    examples=[({"a": 1, "b": 2},)],
    draw=lambda r: (draws.table(r),),
    wrong=["lambda table: list(table.values())", "lambda table: sorted(table)"],
)
def list_of_keys(table: dict[str, int]) -> list[str]:
    """Return the list of the keys of the dictionary, in its own order."""
    return list(table.keys())


@kata("table_parts", examples=[({"a": 1, "b": 2},)], draw=lambda r: (draws.table(r),))
def list_of_values(table: dict[str, int]) -> list[int]:
    """Return the list of the values of the dictionary, in its own order."""
    return list(table.values())


@kata("small_conversions", examples=[(3,)], draw=lambda r: (r.randint(0, 99),))
def hours_to_minutes(hours: int) -> int:
    """Return the number of minutes in `hours` hours."""
    return hours * 60


@kata("small_conversions", examples=[(3,)], draw=lambda r: (r.randint(0, 99),))
def weeks_to_days(weeks: int) -> int:
    """Return the number of days in `weeks` weeks."""
    return weeks * 7


@kata(
    "small_conversions",
    examples=[(42,)],
    draw=_number,
    wrong=["lambda number: repr([number])", "lambda number: str(abs(number))"],
)
def number_to_text(number: int) -> str:
    """Return `number` as a string."""
    return str(number)


@kata("counting_up", examples=[(3,)], draw=lambda r: (r.randint(0, 60),))
def numbers_up_to(n: int) -> list[int]:
    """Return the list of the whole numbers from 1 to `n`."""
    return list(range(1, n + 1))


@kata("counting_up", examples=[(6,)], draw=lambda r: (r.randint(0, 90),))
def even_numbers_up_to(n: int) -> list[int]:
    """Return the list of the even numbers from 0 to `n`, both included."""
    return list(range(0, n + 1, 2))
