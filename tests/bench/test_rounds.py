"""What the benchmarks compute from times, and how they show it."""

import os

import numpy as np
import pytest

from codojo.bench.rounds import (
    Batch,
    Ratio,
    Sheet,
    faster,
    interleave,
    markdown,
    more,
    orders,
    quiet_load,
    ratio,
    spread,
)
from codojo.errors import MeasurementRefused


def test_every_way_is_as_often_first_as_last() -> None:
    shown = orders(["a", "b", "c"], 4)
    assert [order[0] for order in shown] == ["c", "a", "c", "a"]
    assert all(sorted(order) == ["a", "b", "c"] for order in shown)


async def test_the_first_round_is_not_measured() -> None:
    begun: list[str] = []

    def way(name: str, wall_s: float):  # type: ignore[no-untyped-def]  # a coroutine function
        async def run() -> Batch:
            begun.append(name)
            return Batch(1, wall_s if begun.count(name) > 1 else 100.0)

        return run

    found = await interleave({"a": way("a", 1.0), "b": way("b", 2.0)}, 2)
    assert begun == ["b", "a", "a", "b", "b", "a"]
    assert [batch.wall_s for batch in found["a"]] == [1.0, 1.0]


def test_interval_of_a_ratio_holds_the_true_one_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(60):
        slow_round = rng.lognormal(0, 0.5, size=9)
        ours = slow_round * rng.lognormal(0, 0.05, size=9)
        peers = 4 * slow_round * rng.lognormal(0, 0.05, size=9)
        found = ratio(peers.tolist(), ours.tolist())
        assert found.low is not None and found.high is not None
        held += found.low <= 4 <= found.high
    assert held >= 48


def test_one_round_has_no_interval() -> None:
    assert ratio([3.0], [2.0]) == Ratio(1.5)
    assert str(ratio([3.0], [2.0])) == "1.50"


def test_a_ratio_needs_the_same_rounds() -> None:
    with pytest.raises(ValueError, match="2 and 1 rounds"):
        ratio([1.0, 2.0], [1.0])


def test_faster_and_more_say_the_same_of_the_same_work() -> None:
    ours = [Batch(2, 2.0, (1.0, 1.0)), Batch(2, 2.0, (1.0, 1.0))]
    peers = [Batch(2, 6.0, (3.0, 3.0)), Batch(2, 6.0, (3.0, 3.0))]
    assert faster(ours, peers) == more(ours, peers) == Ratio(3.0, 3.0, 3.0)


def test_spread_is_over_the_runs_of_all_rounds() -> None:
    batches = [Batch(50, 1.0, (0.001,) * 50), Batch(50, 1.0, (0.003,) * 50)]
    assert spread(batches).p50_ms == pytest.approx(2.0)
    assert spread(batches).p95_ms == pytest.approx(3.0)


def test_markdown_keeps_cells_in_their_columns() -> None:
    text = markdown([Sheet("a title", ("way", "ms"), (("x|y", "1\n2"),))], ["load 0.1"])
    assert text == "load 0.1\n\n### a title\n\n| way | ms |\n|---|---|\n| x\\|y | 1 2 |\n"


def test_a_busy_machine_is_refused_unless_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0, 0.0, 0.0))
    with pytest.raises(MeasurementRefused, match=r"3\.00"):
        quiet_load(force=False)
    assert quiet_load(force=True) == 3.0
