"""Effects find their own answers again, however a LangGraph graph is built."""

import asyncio
import operator
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.func import task
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, Send

from codojo.errors import ReplayDiverged, RequestRefused
from codojo.graphs.node import node, subgraph
from codojo.trajectories.journal import CANCELLED, EFFECT, ask, lane
from codojo.trajectories.log import read_log
from tests.graphs.rollouts import World, play, play_twice


class State(TypedDict, total=False):
    item: Annotated[str, lambda old, new: new]
    rounds: int
    seen: Annotated[list[Any], operator.add]


@pytest.fixture
def world() -> World:
    return World()


def graph_of(*nodes: Any, **more: Any) -> Any:
    """Nodes one after the other."""
    graph: Any = StateGraph(State)
    before = START
    for each in nodes:
        graph.add_node(each.__name__, each, **more)
        graph.add_edge(before, each.__name__)
        before = each.__name__
    graph.add_edge(before, END)
    return graph.compile()


def fan_out(name: str, each: Any, items: list[str]) -> Any:
    """One `Send` for each item."""
    graph: Any = StateGraph(State)
    graph.add_node(name, each)
    graph.add_conditional_edges(START, lambda state: [Send(name, {"item": i}) for i in items])
    return graph.compile()


@pytest.mark.row("C1")
async def test_branches_of_send_keep_their_own_answers(tmp_path: Path, world: World) -> None:
    @node
    async def branch(state: State) -> State:
        await asyncio.sleep(0.001 * len(state["item"]))
        first = await world.effect(state["item"])
        return {"seen": [first, await world.effect("the same for all")]}

    graph = fan_out("branch", branch, ["aaaa", "aaaa", "b", "cc"])
    live = await play_twice(tmp_path, graph, world)
    assert live.performed == {"aaaa": 2, "b": 1, "cc": 1, "the same for all": 4}


async def test_a_loop_asks_the_same_thing_anew_each_time_round(
    tmp_path: Path, world: World
) -> None:
    @node
    async def work(state: State) -> State:
        return {"seen": [await world.effect("again")], "rounds": state.get("rounds", 0) + 1}

    graph: Any = StateGraph(State)
    graph.add_node("work", work)
    graph.add_edge(START, "work")
    graph.add_conditional_edges("work", lambda s: "work" if s["rounds"] < 5 else END)
    live = await play_twice(tmp_path, graph.compile(), world)
    assert live.performed == {"again": 5}


def inner_graph(world: World) -> Any:
    @node
    async def leaf(state: State) -> State:
        return {"seen": [await world.effect("from below")]}

    return graph_of(leaf)


async def test_a_subgraph_reached_by_send_knows_its_branch(tmp_path: Path, world: World) -> None:
    graph = fan_out("inner", subgraph(inner_graph(world)), ["1", "2", "3"])
    live = await play_twice(tmp_path, graph, world)
    assert live.performed == {"from below": 3}
    assert len({answer["number"] for answer in live.final["seen"]}) == 3


async def test_a_subgraph_added_bare_is_refused_and_the_message_says_how(
    tmp_path: Path, world: World
) -> None:
    graph = fan_out("inner", inner_graph(world), ["1", "2"])
    with pytest.raises(ReplayDiverged, match=r"codojo\.graphs\.node\.subgraph"):
        await play(tmp_path, graph, world)
    assert not world.performed


async def test_a_subgraph_in_a_loop_and_in_lanes_of_one_node(tmp_path: Path, world: World) -> None:
    inner = inner_graph(world)

    @node
    async def both(state: State) -> State:
        async def one(name: str) -> Any:
            with lane(name):
                return (await inner.ainvoke({}))["seen"]

        found = await asyncio.gather(one("left"), one("right"))
        return {"seen": [*found], "rounds": state.get("rounds", 0) + 1}

    graph: Any = StateGraph(State)
    graph.add_node("both", both)
    graph.add_edge(START, "both")
    graph.add_conditional_edges("both", lambda s: "both" if s["rounds"] < 2 else END)
    live = await play_twice(tmp_path, graph.compile(), world)
    assert live.performed == {"from below": 4}


