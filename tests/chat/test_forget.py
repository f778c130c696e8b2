"""A conversation that is forgotten is in no byte of the dojo, and the others are what they were."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from codojo.chat.conversation import Conversation
from codojo.chat.removal import left_over
from codojo.chat.sessions import find_session, sessions
from codojo.errors import Busy
from codojo.trajectories.feedback import FORGOTTEN
from codojo.trajectories.log import Log, read_log
from codojo.trajectories.segments import pack_log
from codojo.trajectories.verify import verify
from tests.chat.talking import REQUEST, RULES, a_dojo, write_script
from tests.chat.test_conversation import answering, approved

WORD = "Quarterstaff"
REQUEST_OF_IT = f"Write double(x) for Mallory {WORD} that returns x twice\nassert double(2) == 4"
RULES_OF_IT = [
    {"match": WORD, "replies": [f"```python\ndef double(x):\n    # {WORD}\n    return x + x\n```"]},
    *RULES,
]
TEAM = {"team__graph": "team"}


def everything(dojo: Path) -> bytes:
    """All bytes of a dojo, packed ones unpacked, and the names of its files."""
    found = []
    for path in dojo.rglob("*"):
        found.append(str(path).encode())
        if path.is_file():
            data = path.read_bytes()
            if data.startswith(b"\x28\xb5\x2f\xfd"):
                reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
                data = reader.read()
            found.append(data)
    return b"\n".join(found)


async def talk_of_it(talk: Conversation) -> None:
    """A conversation with the word in all that a person can say."""
    edited = {"decision": "edit", "text": f"- as {WORD} wants"}
    answering(talk, {"decision": "reject", "text": f"{WORD} said otherwise"}, edited, approved())
    await talk.say(REQUEST_OF_IT)
    await talk.rate(True, f"just as {WORD} likes it")
    slip = await talk.rate(False, f"a slip of {WORD}")
    await talk.revoke(slip.id)
    await talk.correct(f"def double(x):\n    return 2 * x  # {WORD}\n")
    await talk.say(f"now make it handle negatives, {WORD}")


@pytest.mark.row("F17")
async def test_nothing_that_was_said_in_it_is_left_and_others_stay(tmp_path: Path) -> None:
    script = write_script(tmp_path, RULES_OF_IT)
    root, log = tmp_path / "dojo", tmp_path / "dojo" / "log"
    async with a_dojo(tmp_path, script, **TEAM, memory__enabled=True) as dojo:
        kept = await Conversation.start(dojo, "ada")
        answering(kept, approved())
        await kept.say(REQUEST)
        before = (await Conversation.open(dojo, kept.session.id, "ada")).session
        await talk_of_it(await Conversation.start(dojo, f"ada {WORD}"))
    assert pack_log(log, over=1), "some segments are packed"
    async with a_dojo(tmp_path, script, **TEAM, memory__enabled=True) as dojo:
        talk = await Conversation.open(dojo, "last", "ada")
        assert WORD in talk.session.title and everything(root).count(WORD.encode()) > 20
        answering(talk, approved())
        await talk.say("and now make it handle zero, too")
        done = await talk.forget()
        assert done.is_proved and len(done.doomed.rollouts) == 3
        assert WORD.encode() not in everything(root)
        assert list(sessions(log)) == [kept.session.id]
        assert find_session(log, "last") == before
        kept = await Conversation.open(dojo, kept.session.id, "ada")
        answering(kept, approved())
        await kept.say("now make it handle negatives")
        assert kept.last and "abs" in kept.last.code, "the same process goes on"
        assert (await kept.rate(True)).author == "ada"
    assert WORD.encode() not in everything(root)
    assert [e.data for e in read_log(log) if e.kind == FORGOTTEN] == [{"session": talk.session.id}]
    assert verify(log).is_sound and left_over(log) == []


async def test_while_another_process_writes_it_is_hidden_and_removed_later(tmp_path: Path) -> None:
    script = write_script(tmp_path, RULES_OF_IT)
    root, log = tmp_path / "dojo", tmp_path / "dojo" / "log"
    async with a_dojo(tmp_path, script, **TEAM) as dojo:
        talk = await Conversation.start(dojo, "ada")
        await talk_of_it(talk)
        with Log(log), pytest.raises(Busy, match=rf"bytes are still there.*{os.getpid()}"):
            await talk.forget()
        assert sessions(log) == {} and left_over(log) == [talk.session.id]
        assert WORD.encode() in everything(root)
        other = await Conversation.start(dojo, "ada")
        await other.forget()
        assert left_over(log) == [], "the next one took the first along"
    assert WORD.encode() not in everything(root)


def test_the_command_asks_once_and_says_what_went(tmp_path: Path) -> None:
    async def talked() -> str:
        async with a_dojo(tmp_path, write_script(tmp_path, RULES_OF_IT), **TEAM) as dojo:
            talk = await Conversation.start(dojo, "ada")
            await talk_of_it(talk)
            return talk.session.id

    root, id = tmp_path / "dojo", asyncio.run(talked())
    command = [sys.executable, "-m", "codojo", "chat", "--dojo", str(root)]
    command += ["--forget", id.lower()]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "nothing was changed" in refused.stderr
    assert WORD.encode() in everything(root)
    done = subprocess.run([*command, "--yes"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"forgot the conversation {id}" in done.stdout
    assert "nothing is left" in done.stdout and WORD.encode() not in everything(root)
