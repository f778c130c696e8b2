"""A person's answer is an effect: asked once, whatever happens to the process."""

import asyncio
import operator
import os
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from codojo.errors import SettingsError
from codojo.graphs.node import node, subgraph
from codojo.graphs.people import ask_person
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import read_log
from codojo.trajectories.watching import PERSON
from tests.graphs.rollouts import World, play, play_twice


class State(TypedDict, total=False):
    given: Any
    seen: Annotated[list[Any], operator.add]


class Someone:
    """Answers each question with a number, and perhaps walks off."""

    def __init__(self, walks_off_at: int = 0) -> None:
        self.asked: list[Any] = []
        self.walks_off_at = walks_off_at

    async def __call__(self, question: Any) -> Any:
        if self.walks_off_at == len(self.asked) + 1:
            raise ConnectionError("the terminal is gone")
        self.asked.append(question)
        await asyncio.sleep(0)
        return {"answer": len(self.asked), "to": question}


def graph_of(*nodes: Any, saver: Any = True, side_by_side: bool = False) -> Any:
    graph: Any = StateGraph(State)
    before = START
    for each in nodes:
        graph.add_node(each.__name__, each)
        graph.add_edge(before, each.__name__)
        if not side_by_side:
            before = each.__name__
    return graph.compile(checkpointer=InMemorySaver() if saver is True else saver)


async def test_two_questions_of_one_node_get_their_own_answers(tmp_path: Path) -> None:
    world, person = World(), Someone()

    @node
    async def talk(state: State) -> State:
        before = await world.effect("before")
        first = ask_person("may I?")
        second = ask_person("may I?")
        return {"seen": [before, first, second, await world.effect("after")]}

    live = await play_twice(tmp_path, graph_of(talk), world, person=person)
    assert [seen.get("answer") for seen in live.final["seen"][1:3]] == [1, 2]
    assert person.asked == ["may I?", "may I?"]
    assert live.performed == {"before": 1, "after": 1}, "the node ran three times"


@pytest.mark.row("C1")
async def test_what_a_person_answered_before_a_crash_is_not_asked_again(tmp_path: Path) -> None:
    world = World()

    @node
    async def talk(state: State) -> State:
        return {"seen": [ask_person("one"), ask_person("two")]}

    graph = graph_of(talk)
    first = Someone(walks_off_at=2)
    with pytest.raises(ConnectionError):
        await play(tmp_path, graph, world, person=first)
    second = Someone()
    live = await play(tmp_path, graph, world, person=second)
    assert first.asked == ["one"] and second.asked == ["two"]
    assert [seen["to"] for seen in live.final["seen"]] == ["one", "two"]
    effects = [e for e in read_log(tmp_path) if e.kind == EFFECT]
    assert [e.data["effect"] for e in effects] == [PERSON, PERSON]
    assert not list(graph.checkpointer.list(None)), (
        "each pass has a thread of its own, and removes it"
    )


async def test_questions_side_by_side(tmp_path: Path) -> None:
    world, person = World(), Someone()

    @node
    async def left(state: State) -> State:
        return {"seen": [await world.effect("left"), ask_person("same")]}

    @node
    async def right(state: State) -> State:
        return {"seen": [await world.effect("right"), ask_person("same")]}

    graph = graph_of(left, right, side_by_side=True)
    live = await play_twice(tmp_path, graph, world, person=person)
    assert person.asked == ["same", "same"]
    assert live.performed == {"left": 1, "right": 1}


async def test_a_question_from_a_subgraph(tmp_path: Path) -> None:
    world, person = World(), Someone()

    @node
    async def below(state: State) -> State:
        return {"seen": [await world.effect("below"), ask_person("from below")]}

    inner = subgraph(graph_of(below, saver=None))
    inner.__name__ = "inner"
    live = await play_twice(tmp_path, graph_of(inner), world, person=person)
    assert person.asked == ["from below"] and live.performed == {"below": 1}


async def test_without_a_person_the_rollout_waits_for_one(tmp_path: Path) -> None:
    world = World()

    @node
    async def talk(state: State) -> State:
        return {"seen": [ask_person("anyone?")]}

    with pytest.raises(SettingsError, match="nobody is there"):
        await play(tmp_path, graph_of(talk), world)
    person = Someone()
    await play(tmp_path, graph_of(talk), world, person=person)
    assert person.asked == ["anyone?"]
    with pytest.raises(SettingsError, match=r"checkpointer=InMemorySaver\(\)"):
        await play(tmp_path / "other", graph_of(talk, saver=None), world, person=person)


class Planted:
    """Leaves a mark if anybody makes one."""

    def __init__(self, mark: str) -> None:
        Path(mark).mkdir()


@pytest.mark.row("C16")
async def test_no_object_is_revived_from_what_is_stored(tmp_path: Path) -> None:
    """Neither from the log nor from LangGraph's paused state, which is in memory only."""
    world, mark = World(), tmp_path / "revived"
    name = [*Planted.__module__.split("."), Planted.__qualname__]
    hostile: Any = [
        {"lc": number, "type": "constructor", "id": name, "args": [str(mark)], "kwargs": {}}
        for number in (1, 2)
    ]
    hostile.append({"lc": 2, "type": "constructor", "id": ["os", "mkdir"], "args": [str(mark)]})
    hostile.append(
        {"__type__": "os.mkdir", "py/reduce": [{"py/function": "os.mkdir"}, [str(mark)]]}
    )

    async def reply() -> Any:
        return hostile

    @node
    async def talk(state: State) -> State:
        said = await world.effect("reply", reply)
        return {"seen": [said["given"], state["given"], ask_person(hostile)["to"]]}

    graph = graph_of(talk)
    live = await play_twice(
        tmp_path / "log", graph, world, given={"given": hostile}, person=Someone()
    )
    assert live.final["seen"] == [hostile, hostile, hostile]
    assert not mark.exists()
    names = sorted(os.listdir(tmp_path / "log"))  # noqa: PTH208  # in a coroutine, for once
    assert not [name for name in names if "check" in name or name.endswith(".db")]
