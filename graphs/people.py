"""A person's answer as an effect, and the driver that runs a graph which may ask for one.

A node calls `ask_person` unconditionally, on every run: LangGraph matches answers to questions by their
order in the node, so a question that is skipped would hand its answer to the next. The driver looks the
key up in the log, else asks the person, logs the answer, and resumes the graph with it. LangGraph's
checkpointer holds the paused graph in memory only: on a resume after a crash the rollout runs again
from the start, and the log answers.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from langgraph.config import get_config
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Interrupt, interrupt
from pydantic import JsonValue

from codojo.errors import SettingsError
from codojo.trajectories.ids import new_id
from codojo.trajectories.places import Place, current_scope
from codojo.trajectories.watching import PERSON

Person = Callable[[JsonValue], Awaitable[JsonValue]]
"""Puts a question to a person and returns the answer."""


def ask_person(question: JsonValue) -> Any:
    """Pause the graph and ask a person; returns the answer.

    Call it in a node wrapped with `codojo.graphs.node.node`, of a graph that was compiled with
    `checkpointer=InMemorySaver()`. The node runs again from its start once the answer is there.

    Raises:
        SettingsError: If the graph has no checkpointer to pause with.
    """
    if get_config()["configurable"].get("__pregel_checkpointer") is None:
        raise SettingsError(
            "a graph that asks a person has to be compiled with checkpointer=InMemorySaver()"
        )
    here = current_scope()
    if here is None:
        return interrupt({"question": question})
    question = here.journal.redactor.redact(question).value
    place = here.place(PERSON, question)
    here.journal.claim(place, here.owner)
    return interrupt({"place": place._asdict(), "owner": here.owner, "question": question})


async def drive(
    graph: CompiledStateGraph[Any, Any, Any, Any], given: Any, person: Person | None = None
) -> dict[str, Any]:
    """Run a graph to its end in the current rollout, asking a person where it wants to.

    Args:
        given: The graph's input.
        person: Who is asked; None: nobody is there.

    Raises:
        SettingsError: If a person is needed and nobody is there; the rollout can be resumed.
    """
    if not graph.checkpointer:
        final: dict[str, Any] = await graph.ainvoke(given)
        return final
    thread = (
        new_id()
    )  # A thread that is used twice goes on counting its steps, and keys would shift.
    config: Any = {"configurable": {"thread_id": thread}}
    try:
        final = await graph.ainvoke(given, config)
        while pending := final.get("__interrupt__"):
            answers = {asked.id: await _answer(asked, person) for asked in pending}
            final = await graph.ainvoke(Command(resume=answers), config)
        return final
    finally:
        if not isinstance(graph.checkpointer, bool):
            await graph.checkpointer.adelete_thread(thread)


async def _answer(asked: Interrupt, person: Person | None) -> JsonValue:
    question = asked.value["question"]

    async def perform() -> JsonValue:
        if person is None:
            raise SettingsError(
                "the graph asks a person, and nobody is there to answer; go on with it from a program that "
                "gives Parts a person"
            )
        return await person(question)

    here = current_scope()
    if here is None or "place" not in asked.value:
        return await perform()
    fields = asked.value["place"]
    place = Place(**{**fields, "path": tuple(fields["path"])})
    answer = await here.journal.ask_at(place, PERSON, question, perform, asked.value["owner"])
    value: JsonValue = answer.value
    return value
