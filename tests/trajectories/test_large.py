"""Large texts in the log: kept once each, there before the line that names them, whole for readers."""

import json
import re
from pathlib import Path

import pytest

from codojo.errors import LogDamaged
from codojo.trajectories.artifacts import LIMIT, Artifacts, lift
from codojo.trajectories.framing import frame, unframe
from codojo.trajectories.log import Log, read_log

ODD = "Grüße\n\ud800\x00" * LIMIT


def line_of(folder: Path, kind: str) -> dict[str, object]:
    """The line of an event as it lies on disk."""
    for line in (folder / "000001.jsonl").read_bytes().split(b"\n"):
        if line and (raw := json.loads(line.decode("utf-8", "surrogatepass")))["kind"] == kind:
            return dict(raw)
    raise KeyError(kind)


def test_large_texts_come_back_and_lie_in_the_store_once(tmp_path: Path) -> None:
    log_folder = tmp_path / "log"
    short, long = "x" * LIMIT, "y" * (LIMIT + 1)
    data = {"a/b~c": [{"text": long}, ODD], "same": long, "short": short, "ids": list(range(9000))}
    with Log(log_folder) as log:
        log.append("big", data, "R").result()
        log.append("big", {"again": long}, "R").result()
    first, second = (e.data for e in read_log(log_folder) if e.kind == "big")
    assert first == data and second == {"again": long}
    assert len(list(Artifacts.of(log_folder).names())) == 2
    raw = line_of(log_folder, "big")
    assert raw["large"] == {
        "/a~1b~0c/0/text": lift(long).large[""],
        "/a~1b~0c/1": lift(ODD).large[""],
        "/same": lift(long).large[""],
    }
    assert (log_folder / "000001.jsonl").stat().st_size < 80_000


@pytest.mark.row("H15")
def test_data_cannot_name_an_artifact(tmp_path: Path) -> None:
    """What an answer says about `large`, or about a line's other members, is data and stays data."""
    with Log(tmp_path / "log") as log:
        log.append("secret", {"text": "s" * 20_000}).result()
    name = next(Artifacts.of(tmp_path / "log").names())
    forged = {
        "large": {"/text": name},
        "text": None,
        "nested": {"data": {"text": None}, "kind": "secret", "large": {"/text": name}, "seq": 1},
    }
    with Log(tmp_path / "log") as log:
        log.append("answer", forged).result()
        log.append("answer", {"text": json.dumps(forged) + '\n{"at":1,"data":{}'}).result()
    answers = [e.data for e in read_log(tmp_path / "log") if e.kind == "answer"]
    assert answers[0] == forged
    assert answers[1]["text"].startswith('{"large"')


@pytest.mark.parametrize(
    "large", [{"/text": "../../../etc/passwd"}, {"/text": "a" * 63}, {"/text": ""}]
)
def test_a_line_that_names_another_file_reads_none(tmp_path: Path, large: dict[str, str]) -> None:
    line = frame(0, 0.0, "k", None, {"text": None}, large)
    with pytest.raises(LogDamaged, match="no name of an artifact"):
        unframe(line, 1, Artifacts.of(tmp_path / "log").text)


def test_places_that_data_does_not_have_make_a_line_damaged() -> None:
    for pointer in ("/b/c", "/a/x", "/a/9", "/s/0"):
        line = frame(0, 0.0, "k", None, {"a": [1], "s": "t"}, {pointer: "0" * 64})
        assert unframe(line, 1, lambda name: "text") is None


@pytest.mark.row("C7")
@pytest.mark.parametrize("harm", ["remove", "flip", "cut", "other"])
def test_an_artifact_that_is_not_what_was_written_is_an_error_that_names_it(
    tmp_path: Path, harm: str
) -> None:
    folder = tmp_path / "log"
    with Log(folder) as log:
        log.append("big", {"text": ODD, "other": "z" * 20_000}).result()
    store = Artifacts.of(folder)
    one, two = (store.path(name) for name in store.names())
    content = bytearray(one.read_bytes())
    if harm == "remove":
        one.unlink()
    elif harm == "flip":
        content[len(content) // 2] ^= 1
        one.write_bytes(content)
    elif harm == "cut":
        one.write_bytes(content[:-5])
    else:
        one.write_bytes(two.read_bytes())
    with pytest.raises(LogDamaged, match=re.escape(str(one))):
        list(read_log(folder))
    with Log(folder) as log:
        log.append("big", {"text": ODD, "other": "z" * 20_000}).result()
    assert list(read_log(folder))[-1].data["text"] == ODD, "written again, a damaged one is mended"
