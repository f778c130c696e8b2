# ruff: noqa: B905  # references are written the way a learner would
"""Katas on whole numbers: digits, divisors, primes, sequences, rounding, bits, bases."""

from codojo.tasks.katas import draws
from codojo.tasks.katas.kata import kata


@kata("digits", examples=[(472,), (0,)], draw=lambda r: (draws.natural(r),))
def digit_sum(number: int) -> int:
    """Return the sum of the decimal digits of `number`, which is not negative."""
    return sum(int(digit) for digit in str(number))


@kata("digits", examples=[(472,)], draw=lambda r: (draws.natural(r),))
def number_of_digits(number: int) -> int:
    """Return how many decimal digits `number`, which is not negative, has; 0 has one digit."""
    return len(str(number))


@kata("digits", examples=[(472,), (100,)], draw=lambda r: (draws.natural(r),))
def reverse_digits(number: int) -> int:
    """Return the number with the digits of `number` in reverse order; it is not negative."""
    return int(str(number)[::-1])


@kata("digits", examples=[(472,)], draw=lambda r: (draws.natural(r),))
def largest_digit(number: int) -> int:
    """Return the largest decimal digit of `number`, which is not negative."""
    return max(int(digit) for digit in str(number))


@kata("digits", examples=[(472,)], draw=lambda r: (draws.natural(r),))
def digit_list(number: int) -> list[int]:
    """Return the list of the decimal digits of `number`, from left to right."""
    return [int(digit) for digit in str(number)]


@kata("divisors", examples=[(12,)], draw=lambda r: (r.randint(1, 90),))
def all_divisors(number: int) -> list[int]:
    """Return the sorted list of the whole numbers from 1 up that divide `number` evenly."""
    return [d for d in range(1, number + 1) if number % d == 0]


@kata("divisors", examples=[(12, 18)], draw=lambda r: (r.randint(1, 12) * 6, r.randint(1, 12) * 4))
def greatest_common_divisor(a: int, b: int) -> int:
    """Return the largest whole number that divides both positive numbers `a` and `b` evenly."""
    while b:
        a, b = b, a % b
    return a


@kata("divisors", examples=[(20, 3)], draw=lambda r: (r.randint(0, 60), r.randint(1, 9)))
def multiples_below(limit: int, n: int) -> list[int]:
    """Return the list of the positive multiples of `n` that are less than `limit`."""
    return list(range(n, limit, n))


@kata(
    "divisors",
    examples=[(15,), (10,)],
    draw=lambda r: (r.choice([1, 3, 5, 15]) * r.randint(1, 40),),
)
def divisible_by_three_and_five(number: int) -> bool:
    """Return True if `number` can be divided evenly by 3 and by 5, else False."""
    return number % 3 == 0 and number % 5 == 0


@kata(
    "primes",
    examples=[(7,), (9,)],
    edges=[(0,), (1,), (2,), (3,), (25,)],
    draw=lambda r: (r.choice([0, 1, 2, 3, 5, 11, 13, 17, 19, 23, 29, 31, 37, *range(40, 60)]),),
    wrong=["lambda number: number % 2 == 1", "lambda number: number in (2, 3, 5, 7, 11, 13)"],
)
def is_prime(number: int) -> bool:
    """Return True if `number` is a prime number, else False; 0 and 1 are not prime."""
    return number > 1 and all(number % d for d in range(2, number))


@kata("primes", examples=[(10,)], draw=lambda r: (r.randint(0, 60),))
def primes_below(limit: int) -> list[int]:
    """Return the sorted list of the prime numbers less than `limit`."""
    return [n for n in range(2, limit) if all(n % d for d in range(2, n))]


@kata(
    "primes",
    examples=[(15,), (7,)],
    draw=lambda r: (2 * r.randint(1, 60) + r.choice([0, 1, 1, 1]),),
)
def smallest_factor(number: int) -> int:
    """Return the smallest whole number greater than 1 that divides `number` (at least 2) evenly."""
    return next(d for d in range(2, number + 1) if number % d == 0)


