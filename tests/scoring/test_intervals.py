"""Intervals against simulated truth."""

import numpy as np
import pytest

from codojo.scoring.intervals import (
    TaskScore,
    cluster_bootstrap,
    difference_interval,
    mean_interval,
    paired_differences,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def scores(passed: list[int], samples: int = 8, per_family: int = 2) -> list[TaskScore]:
    return [TaskScore(f"t{i}", f"f{i // per_family}", samples, n) for i, n in enumerate(passed)]


def test_interval_covers_the_truth_as_often_as_it_claims() -> None:
    source = rng(1)
    covered = 0
    for trial in range(300):
        families = {
            f"f{i}": 0.4 + source.normal(0, 0.2) + source.normal(0, 0.1, size=3) for i in range(20)
        }
        low, high = cluster_bootstrap(families, rng=rng(trial), draws=1000)
        covered += low <= 0.4 <= high
    assert covered / 300 > 0.89


def test_tasks_of_one_family_count_as_one_piece_of_evidence() -> None:
    alike = {f"f{i}": [float(i % 2)] * 5 for i in range(10)}
    apart = {f"f{i}-{j}": [float(i % 2)] for i in range(10) for j in range(5)}
    low, high = cluster_bootstrap(alike, rng=rng())
    narrow_low, narrow_high = cluster_bootstrap(apart, rng=rng())
    assert high - low > 1.8 * (narrow_high - narrow_low)


def test_order_of_families_and_values_does_not_matter() -> None:
    one = cluster_bootstrap({"a": [0.1, 0.5], "b": [0.9]}, rng=rng())
    other = cluster_bootstrap({"b": [0.9], "a": [0.5, 0.1]}, rng=rng())
    assert one == other


def test_mean_interval_holds_the_mean_and_a_single_family_still_has_a_width() -> None:
    low, high = mean_interval(scores([0, 2, 4, 8, 8, 3]), rng=rng())
    assert low < 25 / 48 < high
    low, high = mean_interval(scores([0, 2, 4, 8], per_family=4), rng=rng())
    assert low < 14 / 32 < high


def test_difference_interval_is_paired() -> None:
    before, after = scores([0, 8, 0, 8, 0, 8]), scores([1, 8, 1, 8, 1, 8])
    low, high = difference_interval(before, after[::-1], rng=rng())
    assert 0 < low <= high == 1 / 16


def test_paired_differences_refuse_different_tasks_and_name_them() -> None:
    with pytest.raises(ValueError, match=r"t2 \(f1\)"):
        paired_differences(scores([1, 1]), scores([1, 1, 1]))
    with pytest.raises(ValueError, match="more than once: t0"):
        paired_differences(scores([1]) * 2, scores([1]) * 2)
    with pytest.raises(ValueError, match="no tasks"):
        paired_differences([], [])


def test_impossible_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="3 of 2"):
        TaskScore("t", "f", samples=2, passed=3)
    with pytest.raises(ValueError, match="at least one sample"):
        TaskScore("t", "f", samples=0, passed=0)
