"""Where a team stops and asks a person: about its plan, about a question it has, about its change.

Each answer is an effect. The nodes are in a graph only where somebody is there to answer (`Parts.person`),
so a graph without a person keeps its shape.
"""

from typing import Any, Literal

from langgraph.checkpoint.memory import InMemorySaver

from codojo.graphs.node import node
from codojo.graphs.parts import Parts
from codojo.graphs.people import ask_person
from codojo.tasks.schema import Record

MAX_QUESTIONS = 2
"""Of one rollout; then the team goes on with what it knows."""


class Decision(Record):
    """What a person says to a plan or a change."""

    decision: Literal["approve", "edit", "reject"]
    text: str = ""
    """Of an edit, the plan as it is to be; of a rejection, what to do otherwise. A rejection without a word
    ends the rollout."""
    files: dict[str, str] = {}
    """Of an edited change: the files as they are to be."""
    author: str = ""
    """Who said it; empty where nobody was asked."""


def checkpointer(parts: Parts) -> InMemorySaver | None:
    """What a graph is compiled with, so that it can wait for a person."""
    return InMemorySaver() if parts.person is not None else None


@node
async def clarify(state: dict[str, Any]) -> dict[str, Any]:
    """Put the planner's question to the person; the planner plans again with the answer."""
    answer = str(ask_person({"kind": "question", "text": state["question"]}))
    told = f"{state['question']}\n{answer}"
    return {
        "remarks": joined(state.get("remarks", ""), told),
        "questions": state.get("questions", 0) + 1,
        "question": "",
    }


@node
async def approve(state: dict[str, Any]) -> dict[str, Any]:
    """Have the person approve, edit or reject the plan."""
    said = Decision.model_validate(ask_person({"kind": "plan", "plan": state["plan"]}))
    if said.decision == "edit":
        return {"plan": said.text, "decision": "approve"}
    if said.decision == "reject" and not said.text:
        return {"decision": "end", "failure": "the person rejected the plan"}
    if said.decision == "reject":
        return {"decision": "again", "remarks": joined(state.get("remarks", ""), said.text)}
    return {"decision": "approve"}


def after_plan(state: dict[str, Any]) -> str:
    """To the person, with a question or with the plan."""
    asks = state.get("question") and state.get("questions", 0) < MAX_QUESTIONS
    return "clarify" if asks else "approve"


def joined(before: str, more: str) -> str:
    """Remarks, one after the other."""
    return f"{before}\n{more}".strip()
