"""Power cuts: every image that one may leave of a log at work opens, and holds what was acknowledged."""

import shutil
from pathlib import Path

import pytest

from codojo.trajectories.log import Log, read_log
from codojo.trajectories.verify import verify
from tests.trajectories.images import IMAGES, lay_out, moments, trace

WORK = """
import os, sys
from pathlib import Path
from codojo.trajectories.log import Log
from codojo.trajectories.rewrite import rewrite
from codojo.trajectories.segments import pack_log

folder = Path(sys.argv[1]) / "dojo" / "log"

def say(text):
    os.write(1, text.encode() + b"\\n")

with Log(folder) as log:
    for n in range(4):
        log.append("event", {"n": n, "text": "Grüße"}).result()
        say(f"event {n}")
    log.append("large", {"n": 4, "text": "l" * 20_000}).result()
    say("event 4")
    waiting = [log.append("event", {"n": n}) for n in range(5, 9)]
    waiting[-1].result()
    say("event 8")
with Log(folder) as log:
    log.append("large", {"n": 9, "text": "m" * 20_000}).result()
    say("event 9")
pack_log(folder, over=0)
say("packed")
rewrite(folder, lambda e: None if e.data.get("n") == 4 else e)
say("rewritten")
with Log(folder) as log:
    log.append("event", {"n": 10}).result()
    say("event 10")
"""


@pytest.mark.row("C4")
def test_every_image_of_a_power_cut_opens_and_holds_what_was_acknowledged(tmp_path: Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    root = tmp_path / "traced"
    root.mkdir()
    lines = trace(WORK, root, tmp_path / "calls")
    seen: set[int] = set()
    looked = 0
    for moment in moments(lines, root):
        said = moment.said.decode().split("\n")
        told = max((int(s.split()[1]) for s in said if s.startswith("event")), default=-1)
        for kind in IMAGES:
            image = moment.disk.image(kind)
            if (mark := hash((frozenset(image.items()), told, "rewritten" in said))) in seen:
                continue
            seen.add(mark)
            looked += 1
            dojo = tmp_path / "image"
            lay_out(image, dojo)
            check(dojo / "dojo" / "log", told, rewritten="rewritten" in said)
            shutil.rmtree(dojo)
    assert looked > 70, "the trace held few changes: is the rig blind?"


def check(log: Path, told: int, *, rewritten: bool) -> None:
    """What must hold of an image, before and after the next writer has opened it."""
    before = [e.data["n"] for e in read_log(log) if e.kind in ("event", "large")]
    with Log(log) as pen:
        pen.append("event", {"n": 99}).result()
    found = [e.data["n"] for e in read_log(log) if e.kind in ("event", "large")]
    assert found.pop() == 99
    assert found == before or set(found) == set(before) - {4}, "an interrupted rewrite is finished"
    expected = set(range(told + 1))
    assert expected - {4} <= set(found), f"{told} was acknowledged"
    assert (4 in found) or told < 4 or 4 not in before or told >= 9
    assert not (rewritten and 4 in found), "what was removed stays removed"
    assert found == sorted(found)
    problems = [p for p in verify(log).problems if p.kind != "unused artifact"]
    assert problems == [], "and nothing in it is damaged"


@pytest.mark.row("C4")
def test_the_rig_sees_a_missing_sync(tmp_path: Path) -> None:
    """The same without `fdatasync`: the images must show the loss, or they would show none ever."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    root = tmp_path / "traced"
    root.mkdir()
    lines = [line for line in trace(WORK, root, tmp_path / "calls") if "fdatasync(" not in line]
    for moment in moments(lines, root):
        if b"event 3" in moment.said:
            lay_out(moment.disk.image("synced"), tmp_path / "image")
            with pytest.raises(AssertionError, match="acknowledged"):
                check(tmp_path / "image" / "dojo" / "log", 3, rewritten=False)
            return
    raise AssertionError("the script never said 'event 3'")
