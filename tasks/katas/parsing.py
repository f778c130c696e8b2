"""Katas on text formats: separated values, settings, paths, addresses, brackets, markup."""

from codojo.tasks.katas import draws
from codojo.tasks.katas.kata import kata


def _number_line(r):
    return (",".join(str(n) for n in draws.ints(r, 1, 7)),)


@kata("separated_values", examples=[("3,14,-2",)], draw=_number_line)
def parse_numbers(line: str) -> list[int]:
    """Return the list of the whole numbers in a line like "3,14,-2"."""
    return [int(part) for part in line.split(",")]


@kata(
    "separated_values",
    examples=[("red;green;blue", 1)],
    draw=lambda r: (";".join(draws.words(r, 4, 6)), r.randint(0, 3)),
)
def field_at(line: str, column: int) -> str:
    """Return the field at position `column` (from 0) of a line whose fields are separated by ";"."""
    return line.split(";")[column]


@kata(
    "separated_values",
    examples=[("a,b\n1,2",)],
    draw=lambda r: ("\n".join(",".join(draws.words(r, 1, 3)) for _ in range(r.randint(1, 3))),),
)
def parse_rows(text: str) -> list[list[str]]:
    """Return the lines of `text` as a list of lists, each line split at its commas."""
    return [line.split(",") for line in text.split("\n")]


@kata(
    "separated_values",
    examples=[([["a", "b"], ["1", "2"]],)],
    draw=lambda r: ([draws.words(r, 1, 3) for _ in range(r.randint(1, 3))],),
)
def write_rows(rows: list[list[str]]) -> str:
    """Return the rows as text: cells joined with tabs, rows joined with line breaks."""
    return "\n".join("\t".join(row) for row in rows)


def _pairs(r, join, equals):
    return join.join(f"{k}{equals}{v}" for k, v in draws.table(r, 1, 4).items())


@kata("key_value_texts", examples=[("a=1;b=2",)], draw=lambda r: (_pairs(r, ";", "="),))
def parse_settings(text: str) -> dict[str, str]:
    """Return a dictionary of the settings in a text like "a=1;b=2"; the values stay strings."""
    return dict(part.split("=") for part in text.split(";"))


@kata(
    "key_value_texts",
    examples=[({"page": "2", "sort": "name"},)],
    draw=lambda r: ({k: draws.word(r) for k in draws.words(r, 0, 4)},),
)
def query_text(values: dict[str, str]) -> str:
    """Return the entries as text like "page=2&sort=name", in the order of the dictionary."""
    return "&".join(f"{key}={value}" for key, value in values.items())


@kata(
    "key_value_texts",
    examples=[("size: 12",)],
    draw=lambda r: (f"{draws.word(r)}: {r.randint(0, 99)}",),
)
def number_after_colon(line: str) -> int:
    """Return the whole number after the colon of a line like "size: 12"."""
    return int(line.split(":")[1])


def _path(r):
    return "/".join(draws.words(r, 1, 4)) + r.choice([".txt", ".py", ".tar.gz", ".md"])


@kata("file_paths", examples=[("docs/notes.txt",)], draw=lambda r: (_path(r),))
def file_name(path: str) -> str:
    """Return the part of `path` after its last slash; a path without a slash is returned whole."""
    return path.split("/")[-1]


@kata("file_paths", examples=[("notes.tar.gz",)], draw=lambda r: (_path(r),))
def file_extension(path: str) -> str:
    """Return the text after the last dot of `path`, which has at least one dot."""
    return path.split(".")[-1]


@kata("file_paths", examples=[("docs/img/a.png",), ("a.png",)], draw=lambda r: (_path(r),))
def parent_folder(path: str) -> str:
    """Return the part of `path` before its last slash, or "" if it has no slash."""
    return "/".join(path.split("/")[:-1])


