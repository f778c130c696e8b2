"""A long run goes on at once: what is finished is counted by the index, and read when there is time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import codojo

ROOT = Path(str(codojo.__file__)).resolve().parent.parent


def part(name: str, folder: Path, records: int) -> dict[str, float]:
    """What the benchmark's script says of one part, done in a process of its own."""
    script = ROOT / "bench" / "large_log.py"
    command = [sys.executable, script, name, folder, str(records), ROOT]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.row("C23")
@pytest.mark.parametrize(
    "records", [10_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_a_long_run_comes_to_its_first_new_effect_within_a_second(
    tmp_path: Path, records: int
) -> None:
    """32 rollouts of 50 effects each go on, all others are finished. Of processor time, imports aside:
    neighbours do not count. `codojo bench log` has the clock's."""
    made = part("make-run", tmp_path, records)
    assert made["run_records"] == pytest.approx(records, rel=0.02)
    part("resume-unindexed", tmp_path, records)
    assert part("resume", tmp_path, records)["resume_cpu_s"] < 1.0
