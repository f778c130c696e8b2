"""The person in the loop, in a real Chromium: plans, changes, questions, corrections, settings, feedback."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from codojo.tasks.katas import load_katas
from codojo.trajectories.feedback import feedback_of
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import read_log
from tests.chat.talking import RIGHT, RULES, WRONG, write_script
from tests.chat.test_forget import everything
from tests.finetune.conftest import tiny as tiny
from tests.scripts import kata_script, run_settings
from tests.web.serving import Served, served, told
from tests.web.test_browser import REQUEST, answers, approve, ask, log_in

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

TEAM = ("--set", "team.graph=team")


def correct(card: Any) -> Any:
    """The open form for a correction."""
    card.get_by_role("button", name="Correct").click()
    return card.get_by_label("The answer as it should have been")


def decisions(dojo: Path) -> list[Any]:
    """What people answered the team."""
    effects = [event.data for event in read_log(dojo / "log") if event.kind == EFFECT]
    return [effect["output"] for effect in effects if effect["effect"] == "person"]


def test_a_half_typed_correction_outlives_ratings_and_the_next_answer(
    page: Any, tmp_path: Path
) -> None:
    with served(tmp_path / "dojo", write_script(tmp_path)) as server:
        log_in(page, server)
        ask(page, REQUEST)
        card = answers(page, 1).first
        card.locator("details.tests").first.locator("summary").first.click()
        field = correct(card)
        field.fill("def double(x):\n    return")
        card.get_by_role("button", name="Bad").click()
        card.get_by_label("Comment").fill("half a")
        with closing(server.client()) as client:  # the same person, elsewhere
            id = page.url.partition("#")[2]
            client.post(f"/api/sessions/{id}/rate", json={"good": True, "comment": "elsewhere"})
        card.get_by_role("button", name="Run tests").click()
        card.get_by_role("button", name="Log it").click()
        page.locator(".feedback").nth(1).wait_for()
        assert card.get_by_text("logged as bad").is_visible()
        assert field.input_value() == "def double(x):\n    return", "what was typed is there"
        assert card.locator("details.tests").first.get_attribute("open") is not None

        field.focus()
        page.keyboard.press("Control+End")
        page.evaluate("refreshed(false)")
        page.keyboard.type(" 2 * x")
        ask(page, "now make it handle negatives")
        answers(page, 2)
        assert field.input_value() == "def double(x):\n    return 2 * x"
        card.get_by_role("button", name="This is right").click()
        card.locator(".feedback", has_text="edit").wait_for()
        assert field.is_hidden()
        assert "return 2 * x" in card.locator("pre.code").first.inner_text()
        id = page.url.partition("#")[2]
        with closing(server.client()) as client:
            first, second = told(client, id)["turns"]
    assert [f["kind"] for f in first["feedback"]] == ["good", "bad", "edit"]
    assert second["feedback"] == [], "a correction is about the answer it stands under"


def test_a_plan_is_edited_and_the_coder_gets_it_as_it_was_left(page: Any, tmp_path: Path) -> None:
    with served(tmp_path / "dojo", write_script(tmp_path), *TEAM) as server:
        log_in(page, server)
        ask(page, REQUEST)
        page.get_by_text("Is this plan right?").wait_for()
        page.get_by_role("button", name="Edit").click()
        page.get_by_label("plan", exact=True).fill("- half a plan")
        page.get_by_role("button", name="Edit").click()
        assert page.get_by_label("plan", exact=True).input_value() == "- half a plan"
        page.get_by_label("plan", exact=True).fill("- shift it left by one bit")
        page.get_by_role("button", name="Use mine").click()
        answers(page, 1)
        assert "shift it left" in page.locator("#plan").inner_text()
    (said,) = decisions(server.dojo)
    assert (said["decision"], said["author"]) == ("edit", "ada")
    effects = [event.data for event in read_log(server.dojo / "log") if event.kind == EFFECT]
    (coder,) = [e for e in effects if e["effect"] == "reply" and e["input"]["agent"] == "coder"]
    assert "shift it left by one bit" in str(coder["input"]["messages"])


def test_a_plan_is_sent_back_with_a_word_and_then_rejected(page: Any, tmp_path: Path) -> None:
    with served(tmp_path / "dojo", write_script(tmp_path), *TEAM) as server:
        log_in(page, server)
        ask(page, REQUEST)
        page.get_by_text("Is this plan right?").wait_for()
        page.get_by_label("What to do otherwise").fill("use abs")
        page.get_by_role("button", name="Reject").click()
        page.locator(".question").get_by_text("use abs").wait_for()
        assert page.get_by_text("you said: reject: use abs").is_visible()
        page.get_by_role("button", name="Reject").click()
        page.get_by_text("rejected").first.wait_for()
        page.locator("#status", has_text="done").wait_for()
        assert page.locator("pre.code").count() == 0, "nothing was written"
    assert [said["decision"] for said in decisions(server.dojo)] == ["reject", "reject"]


def test_stopping_while_the_team_waits_keeps_what_was_typed(page: Any, tmp_path: Path) -> None:
    with served(tmp_path / "dojo", write_script(tmp_path), *TEAM) as server:
        log_in(page, server)
        ask(page, REQUEST)
        page.get_by_text("Is this plan right?").wait_for()
        page.get_by_role("button", name="Edit").click()
        page.get_by_label("plan", exact=True).fill("- mine")
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("button", name="Go on").wait_for()
        assert page.get_by_role("button", name="Approve").count() == 0, "nobody asks any more"
        assert "waits" not in page.locator("#status").inner_text()
        page.get_by_role("button", name="Go on").click()
        assert page.get_by_label("plan", exact=True).input_value() == "- mine"
        page.get_by_role("button", name="Use mine").click()
        answers(page, 1)
    assert [said["decision"] for said in decisions(server.dojo)] == ["edit"]


def test_a_rejected_change_is_never_written(page: Any, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    with served(tmp_path / "dojo", write_script(tmp_path), "--dir", str(folder)) as server:
        log_in(page, server)
        ask(page, "repair add in calc.py")
        approve(page)
        page.get_by_text("Write this change?").wait_for()
        page.get_by_role("button", name="Reject").click()
        page.get_by_text("rejected").first.wait_for()
        page.locator("#status", has_text="done").wait_for()
        assert page.get_by_role("button", name="Undo the last change").count() == 0
        assert "a - b" in (folder / "calc.py").read_text()
        ask(page, "repair add in calc.py")
        approve(page)
        page.get_by_text("Write this change?").wait_for()
        page.get_by_role("button", name="Edit").click()
        page.get_by_label("calc.py").fill("def add(a, b):\n    return b + a\n")
        page.get_by_role("button", name="Use mine").click()
        page.get_by_role("button", name="Undo the last change").wait_for()
        assert "b + a" in (folder / "calc.py").read_text(), "as the person left it"


def test_a_question_of_the_team_is_answered_below_it_or_where_requests_are_typed(
    page: Any, tmp_path: Path
) -> None:
    rules = [
        {"match": "which way(.|\\n)*to zero(.|\\n)*how fast", "replies": ["- round to zero"]},
        {"match": "which way(.|\\n)*to zero", "replies": ["- round\nQUESTION: how fast?"]},
        {"match": "Plan it", "replies": ["- round\nQUESTION: which way to round?"]},
        *RULES,
    ]
    with served(tmp_path / "dojo", write_script(tmp_path, rules), *TEAM) as server:
        log_in(page, server)
        ask(page, REQUEST)
        page.locator(".question").get_by_text("which way to round?").wait_for()
        assert page.locator("#send").inner_text() == "Answer"
        page.get_by_label("Your answer").fill("to zero")
        page.get_by_label("Your answer").press("Enter")
        page.locator(".question").get_by_text("how fast?").wait_for()
        ask(page, "it does not matter")
        approve(page)
        answers(page, 1)
        assert page.locator("[data-answered]").count() == 3
    assert decisions(server.dojo)[:2] == ["to zero", "it does not matter"]


def test_what_is_set_holds_from_the_next_request_on(page: Any, tmp_path: Path) -> None:
    rules = [{"match": "Complete this", "replies": [WRONG, RIGHT], "order": "sequence"}, *RULES]
    wanted = {
        "graph": "team",
        "plan": False,
        "budget": 54321,
        "model": "base",
        "memory": True,
        "samples": 2,
    }
    with served(tmp_path / "dojo", write_script(tmp_path, rules)) as server:
        log_in(page, server)
        ask(page, "Write double(x) that returns x twice")
        answers(page, 1)
        form = page.locator("#settings")
        form.get_by_label("Graph").select_option("team")
        page.locator('#graph [data-node="approve"]').wait_for()
        form.get_by_label("the plan waits for me").uncheck()
        form.get_by_label("Candidates").fill("2")
        form.get_by_label("Tokens a request may spend").fill("54321")
        form.get_by_label("Model").select_option("base")
        form.get_by_label("ask memory").check()
        page.keyboard.press("Escape")
        with closing(server.client()) as client:
            for _ in range(100):
                set_now = told(client, page.url.partition("#")[2])["settings"]
                if set_now == wanted:
                    break
                page.wait_for_timeout(50)
        assert set_now == wanted
        ask(page, REQUEST)
        card = answers(page, 2).nth(1)
        assert page.locator("#spent").inner_text().endswith("of 54,321")
        assert "2 candidates" in card.inner_text()
        form.get_by_label("Candidates").fill("99")
        page.keyboard.press("Escape")
        page.get_by_text("has to be a whole number from 0 to 16").wait_for()
    assert not any(said.get("author") for said in decisions(server.dojo)), "the plan did not wait"


def test_a_pick_is_about_the_answer_it_stands_under_and_can_be_taken_back(
    page: Any, tmp_path: Path
) -> None:
    rules = [{"match": "Complete this", "replies": [WRONG, RIGHT], "order": "sequence"}, *RULES]
    script = write_script(tmp_path, rules)
    with served(tmp_path / "dojo", script, "--set", "team.samples=2") as server:
        log_in(page, server)
        ask(page, REQUEST)
        answers(page, 1)
        ask(page, "now make it handle negatives")
        card = answers(page, 2).first
        card.get_by_text("candidates to choose among").click()
        card.get_by_role("button", name="I prefer this one").first.click()
        card.locator(".feedback", has_text="pick").wait_for()
        assert card.locator(".candidates .card").first.is_visible(), "the fold stays open"
        assert "return x\n" in f"{card.locator('pre.code').first.inner_text()}\n"
        log = server.dojo / "log"
        (said,) = feedback_of(read_log(log))
        first = told_turns(page, server)[0]["run"]
        assert (said.kind, said.run, said.author) == ("pick", first, "ada")
        card.get_by_role("button", name="take back").click()
        card.locator(".feedback", has_text="pick").wait_for(state="detached")
        assert "return x + x" in card.locator("pre.code").first.inner_text()
        assert feedback_of(read_log(log)) == []


def told_turns(page: Any, server: Served) -> list[dict[str, Any]]:
    with closing(server.client()) as client:
        turns: list[dict[str, Any]] = told(client, page.url.partition("#")[2])["turns"]
    return turns


@pytest.mark.row("F17")
def test_forget_asks_once_removes_every_byte_and_says_so(page: Any, tmp_path: Path) -> None:
    word = "Quarterstaff"
    rules = [{"match": word, "replies": [RIGHT.replace("return", f"# {word}\n    return")]}, *RULES]
    with served(tmp_path / "dojo", write_script(tmp_path, rules)) as server:
        log_in(page, server)
        ask(page, "Write double(x) that returns x twice")
        answers(page, 1)
        page.get_by_role("button", name="New conversation").click()
        page.locator(".turn").wait_for(state="detached")
        ask(page, f"Write double(x) for Mallory {word}")
        card = answers(page, 1).first
        correct(card).fill(f"def double(x):\n    return 2 * x  # {word}")
        card.get_by_role("button", name="This is right").click()
        card.locator(".feedback", has_text="edit").wait_for()
        card.get_by_role("button", name="Good").click()
        card.get_by_label("Comment").fill(f"as {word} likes it")
        card.get_by_label("Comment").press("Enter")
        card.locator(".feedback", has_text="likes it").wait_for()
        assert word.encode() in everything(server.dojo)
        page.get_by_role("button", name="Forget it").click()
        page.get_by_role("button", name="Keep it").click()
        assert word in page.inner_text("main"), "it was not meant"
        page.get_by_role("button", name="Forget it").click()
        page.get_by_role("button", name="Really forget it").click()
        page.get_by_text("nothing is left").wait_for()
        assert word.encode() not in everything(server.dojo)
        page.locator("#list li").nth(1).wait_for(state="detached")
        assert word not in page.inner_text("body")
        assert page.locator("#problem").inner_text() == ""
        page.locator("#list button", has_text="Write double").click()
        ask(page, "now make it handle negatives")
        assert "abs" in answers(page, 2).nth(1).inner_text(), "the others go on"


def test_an_improve_run_in_another_process_is_drawn_while_it_runs(
    page: Any, tmp_path: Path, tiny: Path
) -> None:
    script = kata_script(tmp_path / "katas.json", load_katas().tasks, model_path=str(tiny))
    script.write_text(json.dumps(json.loads(script.read_text()) | {"latency_ms": 300}))
    with served(tmp_path / "dojo", write_script(tmp_path)) as server:
        log_in(page, server)
        assert page.locator("#improvebox").is_hidden()
        command = [sys.executable, "-m", "codojo", "improve", "--dojo", str(server.dojo)]
        sizes = ["--train-tasks", "20", "--held-out-tasks", "12", "--gate-tasks", "24"]
        with subprocess.Popen([*command, *sizes, *run_settings(script)]) as improve:
            try:
                stages, seen = page.locator("#stages"), set[str]()
                stages.get_by_text("held-out/before").wait_for(timeout=120_000)
                while len(seen) < 3:
                    seen.add(stages.inner_text())
                    page.wait_for_timeout(500)
                    assert improve.poll() is None, "it is drawn while it runs"
                ask(page, REQUEST)
                answers(page, 1)
            finally:
                improve.terminate()
                improve.wait()
