"""What graphs are wired from, and the effects that are no model call."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from langchain_core.language_models import BaseChatModel
from pydantic import JsonValue

from codojo.agents.asking import Sampling, model_name
from codojo.graphs.people import Person
from codojo.memory.recall import recall, render
from codojo.memory.schema import Entry, written
from codojo.memory.store import ChromaStore
from codojo.sandboxes.judge import Judge
from codojo.settings import Settings
from codojo.tasks.schema import Brief, Candidate, Tests, Verdict
from codojo.trajectories.journal import ask, current_scope


@dataclass(frozen=True)
class Parts:
    """The parts of a team."""

    model: Callable[[str], BaseChatModel]
    """The model of an agent, by the agent's name."""
    judge: Judge | None
    """None: in a replay, where the log gives every verdict."""
    settings: Settings
    memory: ChromaStore | None = None
    """None: it is switched off, or another process owns it; recall then finds nothing."""
    remember: Callable[[Entry], Awaitable[None]] | None = None
    """Writes an entry to the log and then to memory; None: nothing is kept."""
    person: Person | None = None
    """Who answers where a graph asks a person; None: nobody is there."""
    notes: Callable[[], str] | None = None
    """Takes what a person has said since, to steer the team; None: nobody says anything."""

    def model_name(self, agent: str) -> str:
        """The served name of an agent's model."""
        return model_name(self.model(agent))

    @staticmethod
    def rollout_id() -> str:
        """The rollout that is running; empty outside of one."""
        here = current_scope()
        return here.journal.rollout if here else ""

    @property
    def played_with(self) -> dict[str, JsonValue]:
        """The settings that decide what a rollout asks, for its record."""
        return self.settings.model_dump(
            mode="json", include={"team", "sampling", "memory", "sandbox"}
        )

    @property
    def sampling(self) -> Sampling:
        """How agents sample unless they say otherwise."""
        chosen = self.settings.sampling
        return Sampling(chosen.temperature, chosen.top_p, chosen.max_tokens)

    async def execute(self, candidate: Candidate, entry_point: str, tests: Tests) -> Verdict:
        """Run a candidate on tests the team may know, as an effect.

        Raises:
            ValueError: For sealed tests, which no graph may run.
        """
        if tests.source == "sealed":
            raise ValueError("sealed tests are judged after the rollout, never inside a graph")
        return await judged(self, "execution", candidate, entry_point, tests)

    async def steering(self) -> str:
        """What the person has said since the team was last asked, as an effect; mostly empty."""
        notes = self.notes
        if notes is None:
            return ""

        async def perform() -> str:
            return notes()

        return str((await ask("steer", "", perform)).value)

    async def recall(self, brief: Brief) -> str:
        """What memory has for a brief, as quoted text for a prompt; empty without memory.

        An effect wherever memory is switched on: that another process owned it is then in the log too,
        and a resumed rollout, which may find it free, goes on with the same prompts.
        """
        memory, settings = self.memory, self.settings.memory
        if not settings.enabled:
            return ""

        async def perform() -> JsonValue:
            if memory is None:
                return ""
            found = await recall(
                memory, brief, exemplars=settings.exemplars, max_chars=settings.max_chars
            )
            hits: list[JsonValue] = [
                {**written(hit.entry), "similarity": hit.similarity} for hit in found.items
            ]
            return {"text": render(found), "hits": hits}

        answer = await ask(
            "recall", {"task_id": brief.task_id, "exemplars": settings.exemplars}, perform
        )
        value = answer.value  # earlier versions logged the text alone
        return str(value["text"]) if isinstance(value, dict) else str(value)


async def judged(
    parts: Parts, effect: str, candidate: Candidate, entry_point: str, tests: Tests
) -> Verdict:
    """The judge's verdict as an effect, keyed by content: program, tests and the sandbox's limits.

    The same program on the same tests is run once in a rollout, wherever it is proposed again. The log
    keeps the ids of sealed tests, not their content: a sealed case stays sealed there too.
    """
    asked = {
        "files": candidate.files,
        "entry_point": entry_point,
        "tests": tests.source,
        "cases": [case.id for case in tests.cases]
        if tests.source == "sealed"
        else tests.model_dump(mode="json")["cases"],
    }
    if tests.source != "sealed":
        more = tests.model_dump(mode="json", include={"check", "files"}, exclude_none=True)
        # `files` are the candidate's: two candidates must never share a key.
        asked |= {f"test_{name}": value for name, value in more.items()}
    limits = parts.settings.sandbox.model_dump(mode="json", exclude={"parallel"})

    async def perform() -> object:
        assert parts.judge is not None, "a replay performs nothing"
        verdict = await parts.judge.verdict(candidate, entry_point, tests)
        return verdict.model_dump(mode="json")

    return Verdict.model_validate((await ask(effect, asked, perform, under=limits)).value)
