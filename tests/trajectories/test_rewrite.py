"""Rewriting history: all of it or nothing, and what is removed is gone from every byte."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from codojo.errors import Busy, LogDamaged
from codojo.trajectories.artifacts import Artifacts
from codojo.trajectories.log import Event, Log, read_log, segments
from codojo.trajectories.rewrite import rewrite
from codojo.trajectories.segments import pack_log

CANARY = "canary-7f3a"


def make(folder: Path) -> None:
    """Three segments, the first one packed; canaries in plain sight, in a packed one and in artifacts."""
    for part in range(3):
        with Log(folder) as log:
            for n in range(6):
                text = f"{CANARY} {n}" if n == 3 else f"harmless {n}"
                log.append("event", {"part": part, "n": n, "text": text}, f"R{n}").result()
            log.append("large", {"text": CANARY * 3000, "kept": "k" * 30_000}, "R7").result()
        if part == 0:
            pack_log(folder, over=0)


def forget(event: Event) -> Event | None:
    if event.kind == "event" and CANARY in event.data["text"]:
        return None
    if event.kind == "large":
        return replace(event, data={**event.data, "text": "[forgotten]"})
    return event


def bytes_below(folder: Path) -> bytes:
    """Every byte of every file, artifacts and packed segments unpacked too."""
    import zstandard

    found = b""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        found += path.name.encode() + content
        try:
            reader = zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True)
            found += reader.read()
        except zstandard.ZstdError:
            pass
    return found


def test_what_is_removed_is_gone_and_all_else_is_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    make(folder)
    before = {(e.segment, e.seq): e for e in read_log(folder)}
    assert CANARY.encode() in bytes_below(tmp_path)
    done = rewrite(folder, forget)
    assert (done.events, done.changed, done.removed) == (21, 3, 3)
    assert done.segments == (1, 2, 3) and len(done.artifacts_removed) == 1
    assert CANARY.encode() not in bytes_below(tmp_path)
    after = {(e.segment, e.seq): e for e in read_log(folder)}
    assert after.keys() == before.keys(), "numbers stay, so that nothing looks lost"
    for place, event in before.items():
        if event.kind == "event" and event.data["n"] == 3:
            assert (after[place].kind, after[place].rollout, after[place].data) == (
                "removed",
                None,
                {},
            )
        elif event.kind == "large":
            assert after[place].data == {"text": "[forgotten]", "kept": "k" * 30_000}
        elif event.kind == "segment_opened":
            assert after[place].data == {**event.data, "rewritten": 1}
        else:
            assert after[place] == event
    assert next(path.name for _, path in segments(folder)) == "000001.jsonl.zst"
    assert len(list(Artifacts.of(folder).names())) == 1
    assert rewrite(folder, forget).segments == (), "a second time there is nothing to do"


def test_segments_that_do_not_change_stay_byte_for_byte(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    make(folder)
    files = {path: path.read_bytes() for _, path in segments(folder)}
    done = rewrite(folder, lambda e: None if e.segment == 2 and e.kind == "event" else e)
    assert done.segments == (2,) and done.removed == 6
    changed = [path.name for path, content in files.items() if path.read_bytes() != content]
    assert changed == ["000002.jsonl"]


@pytest.mark.row("C11")
def test_a_rewrite_is_refused_while_somebody_writes_and_names_them(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    make(folder)
    with Log(folder), pytest.raises(Busy, match=f"in use by process {os.getpid()}"):
        rewrite(folder, lambda event: None)
    assert sum(e.kind == "event" for e in read_log(folder)) == 18


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    make(folder)
    before = {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}

    def failing(event: Event) -> Event | None:
        if event.segment == 3:
            raise RuntimeError("no")
        return forget(event)

    with pytest.raises(RuntimeError):
        rewrite(folder, failing)
    with pytest.raises(ValueError, match="cannot move"):
        rewrite(folder, lambda event: replace(event, seq=event.seq + 1))
    (folder / "000003.jsonl").write_bytes(
        (folder / "000003.jsonl").read_bytes().replace(b"n", b"m", 1)
    )
    with pytest.raises(LogDamaged):
        rewrite(folder, forget)
    (folder / "000003.jsonl").write_bytes(before[folder / "000003.jsonl"])
    after = {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}
    assert {p: c for p, c in after.items() if p.name != ".lock"} == {
        p: c for p, c in before.items() if p.name != ".lock"
    }


FORGETTER = """
import sys
from pathlib import Path
from tests.trajectories.test_rewrite import forget
from codojo.trajectories.rewrite import rewrite
rewrite(Path(sys.argv[1]), forget)
"""


@pytest.mark.row("C1")
@pytest.mark.parametrize(("call", "times"), [("rename", 8), ("unlink", 4), ("fsync", 12)])
def test_a_rewrite_killed_anywhere_is_done_whole_or_not_at_all(
    tmp_path: Path, call: str, times: int
) -> None:
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    make(tmp_path / "made" / "log")
    before = list(read_log(tmp_path / "made" / "log"))
    shutil.copytree(tmp_path / "made", tmp_path / "whole")
    rewrite(tmp_path / "whole" / "log", forget)
    whole = list(read_log(tmp_path / "whole" / "log"))
    seen = set()
    for when in range(1, times + 1, 1 if call != "fsync" else 3):
        dojo = tmp_path / f"killed{when}"
        shutil.copytree(tmp_path / "made", dojo)
        trace = f"inject={call}:signal=KILL:when={when}"
        command = ["strace", "-f", "-o", "/dev/null", "-e", trace, sys.executable, "-c", FORGETTER]
        status = subprocess.run(
            [*command, str(dojo / "log")], capture_output=True, check=False
        ).returncode
        with Log(dojo / "log") as log:
            assert log.segment == 4
        after = [e for e in read_log(dojo / "log") if e.segment < 4]
        assert after in (before, whole), "the next writer finds it undone, or finishes it"
        if after == whole:
            assert CANARY.encode() not in bytes_below(dojo)
        seen.add(after == whole)
        if status == 0:
            break
    assert True in seen


def test_what_is_forgotten_does_not_come_back_by_a_compression_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A packer that had read the old lines would rename them over the new ones."""
    from codojo.cli import log_care

    dojo = tmp_path / "d"
    dojo.mkdir()
    (dojo / "codojo.toml").touch()
    with Log(dojo / "log") as log:
        log.put("secret", {})
    refused = []

    def pack_log(folder: Path, over: int) -> list[Path]:
        with pytest.raises(Busy):
            rewrite(folder, lambda event: None)
        refused.append(over)
        return []

    monkeypatch.setattr("codojo.trajectories.segments.pack_log", pack_log)
    log_care.compress(dojo)
    assert refused == [0]
    rewrite(dojo / "log", lambda event: None)
    assert "secret" not in [event.kind for event in read_log(dojo / "log")]
