"""The log: what is acknowledged is there afterwards, and what is damaged says so."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codojo.errors import Busy, LogDamaged, LogError
from codojo.trajectories.log import Log, cut_torn_tails, frame, read_log, segments, unframe
from codojo.trajectories.segments import LOCK, alone

json_data = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(data=st.dictionaries(st.text(), json_data, max_size=4))
def test_an_event_comes_back_as_it_was_written(data: dict[str, object]) -> None:
    event = unframe(frame(3, 1.25, "effect", "R", data), segment=7)
    assert event is not None
    assert (event.segment, event.seq, event.at, event.kind, event.rollout) == (
        7,
        3,
        1.25,
        "effect",
        "R",
    )
    assert event.data == data


@pytest.mark.row("H15")
@given(text=st.text(alphabet='\n\r"{}\\,\u2028x'))
def test_newlines_and_json_in_a_text_stay_one_record(text: str) -> None:
    line = frame(0, 0.0, "k", None, {"text": text})
    assert line.count(b"\n") == 1
    event = unframe(line, 1)
    assert event is not None and event.data["text"] == text


@pytest.mark.row("C5")
@pytest.mark.row("C6")
def test_a_torn_tail_is_cut_at_every_byte_and_the_next_append_is_readable(tmp_path: Path) -> None:
    with Log(tmp_path / "whole") as log:
        log.append("first", {"n": 1}).result()
        log.append("last", {"text": "Grüße, 世界"}).result()
    whole = (tmp_path / "whole" / "000001.jsonl").read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last + 1, len(whole)):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "000001.jsonl").write_bytes(whole[:cut])
        assert [e.kind for e in read_log(folder)] == ["segment_opened", "first"]
        with Log(folder) as log:
            log.append("next", {}).result()
        kinds = [e.kind for e in read_log(folder)]
        assert kinds == ["segment_opened", "first", "segment_opened", "next"]


@pytest.mark.row("C7")
def test_damage_in_the_middle_is_an_error_with_its_offset(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        for n in range(3):
            log.append("event", {"n": n}).result()
    path = tmp_path / "000001.jsonl"
    whole = path.read_bytes()
    line_starts = [0, *[at + 1 for at, byte in enumerate(whole) if byte == ord("\n")][:-1]]
    for at in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 0x04
        path.write_bytes(bytes(damaged))
        start = max(begin for begin in line_starts if begin <= at)
        with pytest.raises(LogDamaged, match=f"byte {start}"):
            list(read_log(tmp_path))


def test_two_writers_have_segments_of_their_own(tmp_path: Path) -> None:
    with Log(tmp_path) as first, Log(tmp_path) as second:
        second.append("b", {}).result()
        first.append("a", {}).result()
    assert [n for n, _ in segments(tmp_path)] == [1, 2]
    assert [e.kind for e in read_log(tmp_path)] == ["segment_opened", "a", "segment_opened", "b"]


def test_a_living_writers_tail_is_left_alone(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.append("a", {}).result()
        with (tmp_path / "000001.jsonl").open("ab") as file:
            file.write(b'{"half')
        assert cut_torn_tails(tmp_path) == 0
    assert cut_torn_tails(tmp_path) == 6


def test_however_events_are_appended_side_by_side_their_numbers_have_no_gap(tmp_path: Path) -> None:
    """Threads that write themselves, threads that queue, notes that wait for nothing, and coroutines."""
    each = 40

    async def coroutines(log: Log) -> None:
        await asyncio.gather(*(log.write("event", {"who": "c", "n": n}) for n in range(each)))

    with Log(tmp_path) as log:
        ways = {
            "put": lambda n: log.put("event", {"who": "put", "n": n}),
            "put too": lambda n: log.put("event", {"who": "put too", "n": n}),
            "append": lambda n: log.append("event", {"who": "append", "n": n}).result(),
            "note": lambda n: log.note("event", {"who": "note", "n": n}),
        }

        def work(way: Callable[[int], object]) -> None:
            for n in range(each):
                way(n)

        threads = [threading.Thread(target=work, args=(way,)) for way in ways.values()]
        for thread in threads:
            thread.start()
        asyncio.run(coroutines(log))
        for thread in threads:
            thread.join()
    events = list(read_log(tmp_path))
    assert [e.seq for e in events] == list(range(1 + 5 * each))
    for name in (*ways, "c"):
        assert [e.data["n"] for e in events[1:] if e.data["who"] == name] == list(range(each))


def test_coroutines_that_write_in_one_turn_share_a_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []
    sync = os.fdatasync

    def counted(fd: int) -> None:
        syncs.append(fd)
        sync(fd)

    async def rollout(log: Log, name: str) -> None:
        for n in range(5):
            await log.write("event", {"n": n}, name, alone=True)  # each knows of no other

    async def all_of_them(log: Log) -> None:
        await asyncio.gather(*(rollout(log, f"r{n}") for n in range(32)))

    with Log(tmp_path) as log:
        monkeypatch.setattr(os, "fdatasync", counted)
        asyncio.run(all_of_them(log))
    assert len(syncs) <= 12, "160 events in five turns, and a few for the first and the last"


def test_a_note_is_written_at_once_also_where_others_are_about_to_write(tmp_path: Path) -> None:
    """What it announces begins before the next sync."""

    async def noted(log: Log) -> list[str]:
        log.note("note", {}, "r2")
        return [event.kind for event in read_log(tmp_path)]

    async def both(log: Log) -> list[str]:
        writing = asyncio.create_task(log.write("event", {}, "r1"))
        seen = await asyncio.create_task(noted(log))
        await writing
        return seen

    with Log(tmp_path) as log:
        assert asyncio.run(both(log)) == ["segment_opened", "event", "note"]


WRITER = """
import sys
from pathlib import Path
from codojo.trajectories.log import Log
log = Log(Path(sys.argv[1]))
for n in range(1_000_000):
    log.append("event", {"n": n}).result()
    print(n, flush=True)
