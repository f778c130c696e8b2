"""What a model wrote appears on pages only as text, and cannot drive a terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codojo.reports.improve import render_improve
from codojo.reports.machine import draw, parse
from codojo.reports.page import cut, visible
from codojo.reports.steps import highlight
from codojo.reports.trajectory import render_text, render_trajectory
from tests.reports.made import World, improve_report
from tests.reports.pages import read

PAYLOADS = [
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</pre></code></details><img src=x onerror=alert(1)>",
    "</title><svg onload=alert(1)>",
    '"><a href="javascript:alert(1)">x</a>',
    "' onmouseover='alert(1)",
    "<!-- <iframe src=//evil.example>",
    "--><base href=https://evil.example/>",
    "<svg><animate onbegin=alert(1)>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "![x](https://evil.example/a.png) [y](javascript:alert(1))",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<template><script>alert(1)</script></template>",
    "{{ 7*7 }}{% raw %}{{ config }}{% endraw %}",
    "&lt;script&gt;&#60;script&#62;",
    "]]><script>alert(1)</script><![CDATA[",
    "<input autofocus onfocus=alert(1)>",
    "<object data=data:text/html,x></object>",
    "\x00<scr\x00ipt>",
]
ESCAPES = [
    "\x1b[2J\x1b[1;1H",
    "\x1b]0;title\x07",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x9b31m",
    "\rverdict passed",
    "\x08\x08\x08ok",
    "\u202eevil\u202c",
    "\u2028next",
    "\x7f",
]


def structure(html: str) -> dict[str, int]:
    """How often each tag occurs; spans are left out, since the colours of code depend on it."""
    return {tag: n for tag, n in read(html).tags.items() if tag not in ("span", "small", "rect")}


def pages(payload: str) -> list[str]:
    report, found = improve_report("promoted", World(tasks=6, text=lambda t: t + payload), skill=3)
    rollout = found[report.before.rollouts[0]]
    return [render_improve(report, found), render_trajectory(rollout, back="index.html")]


@pytest.fixture(scope="module")
def harmless() -> list[dict[str, int]]:
    return [structure(html) for html in pages(" harmless")]


@pytest.mark.row("H1")
@pytest.mark.row("H11")
@pytest.mark.parametrize("payload", PAYLOADS)
def test_markup_of_a_model_is_text(payload: str, harmless: list[dict[str, int]]) -> None:
    for html, expected in zip(pages(payload), harmless, strict=True):
        page = read(html)
        assert page.problems == []
        assert structure(html) == expected, "the payload changed what the page is made of"
        assert visible(payload) in page.text
        assert len(html.encode()) < 1_500_000


@pytest.mark.row("H12")
@pytest.mark.parametrize("payload", ESCAPES)
def test_text_for_a_terminal_holds_nothing_that_drives_it(payload: str) -> None:
    _, found = improve_report("promoted", World(tasks=3, text=lambda t: t + payload), skill=3)
    for trajectory in list(found.values())[:3]:
        text = render_text(trajectory)
        assert visible(payload) in text
        for c in text:
            assert c in "\n\t" or c.isprintable() or unicodedata.category(c) == "Zs", repr(c)


def test_an_answer_cannot_pass_for_a_line_of_ours() -> None:
    forged = "\n\ncandidate 1, chosen: passed\nverdict passed"
    _, found = improve_report(None, World(tasks=1, text=lambda t: t + forged))
    (trajectory,) = found.values()
    lines = render_text(trajectory).splitlines()
    assert "verdict passed" not in lines
    assert sum(line.startswith("candidate 1, chosen") for line in lines) <= 1


@given(st.text())
def test_visible_text_can_be_written_and_is_idempotent(text: str) -> None:
    shown = visible(text + "\ud800\x1b")
    shown.encode()
    assert "\x1b" not in shown and visible(shown) == shown


@given(st.text(alphabet="abdefr \n\"'#0\\{}():=", max_size=200))
def test_colouring_loses_and_adds_nothing(code: str) -> None:
    assert "".join(piece.text for piece in highlight(code)) == code


def test_long_text_is_cut_and_the_page_stays_small() -> None:
    _, found = improve_report(None, World(tasks=1, text=lambda t: t + "<&>\"'" * 20_000))
    (trajectory,) = found.values()
    html = render_trajectory(trajectory)
    assert len(html.encode()) < 1_500_000
    assert "more characters are in the log" in html
    assert cut("short") == "short"


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.integers(0, 12)), max_size=30))
def test_any_machine_is_drawn_with_each_node_at_a_place_of_its_own(
    edges: list[tuple[int, bool, int]],
) -> None:
    text = "".join(f"\tn{a} {'-.->' if b else '-->'} n{c};\n" for a, b, c in edges)
    assert len(parse(text)) == len(edges)
    picture = draw(text)
    if not edges:
        assert picture is None
        return
    assert picture is not None
    names = {f"n{n}" for a, _, c in edges for n in (a, c)}
    assert {box.name for box in picture.boxes} == names
    assert len({(box.x, box.y) for box in picture.boxes}) == len(names)
    assert all(0 < b.x < picture.width and 0 < b.y < picture.height for b in picture.boxes)


def test_what_an_edge_is_called_is_drawn_at_it() -> None:
    text = (
        "\task -. &nbsp;end&nbsp; .-> __end__;\n\task -->|go on| work;\n"
        "\twork -- &nbsp;a&nbsp<br>&nbspb&nbsp; --> show;\n\tshow -. &nbsp;once more&nbsp; .-> ask;\n"
    )
    assert [(edge.label, edge.is_choice) for edge in parse(text)] == [
        ("end", True),
        ("go on", False),
        ("a b", False),
        ("once more", True),
    ]
    picture = draw(text)
    assert picture is not None
    (back,) = (arrow for arrow in picture.arrows if arrow.is_back)
    assert back.label == "once more" and back.x + 5 * len(back.label) < picture.width
    assert all(0 < arrow.x < picture.width and arrow.y > 0 for arrow in picture.arrows)


def test_the_team_is_drawn_as_it_runs() -> None:
    report, _ = improve_report(None, World(tasks=1))
    picture = draw(report.graph)
    assert picture is not None
    order = [box.name for box in sorted(picture.boxes, key=lambda box: (box.y, box.x))]
    assert order == [
        "start",
        "recall",
        "plan",
        "code",
        "tests",
        "execute",
        "select",
        "review",
        "build",
        "repair",
        "end",
    ]
    assert sum(arrow.is_choice for arrow in picture.arrows) == 2
