"""`codojo chat` as people use it: over a pseudo-terminal, and through pipes, against a scripted engine."""

import io
import os
import re
import subprocess
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from codojo.chat.sessions import find_session
from codojo.trajectories.feedback import feedback_of
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import read_log
from tests.chat.talking import write_script
from tests.chat.test_forget import everything
from tests.scripts import run_settings

pexpect = pytest.importorskip("pexpect", reason="pexpect drives the terminal; make dev installs it")

pytestmark = pytest.mark.timeout(3600)  # seconds on a free machine

CODOJO = [sys.executable, "-m", "codojo", "chat"]
REQUEST = "Write double(x) that returns x twice"


def arguments(folder: Path, script: Path, *more: str) -> list[str]:
    return ["-m", "codojo", "chat", "--dojo", str(folder / "d"), *run_settings(script), *more]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **more}


def chat(folder: Path, script: Path, *more: str, **env: str) -> Any:
    """A chat in a terminal of 80 columns."""
    child = pexpect.spawn(
        sys.executable,
        arguments(folder, script, "--as", "ada", *more),
        dimensions=(30, 80),
        env=environment(**env),
        encoding="utf-8",
        codec_errors="replace",
        timeout=600,
    )
    child.logfile_read = io.StringIO()
    child.expect("help lists")
    return child


def enter(child: Any, text: str) -> None:
    child.send(text)
    time.sleep(0.05)
    child.send("\r")


def leave(child: Any) -> None:
    enter(child, "/quit")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_a_whole_day_at_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask, watch, stop, go on, approve, rate, follow up, be killed, find the session, export it."""
    monkeypatch.chdir(tmp_path)
    script = write_script(tmp_path, token_ms=30)
    child = chat(tmp_path, script, "--graph", "team", "--set", "team.samples=1")
    enter(child, REQUEST)
    child.expect("── plan")
    child.expect("add it to itself")
    child.expect("is this plan right|the plan:")
    enter(child, "y")
    child.expect("── code")
    child.sendintr()
    child.expect("stopping")
    child.expect("stopped")
    enter(child, "/resume")
    child.expect("solution.py")
    child.expect("return")
    child.expect("tokens")
    enter(child, "/good just right")
    child.expect("logged as good by ada")
    enter(child, "/nonsense")
    child.expect("there is no /nonsense")
    enter(child, "now make it handle negatives")
    child.expect("is this plan right|the plan:")
    os.kill(child.pid, 9)
    child.wait()

    child = chat(tmp_path, script, "--resume", "last", "--graph", "team")
    child.expect("not finished")
    enter(child, "/resume")
    child.expect("is this plan right|the plan:")
    enter(child, "y")
    child.expect("abs")
    child.expect("tokens")
    leave(child)

    listed = subprocess.run(
        [*CODOJO, "--dojo", str(tmp_path / "d"), "--history", "RETURN X + X"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "2 requests  Write double(x)" in listed.stdout
    child = chat(tmp_path, script)
    enter(child, "/history double")
    child.expect("2 requests")
    enter(child, f"/resume {listed.stdout.split()[0]}")
    child.expect("abs")
    enter(child, "/export day.md")
    child.expect("wrote day.md")
    leave(child)
    assert "def double(x):" in (tmp_path / "day.md").read_text()

    log = tmp_path / "d" / "log"
    (said,) = feedback_of(read_log(log))
    assert (said.kind, said.comment, said.author) == ("good", "just right", "ada")
    effects = [event.data for event in read_log(log) if event.kind == EFFECT]
    assert len({effect["key"] for effect in effects}) == len(effects), "nothing happened twice"
    people = [effect for effect in effects if effect["effect"] == "person"]
    assert [effect["output"]["author"] for effect in people] == ["ada", "ada"]
    assert [turn.end for turn in find_session(log, "last").turns] == ["finished", "finished"]


def test_ctrl_c_leaves_the_program_running_and_ctrl_d_ends_it(tmp_path: Path) -> None:
    child = chat(tmp_path, write_script(tmp_path))
    child.sendintr()
    child.expect("nothing runs")
    enter(child, "/help")
    child.expect("/history")
    child.sendeof()
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


BUSY = """
import asyncio, sys
from codojo.cli import main
from codojo.chat.terminal.doing import Doing

async def busy(self, rest):
    self.screen.say("busy now")
    await asyncio.sleep(1)

async def printing(self):
    for n in range(60):
        self.screen.say(f"line {n}")
        await asyncio.sleep(0.02)
    self.screen.say("all lines")

async def beside(self, rest):
    self.printing = asyncio.create_task(printing(self))

