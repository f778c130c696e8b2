"""`team`: planner, coder, tester, critic and builder as one state machine.

    recall ─▶ plan ─▶ code ────▶ execute ─▶ prune ─▶ select ─▶ build
                 └──▶ tests ──▲    │  ▲
                                   ▼  │
                                 review ─▶ repair

The tester writes cases from the brief alone, beside the coder. Candidates run on the task's own
examples and on those cases; while no candidate passes the examples and repairs are left, the critic
reviews the best one and the coder goes on from there. Of the tester's cases only those count in the end
that notice a stub and a fault sown into a passing candidate. What is handed in is picked by what ran,
never by what was said. Where a person is there (`Parts.person`), the plan waits for their word.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from codojo.agents.asking import Thread
from codojo.agents.builder import Builder
from codojo.agents.coder import Coder, Draft
from codojo.agents.critic import Critic, describe
from codojo.agents.planner import Planner
from codojo.agents.tester import Tester
from codojo.graphs.approval import after_plan, approve, checkpointer, clarify, joined
from codojo.graphs.evidence import collect
from codojo.graphs.node import node
from codojo.graphs.parts import Parts
from codojo.graphs.policies import needs_repair, pick, share_of
from codojo.scoring.test_quality import useful_tests
from codojo.tasks.schema import Brief, Candidate, Record, Tests, Verdict
from codojo.trajectories.schema import Message, Proposal, StepRef


class Attempt(Record):
    """A candidate of the team while it works: where it came from and what its runs showed."""

    candidate: Candidate
    origin: StepRef
    conversation: tuple[Message, ...]
    visible: Verdict | None = None
    self_made: Verdict | None = None

    @classmethod
    def of(cls, draft: Draft) -> "Attempt":
        """A draft that has not run yet."""
        return cls(
            candidate=draft.candidate, origin=draft.origin, conversation=draft.thread.messages
        )

    @property
    def draft(self) -> Draft:
        """The draft again, for the coder to go on from."""
        return Draft(self.candidate, self.origin, Thread(self.conversation, self.origin))

    @property
    def report(self) -> str:
        """What its runs showed, for critic and coder."""
        runs = [verdict for verdict in (self.visible, self.self_made) if verdict is not None]
        failed = [verdict for verdict in runs if not verdict.passed]
        return describe((failed or runs)[0]) if runs else "It has not run: there are no tests."


class TeamState(TypedDict, total=False):
    """JSON-shaped state."""

    brief: dict[str, Any]
    recalled: str
    plan: str
    question: str
    questions: int
    remarks: str
    decision: str
    failure: str
    tests: dict[str, Any]
    useful: list[str]
    attempts: list[dict[str, Any]]
    repairs: int
    critique: str
    proposals: list[dict[str, Any]]
    chosen: int | None
    deliverable: dict[str, str] | None


def _attempts(state: TeamState) -> list[Attempt]:
    return [Attempt.model_validate(attempt) for attempt in state["attempts"]]


def _best(attempts: list[Attempt], useful: Sequence[str] = ()) -> int | None:
    shares = [share_of(attempt.self_made, useful) for attempt in attempts]
    return pick([attempt.visible for attempt in attempts], shares)


def team(parts: Parts) -> CompiledStateGraph[Any, Any, Any, Any]:
    """A compiled graph: `{"brief": ...}` in; `proposals`, `chosen` and `deliverable` out."""
    rounds = parts.settings.team.repairs
    has_person = parts.person is not None

    @node
    async def recall(state: TeamState) -> dict[str, Any]:
        return {"recalled": await parts.recall(Brief.model_validate(state["brief"])), "repairs": 0}

    @node
    async def plan(state: TeamState) -> dict[str, Any]:
        planner = Planner(parts.model("planner"), parts.sampling)
        made = await planner.plan(
            Brief.model_validate(state["brief"]),
            recalled=state["recalled"],
            remarks=state.get("remarks", ""),
            may_ask=has_person,
        )
        return {"plan": made.text, "question": made.question}

    @node
    async def code(state: TeamState) -> dict[str, Any]:
        coder = Coder(parts.model("coder"), parts.sampling)
        drafts = await coder.propose(
            Brief.model_validate(state["brief"]),
            n=parts.settings.team.samples,
            plan=joined(state["plan"], await parts.steering()),
            recalled=state["recalled"],
        )
        return {"attempts": [Attempt.of(draft).model_dump(mode="json") for draft in drafts]}

    @node
    async def tests(state: TeamState) -> dict[str, Any]:
        tester = Tester(parts.model("tester"), parts.sampling)
        written = await tester.write_tests(Brief.model_validate(state["brief"]))
        return {"tests": written.model_dump(mode="json")}

    @node
    async def execute(state: TeamState) -> dict[str, Any]:
        brief = Brief.model_validate(state["brief"])
        self_made = Tests.model_validate(state["tests"])

        async def run(attempt: Attempt, tests: Tests) -> Verdict | None:
            return (
                await parts.execute(attempt.candidate, brief.entry_point, tests)
                if len(tests)
                else None
            )

        attempts = _attempts(state)
        new = [
            i for i, attempt in enumerate(attempts) if not attempt.visible and not attempt.self_made
        ]
        seen = await asyncio.gather(*(run(attempts[i], brief.visible) for i in new))
        made = await asyncio.gather(*(run(attempts[i], self_made) for i in new))
        for i, visible, own in zip(new, seen, made, strict=True):
            attempts[i] = attempts[i].model_copy(update={"visible": visible, "self_made": own})
        return {"attempts": [attempt.model_dump(mode="json") for attempt in attempts]}

    @node
    async def review(state: TeamState) -> dict[str, Any]:
        attempts = _attempts(state)
        best = _best(attempts)
        if best is None:
            return {"critique": ""}
        critic = Critic(parts.model("critic"), parts.sampling)
        brief = Brief.model_validate(state["brief"])
        critique = await critic.review(brief, attempts[best].candidate, attempts[best].report)
        return {"critique": critique.advice if critique else ""}

    @node
    async def repair(state: TeamState) -> dict[str, Any]:
        attempts, brief = _attempts(state), Brief.model_validate(state["brief"])
        best = _best(attempts)
        done = {"repairs": state["repairs"] + 1}
        if best is None:
            return done
        coder = Coder(parts.model("coder"), parts.sampling)
        drafts = await coder.repair(
            attempts[best].draft,
            brief.entry_point,
            report=attempts[best].report,
            advice=joined(state["critique"], await parts.steering()),
        )
        new = [Attempt.of(draft).model_dump(mode="json") for draft in drafts]
        return done | {"attempts": state["attempts"] + new}

    @node
    async def prune(state: TeamState) -> dict[str, Any]:
        attempts, tests = _attempts(state), Tests.model_validate(state["tests"])
        best = _best(attempts)
        if best is None or not len(tests):
            return {"useful": []}
        seen = attempts[best].visible
        passing = attempts[best].candidate if seen is None or seen.passed else None
        brief = Brief.model_validate(state["brief"])
        matrix = await collect(parts, brief, tests, passing)
        return {"useful": list(useful_tests(matrix).tests)}

    @node
    async def select(state: TeamState) -> dict[str, Any]:
        attempts = _attempts(state)
        proposals = [
            Proposal(candidate=a.candidate, origin=a.origin, visible=a.visible) for a in attempts
        ]
        return {
            "proposals": [p.model_dump(mode="json") for p in proposals],
            "chosen": _best(attempts, state["useful"]),
        }

    @node
    async def build(state: TeamState) -> dict[str, Any]:
        if state["chosen"] is None:
            return {"deliverable": None}
        chosen = Proposal.model_validate(state["proposals"][state["chosen"]])
        builder = Builder(parts.model("builder"), parts.sampling)
        brief = Brief.model_validate(state["brief"])
        return {"deliverable": await builder.build(brief, chosen.candidate)}

    def after_approve(state: TeamState) -> list[str]:
        nodes = {"approve": ["code", "tests"], "again": ["plan"], "end": [END]}
        return nodes[state["decision"]]

    def after_execute(state: TeamState) -> str:
        visible = [attempt.visible for attempt in _attempts(state)]
        return "review" if visible and needs_repair(visible, state["repairs"], rounds) else "prune"

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(TeamState)
    for step in (recall, plan, code, tests, execute, review, repair, prune, select, build):
        graph.add_node(step.__name__, step)
    graph.add_edge(START, "recall")
    graph.add_edge("recall", "plan")
    if has_person:
        graph.add_node("clarify", clarify)
        graph.add_node("approve", approve)
        graph.add_conditional_edges("plan", after_plan, ["clarify", "approve"])
        graph.add_edge("clarify", "plan")
        graph.add_conditional_edges("approve", after_approve, ["code", "tests", "plan", END])
    else:
        graph.add_edge("plan", "code")
        graph.add_edge("plan", "tests")
    graph.add_edge(["code", "tests"], "execute")
    graph.add_conditional_edges("execute", after_execute, ["review", "prune"])
    graph.add_edge("review", "repair")
    graph.add_edge("repair", "execute")
    graph.add_edge("prune", "select")
    graph.add_edge("select", "build")
    graph.add_edge("build", END)
    return graph.compile(name="team", checkpointer=checkpointer(parts))
