"""One rollout: a graph runs on a brief, then the judge speaks. Resumable at every effect."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from langgraph.graph.state import CompiledStateGraph

from codojo.agents.builder import Builder
from codojo.agents.prompts import all_hash
from codojo.canonical import content_hash
from codojo.errors import RequestRefused
from codojo.graphs.edit import edit
from codojo.graphs.learning import learn
from codojo.graphs.node import namespace
from codojo.graphs.parts import Parts, judged
from codojo.graphs.people import drive
from codojo.graphs.solo import solo
from codojo.graphs.team import team
from codojo.tasks.schema import Brief, Task, Verdict
from codojo.trajectories.budget import Budget
from codojo.trajectories.journal import Journal, Scope, lane, scope
from codojo.trajectories.log import Event, Log
from codojo.trajectories.places import FINISH, KEYS
from codojo.trajectories.redact import Redactor, together
from codojo.trajectories.schema import (
    FINISHED,
    STARTED,
    Cost,
    Proposal,
    RolloutEnd,
    RolloutStart,
    Trajectory,
    read_effect,
)
from codojo.trajectories.stopping import Stop
from codojo.trajectories.watching import tell

GRAPHS = {"solo": solo, "team": team, "edit": edit}

Graph = CompiledStateGraph[Any, Any, Any, Any]


def graph_version(graph: Graph) -> str:
    """Changes with the graph's shape, any prompt and how keys are made; a rollout resumes only on its own."""
    return content_hash([graph.get_graph().draw_mermaid(), all_hash(), KEYS])[:12]


class WithoutSecrets(NamedTuple):
    """A task as a rollout may know it."""

    task: Task
    redacted: dict[str, int]
    """Secrets that were taken out, by kind."""


def without_secrets(task: Task, redactor: Redactor) -> WithoutSecrets:
    """A task whose brief holds no secret. Sealed tests stay: nobody reads them but the judge."""
    found = redactor.redact(task.brief().model_dump(mode="json"))
    if not found.findings:
        return WithoutSecrets(task, {})
    brief = Brief.model_validate(found.value)
    named = {name: getattr(brief, name) for name in Brief.model_fields}
    return WithoutSecrets(task.model_copy(update=named), found.findings)


async def run_rollout(
    id: str,
    task: Task,
    start: RolloutStart,
    graph: Graph,
    parts: Parts,
    log: Log,
    *,
    recorded: Iterable[Event] = (),
    copies: Iterable[dict[str, Any]] = (),
    budget: Budget | None = None,
    stop: Stop | None = None,
) -> Trajectory:
    """Run or go on with a rollout to its one verdict or its one named failure.

    Args:
        recorded: Events of this rollout from an earlier process; their effects are not repeated.
        copies: Of a fork, whose start is logged already: the effects it takes over.
        budget: The run's; this rollout's charges go to it too.
        stop: The run's; once it is requested, nothing new is performed.

    Raises:
        BudgetExceeded, EngineError, SandboxError, LogError: The rollout stays unfinished and can be resumed.
    """
    recorded = list(recorded)
    journal = Journal(
        log,
        id,
        recorded,
        copies=copies,
        budget=Budget(parent=budget),
        stop=stop,
        namespace=namespace,
    )
    begun = start.model_dump(mode="json")
    if not recorded and start.parent is None:
        await log.write(STARTED, begun, id)
    tell(STARTED, id, begun, replayed=bool(recorded))
    began = time.monotonic()
    with scope(Scope(journal, owner=namespace())):
        end = await play(task, start, graph, parts)
    journal.finish()
    cost = Cost.of(journal.budget, time.monotonic() - began)
    end = end.model_copy(
        update={
            "cost": cost,
            "reasked": journal.reasked,
            "redacted": together(
                [start.redacted, *(r.get("redacted", {}) for r in journal.records)]
            ),
        }
    )
    data = log.redactor.redact(end.model_dump(mode="json")).value
    end = RolloutEnd.model_validate(data)
    await log.write(FINISHED, data, id, redacted=True)
    tell(FINISHED, id, data)
    effects = tuple(read_effect(record) for record in journal.records)
    return Trajectory(id=id, at=time.time(), start=start, effects=effects, end=end)


async def play(task: Task, start: RolloutStart, graph: Graph, parts: Parts) -> RolloutEnd:
    """The graph, then the judge, then what the team keeps of it."""
    try:
        final = await drive(graph, {"brief": start.brief.model_dump(mode="json")}, parts.person)
    except RequestRefused as err:
        return RolloutEnd(failure=f"refused: {err}")
    if final.get("failure"):
        return RolloutEnd(failure=str(final["failure"]))
    proposals = tuple(Proposal.model_validate(p) for p in final.get("proposals") or ())
    chosen: int | None = final.get("chosen")
    with lane(FINISH):
        proposals = await _judge(task, proposals, parts)
        verdict = proposals[chosen].verdict if chosen is not None else _nothing_handed_in(task)
        end = RolloutEnd(
            proposals=proposals,
            chosen=chosen,
            verdict=verdict,
            deliverable=final.get("deliverable"),
        )
        builder = Builder(parts.model("builder"), parts.sampling) if start.graph == "team" else None
        await learn(start.brief, end, parts, builder)
    return end


def _nothing_handed_in(task: Task) -> Verdict:
    """The verdict where no answer defines the entry point."""
    source = "sealed" if len(task.sealed) else task.visible.source
    return Verdict(status="failed", reason="no_candidate", tests=source)


async def _judge(task: Task, proposals: tuple[Proposal, ...], parts: Parts) -> tuple[Proposal, ...]:
    """Every proposal with its verdict; equal texts are judged once.

    A task without sealed tests (a request of a person) keeps what the visible tests said, or is
    unverified.
    """
    if not len(task.sealed):
        return tuple(
            p.model_copy(
                update={"verdict": p.visible or Verdict(status="unverified", tests="person")}
            )
            for p in proposals
        )
    distinct = {content_hash(p.candidate.files): p.candidate for p in proposals}
    verdicts = await asyncio.gather(
        *(judged(parts, "verdict", c, task.entry_point, task.sealed) for c in distinct.values())
    )
    found = dict(zip(distinct, verdicts, strict=True))
    return tuple(
        p.model_copy(update={"verdict": found[content_hash(p.candidate.files)]}) for p in proposals
    )