@kata("primes", examples=[(12,)], draw=lambda r: (r.randint(2, 150),))
def prime_factors(number: int) -> list[int]:
    """Return the prime factors of `number` (at least 2) in rising order, repeated as needed."""
    factors = []
    d = 2
    while number > 1:
        while number % d == 0:
            factors.append(d)
            number //= d
        d += 1
    return factors


@kata("number_sequences", examples=[(5,), (0,)], draw=lambda r: (r.randint(0, 40),))
def countdown(n: int) -> list[int]:
    """Return the list of the whole numbers from `n` down to 0, both included."""
    return list(range(n, -1, -1))


@kata("number_sequences", examples=[(6,)], draw=lambda r: (r.randint(0, 30),))
def fibonacci_numbers(n: int) -> list[int]:
    """Return the first `n` Fibonacci numbers: 0, 1, 1, 2, 3, 5 and so on."""
    numbers = [0, 1]
    while len(numbers) < n:
        numbers.append(numbers[-1] + numbers[-2])
    return numbers[:n]


@kata("number_sequences", examples=[(4,)], draw=lambda r: (r.randint(0, 60),))
def sum_up_to(n: int) -> int:
    """Return the sum of the whole numbers from 1 to `n`; 0 if `n` is 0."""
    return sum(range(1, n + 1))


@kata("number_sequences", examples=[(4,)], draw=lambda r: (r.randint(0, 40),))
def powers_of_two(n: int) -> list[int]:
    """Return the list of the first `n` powers of two: 1, 2, 4 and so on."""
    return [2**i for i in range(n)]


@kata("number_sequences", examples=[(6,), (1,)], draw=lambda r: (r.randint(1, 90),))
def collatz_steps(n: int) -> int:
    """Return how many steps it takes from `n` to 1.

    One step halves an even number and turns an odd number n into 3 * n + 1.
    """
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


@kata("rounding", examples=[(47,), (60,)], draw=lambda r: (r.randint(0, 300),))
def round_down_to_ten(number: int) -> int:
    """Return the largest multiple of 10 that is not greater than `number` (0 or more)."""
    return number // 10 * 10


@kata("rounding", examples=[(7, 3), (6, 3)], draw=lambda r: (r.randint(0, 60), r.randint(1, 9)))
def boxes_needed(items: int, box_size: int) -> int:
    """Return how many boxes are needed for `items` things if `box_size` things fit into one box."""
    return (items + box_size - 1) // box_size


@kata(
    "rounding",
    examples=[(15, 0, 10), (5, 0, 10)],
    draw=lambda r: (r.randint(-30, 30), r.randint(-20, 0), r.randint(1, 20)),
)
def clamp(number: int, low: int, high: int) -> int:
    """Return `number`, but `low` if it is less than `low` and `high` if it is more than `high`."""
    return max(low, min(high, number))


@kata("rounding", examples=[(17, 5)], draw=lambda r: (r.randint(0, 99), r.randint(1, 12)))
def quotient_and_rest(a: int, b: int) -> tuple[int, int]:
    """Return a tuple of the whole quotient and the remainder of `a` divided by `b`."""
    return a // b, a % b


@kata(
    "counting_games",
    examples=[(15,), (4,)],
    draw=lambda r: (r.choice([1, 3, 5, 15]) * r.randint(1, 20),),
)
def fizz_buzz_word(n: int) -> str:
    """Return "FizzBuzz" if 3 and 5 divide `n`, "Fizz" if only 3 does, "Buzz" if only 5 does.

    Otherwise return `n` as text.
    """
    return ("Fizz" * (n % 3 == 0) + "Buzz" * (n % 5 == 0)) or str(n)


