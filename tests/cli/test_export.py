"""`codojo export` as a person or a program calls it."""

import json
from pathlib import Path

import pytest

from codojo.folder import init
from codojo.trajectories.exporters.formats import formats
from tests.cli.test_bad_input import codojo, complaint
from tests.formats.world import make_dojo


@pytest.fixture(scope="module")
def dojo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dojo(tmp_path_factory.mktemp("cli") / "dojo")


def test_list_names_every_format_with_its_line() -> None:
    said = codojo("export", "--list").stdout.splitlines()
    assert [line.split()[0] for line in said] == [*formats()]
    assert all(format.about in line for line, format in zip(said, formats().values(), strict=True))


def test_it_says_what_was_written_and_what_was_left_out(dojo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = codojo("export", "trl-kto", out, "--validation", "0.5", "--dojo", dojo)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("5 rows from 2 tasks in ")
    assert sorted(p.name for p in out.iterdir())[:2] == ["README.md", "export.json"]
    said = json.loads(codojo("export", "trl-kto", out, "--dojo", dojo, "--json").stdout)
    assert said["rows"] == said["curation"]["kept"] == 5
    assert said["parts"]["train"]["sha256"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "trl-sft train.jsonl"),
        (("trl-sftt", "x.jsonl"), "trl-sft, "),
        (
            ("trl-sft", "x.jsonl", "--split", "test"),
            "--split cannot be 'test': choose one of train, none",
        ),
        (("trl-sft", "x.jsonl", "--integrity", "x"), "isolated, shared_process, any"),
        (("trl-sft", "x.jsonl", "--suite", "katas"), "nothing to export"),
    ],
)
def test_nonsense_is_one_clear_line(
    arguments: tuple[str, ...], told: str, dojo: Path, tmp_path: Path
) -> None:
    placed = [str(tmp_path / a) if a.startswith("x.") else a for a in arguments]
    assert told in complaint(codojo("export", *placed, "--dojo", dojo))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_dojo_says_what_to_do(tmp_path: Path) -> None:
    dojo = init(tmp_path / "dojo").parent
    said = complaint(codojo("export", "trl-sft", tmp_path / "x.jsonl", "--dojo", dojo))
    assert "holds no rollout yet" in said and "codojo run" in said
    for command in ("list", "runs"):
        done = codojo("trajectories", command, "--dojo", dojo)
        assert done.returncode == 0 and "logged yet" in done.stdout
