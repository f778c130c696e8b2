"""A model, a folder and memory that attack the browser: nothing they write becomes more than text."""

import re
import unicodedata
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from codojo.reports.overview import Cell, StageBar, Table, render_overview, render_stages
from tests.chat.talking import write_script
from tests.web.payloads import PAYLOADS
from tests.web.serving import served, wait_until_done
from tests.web.test_browser import answers, approve, ask, log_in

pytestmark = pytest.mark.timeout(600)

WALL = "\n".join(PAYLOADS)


@pytest.mark.browser
@pytest.mark.row("H1")
@pytest.mark.row("H2")
def test_what_models_write_is_text_wherever_it_is_shown(page: Any, tmp_path: Path) -> None:
    said = f"```python\ndef double(x):\n    '''{WALL}'''\n    return x + x\n```\n{WALL}"
    rules = [
        {"match": "Plan it", "replies": [f"- {line}" for line in PAYLOADS[:1]]},
        {"match": "Complete this", "replies": [said]},
        {"match": "Write test cases", "replies": [WALL]},
        {"match": "", "replies": [WALL]},
    ]
    script = write_script(tmp_path, rules)
    with served(tmp_path / "dojo", script, "--set", "team.graph=team") as server:
        log_in(page, server)
        ask(page, f"Write double(x) that returns x twice\nassert double(2) == 4\n{WALL}")
        approve(page)
        answers(page, 1)
        page.get_by_role("button", name="Good").last.click()
        page.get_by_label("Comment").fill(WALL.replace("\n", " "))
        page.get_by_role("button", name="Log it").click()
        page.locator(".feedback").wait_for()
        whole = page.locator("body").inner_html()
        found = page.evaluate(
            "[...document.querySelectorAll('script,iframe,object,embed,link,base,meta,style,video,audio,form,img,a')]"
            ".map(x => x.cloneNode(false).outerHTML)"
        )
        ours = [html for html in found if "alert" in html or "listener" in html]
        assert len(found) < 20 and not ours, "an element was made of what somebody wrote"
        attributes = page.evaluate(
            "[...document.querySelectorAll('*')].flatMap(x => [...x.attributes]).map(a => a.name)"
            ".filter(name => name.startsWith('on') || name === 'style' || name === 'srcdoc')"
        )
        assert attributes == []
        assert "&lt;script&gt;alert(1)" in whole and not re.search("[\u202a-\u202e\x00\x1b]", whole)
        page.goto(f"{server.url}/runs")
        assert "alert(1)" in page.inner_text("body")
        page.get_by_role("link", name="01").first.click()
        page.get_by_role("link", name="01").first.click()
        page.wait_for_load_state()
        assert page.evaluate("document.querySelectorAll('main script, main img').length") == 0


@pytest.mark.browser
@pytest.mark.row("H1")
def test_file_names_are_text_too(page: Any, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    name = "<img src=x onerror=alert(1)>.py"
    (folder / name).write_text("x = 1\n")
    rules = [
        {"match": "change files of a folder", "replies": ["- change it"]},
        {"match": "Answer with every file", "replies": [f"```python {name}\nx = 2\n```\n"]},
        {"match": "", "replies": ["ok"]},
    ]
    with served(tmp_path / "dojo", write_script(tmp_path, rules), "--dir", str(folder)) as server:
        log_in(page, server)
        ask(page, "change it")
        approve(page)
        page.get_by_text("Write this change?").or_(page.locator(".card.answer")).first.wait_for()
        assert page.locator("main img").count() == 0
        assert "onerror" in page.locator("main").inner_text()


@pytest.mark.row("H11")
def test_exports_and_pages_hold_no_markup_of_others(tmp_path: Path) -> None:
    for payload in PAYLOADS:
        table = Table(payload, (payload,), [[Cell(payload, f"/runs/{payload}")]])
        page = render_overview(payload, [table], lead=payload, trail=[(payload, "/")])
        picture = render_stages([StageBar(payload, 2, 1)], payload)
        for text in (page, picture):
            assert (
                "<script" not in text and "<iframe" not in text and "onerror=alert(1)>" not in text
            )
            assert not any(unicodedata.category(c) in ("Cf", "Cc") for c in text if c not in "\n\t")
    rules = [{"match": "", "replies": [f"```python\ndef double(x):\n    return x\n```\n{WALL}"]}]
    with (
        served(tmp_path / "dojo", write_script(tmp_path, rules)) as server,
        closing(server.client()) as client,
    ):
        id = client.post("/api/sessions", json={}).json()["id"]
        client.post(f"/api/sessions/{id}/say", json={"text": f"Write double(x)\n{WALL}"})
        wait_until_done(client, id)
        for format in ("markdown", "json"):
            sent = client.get(f"/api/sessions/{id}/export", params={"format": format})
            assert sent.headers["content-type"].startswith("text/plain")
            assert sent.headers["content-disposition"].startswith("attachment")
            assert sent.headers["x-content-type-options"] == "nosniff"


def test_no_script_of_ours_reads_html() -> None:
    static = Path(__file__).parents[2] / "web" / "static"
    for file in static.glob("*.js"):
        text = file.read_text()
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ):
            assert word not in text, f"{file.name} has {word}"
    for file in static.glob("*.html"):
        assert not re.search(r"https?://|<script>|<style|\son\w+=|style=", file.read_text())
