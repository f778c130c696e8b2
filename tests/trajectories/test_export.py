"""Exported files are what their consumers read."""

import subprocess
import sys
from pathlib import Path

from codojo.trajectories.export import trl_sft
from tests.finetune.conftest import make_rows

READ = """
import sys
from datasets import load_dataset
from trl.data_utils import is_conversational
data = load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[2])
print(len(data), is_conversational(data[0]), sorted(data.column_names))
"""


def test_trl_reads_the_file_as_conversational_prompt_completion(tmp_path: Path) -> None:
    written = trl_sft(make_rows(5), tmp_path / "out" / "rows.jsonl")
    command = [sys.executable, "-c", READ, str(written.path), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "5 True ['completion', 'prompt']"


def test_the_same_rows_give_the_same_bytes_and_no_part_file_stays(tmp_path: Path) -> None:
    first = trl_sft(make_rows(5), tmp_path / "a.jsonl")
    second = trl_sft(make_rows(5), tmp_path / "b.jsonl")
    assert first.sha256 == second.sha256
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]
