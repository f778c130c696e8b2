"""The page that lists what memory holds, over a log in which attackers wrote."""

import unicodedata
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from codojo.memory.schema import MEMORY_WRITTEN, written
from codojo.trajectories.log import Log
from codojo.web.remembered import EMPTY
from tests.chat.talking import write_script
from tests.memory.test_recall import exemplar, rule
from tests.reports.made import World, improve_report
from tests.reports.test_commands import write
from tests.web.payloads import PAYLOADS
from tests.web.serving import served
from tests.web.test_browser import log_in

pytestmark = pytest.mark.timeout(600)


def test_empty_memory_says_so_and_what_fills_it(tmp_path: Path) -> None:
    with (
        served(tmp_path / "dojo", write_script(tmp_path)) as server,
        closing(server.client()) as client,
    ):
        page = client.get("/memory").text
    assert EMPTY.partition(",")[0].replace("'", "&#39;") in page


@pytest.mark.browser
@pytest.mark.row("H1")
@pytest.mark.row("H2")
def test_entries_are_listed_with_source_and_use_and_are_only_text(
    page: Any, tmp_path: Path
) -> None:
    wall = "\n".join(PAYLOADS)
    hostile = exemplar(f"Write it\n{wall}", f"def f():\n    '''{wall}'''", task_id=PAYLOADS[1])
    plain, doubtful = rule("Mind zero."), exemplar("Write g", verdict="failed")
    _, found = improve_report(None, World(tasks=4))
    with served(tmp_path / "dojo", write_script(tmp_path)) as server:
        with Log(server.dojo / "log") as log:
            for trajectory in found.values():
                write(log, trajectory)
            for entry in (hostile, plain, doubtful):
                log.append(MEMORY_WRITTEN, written(entry), entry.provenance.rollout).result()
            shown = {"text": "", "hits": [{**written(hostile), "similarity": 0.9}]}
            record = {"path": [], "nth": 0, "effect": "recall", "input": 1, "output": shown}
            for rollout in list(found)[:3]:
                log.append("effect", {**record, "key": f"k{rollout}"}, rollout).result()
        passed = sum(t.verdict is not None and t.verdict.passed for t in list(found.values())[:3])
        log_in(page, server)
        page.get_by_role("link", name="Memory").click()
        page.get_by_role("heading", name="Exemplars (2)").wait_for()
        assert page.get_by_role("heading", name="Rules of the manual (1)").is_visible()
        row = page.locator("tr", has_text="Write it").first
        assert "3 rollouts" in row.inner_text() and f"{passed} of 3" in row.inner_text()
        assert "nobody yet" in page.locator("tr", has_text="Mind zero.").first.inner_text()
        assert "no, unverified" in page.locator("tr", has_text="Write g").first.inner_text()
        for summary in page.locator("summary").all():
            summary.click()
        assert "<script>alert(1)</script>" in row.inner_text()
        made = "script, iframe, img, svg, object, embed, form, link, base, video, a[href^=data]"
        assert page.locator(f"main :is({made})").count() == 0
        shown_text = page.locator("body").inner_text()
        assert not any(unicodedata.category(c) == "Cf" for c in shown_text)
        page.set_viewport_size({"width": 390, "height": 780})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