@kata(
    "counting_games",
    examples=[(7, 20)],
    draw=lambda r: (r.randint(1, 9), r.choice([1, 9, r.randint(0, 50)])),
)
def numbers_with_digit(digit: int, limit: int) -> list[int]:
    """Return the whole numbers from 1 to `limit` whose decimal digits contain `digit`."""
    return [n for n in range(1, limit + 1) if str(digit) in str(n)]


@kata("counting_games", examples=[(4,)], draw=lambda r: (r.randint(0, 40),))
def star_triangle(height: int) -> list[str]:
    """Return a list of `height` strings: one star "*", then two stars, then three, and so on."""
    return ["*" * i for i in range(1, height + 1)]


@kata("bits", examples=[(6,)], draw=lambda r: (r.randint(0, 500),))
def count_one_bits(number: int) -> int:
    """Return how many digits 1 the binary form of `number` (0 or more) has."""
    return bin(number).count("1")


@kata(
    "bits",
    examples=[(8,), (6,)],
    draw=lambda r: (r.choice([2 ** r.randint(0, 12), r.randint(1, 99)]),),
)
def is_power_of_two(number: int) -> bool:
    """Return True if the positive `number` is 1, 2, 4, 8 or another power of two, else False."""
    return number & (number - 1) == 0


@kata("bits", examples=[(5, 1)], draw=lambda r: (r.randint(0, 200), r.randint(0, 7)))
def flip_bit(number: int, position: int) -> int:
    """Return `number` with the bit at `position` flipped; position 0 is the lowest bit."""
    return number ^ (1 << position)


@kata("bits", examples=[(5, 3)], draw=lambda r: (r.randint(0, 63), r.randint(0, 63)))
def count_differing_bits(a: int, b: int) -> int:
    """Return at how many places the binary forms of `a` and `b` (both 0 or more) differ."""
    return bin(a ^ b).count("1")


@kata("number_bases", examples=[(5,), (0,)], draw=lambda r: (r.randint(0, 300),))
def to_binary_text(number: int) -> str:
    """Return the binary form of `number` (0 or more) as text without a prefix, like "101"."""
    return bin(number)[2:]


@kata("number_bases", examples=[("101",)], draw=lambda r: (bin(r.randint(0, 300))[2:],))
def from_binary_text(text: str) -> int:
    """Return the number that a text of binary digits, like "101", stands for."""
    return int(text, 2)


@kata("number_bases", examples=[(255,)], draw=lambda r: (r.randint(0, 5000),))
def to_hex_text(number: int) -> str:
    """Return the hexadecimal form of `number` (0 or more) in lower case, without a prefix."""
    return hex(number)[2:]


@kata("number_bases", examples=[(1994,)], draw=lambda r: (r.randint(1, 3999),))
def to_roman(number: int) -> str:
    """Return `number` (1 to 3999) as a Roman numeral in capitals, like "MCMXCIV"."""
    values = [1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1]
    marks = ["M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"]
    roman = ""
    for value, mark in zip(values, marks):
        roman += mark * (number // value)
        number %= value
    return roman


@kata("comparing", examples=[(3, 9, 5)], draw=lambda r: tuple(r.randint(-20, 20) for _ in range(3)))
def middle_of_three(a: int, b: int, c: int) -> int:
    """Return the one of three numbers that is neither the smallest nor the largest when sorted."""
    return sorted([a, b, c])[1]


@kata("comparing", examples=[(3, 9)], draw=lambda r: (r.randint(-20, 20), r.randint(-20, 20)))
def distance(a: int, b: int) -> int:
    """Return how far apart the numbers `a` and `b` are, never negative."""
    return abs(a - b)


@kata(
    "comparing",
    examples=[(2, 2, 3), (1, 2, 3)],
    draw=lambda r: tuple(r.randint(1, 4) for _ in range(3)),
)
def count_equal_numbers(a: int, b: int, c: int) -> int:
    """Return 3 if all three numbers are equal, 2 if exactly two are, and 0 if all differ."""
    return {1: 3, 2: 2, 3: 0}[len({a, b, c})]
