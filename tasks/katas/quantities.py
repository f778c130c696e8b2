# ruff: noqa: B905  # references are written the way a learner would
"""Katas on measured things: time, dates, units, money, percentages, shapes, grades."""

import math
from datetime import date, timedelta

from codojo.tasks.katas import draws
from codojo.tasks.katas.kata import kata


@kata("time_of_day", examples=[(135,)], draw=lambda r: (r.randint(0, 1500),))
def minutes_to_hours(minutes: int) -> tuple[int, int]:
    """Return a tuple of the whole hours in `minutes` and the minutes left over."""
    return minutes // 60, minutes % 60


@kata("time_of_day", examples=[(2, 5)], draw=lambda r: (r.randint(0, 23), r.randint(0, 59)))
def clock_text(hours: int, minutes: int) -> str:
    """Return the time as text with two digits for hours and two for minutes, like "02:05"."""
    return f"{hours:02d}:{minutes:02d}"


@kata(
    "time_of_day",
    examples=[("02:05",)],
    draw=lambda r: (f"{r.randint(0, 23):02d}:{r.randint(0, 59):02d}",),
)
def minutes_since_midnight(time: str) -> int:
    """Return how many minutes after midnight the time "HH:MM" is."""
    return int(time[:2]) * 60 + int(time[3:])


@kata(
    "time_of_day",
    examples=[(1, 2, 3)],
    draw=lambda r: (r.randint(0, 9), r.randint(0, 59), r.randint(0, 59)),
)
def to_seconds(hours: int, minutes: int, seconds: int) -> int:
    """Return the total number of seconds in the given hours, minutes and seconds."""
    return hours * 3600 + minutes * 60 + seconds


@kata(
    "time_of_day",
    examples=[("23:50", 20)],
    draw=lambda r: (f"{r.randint(0, 23):02d}:{r.randint(0, 59):02d}", r.randint(0, 900)),
)
def add_minutes(time: str, minutes: int) -> str:
    """Return the time "HH:MM" that is `minutes` after `time`; after 23:59 comes 00:00."""
    total = int(time[:2]) * 60 + int(time[3:]) + minutes
    return f"{total // 60 % 24:02d}:{total % 60:02d}"


