"""`codojo report` and `codojo trajectories`, on a log on disk."""

import json
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from codojo.cli.report import app as report_app
from codojo.cli.trajectories import app as trajectories_app
from codojo.errors import CodojoError, LogError, SettingsError, TaskError
from codojo.folder import init
from codojo.graphs.improve_report import REPORT
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import Log
from codojo.trajectories.schema import FINISHED, STARTED, Trajectory
from tests.reports.made import RUN, World, improve_report
from tests.reports.pages import read


def write(log: Log, trajectory: Trajectory) -> None:
    """A rollout as a run would have logged it."""
    log.append(STARTED, trajectory.start.model_dump(mode="json"), trajectory.id)
    for effect in trajectory.effects:
        log.append(EFFECT, effect.model_dump(mode="json"), trajectory.id)
    assert trajectory.end is not None
    log.append(FINISHED, trajectory.end.model_dump(mode="json"), trajectory.id).result()


@pytest.fixture(scope="module")
def dojo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reports") / "dojo"
    init(root)
    report, found = improve_report("refused", World(tasks=4, text=lambda t: t + "\x1b[2J"))
    with Log(root / "log") as log:
        for trajectory in found.values():
            write(log, trajectory)
        log.append(REPORT, report.model_dump(mode="json")).result()
    return root


def call(app: Typer, *args: object) -> str:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception:
        raise result.exception
    assert "\x1b" not in result.output
    return result.output


def test_report_draws_the_newest_run_again(dojo: Path) -> None:
    page = Path(call(report_app, "--dojo", dojo).strip())
    assert page == dojo.resolve() / "reports" / RUN / "index.html"
    assert "refused by the gate" in read(page.read_text()).text
    by_prefix = json.loads(call(report_app, "--dojo", dojo, "--run", RUN[:8], "--json"))
    assert by_prefix == {"run": RUN, "page": str(page)}


def test_report_says_what_there_is_when_it_finds_nothing(dojo: Path, tmp_path: Path) -> None:
    with pytest.raises(LogError, match=f"no improve run starts with '01ZZ'.*{RUN}"):
        call(report_app, "--dojo", dojo, "--run", "01ZZ")
    init(tmp_path)
    with pytest.raises(LogError, match="codojo improve --dojo"):
        call(report_app, "--dojo", tmp_path)
    with pytest.raises(SettingsError, match="is no dojo"):
        call(report_app, "--dojo", tmp_path / "nowhere")


def test_list_filters_by_run_stage_task_and_verdict(dojo: Path) -> None:
    def rows(*args: str) -> list[dict[str, object]]:
        printed = call(trajectories_app, "list", "--dojo", dojo, "--json", *args)
        return [json.loads(line) for line in printed.splitlines()]

    every = rows()
    assert len(every) == 8 and {row["run"] for row in every} == {RUN}
    assert rows("--run", "01ZZ") == []
    solve = rows("--stage", "round-1/")
    assert {row["stage"] for row in solve} == {"round-1/solve"} and len(solve) == 4
    assert [row["task"] for row in rows("--task", "running_total_h")] == [
        row["task"] for row in every if "running_total_h" in str(row["task"])
    ]
    passed = rows("--verdict", "passed")
    assert passed and all(row["passed"] for row in passed)
    assert rows("--limit", "3") == every[-3:] and rows("--limit", "0") == every


def test_the_table_counts_what_it_leaves_out_and_is_safe_to_print(dojo: Path) -> None:
    printed = call(trajectories_app, "list", "--dojo", dojo, "--limit", 2)
    assert "2 of 8 rollouts; --limit 0 shows all" in printed
    assert "\\x1b[2J" in printed


def test_an_unknown_verdict_is_refused_with_the_known_ones(dojo: Path) -> None:
    with pytest.raises(TaskError, match="passed, failed, error"):
        call(trajectories_app, "list", "--dojo", dojo, "--verdict", "great")


def test_show_takes_the_beginning_of_an_id_and_writes_text_or_a_page(
    dojo: Path, tmp_path: Path
) -> None:
    text = call(trajectories_app, "show", "--dojo", dojo, "round-1_solve-002")
    assert text.startswith("rollout round-1_solve-002") and "1. coder asks" in text
    out = tmp_path / "new" / "page.html"
    assert call(trajectories_app, "show", "round-1_solve-002", "--dojo", dojo, "--html", out)
    assert read(out.read_text()).problems == []
    shown = call(trajectories_app, "show", "round-1_solve-002", "--dojo", dojo, "--json")
    assert Trajectory.model_validate_json(shown).id == "round-1_solve-002"


@pytest.mark.parametrize(
    ("prefix", "said"),
    [("round-1", "4 rollouts start with 'round-1'"), ("\x1bx", r"'\\x1bx'; see the ids")],
)
def test_an_id_that_is_not_one_rollout_is_refused(dojo: Path, prefix: str, said: str) -> None:
    with pytest.raises(CodojoError, match=said):
        call(trajectories_app, "show", prefix, "--dojo", dojo)
