"""Files appear whole or not at all, and are the same every time."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codojo.errors import Busy, SettingsError
from codojo.exporting import export
from codojo.filters import Filters
from codojo.trajectories.exporters.formats import Format, NotExpressible, format_named, formats
from codojo.trajectories.exporters.sinks import to_json
from codojo.trajectories.exporters.writing import MANIFEST, Writer, export_items
from tests.finetune.conftest import make_rows

ROOT = Path(__file__).parent.parent.parent
SFT = format_named("trl-sft")
PARQUET = [name for name, format in formats().items() if format.columns]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.row("C22")
@pytest.mark.parametrize("out", ["rows.jsonl", "rows.parquet", "folder"])
def test_the_same_log_gives_the_same_bytes(out: str, dojo: Path, tmp_path: Path) -> None:
    filters = Filters(validation=0.5)
    first = export(dojo, "trl-kto", tmp_path / "a" / out, filters)
    second = export(dojo, "trl-kto", tmp_path / "b" / out, filters)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert first.exported.sha256 == second.exported.sha256
    export(dojo, "trl-kto", tmp_path / "a" / out, filters)
    assert contents(tmp_path / "a") == contents(tmp_path / "b"), "in place of the first"
    left = {p.name for p in tmp_path.rglob(".*")}
    assert not left, "nothing is left of the work"


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    done = export_items(SFT, make_rows(5), tmp_path / "rows.jsonl")
    data = (tmp_path / "rows.jsonl").read_bytes()
    assert (done.rows, done.sha256) == (5, hashlib.sha256(data).hexdigest())
    assert len(data.splitlines()) == 5


WRITE_FOREVER = """
import os, sys
from pathlib import Path
from codojo.trajectories.exporters.formats import format_named
from codojo.trajectories.exporters.writing import export_items
from tests.finetune.conftest import make_rows
def rows():  # nothing that compresses
    (row,) = make_rows(1)
    while True:
        said = row.completion[0].model_copy(update={"content": os.urandom(50_000).hex()})
        yield row.model_copy(update={"completion": (said,)})
export_items(format_named("trl-sft"), rows(), Path(sys.argv[1]))
"""


@pytest.mark.row("C21")
@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl", "folder"])
def test_an_export_killed_midway_leaves_the_old_file_alone(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    export_items(SFT, make_rows(5), out)
    before = contents(tmp_path)
    command = [sys.executable, "-c", WRITE_FOREVER, str(out)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        wait_for_a_file(tmp_path, process)
        process.kill()
    found = contents(tmp_path)
    assert {n: d for n, d in found.items() if not n.startswith(".")} == before
    export_items(SFT, make_rows(5), out)
    assert contents(tmp_path) == before, "the next export clears away what was left"


KILLED_AT = """
import os, signal, sys
from pathlib import Path
at, number = sys.argv[2], int(sys.argv[3])
count = 0
def stop(event, arguments):
    global count
    if event == at:
        count += 1
        if count > number:
            os.kill(os.getpid(), signal.SIGKILL)
from codojo.trajectories.exporters.formats import format_named
from codojo.trajectories.exporters.writing import export_items
from tests.finetune.conftest import make_rows
rows = make_rows(7)
sys.addaudithook(stop)
export_items(format_named("trl-sft"), rows, Path(sys.argv[1]))
"""


@pytest.mark.row("C21")
@pytest.mark.parametrize("name", ["rows.parquet", "folder"])
def test_killed_at_any_rename_it_leaves_the_old_or_the_new(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    export_items(SFT, make_rows(7), out)
    new = contents(tmp_path)
    export_items(SFT, make_rows(5), out)
    old = contents(tmp_path)
    for number in range(4):
        command = [sys.executable, "-c", KILLED_AT, str(out), "os.rename", str(number)]
        ended = subprocess.run(command, cwd=ROOT, check=False).returncode
        found = {n: d for n, d in contents(tmp_path).items() if not n.startswith(".")}
        assert found in (old, new, {}), (
            "the two renames of a folder may leave neither, never a part"
        )
        if ended == 0:
            assert found == new
            return
        assert ended == -signal.SIGKILL
    raise AssertionError("it never came to its end")


def wait_for_a_file(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Until something is being written aside."""
    end = time.monotonic() + 600
    while not any(folder.glob(".*/*")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.2)


