"""Where a LangGraph node's effects belong: the path segment that each node adds to the journal's scope."""

from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from langgraph.config import get_config
from langgraph.graph.state import CompiledStateGraph

from codojo.errors import ReplayDiverged
from codojo.trajectories.places import Scope, current_scope, scope

Node = Callable[..., Awaitable[Any]]


def node(function: Node) -> Node:
    """Wrap a node, or the function of a `@task`, that asks for effects: each execution gets its place.

    The place is the node's name, its super-step and its index among `Send`s, below the place of the
    node that called its graph: what LangGraph 1.2 keeps stable over re-runs (task ids and checkpoint
    namespaces change with every run). Counters start afresh on every attempt and after every
    interrupt, so a node that runs again finds what it asked before.

    Raises:
        TypeError: For a function that is not `async`.
    """
    if not iscoroutinefunction(function):
        raise TypeError(
            f"node '{function.__name__}' must be an async function: it asks for effects"
        )

    @wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        up = current_scope()
        if up is None:
            return await function(*args, **kwargs)
        metadata = get_config()["metadata"]
        inside = str(metadata["langgraph_checkpoint_ns"])
        if _caller(inside) != up.owner:
            raise ReplayDiverged(
                f"node '{metadata['langgraph_node']}' belongs to a graph that was added as a node, so its place in "
                "the rollout is not known; add it with codojo.graphs.node.subgraph(graph)"
            )
        here = Scope(up.journal, (*up.path, _segment(metadata)), inside)
        with scope(here):
            returned = await function(*args, **kwargs)
        up.journal.leave(here.path)
        return returned

    return wrapped


def subgraph(graph: CompiledStateGraph[Any, Any, Any, Any]) -> Node:
    """A graph as a node of another, `outer.add_node("inner", subgraph(inner))`.

    Added bare, its nodes would not know which of several executions they belong to: LangGraph counts
    paths and steps of a subgraph from the start.
    """

    @node
    async def run(state: Any) -> Any:
        return await graph.ainvoke(state)

    return run


def namespace() -> str:
    """The node that is running, in LangGraph's words; empty outside of a graph."""
    try:
        return str(get_config()["metadata"].get("langgraph_checkpoint_ns", ""))
    except (RuntimeError, KeyError):
        return ""


def _caller(namespace: str) -> str:
    """The namespace of the node that called the graph of this one.

    A number in between counts the graphs that one node has called; it goes on over the attempts of a
    retried node, so it is no part of a place.

    >>> _caller("both:a1|1|leaf:b2"), _caller("leaf:b2")
    ('both:a1', '')
    """
    above = namespace.split("|")[:-1]
    while above and above[-1].isdigit():
        above.pop()
    return "|".join(above)


def _segment(metadata: dict[str, Any]) -> str:
    """`name@step`, with `#index` for a node that was sent or called as a task."""
    path = metadata["langgraph_path"]
    pushed = path[0] == "__pregel_push"
    index = path[2] if pushed and path[-1] is True else path[1] if pushed else None
    place = f"{metadata['langgraph_node']}@{metadata['langgraph_step']}"
    return place if index is None else f"{place}#{index}"