@kata(
    "calendar",
    examples=[(2024,), (1900,)],
    edges=[(2000,), (2100,), (2023,)],
    draw=lambda r: (
        r.choice([r.randint(15, 21) * 100, r.randint(1900, 2050), r.randint(475, 510) * 4]),
    ),
)
def is_leap_year(year: int) -> bool:
    """Return True if `year` is a leap year of the Gregorian calendar, else False."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


@kata("calendar", examples=[(2024, 2, 29)], draw=lambda r: draws.day(r))
def weekday_name(year: int, month: int, day: int) -> str:
    """Return the English weekday of the date, like "Monday"."""
    names = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    return names[date(year, month, day).weekday()]


@kata(
    "calendar",
    examples=[("2024-02-28", 2)],
    draw=lambda r: ("{:04d}-{:02d}-{:02d}".format(*draws.day(r)), r.randint(0, 60)),
)
def date_after_days(day: str, n: int) -> str:
    """Return the date "YYYY-MM-DD" that comes `n` days after the date `day` in the same form."""
    return str(date.fromisoformat(day) + timedelta(days=n))


@kata(
    "date_texts",
    examples=[("2024-02-28",)],
    draw=lambda r: ("{:04d}-{:02d}-{:02d}".format(*draws.day(r)),),
)
def year_of_date(day: str) -> int:
    """Return the year of a date written as "YYYY-MM-DD", as an integer."""
    return int(day[:4])


@kata(
    "date_texts",
    examples=[("2024-02-28",)],
    draw=lambda r: ("{:04d}-{:02d}-{:02d}".format(*draws.day(r)),),
)
def european_date(day: str) -> str:
    """Return a date written as "YYYY-MM-DD" in the form "DD.MM.YYYY"."""
    year, month, day_of_month = day.split("-")
    return f"{day_of_month}.{month}.{year}"


@kata("date_texts", examples=[("5/3/2024",)], draw=lambda r: ("{2}/{1}/{0}".format(*draws.day(r)),))
def month_of_date(day: str) -> int:
    """Return the month of a date written as day, month and year with slashes, like "5/3/2024"."""
    return int(day.split("/")[1])


@kata("measures", examples=[(100.0,)], draw=lambda r: (r.randint(-400, 1200) / 10,), rule="close")
def celsius_to_fahrenheit(celsius: float) -> float:
    """Return the temperature in Fahrenheit: nine fifths of `celsius` plus 32."""
    return celsius * 9 / 5 + 32


@kata("measures", examples=[(1500,)], draw=lambda r: (r.randint(0, 9000),), rule="close")
def grams_to_kilograms(grams: int) -> float:
    """Return the weight in kilograms; one kilogram is 1000 grams."""
    return grams / 1000


@kata("measures", examples=[(5, 11)], draw=lambda r: (r.randint(0, 7), r.randint(0, 11)))
def feet_to_inches(feet: int, inches: int) -> int:
    """Return a length given in feet and inches in inches only; one foot is 12 inches."""
    return feet * 12 + inches


@kata(
    "measures",
    examples=[(90.0, 1.5)],
    draw=lambda r: (r.randint(1, 3000) / 10, r.randint(1, 90) / 10),
    rule="close",
)
def average_speed(kilometres: float, hours: float) -> float:
    """Return the average speed in kilometres per hour; `hours` is greater than 0."""
    return kilometres / hours


@kata(
    "prices",
    examples=[(80.0, 25)],
    draw=lambda r: (r.randint(1, 2000) / 10, r.randint(0, 90)),
    rule="close",
)
def price_after_discount(price: float, percent: int) -> float:
    """Return `price` reduced by `percent` percent."""
    return price * (100 - percent) / 100


@kata("prices", examples=[(3, 45)], draw=lambda r: (r.randint(0, 99), r.randint(0, 99)))
def price_text(dollars: int, cents: int) -> str:
    """Return an amount as text: a dollar sign, the dollars, a point and two digits for cents."""
    return f"${dollars}.{cents:02d}"


@kata("prices", examples=[(87,)], draw=lambda r: (r.randint(0, 199),))
def fewest_coins(cents: int) -> int:
    """Return the smallest number of coins worth 25, 10, 5 and 1 that add up to `cents`."""
    count = 0
    for coin in [25, 10, 5, 1]:
        count += cents // coin
        cents %= coin
    return count


@kata(
    "prices",
    examples=[(50, [12, 8])],
    edges=[(20, [12, 8]), (19, [12, 8]), (0, [])],
    draw=lambda r: (
        sum(prices := draws.ints(r, 0, 5, 1, 20)) + r.choice([0, r.randint(-9, 20)]),
        prices,
    ),
)
def money_left(money: int, prices: list[int]) -> int:
    """Return what is left of `money` after paying all `prices`, or -1 if it is not enough."""
    return money - sum(prices) if money >= sum(prices) else -1


@kata(
    "percentages",
    examples=[(30, 120)],
    draw=lambda r: (r.randint(0, 90), r.randint(1, 200)),
    rule="close",
)
def percent_of_whole(part: int, whole: int) -> float:
    """Return how many percent of `whole` the number `part` is; `whole` is not 0."""
    return part / whole * 100


@kata(
    "percentages",
    examples=[(80, 100)],
    draw=lambda r: (r.randint(1, 90), r.randint(0, 200)),
    rule="close",
)
def percent_change(old: int, new: int) -> float:
    """Return by how many percent `new` is more than `old` (negative if less); `old` is not 0."""
    return (new - old) / old * 100


@kata(
    "percentages",
    examples=[([True, False, True, True],)],
    draw=lambda r: ([r.random() < 0.5 for _ in range(r.randint(1, 9))],),
    rule="close",
)
def share_of_true(answers: list[bool]) -> float:
    """Return which share of the non-empty list is True, as a number from 0 to 1."""
    return answers.count(True) / len(answers)


@kata("shapes", examples=[(3, 4)], draw=lambda r: (r.randint(1, 30), r.randint(1, 30)))
def rectangle_perimeter(width: int, height: int) -> int:
    """Return the length of the way around a rectangle."""
    return 2 * (width + height)


@kata("shapes", examples=[(2.0,)], draw=lambda r: (r.randint(1, 200) / 10,), rule="close")
def circle_area(radius: float) -> float:
    """Return the area of a circle: pi times the square of `radius`."""
    return math.pi * radius**2


@kata(
    "shapes", examples=[(3, 4)], draw=lambda r: (r.randint(1, 30), r.randint(1, 30)), rule="close"
)
def longest_side(a: int, b: int) -> float:
    """Return the length of the longest side of a right triangle with the short sides `a` and `b`."""
    return math.sqrt(a * a + b * b)


@kata(
    "shapes",
    examples=[(3, 4, 5), (1, 2, 5)],
    draw=lambda r: tuple(r.randint(1, 9) for _ in range(3)),
)
def is_triangle(a: int, b: int, c: int) -> bool:
    """Return True if each two of the lengths together are longer than the third, else False."""
    return a + b > c and a + c > b and b + c > a


@kata(
    "points",
    examples=[((1, 2), (4, 6))],
    draw=lambda r: ((r.randint(-9, 9), r.randint(-9, 9)), (r.randint(-9, 9), r.randint(-9, 9))),
)
def city_distance(start: tuple[int, int], end: tuple[int, int]) -> int:
    """Return the distance in x plus the distance in y between two points (x, y)."""
    return abs(start[0] - end[0]) + abs(start[1] - end[1])


@kata(
    "points",
    examples=[((1, 2), "UUR")],
    draw=lambda r: ((r.randint(-5, 5), r.randint(-5, 5)), draws.letters(r, 0, 7, "UDLR")),
)
def walk(start: tuple[int, int], moves: str) -> tuple[int, int]:
    """Return the point (x, y) reached from `start`: U adds 1 to y, D takes 1 from y.

    R adds 1 to x and L takes 1 from x.
    """
    x, y = start
    return x + moves.count("R") - moves.count("L"), y + moves.count("U") - moves.count("D")


@kata(
    "points",
    examples=[((1, 2), (4, 6))],
    draw=lambda r: ((r.randint(-9, 9), r.randint(-9, 9)), (r.randint(-9, 9), r.randint(-9, 9))),
    rule="close",
)
def midpoint(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
    """Return the point (x, y) halfway between two points, as a tuple."""
    return (first[0] + second[0]) / 2, (first[1] + second[1]) / 2


@kata(
    "grades",
    examples=[(72,), (40,)],
    draw=lambda r: (r.choice([r.randint(48, 51), r.randint(0, 100)]),),
)
def passed_or_failed(points: int) -> str:
    """Return "passed" if `points` is 50 or more, otherwise "failed"."""
    return "passed" if points >= 50 else "failed"


@kata(
    "grades",
    examples=[(95,), (61,)],
    draw=lambda r: (r.choice([60, 70, 80, 90]) + r.choice([-1, 0, 0, r.randint(-60, 9)]),),
)
def letter_grade(points: int) -> str:
    """Return "A" from 90 points, "B" from 80, "C" from 70, "D" from 60, and "F" below 60."""
    for grade, least in [("A", 90), ("B", 80), ("C", 70), ("D", 60)]:
        if points >= least:
            return grade
    return "F"


@kata(
    "grades",
    examples=[("abca", "abda")],
    draw=lambda r: (draws.letters(r, 6, 6, "abc"), draws.letters(r, 6, 6, "abc")),
)
def exam_points(answers: str, key: str) -> int:
    """Return 2 points for each letter of `answers` that equals the letter of `key` at its place.

    Both texts have the same length.
    """
    return 2 * sum(a == b for a, b in zip(answers, key))


@kata(
    "dice_and_games",
    examples=[("rock", "paper"), ("rock", "rock")],
    draw=lambda r: (draws.word(r), draws.word(r)),
)
def longer_word_wins(first: str, second: str) -> str:
    """Return "first" or "second", whichever word has more letters, or "draw" if neither has."""
    if len(first) == len(second):
        return "draw"
    return "first" if len(first) > len(second) else "second"


@kata("dice_and_games", examples=[([6, 2, 5, 1],)], draw=lambda r: (draws.ints(r, 2, 8, 1, 6),))
def best_two_rolls(rolls: list[int]) -> int:
    """Return the sum of the two highest dice rolls in the list, which has at least two."""
    return sum(sorted(rolls)[-2:])


@kata(
    "dice_and_games",
    examples=[([3, 3, 5], 4)],
    draw=lambda r: (draws.ints(r, 0, 6, 1, 6), r.randint(1, 6)),
)
def score_above(rolls: list[int], least: int) -> int:
    """Return the sum of the dice rolls that are at least `least`; 0 if there are none."""
    return sum(roll for roll in rolls if roll >= least)


@kata(
    "dice_and_games",
    examples=[({"Ann": 3, "Ben": 5},)],
    draw=lambda r: ({n: r.randint(0, 9) for n in draws.names(r, 1, 5)},),
)
def ranking(scores: dict[str, int]) -> list[str]:
    """Return the names, the one with the highest score first; equal scores sort by name."""
    return sorted(scores, key=lambda name: (-scores[name], name))
