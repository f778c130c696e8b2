"""The browser and the terminal over one dojo, with the embedded model behind both."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from codojo.chat.sessions import find_session
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import read_log
from tests.web.serving import served, told
from tests.web.test_browser import answers, approve, ask, log_in
from tests.web.test_in_the_loop import correct

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(900)]

REQUEST = "Write add(a, b) that returns the sum of a and b\nassert add(2, 3) == 5"
MINE = "def add(a, b):\n    return a + b"
PATIENCE_MS = 120_000
"""For an answer."""
TEAM = ("--set", "team.graph=team", "--set", "team.samples=1", "--set", "team.repairs=0")
SHORT = ("--set", "sampling.max_tokens=64")


@pytest.fixture(scope="module", autouse=True)
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One engine that outlives what is killed here, apart from one that the user has running."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("run")))
        dojo = tmp_path_factory.mktemp("engine")
        started = codojo(dojo, "models", "start")
        assert started.returncode == 0, started.stderr
        yield
        subprocess.run([sys.executable, "-m", "codojo", "models", "stop"], check=True)


def codojo(dojo: Path, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "codojo", *arguments, "--dojo", str(dojo)]
    return subprocess.run(command, input=said, capture_output=True, text=True, check=False)


def rows(dojo: Path, format: str) -> list[dict[str, Any]]:
    out = dojo.with_name(f"{format}.jsonl")
    done = codojo(dojo, "export", format, str(out))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_a_day_with_the_embedded_model_in_the_browser(page: Any, tmp_path: Path) -> None:
    """Ask, watch, approve, stop, go on, rate, correct, follow up, kill -9, find it, go on, export."""
    dojo = tmp_path / "d"
    page.set_default_timeout(PATIENCE_MS)
    with served(dojo, None, *TEAM, *SHORT) as server:
        log_in(page, server)
        ask(page, REQUEST)
        page.get_by_text("Is this plan right?").wait_for()
        approve(page)
        page.locator('.node[data-node="code"] .step').first.wait_for(state="attached")
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("button", name="Go on").click()
        card = answers(page, 1).first
        assert "def add" in card.inner_text()
        card.get_by_role("button", name="Bad").click()
        card.get_by_role("button", name="Log it").click()
        card.locator(".feedback", has_text="bad").wait_for()
        correct(card).fill(MINE)
        card.get_by_role("button", name="This is right").click()
        card.locator(".feedback", has_text="edit").wait_for()
        ask(page, "now make it add three numbers")
        page.get_by_text("Is this plan right?").wait_for()
        token, session = server.token, page.url.partition("#")[2]
        server.kill()
    with served(dojo, None, *TEAM, *SHORT, token=token) as server:
        page.goto(server.url)  # a restart logs nobody out
        page.get_by_label("Search conversations").fill("sum of a")
        page.locator("#list button", has_text="Write add").click()
        page.get_by_role("button", name="Go on").click()
        approve(page)
        answers(page, 2)
        with page.expect_download() as download:
            page.get_by_role("link", name="Export as Markdown").click()
        assert MINE in Path(download.value.path()).read_text()
        with closing(server.client()) as client:
            turns = told(client, session)["turns"]
    assert [turn["end"] for turn in turns] == ["finished", "finished"]
    effects = [event.data["key"] for event in read_log(dojo / "log") if event.kind == EFFECT]
    assert len(set(effects)) == len(effects), "nothing happened twice"
    (label,) = [row for row in rows(dojo, "trl-kto") if row.get("author") == "ada"]
    assert label["label"] is False
    (row,) = [row for row in rows(dojo, "trl-sft") if row.get("author") == "ada"]
    assert MINE in row["completion"][0]["content"]


def test_a_day_with_the_embedded_model_at_the_terminal(tmp_path: Path) -> None:
    """The same by keys; killed while the team works, found, gone on with, exported."""
    from tests.chat import test_terminal as terminal

    dojo = tmp_path / "d"
    arguments = ["-m", "codojo", "chat", "--dojo", str(dojo), "--as", "ada", *TEAM, *SHORT]

    def chat(*more: str) -> Any:
        child = terminal.pexpect.spawn(
            sys.executable,
            [*arguments, *more],
            dimensions=(30, 80),
            env=terminal.environment(),
            encoding="utf-8",
            codec_errors="replace",
            timeout=PATIENCE_MS / 1000,
        )
        child.expect("help lists")
        return child

    child = chat()
    terminal.enter(child, REQUEST.partition("\n")[0])
    child.expect("is this plan right|the plan:")
    terminal.enter(child, "y")
    child.expect("── code")
    child.sendintr()
    child.expect("stopped")
    terminal.enter(child, "/resume")
    child.expect(r"tokens, \d+ calls")
    terminal.enter(child, "/bad too long")
    child.expect("logged as bad by ada")
    terminal.enter(child, "/edit")
    child.expect("Alt-Enter")
    child.expect("def ")
    child.send("# by hand\x1b\r")
    child.expect("your correction is logged")
    terminal.enter(child, "now make it add three numbers")
    child.expect("is this plan right|the plan:")
    os.kill(child.pid, 9)
    child.wait()

    listed = codojo(dojo, "chat", "--history", "sum of a")
    assert "2 requests  Write add(a, b)" in listed.stdout, listed
    child = chat("--resume", listed.stdout.split()[0])
    child.expect("not finished")
    terminal.enter(child, "/resume")
    child.expect("is this plan right|the plan:")
    terminal.enter(child, "y")
    child.expect(r"tokens, \d+ calls")
    terminal.enter(child, f"/export {tmp_path / 'day.md'}")
    child.expect("wrote")
    terminal.leave(child)
    assert "# by hand" in (tmp_path / "day.md").read_text()
    turns = find_session(dojo / "log", "last").turns
    assert [turn.end for turn in turns] == ["finished", "finished"]
    assert {row["author"] for row in rows(dojo, "trl-sft") if row.get("author")} == {"ada"}
    assert [row["label"] for row in rows(dojo, "trl-kto") if row.get("author")] == [False]
