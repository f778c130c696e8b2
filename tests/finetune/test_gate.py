"""What the gate lets through, against simulated truth."""

import numpy as np
import pytest

from codojo.errors import TrainingError
from codojo.finetune.gate import GateReport, decide
from codojo.scoring.intervals import TaskScore
from codojo.scoring.paired import alpha_at
from codojo.settings import GateSettings

SETTINGS = GateSettings()


def scored(passed: list[int], samples: int = 8) -> list[TaskScore]:
    return [TaskScore(f"t{i:02}", f"f{i // 3}", samples, n) for i, n in enumerate(passed)]


def sampled(rates: np.ndarray, source: np.random.Generator) -> list[TaskScore]:
    return scored([int(n) for n in source.binomial(8, np.clip(rates, 0, 1))])


def gate(
    champion: list[TaskScore],
    candidate: list[TaskScore],
    guard: tuple[list[TaskScore], list[TaskScore]] = ([], []),
    look: int = 1,
) -> GateReport:
    return decide(
        champion,
        candidate,
        guard_champion=guard[0],
        guard_candidate=guard[1],
        look=look,
        settings=SETTINGS,
        seed=0,
    )


BETTER = (scored([2] * 12), scored([6] * 12))


@pytest.mark.row("E15")
def test_equal_adapters_are_promoted_less_often_than_alpha_allows() -> None:
    source = np.random.default_rng(11)
    promoted = 0
    for _ in range(1000):
        rates = source.beta(0.7, 0.9, size=29)
        promoted += gate(sampled(rates, source), sampled(rates, source)).promote
    # Expected 30 of 1,000 at most; 46 is three standard errors above.
    assert promoted / 1000 < 0.046
    assert alpha_at(1) == pytest.approx(0.0304, abs=1e-4)


def test_a_real_gain_is_promoted_nearly_always_and_a_loss_never() -> None:
    source = np.random.default_rng(12)
    up = down = 0
    for _ in range(100):
        rates = source.uniform(0.1, 0.7, size=29)
        before = sampled(rates, source)
        up += gate(before, sampled(rates + 0.134, source)).promote
        down += gate(before, sampled(rates - 0.134, source)).promote
    assert up >= 85
    assert down == 0


@pytest.mark.row("E14")
def test_a_worse_candidate_is_refused_and_told_so() -> None:
    report = gate(*BETTER[::-1])
    assert not report.promote
    assert report.reasons[0] == "The champion stays."
    assert "did not get better" in " ".join(report.reasons)


def test_the_report_holds_all_figures_of_a_promotion() -> None:
    report = gate(*BETTER, guard=(scored([4] * 6), scored([4] * 6)))
    assert report.promote
    assert report.reasons[0] == "The candidate is promoted."
    assert (report.gate.champion, report.gate.candidate, report.gate.difference) == (
        0.25,
        0.75,
        0.5,
    )
    assert report.gate.low == report.gate.high == 0.5
    assert report.p == 2**-12
    assert report.alpha_spent == report.alpha == alpha_at(1)
    assert report.detectable is not None
    assert [(t.task_id, t.family, t.difference) for t in report.gate.tasks][:2] == [
        ("t00", "f0", 0.5),
        ("t01", "f0", 0.5),
    ]
    assert GateReport.model_validate_json(report.model_dump_json()) == report


def test_a_drop_on_the_guard_suite_refuses_a_winner() -> None:
    one_of_six = (scored([8] * 6), scored([8] * 5 + [0]))
    report = gate(*BETTER, guard=one_of_six)
    assert not report.promote
    assert report.p <= report.alpha
    assert "lost more than the 5% that are allowed" in " ".join(report.reasons)


def test_a_small_but_certain_guard_loss_refuses_a_winner() -> None:
    report = gate(*BETTER, guard=(scored([40] * 9, 40), scored([39] * 9, 40)))
    assert not report.promote
    assert report.guard is not None
    assert -report.guard.difference < SETTINGS.max_guard_drop
    assert "the loss is real" in " ".join(report.reasons)


def test_a_guard_drop_that_may_be_noise_does_not_refuse() -> None:
    report = gate(*BETTER, guard=(scored([4] * 9), scored([3, 5, 4, 4, 4, 4, 4, 4, 3])))
    assert report.promote
    assert "no loss that refuses it" in " ".join(report.reasons)


def test_an_unasked_guard_suite_is_named() -> None:
    report = gate(*BETTER)
    assert report.guard is None
    assert "not asked" in " ".join(report.reasons)


def test_later_looks_ask_for_more() -> None:
    champion = scored([3] * 8)
    candidate = scored([4] * 7 + [2])
    first, third = gate(champion, candidate), gate(champion, candidate, look=3)
    assert first.p == third.p
    assert first.promote is (first.p <= alpha_at(1))
    assert not third.promote
    assert third.alpha_spent == pytest.approx(sum(alpha_at(look) for look in (1, 2, 3)))


def test_a_gate_too_small_to_pass_says_so() -> None:
    report = gate(scored([0] * 4), scored([8] * 4))
    assert not report.promote
    assert report.detectable is None
    assert "needs more tasks" in " ".join(report.reasons)


def test_greedy_answers_are_shown_but_do_not_decide() -> None:
    tasks = [f"t{i:02}" for i in range(12)]
    report = decide(
        *BETTER,
        guard_champion=[],
        guard_candidate=[],
        greedy_champion=dict.fromkeys(tasks, True),
        greedy_candidate=dict.fromkeys(tasks, False),
        look=1,
        settings=SETTINGS,
        seed=0,
    )
    assert report.greedy is not None
    assert (report.greedy.gained, report.greedy.lost, report.greedy.p) == (0, 12, 1.0)
    assert report.promote


@pytest.mark.parametrize(
    "other",
    [scored([6] * 11), [TaskScore(s.task_id, "x", 8, 6) for s in scored([6] * 12)], []],
)
def test_different_tasks_cannot_be_compared(other: list[TaskScore]) -> None:
    with pytest.raises(TrainingError, match="the gate cannot compare"):
        gate(BETTER[0], other)
    with pytest.raises(TrainingError, match="the gate cannot compare"):
        gate(*BETTER, guard=(BETTER[0], other))


def test_order_of_scores_does_not_matter_and_the_seed_fixes_the_rest() -> None:
    source = np.random.default_rng(5)
    rates = source.uniform(0.2, 0.6, size=29)
    champion, candidate = sampled(rates, source), sampled(rates, source)
    assert gate(champion, candidate) == gate(champion[::-1], candidate[::-1])
