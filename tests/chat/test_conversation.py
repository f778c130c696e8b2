"""A conversation in one process: ask, approve, correct, rate, follow up, change files, stop, resume."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from codojo.chat.conversation import Conversation
from codojo.chat.sessions import export_session, find_session, sessions
from codojo.dojo import Dojo
from codojo.errors import SettingsError
from codojo.exporting import export
from codojo.finetune.feedback import feedback_rows
from codojo.graphs import events as e
from codojo.tasks.contamination import ContaminationGuard
from codojo.trajectories.feedback import feedback_of
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import read_log
from codojo.trajectories.rows import Preference, PromptCompletion, Unpaired
from codojo.trajectories.schema import load_trajectories
from tests.chat.talking import FILE, REQUEST, RIGHT, WRONG, a_dojo, write_script


def answering(talk: Conversation, *answers: Any) -> list[Any]:
    """Answer what the team asks, one after the other; returns what was asked."""
    asked: list[Any] = []
    left = list(answers)

    def see(event: e.TeamEvent) -> None:
        if isinstance(event, e.Interrupt) and not event.replayed and talk.will_ask(event.question):
            asked.append(event.question)
            asyncio.get_running_loop().call_later(0.05, talk.answer, left.pop(0))

    talk.hub.listeners.append(see)
    return asked


def files_named(name: str, root: Path) -> list[Path]:
    return list(root.glob(f"**/{name}"))


def approved() -> dict[str, str]:
    return {"decision": "approve"}


async def test_ask_approve_follow_up_rate_correct_and_train(tmp_path: Path) -> None:
    """One session from request to training rows, each thing with its author and time."""
    async with a_dojo(tmp_path, write_script(tmp_path), team__graph="team") as dojo:
        talk = await Conversation.start(dojo, "ada")
        asked = answering(talk, approved(), approved())
        turn = await talk.say(REQUEST)
        assert asked[0] == {"kind": "plan", "plan": "- add it to itself\n- mind zero"}
        assert turn.end == "finished" and turn.code == "def double(x):\n    return x + x\n"
        assert turn.trajectory and turn.trajectory.verdict and turn.trajectory.verdict.passed
        rated = await talk.rate(True, "just right")
        turn = await talk.say("now make it handle negatives")
        (coder,) = [s for s in turn.trajectory.steps.values() if s.input.agent == "coder"]  # type: ignore[union-attr]  # finished
        prompt = coder.input.messages[-1].content
        assert "return x + x" in prompt and "# now make it handle negatives" in prompt
        assert "abs" in turn.code and turn.task.entry_point == "double"
        assert len(turn.task.visible.cases) == 1, "the earlier test still counts"
        await talk.correct("def double(x):\n    return 2 * abs(x)\n")
        assert "2 * abs" in (talk.last.code if talk.last else "")
        mistaken = await talk.rate(False, "a slip")
        await talk.revoke(mistaken.id)

    said = feedback_of(read_log(tmp_path / "dojo" / "log"))
    assert [(f.kind, f.author) for f in said] == [("good", "ada"), ("edit", "ada")]
    made = feedback_rows(
        load_trajectories(tmp_path / "dojo" / "log"), said, guard=ContaminationGuard.of()
    )
    (label,) = made.of_kind(Unpaired)
    assert isinstance(label, Unpaired) and label.label and label.completion[0].content == RIGHT
    assert (label.source.author, label.source.said_at) == ("ada", rated.at)
    (sft,) = made.of_kind(PromptCompletion)
    (pair,) = made.of_kind(Preference)
    assert isinstance(pair, Preference) and isinstance(sft, PromptCompletion)
    assert "2 * abs" in pair.chosen[0].content and "2 * abs" not in pair.rejected[0].content
    assert sft.source.model == "person:ada"
    export(tmp_path / "dojo", "trl-kto", tmp_path / "kto.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "kto.jsonl").read_text().splitlines()]
    (row,) = [row for row in rows if row.get("author")]
    assert (row["label"], row["author"], row["said_at"]) == (True, "ada", rated.at)
    same = [r for r in rows if (r["prompt"], r["completion"]) == (row["prompt"], row["completion"])]
    assert len(same) == 1, "a person's word takes the place of the verdict's"


async def test_a_plan_is_edited_rejected_with_a_word_and_rejected(tmp_path: Path) -> None:
    async with a_dojo(tmp_path, write_script(tmp_path), team__graph="team") as dojo:
        talk = await Conversation.start(dojo, "ada")
        again = {"decision": "reject", "text": "use abs"}
        asked = answering(talk, again, {"decision": "edit", "text": "- MY PLAN"})
        turn = await talk.say(REQUEST)
        assert [q["plan"] for q in asked] == ["- add it to itself\n- mind zero", "- use abs"]
        (coder,) = [s for s in turn.trajectory.steps.values() if s.input.agent == "coder"]  # type: ignore[union-attr]  # finished
        assert "- MY PLAN" in coder.input.messages[-1].content
        talk.hub.listeners.clear()
        answering(talk, {"decision": "reject"})
        turn = await talk.say("Write triple(x)")
        assert turn.failure == "the person rejected the plan" and not turn.files


async def test_the_planner_asks_and_hears_the_answer(tmp_path: Path) -> None:
    rules = [
        {"match": "The person says:\nwhich order\\?\ndescending", "replies": ["- sort down"]},
        {"match": "Plan it", "replies": ["QUESTION: which order?"]},
        {"match": "", "replies": [RIGHT]},
    ]
    async with a_dojo(tmp_path, write_script(tmp_path, rules), team__graph="team") as dojo:
        talk = await Conversation.start(dojo, "ada")
        asked = answering(talk, "descending", approved())
        await talk.say(REQUEST)
        assert asked == [
            {"kind": "question", "text": "which order?"},
            {"kind": "plan", "plan": "- sort down"},
        ]


async def test_stop_keeps_what_was_done_and_going_on_repeats_none_of_it(tmp_path: Path) -> None:
    script = write_script(tmp_path, token_ms=40)
    async with a_dojo(tmp_path, script, team__graph="team") as dojo:
        talk = await Conversation.start(dojo, "ada")
        talk.asks_plan = False

        def stop_at_code(event: e.TeamEvent) -> None:
            if isinstance(event, e.StepStarted) and event.node == "code":
                asyncio.get_running_loop().call_later(0.1, talk.stop)

        talk.hub.listeners.append(stop_at_code)
        turn = await talk.say(REQUEST)
        assert turn.end == "stopped" and talk.unfinished is not None and not talk.is_working
        talk.hub.listeners.clear()
        talk.steer("this is no longer heard")
        turn = await talk.go_on()
        assert turn.end == "finished" and "x + x" in turn.code
        effects = [x.data for x in read_log(dojo.log_folder) if x.kind == EFFECT]
        agents = [x["input"]["agent"] for x in effects if x["effect"] == "reply"]
        assert agents.count("planner") == 1 and len({x["key"] for x in effects}) == len(effects)


async def test_a_note_reaches_the_coder_before_its_next_answer(tmp_path: Path) -> None:
    rules = [
        {"match": "keep it short", "replies": [RIGHT]},
        {"match": "Complete this", "replies": [WRONG]},
        {"match": "Plan it", "replies": ["- think\n" * 3]},
        {"match": "", "replies": ["no"]},
    ]
    script = write_script(tmp_path, rules, token_ms=20)
    async with a_dojo(tmp_path, script, team__graph="team", team__repairs=0) as dojo:
        talk = await Conversation.start(dojo, "ada")
        talk.asks_plan = False

        def note(event: e.TeamEvent) -> None:
            if isinstance(event, e.StepStarted) and event.node == "plan":
                talk.steer("keep it short")

        talk.hub.listeners.append(note)
        turn = await talk.say(REQUEST)
        assert "x + x" in turn.code, "it answered to the note"


async def test_files_are_written_only_after_approval_and_taken_back(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    test = "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
    (folder / "test_calc.py").write_text(test)
    async with a_dojo(tmp_path, write_script(tmp_path)) as dojo:
        talk = await Conversation.start(dojo, "ada", folder)
        before = (folder / "calc.py").read_text()
        seen: list[str] = []

        def look(event: e.TeamEvent) -> None:
            if isinstance(event, e.Interrupt):
                seen.append((folder / "calc.py").read_text())

        talk.hub.listeners.append(look)
        asked = answering(talk, approved(), approved())
        turn = await talk.say("repair add in calc.py")
        assert set(seen) == {before}, "nothing is written before the last word"
        assert [q["kind"] for q in asked] == ["plan", "diff"]
        assert "-    return a - b\n+    return a + b" in asked[1]["diff"]
        assert asked[1]["verdict"]["status"] == "passed", "the folder's test ran on the copy"
        assert (folder / "calc.py").read_text() == "def add(a, b):\n    return a + b\n"
        assert turn.task.files["calc.py"] == before and not (folder / "solution.py").exists()
        await talk.undo()
        assert (folder / "calc.py").read_text() == before
        with pytest.raises(SettingsError, match="nothing was changed"):
            await talk.undo()
        talk.hub.listeners.clear()
        answering(talk, approved(), {"decision": "reject"})
        turn = await talk.say("repair add in calc.py")
        assert turn.failure == "the person rejected the change"
        assert (folder / "calc.py").read_text() == before


@pytest.mark.row("H7")
async def test_a_model_cannot_write_outside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.txt").write_text("a\n")
    (folder / "out").symlink_to(tmp_path)
    names = ["../evil.py", "/tmp/evil.py", ".git/hooks/pre-commit", "out/evil.py", "..\\evil.py"]
    reply = FILE + "".join(f"```python {name}\nevil = 1\n```\n" for name in names)
    rules = [{"match": "Answer with every", "replies": [reply]}, {"match": "", "replies": ["- x"]}]
    async with a_dojo(tmp_path, write_script(tmp_path, rules)) as dojo:
        talk = await Conversation.start(dojo, "ada", folder)
        talk.approval = "yes"
        with pytest.raises(SettingsError, match=r"out/evil\.py"):
            await talk.say("go on")
    assert not files_named("evil.py", tmp_path) and not (folder / ".git").exists()
    assert not (folder / "calc.py").exists(), "all of a change or none of it"


async def test_sessions_are_found_searched_exported_and_forgotten(tmp_path: Path) -> None:
    async with a_dojo(tmp_path, write_script(tmp_path), team__samples=2) as dojo:
        talk = await Conversation.start(dojo, "ada")
        await talk.say(REQUEST)
        await Conversation.start(dojo, "bob")
    log = tmp_path / "dojo" / "log"
    found = find_session(log, "last")
    assert found.id == talk.session.id and found.title.startswith("Write double(x)")
    assert found.holds("RETURN X + X") and not found.holds("nowhere")
    text = export_session(found, "markdown")
    assert "def double(x):" in text and "ada" in text
    assert json.loads(export_session(found, "json"))["turns"][0]["text"] == REQUEST
    async with Dojo.open(tmp_path / "dojo") as dojo:
        again = await Conversation.open(dojo, found.id[:12].lower(), "ada")
        assert again.last and again.last.code
        await again.rate(True)
        await again.forget()
    assert found.id not in sessions(log)
    with pytest.raises(SettingsError, match="no rollout yet"):
        export(tmp_path / "dojo", "trl-kto", tmp_path / "kto.jsonl")
    with pytest.raises(SettingsError, match="no session"):
        find_session(log, "last")
