"""Segments: compressed when nobody writes them, read all the same; every version of the format."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codojo.errors import LogDamaged, LogTooNew
from codojo.trajectories.framing import frame
from codojo.trajectories.log import Event, Log, read_log, segments
from codojo.trajectories.packed import FRAME_BYTES, open_packed
from codojo.trajectories.schema import load_trajectories
from codojo.trajectories.segments import PACK_BYTES, pack_log

LOGS = Path(__file__).parent / "logs"
"""A log of every version there was, written by the codojo of its time. Never write them anew."""


def fill(folder: Path, events: int, size: int = 2000) -> None:
    with Log(folder) as log:
        done = [
            log.append("event", {"n": n, "text": chr(97 + n % 26) * size}) for n in range(events)
        ]
        done[-1].result()


def test_packing_changes_nothing_for_readers_and_makes_a_log_small(tmp_path: Path) -> None:
    fill(tmp_path, 2500)
    before, size = list(read_log(tmp_path)), (tmp_path / "000001.jsonl").stat().st_size
    assert size > 2 * FRAME_BYTES
    (packed,) = pack_log(tmp_path)
    assert list(read_log(tmp_path)) == before
    assert segments(tmp_path) == [(1, packed)]
    assert packed.stat().st_size < size / 10
    assert packed.stat().st_mode & 0o777 == 0o600


def test_a_packed_segment_is_read_from_any_place_as_the_plain_one_was(tmp_path: Path) -> None:
    fill(tmp_path, 1500)
    plain = (tmp_path / "000001.jsonl").read_bytes()
    (packed,) = pack_log(tmp_path)
    with open_packed(packed) as file:
        for place in (
            0,
            1,
            FRAME_BYTES - 1,
            FRAME_BYTES,
            FRAME_BYTES + 7000,
            len(plain) - 3,
            len(plain),
        ):
            file.seek(place)
            assert file.read(5000) == plain[place : place + 5000]
        file.seek(0)
        assert file.read() == plain


def test_any_streaming_reader_reads_a_packed_segment(tmp_path: Path) -> None:
    """The table at the end is a skippable frame: a reader that knows nothing of it sees plain lines."""
    import zstandard

    fill(tmp_path, 1200)
    plain = (tmp_path / "000001.jsonl").read_bytes()
    (packed,) = pack_log(tmp_path)
    with packed.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        assert reader.read() == plain


def test_opening_a_log_packs_large_segments_of_others_but_none_that_is_written(
    tmp_path: Path,
) -> None:
    fill(tmp_path, 1 + PACK_BYTES // 2000)
    fill(tmp_path, 3)
    with Log(tmp_path) as living:
        for n in range(1 + PACK_BYTES // 2000):
            living.append("event", {"n": n, "text": "x" * 2000})
        living.append("last", {}).result()
        pack_log(tmp_path)
        with Log(tmp_path):
            pass
        plain = tmp_path / "000001.jsonl"
        until = time.monotonic() + 20
        while plain.exists() and time.monotonic() < until:
            time.sleep(0.02)  # whoever came first is still at it
        names = [path.name for _, path in segments(tmp_path)]
    assert names[:3] == ["000001.jsonl.zst", "000002.jsonl", "000003.jsonl"]


def test_the_next_segment_has_a_new_number_when_the_last_one_is_packed(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    pack_log(tmp_path, over=0)
    with Log(tmp_path) as log:
        log.append("after", {}).result()
    assert [number for number, _ in segments(tmp_path)] == [1, 2]
    assert [e.kind for e in read_log(tmp_path)][-1] == "after"


def test_a_segment_that_a_crash_left_plain_and_packed_counts_once(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    plain = (tmp_path / "000001.jsonl").read_bytes()
    before = list(read_log(tmp_path))
    (packed,) = pack_log(tmp_path, over=0)
    (tmp_path / "000001.jsonl").write_bytes(plain)
    assert list(read_log(tmp_path)) == before
    assert pack_log(tmp_path, over=0) == [packed]
    assert segments(tmp_path) == [(1, packed)]


def test_what_cannot_be_packed_whole_is_left_as_it_is(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    path = tmp_path / "000001.jsonl"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert pack_log(tmp_path, over=0) == []
    path.write_bytes(bytes(damaged[:500]))
    assert pack_log(tmp_path, over=0) == [], (
        "it ends in a torn record: the next writer cuts it first"
    )
    assert [p.name for p in tmp_path.glob("*.zst")] == [] and not list(tmp_path.glob(".*.part"))


@pytest.mark.row("C7")
def test_a_damaged_packed_segment_is_an_error_with_its_place(tmp_path: Path) -> None:
    fill(tmp_path, 1200)
    (packed,) = pack_log(tmp_path)
    whole = packed.read_bytes()
    for place in (10, len(whole) // 2, len(whole) - 30, len(whole) - 3):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        packed.write_bytes(damaged)
        with pytest.raises(
            LogDamaged, match=r"000001.jsonl.zst is damaged in the frame at byte \d"
        ):
            list(read_log(tmp_path))


PACKER = """
import sys
from pathlib import Path
from codojo.trajectories.segments import pack_log
pack_log(Path(sys.argv[1]), over=0)
"""


@pytest.mark.row("C1")
@pytest.mark.parametrize("call", ["fsync", "rename", "unlink"])
def test_kill_9_while_packing_loses_nothing(tmp_path: Path, call: str) -> None:
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    fill(tmp_path, 40)
    before = list(read_log(tmp_path))
    for when in (1, 2, 3):
        inject = (
            f"inject={call},{call}at:signal=KILL:when={when}"
            if call != "fsync"
            else (f"inject=fsync:signal=KILL:when={when}")
        )
        command = [
            "strace",
            "-f",
            "-o",
            "/dev/null",
            "-e",
            inject,
            sys.executable,
            "-c",
            PACKER,
            str(tmp_path),
        ]
        killed = subprocess.run(command, capture_output=True, check=False).returncode
        assert list(read_log(tmp_path)) == before
        if killed == 0:
            break
        assert killed in (-signal.SIGKILL, 128 + signal.SIGKILL)
    pack_log(tmp_path, over=0)
    assert list(read_log(tmp_path)) == before
    assert [path.name for _, path in segments(tmp_path)] == ["000001.jsonl.zst"]


@pytest.mark.row("C18")
def test_logs_of_every_version_are_read(tmp_path: Path) -> None:
    for version in sorted(path.name for path in LOGS.iterdir()):
        folder = tmp_path / version
        shutil.copytree(LOGS / version, folder)
        events = list(read_log(folder / "log"))
        check_content(events)
        (trajectory,) = load_trajectories(folder / "log").values()
        assert trajectory.brief.task_id == "katas/add_two_numbers"
        assert trajectory.verdict is not None and len(trajectory.steps) >= 4
        with Log(folder / "log") as log:
            log.append("new", {}).result()
        assert list(read_log(folder / "log"))[: len(events)] == events


def check_content(events: list[Event]) -> None:
    """What every stored log holds, in the words of its own version."""
    (odd,) = (event.data for event in events if event.kind == "odd")
    assert odd["text"] == "a\nb\r\u2028 Grüße 世界 \ud800 \x00"
    assert odd["n"] == [1, 2.5, 0.0, 1e300, 2**60]
    assert odd["deep"] == {"sum": "00000000", "seq": 9}
    for event in events:
        if event.kind == "large":
            assert event.data == {"text": "0123456789" * 2000, "list": ["é" * 9000, None]}


@pytest.mark.row("C18")
@pytest.mark.parametrize("packed", [False, True])
def test_a_log_of_a_newer_version_is_refused_with_both_numbers(
    tmp_path: Path, packed: bool
) -> None:
    line = frame(0, 1.0, "segment_opened", None, {"schema": 99, "what": "is this"})
    (tmp_path / "000001.jsonl").write_bytes(line + b"something else entirely\n")
    if packed:
        (tmp_path / "000001.jsonl").write_bytes(line)
        pack_log(tmp_path, over=0)
    with pytest.raises(LogTooNew, match=r"version 99 .* reads up to 2; use the newer codojo"):
        list(read_log(tmp_path))


@pytest.mark.row("C19")
def test_a_clock_that_jumps_back_changes_no_order(tmp_path: Path) -> None:
    times = [50.0, 9.0, 9.0, 1e9, 0.0]
    lines = [frame(0, 60.0, "segment_opened", None, {"schema": 2, "pid": 1})]
    lines += [frame(n, at, "event", None, {"n": n}) for n, at in enumerate(times, 1)]
    (tmp_path / "000001.jsonl").write_bytes(b"".join(lines))
    assert [(e.seq, e.at) for e in read_log(tmp_path)][1:] == list(enumerate(times, 1))


def test_a_log_folder_appears_with_all_above_it(tmp_path: Path) -> None:
    with Log(tmp_path / "a" / "b" / "log") as log:
        log.append("first", {}).result()
    assert ((tmp_path / "a" / "b" / "log" / "000001.jsonl").stat().st_mode & 0o777) == 0o600