def test_two_exports_to_one_place_do_not_mix(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    with Writer(SFT, out) as first:
        first.write(make_rows(1)[0])
        with pytest.raises(Busy, match="another export"), Writer(SFT, out):
            pass
    assert len(out.read_text().splitlines()) == 1


def test_a_failure_midway_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    export_items(SFT, make_rows(2), out)
    before = contents(tmp_path)

    def rows() -> Iterator[Any]:
        yield from make_rows(5)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        export_items(SFT, rows(), out)
    assert contents(tmp_path) == before


def test_a_folder_of_someone_else_is_never_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.txt").write_text("x")
    with pytest.raises(SettingsError, match="not made by an export"):
        export_items(SFT, make_rows(1), mine)
    assert (mine / "chapter.txt").exists()
    (tmp_path / "new").mkdir()
    export_items(SFT, make_rows(1), tmp_path / "new")
    assert (tmp_path / "new" / MANIFEST).is_file()


@pytest.mark.row("C10")
@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_a_disk_that_is_full_is_one_clear_line(name: str, tmp_path: Path) -> None:
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));" + WRITE_FOREVER
    )
    command = [sys.executable, "-c", script, str(tmp_path / name)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert "LogError: cannot write" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", PARQUET)
def test_parquet_says_what_the_lines_say(format: str, dojo: Path, tmp_path: Path) -> None:
    import pyarrow.parquet

    chosen = formats()[format]
    lines, columns = tmp_path / "lines", tmp_path / "columns"
    if not chosen.is_folder:
        lines, columns = lines.with_suffix(".jsonl"), columns.with_suffix(".parquet")
    export(dojo, format, lines, Filters(suite=("made",)))
    export(dojo, format, columns, Filters(suite=("made",)), parquet=True)
    if chosen.is_folder:
        lines, columns = lines / "train.jsonl", columns / "train.parquet"
    wanted = [json.loads(line) for line in lines.read_text().splitlines()]
    assert chosen.columns is not None
    empty = dict.fromkeys(chosen.columns)
    as_text = [name for name, column in chosen.columns.items() if column == "json"]
    found = pyarrow.parquet.read_table(columns).to_pylist()
    for row in found:
        row.update({name: json.loads(row[name]) for name in as_text if row[name]})
    assert found == [empty | row for row in wanted]


def test_tool_calls_stay_out_of_parquet_and_are_counted(dojo: Path, tmp_path: Path) -> None:
    done = export(dojo, "trl-sft", tmp_path / "rows.parquet").exported
    assert done.left_out == {"not_in_parquet": 1}
    assert done.rows == export(dojo, "trl-sft", tmp_path / "rows.jsonl").exported.rows - 1


def test_a_lone_surrogate_becomes_a_question_mark_in_every_kind_of_file(tmp_path: Path) -> None:
    import pyarrow.parquet

    (row,) = make_rows(1)
    said = row.completion[0].model_copy(update={"content": "a\ud800b"})
    odd = row.model_copy(update={"completion": (said,)})
    assert b'"a?b"' in to_json({"x": "a\ud800b"})
    export_items(SFT, [odd], tmp_path / "rows.jsonl")
    export_items(SFT, [odd], tmp_path / "rows.parquet")
    (line,) = (tmp_path / "rows.jsonl").read_text().splitlines()
    (read,) = pyarrow.parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert json.loads(line)["completion"] == read["completion"]
    assert read["completion"][0]["content"] == "a?b"


def test_one_file_for_each_item_has_a_safe_name(tmp_path: Path) -> None:
    def records(item: str) -> Iterator[dict[str, Any]]:
        if item == "no":
            raise NotExpressible("no_reason")
        yield {"item": item}

    def one(name: str) -> Format:
        return Format(
            name="made", about="", takes=type(make_rows(1)[0]), records=records, suffix=".json",
            name_of=lambda item: name,
        )  # fmt: skip

    done = export_items(one("a/b"), ["yes", "no"], tmp_path / "out")
    assert json.loads((tmp_path / "out" / "train" / "a" / "b.json").read_text()) == {"item": "yes"}
    assert (done.rows, done.left_out) == (1, {"no_reason": 1})
    for name in ("../up", "/etc/passwd", "a//b", ".hidden", ""):
        with pytest.raises(ValueError, match="safe"):
            export_items(one(name), ["yes"], tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("format", "name", "told"),
    [
        ("llama-factory", "rows.jsonl", "writes a folder"),
        ("openai-sft", "rows.parquet", "cannot be written as Parquet"),
    ],
)
def test_a_place_that_does_not_fit_the_format_is_refused(
    format: str, name: str, told: str, dojo: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=told):
        export(dojo, format, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
