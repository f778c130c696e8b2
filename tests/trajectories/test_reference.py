"""docs/reference/log-format.md is enough to read a log: a reader written from that page alone agrees with ours."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codojo.trajectories.framing import frame
from codojo.trajectories.log import Log, read_log
from codojo.trajectories.rewrite import rewrite
from codojo.trajectories.segments import pack_log

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "log-format.md"
LOGS = Path(__file__).parent / "logs"

READER = r'''
"""Reads a log and prints its events. Knows nothing of codojo but docs/reference/log-format.md."""
import hashlib, json, re, sys, zlib
from pathlib import Path
import zstandard

def unpack(path):
    with open(path, "rb") as file:
        return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()

def segments(log):
    found = {}
    for path in log.iterdir():
        match = re.fullmatch(r"(\d+)\.jsonl(\.zst)?", path.name)
        if match and (not match[2] or int(match[1]) not in found):
            found[int(match[1])] = path
    return sorted(found.items())

def whole(log, data, pointer, name):
    assert re.fullmatch("[0-9a-f]{64}", name), "no name of an artifact"
    content = unpack(log.parent / "artifacts" / name[:2] / name)
    assert hashlib.sha256(content).hexdigest() == name, "artifact is damaged"
    text = content.decode("utf-8", "surrogatepass")
    if pointer == "":
        return text
    *steps, last = [s.replace("~1", "/").replace("~0", "~") for s in pointer[1:].split("/")]
    place = data
    for step in steps:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[int(last) if isinstance(place, list) else last] = text
    return data

def events(log):
    for number, path in segments(log):
        content = unpack(path) if path.suffix == ".zst" else path.read_bytes()
        offset = 0
        while offset < len(content):
            end = content.find(b"\n", offset) + 1
            if end == 0:
                break                                     # torn tail
            line = content[offset:end]
            body = line[:-19] + b"}"
            if line[-19:] != b',"sum":"%08x"}\n' % zlib.crc32(body):
                sys.exit(f"{path}: damage at byte {offset}")
            event = json.loads(body.decode("utf-8", "surrogatepass"))
            if offset == 0 and event["data"]["schema"] > 2:
                sys.exit(f"{path}: version {event['data']['schema']} is newer than this reader")
            for pointer, name in event.pop("large", {}).items():
                event["data"] = whole(log, event["data"], pointer, name)
            yield {"segment": number, **event}
            offset = end

for event in events(Path(sys.argv[1])):
    print(json.dumps(event, sort_keys=True))
'''


def read(tmp_path: Path, log: Path) -> subprocess.CompletedProcess[str]:
    """What the reader prints, where codojo cannot be imported."""
    script = tmp_path / "reader.py"
    script.write_text(READER)
    command = [sys.executable, "-I", str(script), str(log)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)


def ours(log: Path) -> str:
    import json

    fields = ("segment", "seq", "at", "kind", "rollout", "data")
    events = ({name: getattr(event, name) for name in fields} for event in read_log(log))
    return "".join(json.dumps(event, sort_keys=True) + "\n" for event in events)


@pytest.mark.row("C18")
@pytest.mark.parametrize("version", sorted(path.name for path in LOGS.iterdir()))
def test_a_reader_written_from_the_page_reads_every_version(tmp_path: Path, version: str) -> None:
    assert "codojo" not in READER.split('"""')[2], "it stands alone"
    done = read(tmp_path, LOGS / version / "log")
    assert done.stderr == "" and done.stdout == ours(LOGS / version / "log")
    assert done.stdout.count("\n") > 20


def test_it_reads_what_was_packed_torn_rewritten_and_moved_out(tmp_path: Path) -> None:
    log = tmp_path / "d" / "log"
    for part in range(3):
        with Log(log) as pen:
            pen.append("odd", {"a/b~": ["\ud800" * 9000, {"": "x" * 20_000}], "part": part}, "R")
            pen.append("gone", {"n": part}).result()
        pack_log(log, over=0) if part == 0 else None
    rewrite(log, lambda event: None if event.kind == "gone" else event)
    with (log / "000003.jsonl").open("ab") as file:
        file.write(b'{"at":1.0,"data":{')
    done = read(tmp_path, log)
    assert done.stderr == "" and done.stdout == ours(log)


def test_it_stops_at_damage_and_at_newer_versions(tmp_path: Path) -> None:
    shutil.copytree(LOGS / "v1", tmp_path / "v1")
    path = tmp_path / "v1" / "log" / "000001.jsonl"
    content = bytearray(path.read_bytes())
    start = content.find(b"\n") + 1
    content[start + 40] ^= 1
    path.write_bytes(content)
    assert f"damage at byte {start}" in read(tmp_path, path.parent).stderr
    path.write_bytes(frame(0, 0.0, "segment_opened", None, {"schema": 3}))
    assert "newer" in read(tmp_path, path.parent).stderr


def test_the_example_on_the_page_is_right() -> None:
    line = frame(0, 0.0, "k", None, {}).decode().rstrip("\n")
    assert f"`{line}`" in PAGE.read_text(encoding="utf-8")
    told = re.search(
        r"The (\d+) bytes `(\{\"at\":0\.0.*?\})` with the sum\n`([0-9a-f]{8})`", PAGE.read_text()
    )
    assert told is not None and int(told[1]) == len(told[2]) and told[3] in line