async def test_tasks_of_the_functional_api_have_places_too(tmp_path: Path, world: World) -> None:
    @task
    @node
    async def job(number: int) -> Any:
        return [number, await world.effect("from a task")]

    @node
    async def work(state: State) -> State:
        return {"seen": list(await asyncio.gather(*(job(n) for n in range(3))))}

    live = await play_twice(tmp_path, graph_of(work), world)
    assert live.performed == {"from a task": 3}


async def test_chains_under_gather_need_lanes_and_then_replay(tmp_path: Path, world: World) -> None:
    async def chain(number: int) -> Any:
        with lane(f"lane{number}"):
            await asyncio.sleep(0.002 * (4 - number))
            return [await world.effect("first"), await world.effect("second")]

    @node
    async def work(state: State) -> State:
        return {"seen": list(await asyncio.gather(*map(chain, range(4))))}

    live = await play_twice(tmp_path, graph_of(work), world)
    assert live.performed == {"first": 4, "second": 4}


async def test_a_node_without_a_place_is_refused(tmp_path: Path, world: World) -> None:
    async def bare(state: State) -> State:
        return {"seen": [await world.effect("where am I?")]}

    with pytest.raises(ReplayDiverged, match=r"codojo\.graphs\.node\.node"):
        await play(tmp_path, graph_of(bare), world)
    assert not world.performed
    with pytest.raises(TypeError, match="async"):
        node(lambda state: state)


async def test_a_retried_node_finds_what_it_asked_before(tmp_path: Path, world: World) -> None:
    attempts = Counter[str]()

    @node
    async def shaky(state: State) -> State:
        attempts["all"] += 1
        first = await world.effect("first")
        if attempts["all"] < 3:
            raise ConnectionError("once more")
        return {"seen": [first, await world.effect("second")]}

    again = RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=3)
    live = await play_twice(tmp_path, graph_of(shaky, retry_policy=again), world)
    assert live.performed == {"first": 1, "second": 1} and attempts["all"] == 4


async def test_a_time_limit_around_an_effect_strikes_again_on_replay(
    tmp_path: Path, world: World
) -> None:
    async def slow() -> None:
        await asyncio.sleep(5)

    @node
    async def impatient(state: State) -> State:
        try:
            return {"seen": [await asyncio.wait_for(world.effect("slow", slow), 0.05)]}
        except TimeoutError:
            return {"seen": ["timed out", await world.effect("instead")]}

    live = await play_twice(tmp_path, graph_of(impatient), world)
    assert live.final["seen"][0] == "timed out"
    assert [e.kind for e in read_log(tmp_path)].count(CANCELLED) == 1


async def test_a_branch_that_is_refused_ends_its_neighbour_on_replay_as_it_did(
    tmp_path: Path, world: World
) -> None:
    """LangGraph cancels a node whose neighbour fails; what was in flight has no answer in the log."""

    async def refuse() -> None:
        await asyncio.sleep(0.01)
        raise RequestRefused("too long")

    async def slow() -> None:
        await asyncio.sleep(5)

    @node
    async def refused(state: State) -> State:
        return {"seen": [(await ask("test", "refused", refuse)).value]}

    @node
    async def neighbour(state: State) -> State:
        return {"seen": [await world.effect("one"), await world.effect("two", slow)]}

    graph: Any = StateGraph(State)
    for each in (neighbour, refused):
        graph.add_node(each.__name__, each)
        graph.add_edge(START, each.__name__)

    @node
    async def whole(state: State) -> State:
        try:
            final: State = await inner.ainvoke(state)
            return final
        except RequestRefused as err:
            return {"seen": [str(err)]}

    inner = graph.compile()
    live = await play_twice(tmp_path, graph_of(whole), world)
    assert live.final["seen"] == ["too long"]