"""


@pytest.mark.row("C1")
def test_what_was_acknowledged_before_kill_9_is_in_the_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= 40:
                break
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
    acknowledged = int(rest[-1]) if rest else 40
    written = [e.data["n"] for e in read_log(tmp_path) if e.kind == "event"]
    assert written[: acknowledged + 1] == list(range(acknowledged + 1))


@pytest.mark.row("C12")
def test_the_locks_of_a_killed_process_hold_nobody_up(tmp_path: Path) -> None:
    """Whatever process ids are written down: here that of a living process, as after a reuse."""
    folder = tmp_path / "log"
    command = [sys.executable, "-c", WRITER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline()
        with pytest.raises(Busy, match=f"process {writer.pid}"), alone(folder):
            pass
        writer.kill()
    (folder / LOCK).write_text(str(os.getppid()))
    with alone(folder):
        assert len(list(read_log(folder))) >= 2
    with Log(folder) as log:
        log.append("after", {}).result()


FULL = """
import random, sys
from pathlib import Path
from codojo.errors import LogError
from codojo.trajectories.log import Log
log = Log(Path(sys.argv[1]))
for n in range(1000):
    try:
        log.append("event", {"n": n, "text": TEXT}).result()
    except LogError as err:
        print(n, err)
        break
try:
    log.append("later", {}).result()
except LogError:
    print("refused")
log.close()
"""


@pytest.mark.row("C8")
@pytest.mark.parametrize("text", ["5000 * chr(120)", "random.randbytes(15_000).hex()"])
def test_a_full_disk_is_one_clear_error_and_the_log_stays_readable(
    tmp_path: Path, text: str
) -> None:
    """Where a line does not fit, and where the artifact of one does not."""
    program = FULL.replace("TEXT", text)
    script = textwrap.dedent(
        f"""
        mount -t tmpfs -o size=256k tmpfs {tmp_path} &&
        {sys.executable} -c '{program}' {tmp_path}/log && cp -r {tmp_path} {tmp_path}-copy
        """
    )
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"cannot make a small file system here: {done.stderr.strip()}")
    first, second = done.stdout.splitlines()
    count = int(first.split()[0])
    assert "No space left on device" in first and "--resume" in first
    assert second == "refused"
    events = list(read_log(Path(f"{tmp_path}-copy/log")))
    assert [e.data["n"] for e in events if e.kind == "event"] == list(range(count))


@pytest.mark.row("C9")
def test_after_a_failed_sync_nothing_is_acknowledged_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path)
    log.append("good", {}).result()

    def failing(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", failing)
        with pytest.raises(LogError, match="Input/output error"):
            log.append("lost", {}).result()
    with pytest.raises(LogError):
        log.append("later", {}).result()
    log.close()
    assert "later" not in [e.kind for e in read_log(tmp_path)]


@pytest.mark.row("C24")
def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError, match="check its permissions"):
        Log(tmp_path / "file" / "log")
