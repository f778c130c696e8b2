"""`solo`: the coder alone, n samples, the visible tests pick. The baseline all else is compared with."""

import asyncio
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from codojo.agents.coder import Coder
from codojo.graphs.node import node
from codojo.graphs.parts import Parts
from codojo.graphs.policies import pick
from codojo.tasks.schema import Brief, Candidate
from codojo.trajectories.schema import Proposal


class SoloState(TypedDict, total=False):
    """JSON-shaped state, so that the graph can live inside anyone's checkpointer."""

    brief: dict[str, Any]
    recalled: str
    proposals: list[dict[str, Any]]
    chosen: int | None


def solo(parts: Parts) -> CompiledStateGraph[Any, Any, Any, Any]:
    """A compiled graph: `{"brief": ...}` in, `proposals` and `chosen` out."""

    @node
    async def recall(state: SoloState) -> dict[str, Any]:
        return {"recalled": await parts.recall(Brief.model_validate(state["brief"]))}

    @node
    async def code(state: SoloState) -> dict[str, Any]:
        brief = Brief.model_validate(state["brief"])
        coder = Coder(parts.model("coder"), parts.sampling)
        drafts = await coder.propose(
            brief, n=parts.settings.team.samples, recalled=state["recalled"]
        )
        proposals = [Proposal(candidate=d.candidate, origin=d.origin) for d in drafts]
        return {"proposals": [p.model_dump(mode="json") for p in proposals]}

    @node
    async def execute(state: SoloState) -> dict[str, Any]:
        brief = Brief.model_validate(state["brief"])
        candidates = [Candidate.model_validate(p["candidate"]) for p in state["proposals"]]
        if not len(brief.visible):
            return {}
        verdicts = await asyncio.gather(
            *(parts.execute(c, brief.entry_point, brief.visible) for c in candidates)
        )
        seen = [v.model_dump(mode="json") for v in verdicts]
        return {
            "proposals": [p | {"visible": v} for p, v in zip(state["proposals"], seen, strict=True)]
        }

    @node
    async def select(state: SoloState) -> dict[str, Any]:
        return {"chosen": pick([Proposal.model_validate(p).visible for p in state["proposals"]])}

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(SoloState)
    for step in (recall, code, execute, select):
        graph.add_node(step.__name__, step)
    graph.add_edge(START, "recall")
    graph.add_edge("recall", "code")
    graph.add_edge("code", "execute")
    graph.add_edge("execute", "select")
    graph.add_edge("select", END)
    return graph.compile(name="solo")