async def test_equal_executions_happen_once_in_a_rollout(tmp_path: Path, world: World) -> None:
    limits = {"wall_s": 1}

    async def a_while() -> None:
        await asyncio.sleep(0.01)

    @node
    async def first(state: State) -> State:
        runs = [world.effect(p, a_while, limits) for p in ("p", "q", "p")]
        return {"seen": list(await asyncio.gather(*runs))}

    @node
    async def second(state: State) -> State:
        other = await world.effect("p", a_while, {"wall_s": 2})
        return {"seen": [await world.effect("p", a_while, limits), other]}

    live = await play_twice(tmp_path, graph_of(first, second), world)
    assert live.performed == {"p": 2, "q": 1}, "once under each limit"
    p, _, twin, later, other = live.final["seen"]
    assert p == twin == later != other


class TestAGraphThatChanged:
    """Said at once, before anything is performed, and never mixed in."""

    @staticmethod
    def steps(world: World, *names: str) -> Any:
        def step(place: int, name: str) -> Any:
            @node
            async def work(state: State) -> State:
                return {"seen": [await world.effect(name)]}

            work.__name__ = f"step{place}"
            return work

        return graph_of(*(step(place, name) for place, name in enumerate(names)))

    async def test_another_question_at_a_place_the_log_is_past(
        self, tmp_path: Path, world: World
    ) -> None:
        await play(tmp_path, self.steps(world, "a", "b", "c"), world)
        with pytest.raises(ReplayDiverged, match=r"asks for a 'test' at step1@2.*settings changed"):
            await play(tmp_path, self.steps(world, "a", "another", "c"), world)
        assert not world.performed["another"]

    async def test_a_node_put_in_before_shifts_every_place(
        self, tmp_path: Path, world: World
    ) -> None:
        await play(tmp_path, self.steps(world, "a", "b"), world)
        with pytest.raises(ReplayDiverged, match="log is past that place"):
            await play(tmp_path, self.steps(world, "new", "a", "b"), world)
        assert world.performed == {"a": 1, "b": 1}

    async def test_a_question_that_is_not_asked_any_more(
        self, tmp_path: Path, world: World
    ) -> None:
        many = True

        @node
        async def work(state: State) -> State:
            asked = ["x", "y"] if many else ["x"]
            return {"seen": [await world.effect(name) for name in asked]}

        @node
        async def later(state: State) -> State:
            return {"seen": [await world.effect("later")]}

        await play(tmp_path, graph_of(work), world)
        many = False
        with pytest.raises(ReplayDiverged, match=r"1 effects .test at work@1. that were not asked"):
            await play(tmp_path, graph_of(work, later), world)
        assert not world.performed["later"], "noticed as the node ends, not at the end"

    async def test_a_graph_that_only_grew_at_its_end_goes_on(
        self, tmp_path: Path, world: World
    ) -> None:
        """What the log holds fits; that the version differs is for the run to refuse."""
        await play(tmp_path, self.steps(world, "a"), world)
        live = await play(tmp_path, self.steps(world, "a", "b"), world)
        assert live.performed == {"b": 1}


@pytest.mark.row("C25")
async def test_the_log_grows_by_what_is_new_in_each_step(tmp_path: Path, world: World) -> None:
    text, steps = "x" * 2000, 50

    async def reply() -> str:
        return text

    @node
    async def work(state: State) -> State:
        said = await world.effect(f"question {state.get('rounds', 0)}", reply)
        return {"seen": [said], "rounds": state.get("rounds", 0) + 1}

    graph: Any = StateGraph(State)
    graph.add_node("work", work)
    graph.add_edge(START, "work")
    graph.add_conditional_edges("work", lambda s: "work" if s["rounds"] < steps else END)
    await play(tmp_path, graph.compile(), world)
    assert sum(e.kind == EFFECT for e in read_log(tmp_path)) == steps
    assert size_of(tmp_path) < 1.5 * steps * len(text)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.jsonl"))
