"""The journal: effects happen once, whatever happens to the process."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from codojo.errors import ReplayDiverged, RequestRefused
from codojo.trajectories.journal import Journal, Scope, ask, current_scope, lane, scope
from codojo.trajectories.log import Log, read_log
from tests.canaries import canaries

Work = Callable[[Counter[str]], Coroutine[Any, Any, Any]]


async def play(
    folder: Path, work: Work, *, replay_only: bool = False
) -> tuple[Any, Counter[str], Journal]:
    """Run some work as rollout R, on what the log holds of it."""
    performed: Counter[str] = Counter()
    recorded = [e for e in read_log(folder) if e.rollout == "R"]
    with Log(folder) as log:
        journal = Journal(log, "R", recorded, replay_only=replay_only)
        with scope(Scope(journal)):
            result = await work(performed)
    return result, performed, journal


async def effect(name: str, performed: Counter[str], value: object = None) -> Any:
    async def perform() -> object:
        performed[name] += 1
        await asyncio.sleep(0)
        return {"value": value, "time": performed[name]}

    return (await ask("test", name, perform)).value


async def test_a_second_pass_answers_from_the_log(tmp_path: Path) -> None:
    async def work(performed: Counter[str]) -> list[Any]:
        return [
            await effect("a", performed, (1, 2)),
            await effect("a", performed),
            await effect("b", performed),
        ]

    first, performed, _ = await play(tmp_path, work)
    assert performed == {"a": 2, "b": 1}
    assert first[0]["value"] == [1, 2], "the live pass sees the shape that a replay will see"
    again, performed, journal = await play(tmp_path, work, replay_only=True)
    assert again == first
    assert not performed
    assert journal.unused == 0


async def test_equal_questions_side_by_side_keep_their_own_answers(tmp_path: Path) -> None:
    async def chain(number: int, performed: Counter[str]) -> list[Any]:
        with lane(f"lane{number}"):
            await asyncio.sleep(0.001 * (5 - number))
            return [
                await effect("same", performed, number),
                await effect("same", performed, number),
            ]

    async def work(performed: Counter[str]) -> Any:
        return await asyncio.gather(*(chain(number, performed) for number in range(5)))

    first, _, _ = await play(tmp_path, work)
    again, performed, _ = await play(tmp_path, work, replay_only=True)
    assert again == first
    assert not performed


async def test_an_outcome_that_is_an_error_is_raised_again_on_replay(tmp_path: Path) -> None:
    async def work(performed: Counter[str]) -> str:
        async def perform() -> object:
            performed["call"] += 1
            raise RequestRefused("the prompt is too long")

        try:
            await ask("reply", "q", perform)
        except RequestRefused as err:
            return str(err)
        return "went through"

    first, performed, _ = await play(tmp_path, work)
    assert "too long" in first and performed["call"] == 1
    again, performed, _ = await play(tmp_path, work)
    assert again == first and not performed


async def test_a_call_in_flight_at_the_end_is_asked_again_and_counted(tmp_path: Path) -> None:
    async def dies(performed: Counter[str]) -> None:
        await effect("a", performed)

        async def perform() -> object:
            raise RuntimeError("the process dies here")

        await ask("test", "b", perform)

    with pytest.raises(RuntimeError):
        await play(tmp_path, dies)

    async def work(performed: Counter[str]) -> None:
        await effect("a", performed)
        await effect("b", performed)

    _, performed, journal = await play(tmp_path, work)
    assert performed == {"b": 1}
    assert journal.reasked == 1


async def test_a_call_that_several_processes_died_in_is_counted_each_time(tmp_path: Path) -> None:
    async def dies(_: Counter[str]) -> None:
        async def perform() -> object:
            raise RuntimeError("the process dies here")

        await ask("test", "a", perform)

    async def answered_then_dies(performed: Counter[str]) -> None:
        await effect("a", performed)
        await dies(performed)

    async def work(performed: Counter[str]) -> None:
        await effect("a", performed)

    for _ in range(2):
        with pytest.raises(RuntimeError):
            await play(tmp_path, dies)
    with pytest.raises(RuntimeError):
        await play(tmp_path, answered_then_dies)
    _, performed, journal = await play(tmp_path, work)
    assert not performed
    assert journal.reasked == 2


async def test_a_changed_graph_is_noticed(tmp_path: Path) -> None:
    async def work(performed: Counter[str]) -> None:
        await effect("a", performed)
        await effect("b", performed)

    async def changed(performed: Counter[str]) -> None:
        await effect("a", performed)

    await play(tmp_path, work)
    _, _, journal = await play(tmp_path, changed)
    with pytest.raises(ReplayDiverged, match="1 effects"):
        journal.require_all_used()


async def test_replay_performs_nothing_the_log_does_not_hold(tmp_path: Path) -> None:
    async def work(performed: Counter[str]) -> None:
        await effect("new", performed)

    with pytest.raises(ReplayDiverged, match="no 'test'"):
        await play(tmp_path, work, replay_only=True)


async def test_two_branches_at_one_place_are_an_error_not_a_mixed_up_answer(tmp_path: Path) -> None:
    async def work(performed: Counter[str]) -> None:
        here = current_scope()
        assert here is not None
        for owner in ("one", "two"):
            with scope(Scope(here.journal, ("inner",), owner)):
                await effect("same", performed)

    with pytest.raises(ReplayDiverged, match="a lane of its own"):
        await play(tmp_path, work)


async def test_without_a_rollout_effects_just_happen() -> None:
    performed: Counter[str] = Counter()
    await effect("a", performed)
    await effect("a", performed)
    assert performed["a"] == 2


@pytest.mark.row("H13")
async def test_a_secret_is_gone_before_anyone_acts_on_it_live_and_resumed(tmp_path: Path) -> None:
    secret = canaries()[2].secret

    async def work(performed: Counter[str]) -> list[Any]:
        async def perform() -> object:
            performed["reply"] += 1
            return {"text": f"use {secret}", "token_ids": [1, 2], "logprobs": [-0.1, -0.2]}

        async def refused() -> object:
            raise RequestRefused(f"wrong key {secret}")

        said = (await ask("reply", {"prompt": f"my key is {secret}"}, perform)).value
        try:
            await ask("reply", "again", refused)
        except RequestRefused as err:
            return [said, str(err)]
        return []

    live, performed, journal = await play(tmp_path, work)
    assert performed["reply"] == 1
    assert live == [
        {
            "text": "use [redacted:github-token]",
            "token_ids": None,
            "logprobs": None,
            "token_exact": False,
        },
        "wrong key [redacted:github-token]",
    ]
    counts = [record.get("redacted") for record in journal.records]
    assert counts == [{"github-token": 2}, {"github-token": 1}]
    assert journal.records[0]["input"] == {"prompt": "my key is [redacted:github-token]"}
    resumed, performed, _ = await play(tmp_path, work)
    assert resumed == live and not performed
    assert secret not in "".join(str(event.data) for event in read_log(tmp_path))
