"""What is exported, what never is, and what the card says of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from codojo.errors import SettingsError
from codojo.exporting import Report, export
from codojo.filters import Filters, when
from codojo.trajectories.log import Log
from codojo.trajectories.schema import RolloutEnd
from tests.formats.world import (
    GOOD,
    fenced,
    made,
    make_dojo,
    reply,
    sampled,
    verdict,
    write_rollout,
)

OUT = "rows.jsonl"


def run(dojo: Path, tmp_path: Path, format: str = "trl-sft", **filters: object) -> Report:
    return export(dojo, format, tmp_path / OUT, Filters.of(**filters))


def lines(tmp_path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (tmp_path / OUT).read_text().splitlines()]


def said(tmp_path: Path) -> list[str]:
    return [row["completion"][-1]["content"] for row in lines(tmp_path)]  # type: ignore[index]  # our own row


@pytest.mark.row("E16")
@pytest.mark.parametrize("format", ["trl-sft", "trl-dpo", "trl-kto", "trl-stepwise"])
def test_gate_and_held_out_work_stays_out_unless_it_is_named(
    format: str, dojo: Path, tmp_path: Path
) -> None:
    plain = run(dojo, tmp_path, format)
    assert "other split" in plain.card and "Not for training" not in plain.card
    both = run(dojo, tmp_path, format, split=("train", None, "gate"))
    assert both.exported.rows > plain.exported.rows
    assert "**Not for training.**" in both.card and "`gate` split" in both.card


@pytest.mark.row("E18")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "infra_error"}, "infra_error"),
        ({"tests": "visible"}, "not_sealed"),
        ({"isolation": "none"}, "not_isolated"),
        ({"integrity": "shared_process"}, "not_isolated"),
    ],
)
def test_what_proves_nothing_stays_out_by_default(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    dojo = make_dojo(tmp_path / "dojo")
    with Log(dojo / "log") as log:
        end = RolloutEnd(proposals=(made("def f(): 1", "s", 0, verdict(True, **changes)),))
        write_rollout(log, "01KB0H5R9NQ2V7T3M8X4C6D1B0", [reply("s", [sampled("x", 1)])], end)
    assert run(dojo, tmp_path).curation.left_out[reason] == 1


def test_walls_can_be_asked_for_and_waived(tmp_path: Path) -> None:
    dojo = make_dojo(tmp_path / "dojo")
    with Log(dojo / "log") as log:
        for number, level in enumerate(("none", "warm")):
            judged = verdict(True, isolation=level, integrity="shared_process")
            end = RolloutEnd(proposals=(made(f"def {level}(): 1", "s", 0, judged),))
            effects = [reply("s", [sampled("x", 1)])]
            write_rollout(log, f"01KB0H5R9NQ2V7T3M8X4C6D1B{number}", effects, end)
    rows = {
        level: run(dojo, tmp_path, min_isolation=level, integrity="any").exported.rows
        for level in ("none", "warm", "bubblewrap")
    }
    assert rows["none"] == rows["warm"] + 1 == rows["bubblewrap"] + 2
    assert "warm: 1" in run(dojo, tmp_path, integrity="any").card


def test_only_what_was_asked_for(dojo: Path, tmp_path: Path) -> None:
    run(dojo, tmp_path)
    passed = said(tmp_path)
    run(dojo, tmp_path, only="failed")
    failed = said(tmp_path)
    run(dojo, tmp_path, only="all")
    assert sorted(said(tmp_path)) == sorted(passed + failed)
    assert any("a - b" in text for text in failed) and not set(passed) & set(failed)


def test_roles_suites_graphs_models_and_times(dojo: Path, tmp_path: Path) -> None:
    run(dojo, tmp_path, role="planner")
    assert said(tmp_path) == ["- add both"]
    everyone = run(dojo, tmp_path, role="all").exported.rows
    assert everyone == run(dojo, tmp_path, role=("planner", "coder", "worker")).exported.rows
    assert run(dojo, tmp_path, graph="chat").exported.rows == 1
    assert run(dojo, tmp_path, suite="made").exported.rows == 2
    assert run(dojo, tmp_path, split=(None,)).exported.rows == 1
    assert run(dojo, tmp_path, since=1.0).exported.rows == 3
    for nothing in ({"model": "other"}, {"since": 9e9}, {"suite": "katas"}, {"graph": "solo"}):
        with pytest.raises(SettingsError, match="nothing to export"):
            run(dojo, tmp_path, **nothing)


def test_whole_answers_are_what_was_said(dojo: Path, tmp_path: Path) -> None:
    run(dojo, tmp_path, suite="made")
    assert f"```python\n{GOOD}\n```" in said(tmp_path)
    run(dojo, tmp_path, suite="made", whole_answers=True)
    assert fenced(GOOD) in said(tmp_path)


@pytest.mark.row("E19")
def test_copies_are_kept_once_and_a_task_has_a_bound(tmp_path: Path) -> None:
    dojo = make_dojo(tmp_path / "dojo")
    renamed = "def add(p, q):  # the sum\n    return p + q"
    with Log(dojo / "log") as log:
        for number in range(3):
            end = RolloutEnd(proposals=(made(renamed, "s", 0, verdict(True)),))
            effects = [reply("s", [sampled(fenced(renamed), 1)])]
            write_rollout(log, f"01KB0H5R9NQ2V7T3M8X4C6D1B{number}", effects, end)
    counts = {
        how: run(dojo, tmp_path, suite="made", dedupe=how).exported.rows
        for how in ("shape", "text", "none")
    }
    assert counts == {"shape": 2, "text": 3, "none": 5}
    report = run(dojo, tmp_path, suite="made", dedupe="none", max_per_task=1)
    assert report.exported.rows == 1 and report.curation.left_out["over_cap"] == 4
    assert said(tmp_path) == [f"```python\n{GOOD}\n```"], "the shortest"


def test_families_are_never_cut_in_two(tmp_path: Path) -> None:
    dojo = make_dojo(tmp_path / "dojo")
    with Log(dojo / "log") as log:
        for number in range(60):
            end = RolloutEnd(proposals=(made(f"def f{number}(): 1", "s", 0, verdict(True)),))
            write_rollout(
                log,
                f"01KB0H5R9NQ2V7T3M8X4C6D1{number:02}",
                [reply("s", [sampled("x", 1)])],
                end,
                task=f"t{number}",
                family=f"family{number % 20}",
            )
    report = export(dojo, "trl-sft", tmp_path / "out", Filters(validation=0.3))
    parts = {
        name: [
            json.loads(line)
            for line in (tmp_path / "out" / f"{name}.jsonl").read_text().splitlines()
        ]
        for name in report.exported.parts
    }
    assert parts.keys() == {"train", "validation"}
    families = {
        name: {
            int(row["completion"][0]["content"].split("def f")[1].split("(")[0]) % 20
            for row in rows
            if "def f" in row["completion"][0]["content"]
        }
        for name, rows in parts.items()
    }
    assert not families["train"] & families["validation"]
    assert 2 <= len(families["validation"]) <= 11, "about 6 of 20"


def test_unfinished_work_is_told_and_not_exported(tmp_path: Path) -> None:
    dojo = make_dojo(tmp_path / "dojo")
    before = run(dojo, tmp_path).exported
    with Log(dojo / "log") as log:
        write_rollout(log, "01KB0H5R9NQ2V7T3M8X4C6D1B0", [reply("s", [sampled("x", 1)])], None)
    after = run(dojo, tmp_path)
    assert after.exported.sha256 == before.sha256
    assert "| 1 rollout | unfinished |" in after.card


def test_the_card_says_what_it_is(dojo: Path, tmp_path: Path) -> None:
    report = export(
        dojo, "trl-kto", tmp_path / "out", Filters(validation=0.5, license="apache-2.0")
    )
    card = (tmp_path / "out" / "README.md").read_text()
    assert card == report.card
    head = card.split("---")[1]
    assert 'license: "apache-2.0"' in head and 'path: "validation.jsonl"' in head
    for wanted in (
        "`all-0123456789ab`",
        "`smollm2-135m 0f1e2d3c4b5a`",
        "isolation | bubblewrap",
        "`smollm2-135m`: Apache-2.0",
        report.exported.parts["train"].sha256,
        '"validation": 0.5',
    ):
        assert wanted in card


@pytest.mark.row("H12")
def test_hostile_names_do_not_break_the_card(tmp_path: Path) -> None:
    dojo = make_dojo(tmp_path / "dojo")
    with Log(dojo / "log") as log:
        end = RolloutEnd(proposals=(made("def f(): 1", "s", 0, verdict(True)),))
        write_rollout(
            log,
            "01KB0H5R9NQ2V7T3M8X4C6D1B0",
            [reply("s", [sampled("x", 1)])],
            end,
            suite="a|b\n---\n# Owned\x1b[31m<script>`",
        )
    card = run(dojo, tmp_path).card
    assert "\n# Owned" not in card and "\x1b" not in card and "<script>" not in card


def test_when_is_a_date_a_time_or_an_age() -> None:
    assert when("1970-01-02", 0) == 86400
    assert when("1970-01-01T01:00+01:00", 0) == 0
    assert when("2h", 10_000) == 10_000 - 7200
    with pytest.raises(SettingsError, match="--since"):
        when("yesterday", 0)


@pytest.mark.parametrize(
    ("format", "filters", "told"),
    [
        ("trl-dpo", {"only": "passed"}, "--only"),
        ("trl-sft", {"min_isolation": "granite"}, "granite"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(
    format: str, filters: dict[str, object], told: str, dojo: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=told):
        run(dojo, tmp_path, format, **filters)
    assert not (tmp_path / OUT).exists()


@pytest.mark.parametrize(
    "filters", [{"only": "good"}, {"split": "test"}, {"validation": 1.5}, {"max_per_task": -1}]
)
def test_a_value_that_cannot_be_is_one_clear_line(filters: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="cannot be"):
        Filters.of(**filters)


def test_a_dry_run_writes_nothing_and_counts_the_same(dojo: Path, tmp_path: Path) -> None:
    dry = export(dojo, "trl-sft", tmp_path / OUT, dry_run=True)
    assert list(tmp_path.iterdir()) == []
    real = export(dojo, "trl-sft", tmp_path / OUT)
    assert (dry.exported.rows, dry.exported.sha256) == (real.exported.rows, real.exported.sha256)