@kata(
    "file_paths",
    examples=[(["a.py", "b.md", "c.py"], ".py")],
    draw=lambda r: ([_path(r) for _ in range(r.randint(0, 5))], r.choice([".py", ".md", ".txt"])),
)
def files_of_type(files: list[str], extension: str) -> list[str]:
    """Return the sorted list of the file names that end with `extension`."""
    return sorted(file for file in files if file.endswith(extension))


def _mail(r):
    return f"{draws.word(r)}.{draws.word(r)}@{draws.word(r)}.{r.choice(['com', 'org', 'net'])}"


@kata("addresses", examples=[("ann@example.com",)], draw=lambda r: (_mail(r),))
def mail_domain(address: str) -> str:
    """Return the part of a mail address after the "@"."""
    return address.split("@")[1]


@kata("addresses", examples=[("ann@example.com",)], draw=lambda r: (_mail(r),))
def hide_user(address: str) -> str:
    """Return a mail address with everything before the "@" replaced by three stars "***"."""
    return "***@" + address.split("@")[1]


def _maybe_ipv4(r):
    parts = [str(r.randint(0, 255)) for _ in range(r.choice([4, 4, 4, 3]))]
    if r.random() < 0.4:
        parts[r.randrange(len(parts))] = r.choice(["255", "255", "256", "-1", "x", ""])
    return (".".join(parts),)


@kata(
    "addresses",
    examples=[("192.168.0.1",), ("1.2.3.256",)],
    edges=[("9.8.7.256",), ("255.255.255.255",), ("1.2.3",), ("1.2.3.4.5",), ("1..2.3",)],
    draw=_maybe_ipv4,
)
def is_ip_address(text: str) -> bool:
    """Return True if `text` is four numbers from 0 to 255 with dots between them, else False."""
    parts = text.split(".")
    return len(parts) == 4 and all(part.isdigit() and int(part) <= 255 for part in parts)


def _brackets(r):
    n = r.randint(0, 4)
    good = "()" * r.randint(0, 2) + "(" * n + "()" * r.randint(0, 2) + ")" * n
    return (r.choice([good, good, good[::-1], good + "(", draws.letters(r, 1, 6, "()")]),)


@kata("brackets", examples=[("(())",), (")(",)], draw=_brackets)
def is_balanced(text: str) -> bool:
    """Return True if each "(" has a ")" after it that closes it and no ")" is left over, else False.

    The text holds only round brackets.
    """
    depth = 0
    for c in text:
        depth += 1 if c == "(" else -1
        if depth < 0:
            return False
    return depth == 0


@kata(
    "brackets",
    examples=[("a (small) dog",)],
    draw=lambda r: (
        f"{draws.sentence(r, 0, 2)}({draws.sentence(r, 0, 3)}){draws.sentence(r, 0, 2)}",
    ),
)
def text_in_brackets(text: str) -> str:
    """Return what stands between the "(" and the ")" of `text`, which has exactly one of each."""
    return text[text.index("(") + 1 : text.index(")")]


@kata("brackets", examples=[("(()())",), ("",)], draw=lambda r: (draws.letters(r, 0, 9, "()ab"),))
def bracket_difference(text: str) -> int:
    """Return the number of "(" minus the number of ")" in `text`."""
    return text.count("(") - text.count(")")


@kata("markup", examples=[("Results", 2)], draw=lambda r: (draws.word(r).title(), r.randint(1, 6)))
def make_heading(text: str, level: int) -> str:
    """Return `text` with `level` number signs "#" and a space before it."""
    return "#" * level + " " + text


@kata(
    "markup",
    examples=[("b", "hi")],
    draw=lambda r: (r.choice(["b", "i", "p", "h1", "li"]), draws.sentence(r, 1, 3)),
)
def wrap_in_tag(tag: str, text: str) -> str:
    """Return `text` between an opening and a closing tag, like "<b>hi</b>"."""
    return f"<{tag}>{text}</{tag}>"


