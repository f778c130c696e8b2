"""Lines told by their ends: the same events that the log's own reader gives, and the same complaints."""

import zlib
from pathlib import Path
from typing import Any

import pytest

from codojo.errors import LogDamaged
from codojo.trajectories.artifacts import LIMIT
from codojo.trajectories.lines import read_kinds, read_lines
from codojo.trajectories.log import Log, frame, read_log

HOSTILE: list[tuple[str, str | None, dict[str, Any]]] = [
    ("effect", "r1", {"text": '\n,"kind":"feedback","rollout":"r9","seq":1,"sum":"00000000"}'}),
    ("effect", "r1", {"kind": "feedback", "rollout": "r9", "seq": 1}),
    ("effect", "r1", {"text": "a lone \ud800 surrogate"}),
    ("effect", "r1", {"number": 10**40, "share": 0.1, "small": 5e-324}),
    ("effect", "r1", {"long": "x" * (LIMIT + 1)}),
    ("feedback", None, {"id": "f1"}),
    ("a kind\n", "a rollout", {}),
    ("feedback", "r2", {"id": "f2", "long": "y" * (LIMIT + 1)}),
]


def written(folder: Path) -> Path:
    with Log(folder / "log") as log:
        for kind, rollout, data in HOSTILE:
            log.append(kind, data, rollout).result()
    return folder / "log"


def test_lines_are_the_events_of_the_log(tmp_path: Path) -> None:
    log = written(tmp_path)
    told = [(line.kind, line.rollout, line.at, line.data) for line in read_lines(log)]
    assert told == [(e.kind, e.rollout, e.at, e.data) for e in read_log(log)]


def test_only_the_kinds_that_are_asked_for(tmp_path: Path) -> None:
    log = written(tmp_path)
    assert [line.data["id"] for line in read_kinds(log, frozenset(["feedback"]))] == ["f1", "f2"]


def test_a_line_of_another_writer_is_read_in_whatever_order_its_members_are(tmp_path: Path) -> None:
    line = b'{"kind": "feedback", "seq": 1, "rollout": null, "at": 2.0, "data": {"kind":"effect"}}'
    summed = line[:-1] + f',"sum":"{zlib.crc32(line):08x}"}}\n'.encode()
    opened = frame(0, 0.0, "segment_opened", None, {"schema": 2, "pid": 1})
    (tmp_path / "000001.jsonl").write_bytes(opened + summed)
    (found,) = read_kinds(tmp_path, frozenset(["feedback"]))
    assert found.data == {"kind": "effect"} and found.at == 2.0
    assert [line.kind for line in read_lines(tmp_path)] == ["segment_opened", "feedback"]


def test_damage_is_told_with_its_place_and_a_torn_tail_left_out(tmp_path: Path) -> None:
    log = written(tmp_path)
    (segment,) = log.glob("*.jsonl")
    whole = segment.read_bytes()
    count = sum(1 for _ in read_log(log))
    segment.write_bytes(whole[:-5])
    assert sum(1 for _ in read_lines(log)) == count - 1
    at = whole.index(b"surrogate")
    segment.write_bytes(whole[:at] + b"S" + whole[at + 1 :])
    place = whole.rindex(b'{"at"', 0, at)
    with pytest.raises(LogDamaged, match=f"byte {place}:"):
        list(read_lines(log))
