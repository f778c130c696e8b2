"""The pages beside the conversations, over a log that an improve run wrote."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from codojo.graphs.improve_report import REPORT
from codojo.graphs.run import RUN_STARTED
from codojo.trajectories.log import Log
from tests.chat.talking import write_script
from tests.reports.made import ADAPTER, RUN, World, improve_report, manifest
from tests.reports.test_commands import write
from tests.web.serving import Served, served
from tests.web.test_browser import log_in

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("pages")
    root = folder / "dojo"
    with served(root, write_script(folder)) as server:
        report, found = improve_report("promoted", World(tasks=4))
        with Log(root / "log") as log:  # as another process does, while the server runs
            args = {"suite": "katas"}
            began = {"run": RUN, "command": "improve", "args": args, "settings": {}}
            log.append(RUN_STARTED, began)
            for trajectory in found.values():
                write(log, trajectory)
            log.append(REPORT, report.model_dump(mode="json")).result()
        made = root / "adapters" / ADAPTER
        made.mkdir(parents=True)
        (made / "manifest.json").write_text(manifest(12, "0" * 64).model_dump_json())
        yield server


def test_runs_rollouts_reports_and_adapters_have_pages(server: Served) -> None:
    with closing(server.client()) as client:
        runs = client.get("/runs").text
        assert f"/runs/{RUN}" in runs and f"/reports/{RUN}" in runs
        rollouts = re.findall(r'href="(/rollouts/[^"]+)"', client.get(f"/runs/{RUN}").text)
        assert rollouts and client.get(rollouts[0]).status_code == 200
        report = client.get(f"/reports/{RUN}")
        assert report.status_code == 200 and "polyline" in report.text
        links = re.findall(r'href="(/rollouts/[^"]+)"', report.text)
        assert all(client.get(link).status_code == 200 for link in links)
        adapters = client.get("/adapters").text
        assert ADAPTER in adapters and "promoted" in adapters and "polyline" in adapters


def test_an_improve_run_of_another_process_is_drawn(server: Served) -> None:
    with closing(server.client()) as client:
        drawn = client.get("/improve.svg")
        assert drawn.headers["content-type"] == "image/svg+xml"
        assert "held-out/before" in drawn.text and " passed, " in drawn.text


@pytest.mark.browser
def test_the_picture_stands_beside_the_conversation(
    server: Served, page: Any, picture: Callable[[Any, str], None]
) -> None:
    log_in(page, server)
    page.locator("#stages").get_by_text("held-out/before").wait_for()
    page.goto(f"{server.url}/reports/{RUN}")
    page.locator("svg polyline").first.wait_for()
    page.goto(f"{server.url}/runs")
    page.wait_for_load_state("load")
    assert page.locator("main img").evaluate("image => image.naturalWidth") > 100
    picture(page, "web-runs")


def test_pages_work_on_an_empty_dojo(tmp_path: Path) -> None:
    with (
        served(tmp_path / "dojo", write_script(tmp_path)) as server,
        closing(server.client()) as client,
    ):
        for path in ("/runs", "/adapters", "/improve.svg"):
            assert client.get(path).status_code == 200
        for path in (f"/reports/{RUN}", f"/runs/{RUN}", "/rollouts/x"):
            assert client.get(path).status_code == 404
