"""The paired tests against numbers worked out by hand and against simulated truth."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codojo.scoring.intervals import TaskScore
from codojo.scoring.paired import (
    alpha_at,
    alpha_spent,
    detectable_difference,
    mcnemar,
    sign_flip_p,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sampled(rates: np.ndarray, samples: int, source: np.random.Generator) -> list[TaskScore]:
    passed = source.binomial(samples, np.clip(rates, 0, 1))
    return [TaskScore(f"t{i:03}", f"f{i}", samples, int(n)) for i, n in enumerate(passed)]


@pytest.mark.parametrize(
    ("differences", "p"),
    [([0.5], 0.5), ([0.5, 0.25, 0.25], 1 / 8), ([1.0, -0.5], 0.5), ([], 1.0), ([0.0, 0.0], 1.0)],
)
def test_sign_flip_matches_hand_computed_values(differences: list[float], p: float) -> None:
    assert sign_flip_p(differences, rng=rng()) == p


@given(st.lists(st.integers(-8, 8), max_size=8))
def test_sign_flip_is_the_share_of_all_sign_patterns(eighths: list[int]) -> None:
    patterns = list(product((-1, 1), repeat=len(eighths)))
    reached = [
        sum(s * abs(d) for s, d in zip(signs, eighths, strict=True)) >= sum(eighths)
        for signs in patterns
    ]
    p = sign_flip_p([d / 8 for d in eighths], rng=rng())
    assert p == pytest.approx(sum(reached) / len(patterns))


@given(st.lists(st.integers(-8, 8), min_size=15, max_size=40), st.randoms())
def test_drawn_p_is_never_zero_and_does_not_depend_on_task_order(
    eighths: list[int], shuffler: object
) -> None:
    differences = [d / 8 for d in eighths]
    mixed = sorted(differences, key=lambda _: shuffler.random())  # type: ignore[attr-defined]  # a random.Random
    p = sign_flip_p(differences, rng=rng())
    assert 0 < p <= 1
    assert sign_flip_p(mixed, rng=rng()) == p


def test_drawn_p_agrees_with_the_exact_one() -> None:
    differences = [0.25, -0.125, 0.5, 0.125, -0.25, 0.375, 0.125, 0.25, -0.5, 0.125, 0.125, 0.25]
    exact = sign_flip_p(differences, rng=rng())
    # Two tasks with a change too small to matter push the count over the exact limit.
    drawn = sign_flip_p([*differences, 1e-12, 1e-12, 1e-12], rng=rng())
    assert drawn == pytest.approx(exact, abs=0.02)


@pytest.mark.row("E15")
def test_equal_models_are_told_apart_no_more_often_than_alpha_allows() -> None:
    source = rng(7)
    ps = []
    for trial in range(1000):
        rates = source.beta(0.7, 0.9, size=29)
        a, b = sampled(rates, 8, source), sampled(rates, 8, source)
        ps.append(sign_flip_p([y.rate - x.rate for x, y in zip(a, b, strict=True)], rng=rng(trial)))
    # Three standard errors of a binomial above each level.
    for alpha in (0.01, 0.03, 0.1):
        assert np.mean(np.array(ps) <= alpha) <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / 1000)


def test_power_grows_with_the_gain_and_meets_its_forecast() -> None:
    source = rng(3)

    def power(gain: float, trials: int = 200) -> float:
        hits = 0
        for trial in range(trials):
            rates = source.uniform(0.15, 0.65, size=29)
            a, b = sampled(rates, 8, source), sampled(rates + gain, 8, source)
            differences = [y.rate - x.rate for x, y in zip(a, b, strict=True)]
            hits += sign_flip_p(differences, rng=rng(trial)) <= alpha_at(1)
        return hits / trials

    rates = source.uniform(0.15, 0.65, size=29)
    forecast = detectable_difference(
        sampled(rates, 8, source), sampled(rates, 8, source), alpha=alpha_at(1)
    )
    assert forecast is not None
    assert 0.05 < forecast < 0.2
    weak, strong = power(forecast / 3), power(forecast)
    assert weak < 0.5 < 0.7 < strong < 0.95
    assert power(0.3) > 0.99


def test_too_few_tasks_can_never_pass() -> None:
    four = sampled(np.zeros(4), 8, rng())
    assert detectable_difference(four, four, alpha=alpha_at(1)) is None


@pytest.mark.parametrize(
    ("gained", "lost", "p"), [(0, 0, 1.0), (3, 0, 1 / 8), (3, 1, 5 / 16), (0, 2, 1.0)]
)
def test_mcnemar_matches_hand_computed_values(gained: int, lost: int, p: float) -> None:
    tasks = [f"t{i}" for i in range(gained + lost + 2)]
    champion = {t: gained <= i < gained + lost for i, t in enumerate(tasks)}
    candidate = {t: i < gained for i, t in enumerate(tasks)}
    found = mcnemar(champion, candidate)
    assert (found.gained, found.lost) == (gained, lost)
    assert found.p == pytest.approx(p)


def test_mcnemar_refuses_different_tasks() -> None:
    with pytest.raises(ValueError, match="only on one: b"):
        mcnemar({"a": True}, {"a": True, "b": False})


def test_endless_looks_spend_no_more_than_alpha() -> None:
    assert alpha_at(1) == pytest.approx(6 / math.pi**2 * 0.05)
    assert alpha_spent(3) == pytest.approx(alpha_at(1) + alpha_at(2) + alpha_at(3))
    assert 0.0499 < alpha_spent(10_000) < 0.05
    assert alpha_at(2, total=0.2) == pytest.approx(0.2 * 6 / math.pi**2 / 4)
    with pytest.raises(ValueError, match="look 1"):
        alpha_at(0)
