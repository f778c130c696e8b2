"""Requests, follow-ups and what of a conversation fits into a prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codojo.agents.parsing import file_blocks
from codojo.chat.context import trim
from codojo.chat.requests import Earlier, files_task, function_task, read_request
from codojo.chat.terminal.commands import COMMANDS, help_lines, parse
from codojo.errors import TaskError
from codojo.tasks.changes import changes_of, diff_of


def after(text: str, code: str = "def double(x):\n    return x\n") -> Earlier:
    task = function_task(read_request(text), None, chars=9000).task
    return Earlier(task.entry_point, task.starter, code, task.visible.cases, (text,))


def test_a_follow_up_goes_on_from_the_code() -> None:
    earlier = after("Write double(x)\nassert double(2) == 4\nassert double(0) == 0")
    made = function_task(
        read_request("use max(x, 0) for negatives\nassert double(0) == 1"), earlier, chars=9000
    )
    assert made.task.entry_point == "double", "a call that is named is not a new function"
    assert made.task.prompt.startswith("def double(x):\n    return x\n")
    assert len(made.task.visible.cases) == 2, (
        "a new test of the same arguments replaces the old one"
    )


@pytest.mark.parametrize(
    "text", ["Write triple(x)", "define a function triple(x)", "assert triple(1) == 3"]
)
def test_another_function_starts_anew(text: str) -> None:
    made = function_task(read_request(text), after("Write double(x)"), chars=9000)
    assert made.task.entry_point == "triple" and "double" not in made.task.prompt


def test_nothing_to_do_is_refused() -> None:
    for text in ("", "  \n", "assert double(1) == open('x')"):
        with pytest.raises(TaskError):
            function_task(read_request(text), None, chars=9000)
    with pytest.raises(TaskError):
        files_task(read_request(" "), {}, (), chars=9000)


def test_files_of_a_folder_are_shown_in_fences_they_cannot_end() -> None:
    files = {
        "README.md": "````\nx\n````\n",
        "tests/test_a.py": "assert True\n",
        "big.py": "y" * 5000,
    }
    made = files_task(read_request("change README.md"), files, (), chars=2000)
    assert "`````python README.md\n````" in made.task.prompt
    assert "not shown: big.py" in made.task.prompt and made.left_out == ("big.py",)
    assert made.task.visible.files and set(made.task.visible.files.files) == {"tests/test_a.py"}
    assert made.task.files == files


@given(
    st.integers(0, 400),
    st.text(max_size=60),
    st.text(max_size=60),
    st.dictionaries(st.text("ab/.", min_size=1, max_size=5), st.text(max_size=60), max_size=5),
    st.lists(st.text(max_size=60), max_size=5),
)
def test_the_context_never_outgrows_its_room(
    chars: int, request: str, code: str, files: dict[str, str], earlier: list[str]
) -> None:
    kept = trim(request, chars=chars, code=code, files=files, earlier=earlier)
    size = len(kept.code) + sum(len(p) + len(t) for p, t in kept.files.items())
    size += sum(map(len, kept.earlier))
    assert size <= max(0, chars - len(request))
    assert kept.earlier == tuple(earlier[len(earlier) - len(kept.earlier) :]), "the newest ones"
    if chars >= 5000:
        assert not kept.left_out


@given(st.text(max_size=80), st.text(max_size=80))
def test_a_diff_says_what_changes(before: str, after: str) -> None:
    changes = changes_of({"a": before}, {"a": after})
    assert bool(changes) == (before != after)
    text = diff_of(changes)
    assert text == "" or text.startswith("--- a/a\n+++ b/a\n")


def test_whole_files_are_read_from_fences_with_a_path() -> None:
    text = (
        "```python\nno path\n```\n```python a/b.py\n1\n```\n**c.txt**\n```\n2\n```\n"
        '```py title="d.py"\n3\n```\n````md e.md\n```x\n4\n```\n````\n```python a/b.py\n5\n```\n'
    )
    assert file_blocks(text) == {
        "a/b.py": "5\n",
        "c.txt": "2\n",
        "d.py": "3\n",
        "e.md": "```x\n4\n```\n",
    }


def test_commands_are_read_by_their_beginning() -> None:
    typed = parse("/hist sort me")
    assert typed and typed == ("history", "sort me")
    assert parse("no command") is None and parse("/f") == ("f", "")
    assert all(any(line.startswith(f"/{name}") for line in help_lines()) for name in COMMANDS)
    assert all(len(line) <= 110 for line in help_lines()[:-1])
