"""Where a LangGraph node's effects belong: the path segment that each node adds to the journal's scope."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from langgraph.config import get_config

from codojo.trajectories.journal import Scope, current_scope, scope

Node = Callable[[Any], Awaitable[dict[str, Any]]]


def node(function: Node) -> Node:
    """Wrap a node that asks for effects, so that each execution of it has a place of its own.

    The place is the node's name, its super-step and its index among `Send`s: what LangGraph 1.2 keeps
    stable over re-runs (task ids and checkpoint namespaces change with every run). Counters start
    afresh on every attempt, so a retried node finds what it asked before.
    """

    @wraps(function)
    async def wrapped(state: Any) -> dict[str, Any]:
        up = current_scope()
        if up is None:
            return await function(state)
        metadata = get_config()["metadata"]
        owner = str(metadata["langgraph_checkpoint_ns"])
        with scope(Scope(up.journal, (*up.path, _segment(metadata)), owner)):
            return await function(state)

    return wrapped


def _segment(metadata: dict[str, Any]) -> str:
    """`name@step`, with `#index` for a node that was sent or called as a task."""
    path = metadata["langgraph_path"]
    pushed = path[0] == "__pregel_push"
    index = path[2] if pushed and path[-1] is True else path[1] if pushed else None
    place = f"{metadata['langgraph_node']}@{metadata['langgraph_step']}"
    return place if index is None else f"{place}#{index}"
