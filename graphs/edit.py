"""`edit`: the files of a folder are changed, tests of the folder run on a copy, a person approves.

    plan ─▶ approve ─▶ write ─▶ execute ─▶ show ─▶ done
     ▲ ▲  │    │                   │  ▲      │
     │ └──clarify                  ▼  │      │
     └─────────┘                  repair ◀───┘

The copy is the folder as the team saw it with the proposed files over it; it exists in a cage alone.
Nothing here writes to the folder: who applies an approved change is `codojo.chat`. Without a person
`clarify`, `approve` and `show` are not there.
"""

from collections.abc import Hashable
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from codojo.agents.asking import Thread
from codojo.agents.critic import describe
from codojo.agents.editor import Edit, Editor
from codojo.agents.planner import Planner
from codojo.graphs.approval import (
    Decision,
    after_plan,
    approve,
    checkpointer,
    clarify,
    joined,
)
from codojo.graphs.node import node
from codojo.graphs.parts import Parts
from codojo.graphs.people import ask_person
from codojo.tasks.changes import changes_of, diff_of, is_runner_setting
from codojo.tasks.schema import Brief, Candidate, Record, Verdict
from codojo.trajectories.schema import Message, Proposal, StepRef


class Attempt(Record):
    """A change while the team works on it."""

    files: dict[str, str]
    refused: dict[str, str]
    text: str
    origin: StepRef
    conversation: tuple[Message, ...]
    visible: Verdict | None = None

    @classmethod
    def of(cls, edit: Edit) -> "Attempt":
        """From what a coder wrote."""
        return cls(
            files=edit.files,
            refused=edit.refused,
            text=edit.text,
            origin=edit.origin,
            conversation=edit.thread.messages,
        )

    @property
    def thread(self) -> Thread:
        """The conversation to go on with."""
        return Thread(self.conversation, self.origin)


class EditState(TypedDict, total=False):
    """JSON-shaped state."""

    brief: dict[str, Any]
    plan: str
    question: str
    questions: int
    remarks: str
    decision: str
    failure: str
    attempt: dict[str, Any]
    repairs: int
    report: str
    proposals: list[dict[str, Any]]
    chosen: int | None


def edit(parts: Parts) -> CompiledStateGraph[Any, Any, Any, Any]:
    """A compiled graph: `{"brief": ...}` in; `proposals` and `chosen` out, whose files are the change."""
    has_person = parts.person is not None

    @node
    async def plan(state: EditState) -> dict[str, Any]:
        planner = Planner(parts.model("planner"), parts.sampling)
        made = await planner.plan(
            Brief.model_validate(state["brief"]),
            remarks=state.get("remarks", ""),
            may_ask=has_person,
        )
        return {"plan": made.text, "question": made.question, "repairs": 0}

    @node
    async def write(state: EditState) -> dict[str, Any]:
        editor = Editor(parts.model("coder"), parts.sampling)
        remarks = joined(state.get("remarks", ""), await parts.steering())
        brief = Brief.model_validate(state["brief"])
        made = await editor.propose(brief, plan=state["plan"], remarks=remarks)
        return {"attempt": Attempt.of(made).model_dump(mode="json")}

    @node
    async def execute(state: EditState) -> dict[str, Any]:
        brief, attempt = Brief.model_validate(state["brief"]), _attempt(state)
        if not len(brief.visible) or not attempt.files:
            return {"report": ""}
        tested = brief.visible.files.files if brief.visible.files else {}
        there = {p: t for p, t in brief.files.items() if not is_runner_setting(p)}
        copy = {p: t for p, t in {**there, **attempt.files}.items() if p not in tested}
        verdict = await parts.execute(Candidate(files=copy), brief.entry_point, brief.visible)
        attempt = attempt.model_copy(update={"visible": verdict})
        report = "" if verdict.passed else describe(verdict)
        return {"attempt": attempt.model_dump(mode="json"), "report": report}

    @node
    async def repair(state: EditState) -> dict[str, Any]:
        editor = Editor(parts.model("coder"), parts.sampling)
        remarks = joined(state.get("remarks", ""), await parts.steering())
        made = await editor.repair(_attempt(state).thread, report=state["report"], remarks=remarks)
        return {
            "attempt": Attempt.of(made).model_dump(mode="json"),
            "repairs": state["repairs"] + 1,
            "remarks": "",
        }

    @node
    async def show(state: EditState) -> dict[str, Any]:
        attempt = _attempt(state)
        if not attempt.files:
            return {"decision": "approve"}
        changes = changes_of(Brief.model_validate(state["brief"]).files, attempt.files)
        question: dict[str, Any] = {
            "kind": "diff",
            "diff": diff_of(changes),
            "files": attempt.files,
            "refused": attempt.refused,
            "verdict": attempt.visible.model_dump(mode="json") if attempt.visible else None,
        }
        said = Decision.model_validate(ask_person(question))
        if said.decision == "edit":
            edited = attempt.model_copy(update={"files": said.files, "visible": None})
            return {"decision": "approve", "attempt": edited.model_dump(mode="json")}
        if said.decision == "reject" and said.text:
            return {"decision": "again", "remarks": said.text, "report": ""}
        if said.decision == "reject":
            return {"decision": "end", "failure": "the person rejected the change"}
        return {"decision": "approve"}

    @node
    async def done(state: EditState) -> dict[str, Any]:
        attempt = _attempt(state)
        if state.get("decision") == "end" or not attempt.files:
            return {"proposals": [], "chosen": None}
        proposal = Proposal(
            candidate=Candidate(files=attempt.files),
            origin=attempt.origin,
            visible=attempt.visible,
        )
        return {"proposals": [proposal.model_dump(mode="json")], "chosen": 0}

    def after_execute(state: EditState) -> str:
        failed = bool(state["report"]) and state["repairs"] < parts.settings.team.repairs
        return "repair" if failed else "show" if has_person else "done"

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(EditState)
    for step in (plan, write, execute, repair, done):
        graph.add_node(step.__name__, step)
    graph.add_edge(START, "plan")
    graph.add_edge("write", "execute")
    graph.add_edge("repair", "execute")
    graph.add_edge("done", END)
    if has_person:
        for step in (clarify, approve, show):
            graph.add_node(step.__name__, step)
        graph.add_conditional_edges("plan", after_plan, ["clarify", "approve"])
        graph.add_edge("clarify", "plan")
        next_of: dict[Hashable, str] = {"approve": "write", "again": "plan", "end": END}
        graph.add_conditional_edges("approve", lambda state: state["decision"], next_of)
        next_of = {"approve": "done", "again": "repair", "end": "done"}
        graph.add_conditional_edges("show", lambda state: state["decision"], next_of)
        graph.add_conditional_edges("execute", after_execute, ["repair", "show"])
    else:
        graph.add_edge("plan", "write")
        graph.add_conditional_edges("execute", after_execute, ["repair", "done"])
    return graph.compile(name="edit", checkpointer=checkpointer(parts))


def _attempt(state: EditState) -> Attempt:
    return Attempt.model_validate(state["attempt"])
