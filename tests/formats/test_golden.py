"""Every format's rows, byte for byte; `pytest --update-golden` writes them anew."""

import re
from pathlib import Path

import pytest

from codojo.exporting import export
from codojo.trajectories.exporters.formats import formats

GOLDEN = Path(__file__).with_name("golden")


def written(format: str, dojo: Path, folder: Path) -> str:
    """All records of an export as text: lines, or files under their names."""
    chosen = formats()[format]
    if chosen.is_folder:
        export(dojo, format, folder / "out")
        files = sorted(p for p in (folder / "out").rglob("*") if p.is_file())
        own = [p for p in files if p.name not in ("README.md", "export.json")]
        return timeless(
            "".join(f"== {p.relative_to(folder / 'out')}\n{p.read_text()}" for p in own)
        )
    export(dojo, format, folder / "out.jsonl")
    return timeless((folder / "out.jsonl").read_text())


def timeless(text: str) -> str:
    """The text with the times at which the log got it taken out."""
    text = re.sub(r'("timestamp": ?)"[^"]+"', r'\1"then"', text)
    return re.sub(r'(TimeUnixNano": ?)"\d+"', r'\1"0"', text)


@pytest.mark.parametrize("format", formats())
def test_rows_are_the_golden_ones(
    format: str, dojo: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    found = written(format, dojo, tmp_path)
    golden = GOLDEN / f"{format}.txt"
    if request.config.getoption("--update-golden"):
        golden.write_text(found)
    assert found == golden.read_text(), (
        f"{golden.name}: --update-golden shows the difference in git"
    )
    assert found.strip()


def test_no_golden_file_is_left_of_a_format_that_is_gone() -> None:
    assert {p.stem for p in GOLDEN.iterdir()} == formats().keys()
