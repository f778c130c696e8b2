"""What people do in the browser, in a real Chromium, against the command itself and a scripted engine."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.chat.talking import RIGHT, RULES, WRONG, write_script
from tests.web.serving import Served, served, told

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

REQUEST = "Write double(x) that returns x twice\nassert double(2) == 4"
Keep = Callable[[Any, str], None]


def log_in(page: Any, server: Served) -> None:
    page.goto(f"{server.url}/")
    page.get_by_label("Token").fill(server.token)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="New conversation").wait_for()


def ask(page: Any, text: str) -> None:
    field = page.get_by_label("Request", exact=True)
    field.fill(text)
    field.press("Enter")


def approve(page: Any) -> None:
    page.get_by_role("button", name="Approve").click()


def answers(page: Any, count: int) -> Any:
    """The answer cards, once there are so many."""
    page.locator(".card.answer").nth(count - 1).wait_for()
    return page.locator(".card.answer")


def exported(server: Served, format: str, out: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "codojo", "export", format, str(out)]
    done = subprocess.run(
        [*command, "--dojo", str(server.dojo)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.row("H2")
def test_ask_watch_approve_and_rate_become_a_kto_row(
    page: Any, tmp_path: Path, picture: Keep
) -> None:
    script = write_script(tmp_path, token_ms=60)
    with served(tmp_path / "dojo", script, "--set", "team.graph=team") as server:
        page.goto(f"{server.url}/")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("not a token of this dojo").wait_for()
        log_in(page, server)
        ask(page, REQUEST)
        page.get_by_text("Is this plan right?").wait_for()
        assert "add it to itself" in page.locator("#plan").inner_text()
        assert page.locator("#status").inner_text().startswith("waits for you")
        page.locator("#list").get_by_text("Write double(x)").wait_for()
        picture(page, "web-approve")
        approve(page)
        page.locator('#graph [data-node="code"].active').wait_for()
        grown = page.locator('.node[data-node="code"] .step code')
        grown.first.wait_for(state="attached")
        picture(page, "web-working")
        card = answers(page, 1).first
        assert "passed" in card.inner_text() and "return x + x" in card.inner_text()
        assert page.locator('.node[data-node="plan"] .step').count() == 1
        card.get_by_role("button", name="Good").click()
        card.get_by_label("Comment").fill("short and right")
        card.get_by_label("Comment").press("Enter")
        page.locator(".feedback").get_by_text("short and right").wait_for()
        picture(page, "web-answer")
        page.get_by_text("the team's steps").click()
        step = page.locator('.node[data-node="plan"] .step').first
        step.get_by_role("button", name="Bad").click()
        step.get_by_role("button", name="Log it").click()
        page.locator(".feedback").nth(1).wait_for()
        began = time.time() - 3600
        rows = exported(server, "trl-kto", tmp_path / "kto.jsonl")
        with closing(server.client()) as client:
            said = told(client, page.url.partition("#")[2])
    (good,) = [row for row in rows if row["label"] is True and row.get("author")]
    assert "x + x" in str(good["completion"])
    assert good["author"] == "ada" and good["said_at"] > began
    assert any(
        row["label"] is False and "add it to itself" in str(row["completion"]) for row in rows
    )
    kept = said["turns"][0]["feedback"]
    assert [(f["author"], f["kind"]) for f in kept] == [("ada", "good"), ("ada", "bad")]
    assert all(f["at"] > began for f in kept)


def test_stop_keeps_what_was_done_and_go_on_finishes(page: Any, tmp_path: Path) -> None:
    slow = RIGHT.replace("return x + x", "\n".join(["# slowly"] * 60) + "\n    return x + x")
    rules = [{"match": "Complete this", "replies": [slow]}, *RULES]
    script = write_script(tmp_path, rules, token_ms=30)
    with served(tmp_path / "dojo", script) as server:
        log_in(page, server)
        ask(page, REQUEST)
        page.get_by_text("# slowly").first.wait_for()
        ask(page, "mind zero")
        page.get_by_text("your note, which the coder hears next").wait_for()
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("button", name="Go on").wait_for()
        page.get_by_role("button", name="Go on").click()
        assert "passed" in answers(page, 1).first.inner_text()


def test_correct_pick_and_follow_up(page: Any, tmp_path: Path, picture: Keep) -> None:
    rules = [
        {
            "match": "handle negatives",
            "replies": ["```python\ndef double(x):\n    return 2 * x\n```"],
        },
        {"match": "Complete this", "replies": [WRONG, RIGHT], "order": "sequence"},
        *RULES,
    ]
    script = write_script(tmp_path, rules)
    with served(tmp_path / "dojo", script, "--set", "team.samples=2") as server:
        log_in(page, server)
        ask(page, REQUEST)
        card = answers(page, 1).first
        card.get_by_text("candidates to choose among").click()
        assert card.locator(".candidates .card").count() == 2
        card.get_by_role("button", name="I prefer this one").first.click()
        page.locator(".feedback").get_by_text("pick").wait_for()
        card = page.locator(".card.answer").first
        card.get_by_role("button", name="Correct").click()
        card.get_by_label("The answer as it should have been").fill(
            "def double(x):\n    return x * 2"
        )
        card.get_by_role("button", name="This is right").click()
        page.locator(".feedback").get_by_text("edit").wait_for()
        ask(page, "now make it handle negatives")
        card = answers(page, 2).nth(1)
        card.get_by_text("What has changed").click()
        assert card.locator("td.old").inner_text().strip() == "return x * 2"
        assert card.locator("td.new").inner_text().strip() == "return 2 * x"
        card.get_by_role("button", name="Run tests").click()
        card.get_by_label("Tests").fill("assert double(-2) == -4")
        card.get_by_role("button", name="Run", exact=True).click()
        card.get_by_text("1 of 1 tests").last.wait_for()
        picture(page, "web-changes")
        page.locator(".feedback", has_text="pick").get_by_role("button").click()
        page.locator(".feedback", has_text="pick").wait_for(state="detached")
        sft = exported(server, "trl-sft", tmp_path / "sft.jsonl")
    assert any("return x * 2" in str(row["completion"]) for row in sft)


def test_after_kill_9_the_session_is_found_and_gone_on_with(
    page: Any, tmp_path: Path, picture: Keep
) -> None:
    script = write_script(tmp_path, token_ms=60)
    options = ("--set", "team.graph=team")
    with served(tmp_path / "dojo", script, *options) as server:
        token = server.token
        log_in(page, server)
        ask(page, REQUEST)
        approve(page)
        page.locator('.node[data-node="code"] .step').first.wait_for()
        server.kill()
    with served(tmp_path / "dojo", script, *options, token=token) as server:
        page.goto(server.url)  # a restart logs nobody out
        page.get_by_label("Search conversations").fill("twice")
        page.locator("#list button", has_text="Write double").click()
        page.get_by_role("button", name="Go on").wait_for()
        assert page.get_by_role("button", name="Stop").count() == 0, "nobody works on it"
        page.get_by_role("button", name="Go on").click()
        assert "passed" in answers(page, 1).first.inner_text()
        assert page.get_by_role("button", name="Approve").count() == 0, "it was approved before"
        assert page.locator("[data-answered]").count() == 1, "and that is told once"
        with page.expect_download() as download:
            page.get_by_role("link", name="Export as Markdown").click()
        assert "return x + x" in Path(download.value.path()).read_text()
        page.goto(f"{server.url}/runs")
        page.get_by_role("link", name="01").first.click()
        page.get_by_role("link", name="01").first.click()
        page.get_by_text("return x + x").first.wait_for()
        page.goto(f"{server.url}/adapters")
        page.get_by_text("no adapters yet").wait_for()


def test_a_change_of_files_is_shown_side_by_side_and_written_after_approval(
    page: Any, tmp_path: Path, picture: Keep
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    (folder / "test_calc.py").write_text(
        "from calc import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"
    )
    with served(tmp_path / "dojo", write_script(tmp_path), "--dir", str(folder)) as server:
        log_in(page, server)
        ask(page, "repair add in calc.py")
        approve(page)
        page.get_by_text("Write this change?").wait_for()
        assert "a - b" in (folder / "calc.py").read_text(), "nothing is written before approval"
        assert page.locator("td.old").inner_text().strip() == "return a - b"
        assert page.locator("td.new").inner_text().strip() == "return a + b"
        picture(page, "web-diff")
        approve(page)
        answers(page, 1)
        page.get_by_role("button", name="Undo the last change").wait_for()
        assert "a + b" in (folder / "calc.py").read_text()
        page.get_by_role("button", name="Undo the last change").click()
        page.get_by_role("button", name="Undo the last change").wait_for(state="hidden")
        assert "a - b" in (folder / "calc.py").read_text()


def test_it_works_by_keyboard_at_phone_width_and_in_the_dark(
    page: Any, tmp_path: Path, picture: Keep
) -> None:
    with served(tmp_path / "dojo", write_script(tmp_path)) as server:
        page.set_viewport_size({"width": 390, "height": 780})
        page.emulate_media(color_scheme="dark")
        page.goto(f"{server.url}/")
        page.locator("#token:focus").wait_for()
        page.keyboard.type(server.token)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Send").wait_for()
        page.locator("#text:focus").wait_for()
        page.keyboard.type("Write double(x) that returns x twice")
        page.keyboard.press("Enter")
        answers(page, 1)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, "nothing is wider than the screen"
        picture(page, "web-phone")
        page.get_by_role("button", name="Conversations").click()
        page.locator("#list button", has_text="Write double").wait_for()