@kata(
    "markup",
    examples=[("a <b>big</b> dog",)],
    draw=lambda r: ("".join(r.choice([w, f"<b>{w}</b>", f"<i>{w}</i> "]) for w in draws.words(r)),),
)
def strip_tags(text: str) -> str:
    """Return `text` without its tags; a tag goes from "<" to the next ">"."""
    return "".join(part.split(">")[-1] for part in text.split("<"))


def _comment_lines(r):
    return (["".join(r.choice(["# ", ""]) + w) for w in draws.words(r)],)


@kata("comments", examples=[(["# note", "x = 1"],)], draw=_comment_lines)
def drop_comment_lines(lines: list[str]) -> list[str]:
    """Return the lines that do not begin with a number sign "#", in the same order."""
    return [line for line in lines if not line.startswith("#")]


@kata(
    "comments",
    examples=[("x = 1  # set x",), ("y",)],
    draw=lambda r: (draws.word(r) + r.choice(["", "  # ", " #"]) + draws.sentence(r, 0, 2),),
)
def strip_comment(line: str) -> str:
    """Return `line` without its first "#" and all after it, and without spaces at the end."""
    return line.split("#")[0].rstrip()


@kata(
    "versions",
    examples=[("1.4.2",)],
    draw=lambda r: (".".join(str(r.randint(0, 20)) for _ in range(3)),),
)
def parse_version(text: str) -> tuple[int, int, int]:
    """Return the three numbers of a version like "1.4.2" as a tuple of integers."""
    major, minor, patch = text.split(".")
    return int(major), int(minor), int(patch)


@kata(
    "versions",
    examples=[("1.4.2",)],
    draw=lambda r: (".".join(str(r.randint(0, 20)) for _ in range(3)),),
)
def next_minor_version(text: str) -> str:
    """Return the version like "1.4.2" with its second number one higher and its third number 0."""
    major, minor, _ = text.split(".")
    return f"{major}.{int(minor) + 1}.0"


@kata(
    "versions",
    examples=[("1.10.0", "1.9.5"), ("2.0", "2.0")],
    draw=lambda r: tuple(f"{r.randint(1, 2)}.{r.randint(7, 12)}" for _ in range(2)),
)
def is_newer_version(first: str, second: str) -> bool:
    """Return True if version `first` is newer than `second`, comparing number by number, else False.

    Versions are numbers with dots between them, like "1.10".
    """
    return [int(n) for n in first.split(".")] > [int(n) for n in second.split(".")]


@kata(
    "expressions",
    examples=[("1+2+3",)],
    draw=lambda r: ("+".join(str(n) for n in draws.ints(r, 1, 6, 0, 30)),),
)
def evaluate_sum(text: str) -> int:
    """Return the value of a sum of whole numbers like "1+2+3"."""
    return sum(int(part) for part in text.split("+"))


@kata(
    "expressions",
    examples=[(6, "*", 7)],
    draw=lambda r: (r.randint(-9, 20), r.choice("+-*"), r.randint(-9, 20)),
)
def calculate(a: int, operator: str, b: int) -> int:
    """Return `a` and `b` combined by `operator`, which is "+", "-" or "*"."""
    if operator == "+":
        return a + b
    return a - b if operator == "-" else a * b


def _postfix(r):
    text = str(r.randint(0, 9))
    for _ in range(r.randint(0, 3)):
        text += f" {r.randint(0, 9)} {r.choice('+-*')}"
    return (text,)


@kata("expressions", examples=[("2 3 + 4 *",)], draw=_postfix)
def evaluate_postfix(text: str) -> int:
    """Return the value of numbers and operators (+, -, *) in postfix order, like "2 3 + 4 *".

    Parts are separated by spaces; an operator follows its two operands.
    """
    stack = []
    for part in text.split():
        if part in "+-*":
            b, a = stack.pop(), stack.pop()
            stack.append(a + b if part == "+" else a - b if part == "-" else a * b)
        else:
            stack.append(int(part))
    return stack[0]