Doing._help, Doing._history = busy, beside
main()
"""


def busy_chat(folder: Path) -> Any:
    """A chat whose /help takes a second, and whose /history prints on while a prompt is there."""
    more = ["-c", BUSY, *arguments(folder, write_script(folder), "--as", "ada")[2:]]
    child = pexpect.spawn(
        sys.executable,
        more,
        env=environment(),
        encoding="utf-8",
        codec_errors="replace",
        timeout=600,
    )
    child.expect("help lists")
    return child


def test_keys_that_are_pressed_between_two_prompts_are_not_lost(tmp_path: Path) -> None:
    child = busy_chat(tmp_path)
    enter(child, "/help")
    child.expect("busy now")
    child.send("/nonsense\r\x04")
    child.expect("there is no /nonsense")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_the_terminal_edits_no_lines_while_something_is_printed(tmp_path: Path) -> None:
    """Else it would take a Ctrl-D of that moment for its own."""
    child = busy_chat(tmp_path)
    enter(child, "/history")
    child.expect("line 1")
    edited = 0
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(child.expect, "all lines")
        while not reading.done():
            edited += bool(termios.tcgetattr(child.child_fd)[3] & termios.ICANON)
    child.sendeof()
    child.expect(pexpect.EOF)
    assert edited == 0


def test_a_correction_is_typed_over_several_lines(tmp_path: Path) -> None:
    child = chat(tmp_path, write_script(tmp_path), "--graph", "solo", "--set", "team.samples=1")
    enter(child, REQUEST)
    child.expect("1 calls")
    enter(child, "/edit")
    child.expect("Alt-Enter")
    child.expect("def double")  # the editor is there, and reads keys as they are
    child.send("# by hand")
    child.send("\x1b\r")
    child.expect("your correction is logged")
    leave(child)
    (said,) = feedback_of(read_log(tmp_path / "d" / "log"))
    assert said.kind == "edit" and "# by hand" in said.text and said.author == "ada"


@pytest.mark.row("F17")
def test_forget_asks_once_says_what_went_and_begins_anew(tmp_path: Path) -> None:
    child = chat(tmp_path, write_script(tmp_path), "--graph", "solo", "--set", "team.samples=1")
    enter(child, f"{REQUEST} for Mallory Quarterstaff")
    child.expect("1 calls")
    enter(child, "/good as Quarterstaff likes it")
    child.expect("logged as good")
    enter(child, "/forget")
    child.expect("Sure")
    assert b"Quarterstaff" in everything(tmp_path / "d")
    enter(child, "/forget yes")
    child.expect("nothing is left")
    child.expect("a new session begins here")
    assert b"Quarterstaff" not in everything(tmp_path / "d")
    enter(child, "/history")
    child.expect("no sessions yet")
    enter(child, REQUEST)
    child.expect("1 calls")
    leave(child)
    assert b"Quarterstaff" not in everything(tmp_path / "d")


def test_without_colours_there_are_none(tmp_path: Path) -> None:
    child = chat(
        tmp_path, write_script(tmp_path), "--graph", "solo", "--set", "team.samples=1", NO_COLOR="1"
    )
    enter(child, REQUEST)
    child.expect("solution.py")
    child.expect("tokens")
    leave(child)
    seen = child.logfile_read.getvalue()
    assert not re.search(r"\x1b\[[0-9;]*3[1-7]m", seen)


@pytest.mark.row("H12")
def test_a_hostile_answer_cannot_drive_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J```python\ndef double(x):\n    return 'a\x1b[5mb'\n```"
    script = write_script(tmp_path, [{"match": "", "replies": [evil]}])
    child = chat(tmp_path, script, "--graph", "solo", "--set", "team.samples=1")
    enter(child, REQUEST)
    child.expect("owned")
    child.expect("tokens")
    leave(child)
    seen = child.logfile_read.getvalue()
    assert "\x1b]0;" not in seen and "\x1b[5m" not in seen


def piped(folder: Path, script: Path, text: str, *more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments(folder, script, *more)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_pipe_gets_the_code_and_nothing_else(tmp_path: Path) -> None:
    text = f"{REQUEST}\nassert double(2) == 4\n\n/good fine\n\nnow make it handle negatives\n"
    done = piped(tmp_path, write_script(tmp_path), text, "--as", "ada", "--set", "team.samples=1")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "def double(x):\n    return x + x\n"
        "logged as good by ada; /feedback shows it\n"
        "def double(x):\n    return abs(x) + abs(x)\n"
    )
    assert "1 of 1 of your tests passed" in done.stderr and "\x1b" not in done.stderr


def test_a_pipe_changes_files_only_with_yes(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    script = write_script(tmp_path)
    done = piped(tmp_path, script, "repair add", "--dir", str(folder))
    assert done.returncode == 1 and "rejected the change" in done.stderr
    assert "a - b" in (folder / "calc.py").read_text()
    done = piped(tmp_path, script, "repair add", "--dir", str(folder), "--yes")
    assert done.returncode == 0, done.stderr
    assert "+    return a + b" in done.stdout
    assert "a + b" in (folder / "calc.py").read_text()
