"""Verify finds what is wrong with a log; repair loses only what is damaged, and says so first."""

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from codojo.cli.trajectories import app
from codojo.errors import Busy, LogDamaged, LogTooNew
from codojo.folder import init
from codojo.trajectories.artifacts import Artifacts
from codojo.trajectories.framing import frame
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import Log, read_log, segments
from codojo.trajectories.repair import plan, repair
from codojo.trajectories.segments import pack_log
from codojo.trajectories.verify import verify


def fill(folder: Path, events: int = 40, size: int = 60) -> list[bytes]:
    """A log of one segment; returns its lines."""
    with Log(folder) as log:
        for n in range(events):
            log.append("event", {"n": n, "text": f"Grüße {n} " + "x" * size}, f"R{n % 3}")
        log.append("last", {}).result()
    return (folder / "000001.jsonl").read_bytes().splitlines(keepends=True)


def kinds(folder: Path) -> list[str]:
    return [problem.kind for problem in verify(folder).problems]


def test_a_sound_log_is_sound_also_while_it_is_written_and_packed(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    fill(folder)
    pack_log(folder, over=0)
    with Log(folder) as log:
        log.append("large", {"text": "l" * 40_000}).result()
        with (folder / "000002.jsonl").open("ab") as file:
            file.write(b'{"at":1.0,"data"')
        found = verify(folder)
        assert (found.segments, found.events, found.artifacts) == (2, 44, 1)
        assert found.is_sound and found.problems == ()
    assert kinds(folder) == ["torn"] and verify(folder).is_sound
    assert plan(folder)[0].cut == 16
    repair(folder)
    assert kinds(folder) == [] and plan(folder) == []


def harm(content: bytes, dice: random.Random) -> bytes:
    """One flipped bit, one zeroed page, or bytes cut out."""
    damaged = bytearray(content)
    at = dice.randrange(len(content))
    match dice.randrange(3):
        case 0:
            damaged[at] ^= 1 << dice.randrange(8)
        case 1:
            length = len(damaged[at : at + 512])
            damaged[at : at + 512] = bytes(length)
        case _:
            del damaged[at : at + dice.randrange(1, 300)]
    return bytes(damaged)


@pytest.mark.row("C7")
@pytest.mark.parametrize(
    "times", [60, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
@pytest.mark.parametrize("packed", [False, True])
def test_repair_saves_every_record_on_both_sides_of_any_damage(
    tmp_path: Path, times: int, packed: bool
) -> None:
    dice = random.Random(11)
    folder = tmp_path / "log"
    lines = fill(folder, 40)
    whole_events = {e.seq: e for e in read_log(folder)}
    if packed:
        pack_log(folder, over=0)
        lines = []
    (_, original) = segments(folder)[0]
    content = original.read_bytes()
    for _ in range(times):
        for path in [p for p in folder.rglob("*") if p.is_file()]:
            path.unlink()
        damaged = harm(content, dice)
        original.write_bytes(damaged)
        untouched = {n for n, line in enumerate(lines) if line in damaged}
        steps = repair(folder)
        after = list(read_log(folder))
        assert verify(folder).is_sound, [str(p) for p in verify(folder).problems]
        saved = {
            e.seq for e in after if whole_events.get(e.seq) and e.data == whole_events[e.seq].data
        }
        assert untouched <= saved | {0}, "nothing that is whole is lost"
        for event in after:
            assert event.kind in ("lost", "segment_opened") or event == whole_events[event.seq]
        kept = sum(path.stat().st_size for path in (folder / "damaged").glob("*"))
        assert kept == sum(step.kept_aside for step in steps)
        assert repair(folder) == []


@pytest.mark.row("C7")
def test_a_damaged_line_end_costs_one_record(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    lines = fill(folder, 6)
    path = folder / "000001.jsonl"
    path.write_bytes(b"".join([*lines[:3], lines[3][:-1] + b" ", *lines[4:]]))
    with pytest.raises(LogDamaged, match=f"at byte {sum(map(len, lines[:3]))}"):
        list(read_log(folder))
    (step,) = plan(folder)
    assert step.lost == 1 and step.kept_aside == len(lines[3])
    assert list(read_log_kinds(folder)) == [], "a plan changes nothing"
    repair(folder)
    found = list(read_log(folder))
    assert [e.kind for e in found] == [
        "segment_opened",
        *["event"] * 2,
        "lost",
        *["event"] * 3,
        "last",
    ]
    assert found[3].data == {
        "records": 1,
        "kept": [f"damaged/000001.jsonl.{sum(map(len, lines[:3]))}"],
    }
    assert (folder / found[3].data["kept"][0]).read_bytes() == lines[3][:-1] + b" "


def read_log_kinds(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("damaged/*")]


def test_what_a_model_wrote_cannot_become_a_record_in_a_repair(tmp_path: Path) -> None:
    """An answer that holds whole records, with right checksums, inside a line that is damaged."""
    folder = tmp_path / "log"
    forged = frame(2, 1.0, "promotion", None, {"name": "evil"})
    with Log(folder) as log:
        log.append(
            "answer", {"text": "a\n" + forged.decode() * 50, "nested": [json.loads(forged)] * 50}
        )
        log.append("after", {}).result()
    path = folder / "000001.jsonl"
    whole = path.read_bytes()
    start = whole.find(b'{"at"', 10)
    for at in range(start, whole.find(b"\n", start) + 1, 97):
        path.write_bytes(whole[:at] + b"?" + whole[at + 1 :])
        repair(folder)
        assert "promotion" not in [e.kind for e in read_log(folder)]
        assert [e.kind for e in read_log(folder)][-1] == "after"


def test_a_lost_beginning_is_written_anew(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    lines = fill(folder, 5)
    (folder / "000001.jsonl").write_bytes(b"".join(lines[2:]))
    assert kinds(folder) == ["gap"]
    repair(folder)
    assert [e.kind for e in read_log(folder)][:3] == ["segment_opened", "lost", "event"]
    assert verify(folder).is_sound


def test_verify_names_gaps_wrong_order_broken_chains_and_artifacts(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    lines = fill(folder, 6)
    path = folder / "000001.jsonl"
    path.write_bytes(b"".join([*lines[:2], *lines[4:]]))
    assert kinds(folder) == ["gap"]
    path.write_bytes(b"".join([*lines[:4], lines[2], *lines[4:]]))
    assert "order" in kinds(folder)
    path.write_bytes(b"".join(lines))
    asked = {"parent": {"step": "gone", "choice": 0}}
    with Log(folder) as log:
        log.append(EFFECT, {"key": "k1", "effect": "reply", "input": {"parent": None}}, "R")
        log.append(EFFECT, {"key": "k2", "effect": "reply", "input": asked}, "R")
        log.append("large", {"a": "a" * 40_000, "b": "b" * 40_000}).result()
    assert kinds(folder) == ["chain"]
    store = Artifacts.of(folder)
    one, two = store.names()
    store.path(one).unlink()
    store.path(two).write_bytes(b"garbage")
    store.put({"f" * 64: b"nobody names this"})
    assert sorted(kinds(folder)) == [
        "chain",
        "damaged artifact",
        "missing artifact",
        "unused artifact",
    ]


def test_a_record_whose_artifact_is_gone_is_lost_and_its_line_kept(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with Log(folder) as log:
        log.append("large", {"text": "t" * 40_000}).result()
        log.append("after", {}).result()
    Artifacts.of(folder).path(next(Artifacts.of(folder).names())).unlink()
    with pytest.raises(LogDamaged):
        list(read_log(folder))
    (step,) = repair(folder)
    assert step.lost == 1
    assert [e.kind for e in read_log(folder)] == ["segment_opened", "lost", "after"]
    assert verify(folder).is_sound


@pytest.mark.row("C11")
def test_repair_waits_for_no_writer_and_refuses_newer_logs(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with Log(folder), pytest.raises(Busy):
        repair(folder)
    line = frame(0, 0.0, "segment_opened", None, {"schema": 99})
    (folder / "000002.jsonl").write_bytes(line + b"unknown\n")
    assert kinds(folder) == ["newer"]
    with pytest.raises(LogTooNew):
        repair(folder)


def test_the_commands_say_what_is_wrong_and_change_nothing_without_yes(tmp_path: Path) -> None:
    dojo = tmp_path / "d"
    init(dojo)
    lines = fill(dojo / "log", 5)
    path = dojo / "log" / "000001.jsonl"

    def call(*args: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, [*args, "--dojo", str(dojo)])
        return result.exit_code, result.output

    assert call("verify") == (0, "7 events in 1 segments, 0 artifacts: sound\n")
    damaged = b"".join([*lines[:2], b"\x1b[2J" + lines[2], *lines[3:]])
    path.write_bytes(damaged)
    status, said = call("verify")
    assert status == 3 and "000001.jsonl at byte" in said and "damaged" in said
    assert call("repair")[1].endswith("nothing was changed; --yes does it\n")
    assert path.read_bytes() == damaged
    assert json.loads(call("verify", "--json")[1])["sound"] is False
    status, said = call("repair", "--yes")
    assert status == 0 and "repaired 1 segments" in said
    assert call("verify")[0] == 0 and call("repair")[1] == "nothing to repair\n"
    assert call("compress") == (0, "compressed 1 segments\n") and call("verify")[0] == 0
