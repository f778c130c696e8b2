"""Following a log live: every event of every process, each once, never half of one."""

import asyncio
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest

from codojo.errors import LogDamaged
from codojo.trajectories.follow import follow
from codojo.trajectories.framing import Event, frame
from codojo.trajectories.log import Log, read_log
from codojo.trajectories.rewrite import rewrite
from codojo.trajectories.segments import pack_log

WRITER = """
import sys, time
from pathlib import Path
from codojo.trajectories.log import Log
name, seconds, until = sys.argv[2], float(sys.argv[3]), time.monotonic() + float(sys.argv[3])
with Log(Path(sys.argv[1])) as log:
    n = 0
    while time.monotonic() < until or n < 200:
        log.append("event", {"who": name, "n": n, "text": "Grüße " * (n % 7) + "x" * (n % 5 * 5000)})
        n += 1
        if n % 50 == 0:
            log.append("pause", {}).result()
print(n)
"""


@pytest.mark.row("C13")
@pytest.mark.parametrize(
    "seconds", [0.5, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_a_reader_beside_fast_writers_sees_every_event_once_and_no_half(
    tmp_path: Path, seconds: float
) -> None:
    folder = tmp_path / "log"
    command = [sys.executable, "-c", WRITER, str(folder)]
    writers = [
        subprocess.Popen([*command, name, str(seconds)], stdout=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    follower = follow(folder, poll_s=0.002)
    seen: defaultdict[str, list[int]] = defaultdict(list)
    stop = threading.Timer(0, lambda: None)

    def wait() -> None:
        for writer in writers:
            writer.wait()
        time.sleep(0.05)
        follower.stop()

    stop = threading.Thread(target=wait)  # type: ignore[assignment]
    stop.start()
    for event in follower:
        if event.kind == "event":
            seen[event.data["who"]].append(event.data["n"])
    stop.join()
    for event in follower.news():
        if event.kind == "event":
            seen[event.data["who"]].append(event.data["n"])
    for name, writer in zip("ab", writers, strict=True):
        assert writer.stdout is not None
        assert seen[name] == list(range(int(writer.stdout.read()))), "in order, each once"
        writer.stdout.close()


def test_what_is_packed_or_rewritten_meanwhile_comes_once(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    follower = follow(folder)
    assert list(follower.news()) == [], "there is no log yet"
    with Log(folder) as log:
        log.append("a", {"n": 1}, "R").result()
        log.append("a", {"n": 2}, "S").result()
        assert [e.kind for e in follower.news()] == ["segment_opened", "a", "a"]
        log.append("a", {"n": 3}, "R").result()
    pack_log(folder, over=0)
    assert [e.data for e in follower.news()] == [{"n": 3}]
    rewrite(folder, lambda e: None if e.rollout == "R" else e)
    assert list(follower.news()) == []
    with Log(folder) as log:
        log.append("a", {"n": 4}).result()
    assert [e.data.get("n") for e in follower.news()] == [None, 4]


def test_from_now_on_leaves_out_what_is_there(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.append("before", {}).result()
        follower = follow(tmp_path, from_start=False)
        log.append("after", {}).result()
        assert [e.kind for e in follower.news()] == ["after"]


async def test_events_come_while_the_event_loop_goes_on(tmp_path: Path) -> None:
    found: list[Event] = []
    with Log(tmp_path) as log:

        async def write() -> None:
            for n in range(5):
                await log.write("event", {"n": n})

        follower = follow(tmp_path, poll_s=0.005)

        async def read() -> None:
            async for event in follower:
                found.append(event)
                if event.data.get("n") == 4:
                    follower.stop()

        async with asyncio.timeout(60):
            await asyncio.gather(read(), write())
    assert found == list(read_log(tmp_path))


def test_damage_stops_a_follower_with_its_place(tmp_path: Path) -> None:
    lines = [frame(n, 0.0, "event" if n else "segment_opened", None, {}) for n in range(3)]
    (tmp_path / "000001.jsonl").write_bytes(
        lines[0] + lines[1].replace(b"event", b"evxnt") + lines[2]
    )
    with pytest.raises(LogDamaged, match=f"at byte {len(lines[0])}"):
        list(follow(tmp_path).news())


def test_a_segment_that_is_packed_between_two_looks_is_read_at_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Log(tmp_path) as log:
        log.put("event", {"n": 1})
    following = follow(tmp_path)
    stale = [(1, tmp_path / "000001.jsonl")]
    pack_log(tmp_path, over=0)
    with monkeypatch.context() as patch:
        patch.setattr("codojo.trajectories.follow.segments", lambda folder: stale)
        assert list(following.news()) == []
    assert [event.kind for event in following.news()] == ["segment_opened", "event"]
