"""A real run killed at the writes, syncs, opens and renames of its log, and resumed."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from codojo.bench.durable import JOURNAL
from tests.trajectories.crashpoints import (
    THREADS,
    Kill,
    Point,
    rig,
    sweep_fresh,
    sweep_resumed,
    why_not,
)
from tests.trajectories.graph_kills import sweep_graph

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "strace works")


def holds(points: Sequence[Point]) -> bool:
    """Nothing acknowledged is lost, nothing is repeated, and every call that was asked again is counted."""
    return not any(point.lost or point.repeated or point.uncounted for point in points)


@pytest.mark.row("C1")
@pytest.mark.row("C2")
def test_a_run_killed_at_a_few_points_of_its_log_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """The whole sweep is in `make soak`."""
    with rig(tmp_path) as made:
        chosen = [
            Kill("main", "write", 1),
            Kill("main", "write", 9),
            Kill("main", "write", 12),
            Kill("main", "write", 14),  # there may be fewer, as lines share a write
            Kill("main", "fdatasync", 4),
            Kill("codojo-log", "fdatasync", 1),
        ]
        killed = [point for kill in chosen if (point := made.kill_fresh(kill))]
    assert len(killed) >= 3 and holds(killed), killed
    assert max(point.held for point in killed) > 10


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.row("C1")
@pytest.mark.row("C2")
def test_a_run_killed_at_every_point_of_its_log_loses_and_repeats_nothing(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        fresh, resumed = sweep_fresh(made), sweep_resumed(made)
    assert holds(fresh) and holds(resumed)
    assert {p.kill.call for p in fresh} >= {
        "write",
        "fdatasync",
        "fsync",
        "openat",
        "rename",
    }
    assert {p.kill.call for p in resumed} >= {"fdatasync", "flock", "write"}
    assert {p.kill.thread for p in fresh} == set(THREADS)
    assert sum(point.reasked for point in fresh) > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.row("C2")
def test_a_graph_under_the_journal_repeats_no_step_that_was_acted_on(tmp_path: Path) -> None:

    done = sweep_graph(JOURNAL, Path(sys.executable), tmp_path, 10)
    assert done.kills > 20 and done.acted_on == 0
