"""Finished rollouts in flat memory: the same ones that a fold of the whole log gives."""

import random
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from codojo.tasks.schema import Brief, Tests
from codojo.trajectories.log import Event
from codojo.trajectories.schema import RolloutEnd, RolloutStart, fold
from codojo.trajectories.stream import Seen, finished

START = RolloutStart(
    run="run",
    stage="run",
    brief=Brief(
        task_id="t",
        suite="made",
        family="f",
        split="train",
        prompt="p",
        entry_point="f",
        starter="",
        visible=Tests(source="visible"),
    ),
    task_hash="h",
    graph="solo",
    graph_version="1",
).model_dump(mode="json")
END = RolloutEnd().model_dump(mode="json")


def effect(key: str, text: str) -> dict[str, Any]:
    return {"key": key, "effect": "recall", "path": [], "input": text, "output": None}


def events(rollouts: list[tuple[int, bool]], order: random.Random) -> Iterator[Event]:
    """Rollouts with so many effects each, side by side; some never end."""
    queues = []
    for number, (effects, ends) in enumerate(rollouts):
        steps: list[tuple[str, dict[str, Any]]] = [("rollout_started", START)]
        steps += [("effect", effect(f"k{i}", f"\ud800 {number}/{i}")) for i in range(effects)]
        steps += [("rollout_finished", END)] * ends
        queues.append((f"r{number}", steps))
    seq = 0
    while queues:
        chosen = order.randrange(len(queues))
        id, steps = queues[chosen]
        kind, data = steps.pop(0)
        yield Event(1, seq, float(seq), kind, id, data)
        seq += 1
        if not steps:
            queues.pop(chosen)


ROLLOUTS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=8)


@given(ROLLOUTS, st.integers(1, 10), st.integers())
def test_a_stream_gives_what_a_fold_gives(
    rollouts: list[tuple[int, bool]], held: int, seed: int
) -> None:
    every = list(events(rollouts, random.Random(seed)))
    seen = Seen()
    found = {t.id: t for t in finished(every, held_events=held, seen=seen)}
    wanted = {id: t for id, t in fold(every).items() if t.end is not None}
    assert found == wanted
    assert (seen.rollouts, seen.open) == (len(rollouts), len(rollouts) - len(wanted))


def test_rollouts_nobody_wants_are_not_held() -> None:
    every = list(events([(3, True), (3, True)], random.Random(1)))
    seen = Seen()
    found = list(finished(every, want=lambda id, start, at: id == "r1", seen=seen))
    assert [t.id for t in found] == ["r1"] and seen.unwanted == 1


def test_only_the_kinds_of_effect_that_are_asked_for() -> None:
    every = list(events([(3, True)], random.Random(1)))
    (bare,) = finished(every, effects=("reply",))
    assert bare.effects == ()
