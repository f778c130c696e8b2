"""The export benchmark compares like with like: its peers make the same rows, and its log is always the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from codojo.bench.export import SETS, Row, export_targets, make_log, rows_hash
from codojo.bench.rounds import Ratio

SCRIPT = Path(__file__).parent.parent.parent / "bench" / "peer_export.py"


def run(peer: str, log: Path, out: Path, kind: str = "sft") -> dict[str, float]:
    out.parent.mkdir(exist_ok=True, parents=True)
    question, answer = out.with_suffix(".order"), out.with_suffix(".answer")
    order = {"peer": peer, "log": str(log), "out": str(out), "set": kind, "dedupe": "text"}
    question.write_text(json.dumps(order))
    command = [sys.executable, str(SCRIPT), str(question), str(answer)]
    subprocess.run(command, check=True, capture_output=True, cwd=SCRIPT.parent.parent)
    said: dict[str, float] = json.loads(answer.read_text())
    assert "error" not in said, said
    return said


def test_the_log_is_always_the_same(tmp_path: Path) -> None:
    first, second = (make_log(tmp_path / name / "log", 50) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert 1_500 < first.stat().st_size / 50 < 3_500, "about 2 KB a model call"


@pytest.mark.parametrize("kind", SETS)
def test_a_peer_makes_the_same_rows(kind: str, tmp_path: Path) -> None:
    log = make_log(tmp_path / "dojo" / "log", 1_000)
    ours, other = tmp_path / "ours" / "rows.parquet", tmp_path / "pandas" / "rows.parquet"
    assert run("codojo", log, ours, kind)["rows"] == run("pandas", log, other, kind)["rows"] > 100
    assert rows_hash(ours) == rows_hash(other)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    peaks = []
    for records in (50_000, 200_000):
        log = make_log(tmp_path / str(records) / "log", records)
        peaks.append(run("codojo", log, tmp_path / f"{records}" / "rows.parquet")["peak_mb"])
    assert peaks[1] < 1.25 * peaks[0]


def test_a_target_is_missed_where_a_way_made_other_rows() -> None:
    good = Row("sft", "codojo", 100.0, Ratio(6.0), 200, repeats=True, same_rows=True)
    bad = Row("sft", "duckdb", 200.0, Ratio(12.0), 500, repeats=False, same_rows=False)
    assert all(target.kept for target in export_targets([good], 100, 110))
    kept = [target.kept for target in export_targets([good, bad], 100, 200)]
    assert kept == [True, True, False, False]
