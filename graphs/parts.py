"""What graphs are wired from, and the effects that are no model call."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from langchain_core.language_models import BaseChatModel

from codojo.agents.asking import Sampling, model_name
from codojo.memory.recall import recall, render
from codojo.memory.schema import Entry
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
    judge: Judge
    settings: Settings
    memory: ChromaStore | None = None
    """None: the team works without memory."""
    remember: Callable[[Entry], Awaitable[None]] | None = None
    """Writes an entry to the log and then to memory; None: nothing is kept."""

    def model_name(self, agent: str) -> str:
        """The served name of an agent's model."""
        return model_name(self.model(agent))

    @staticmethod
    def rollout_id() -> str:
        """The rollout that is running; empty outside of one."""
        here = current_scope()
        return here.journal.rollout if here else ""

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
        return await judged(self.judge, "execution", candidate, entry_point, tests)

    async def recall(self, brief: Brief) -> str:
        """What memory has for a brief, as quoted text for a prompt; empty without memory."""
        memory, settings = self.memory, self.settings.memory
        if memory is None or not settings.enabled:
            return ""

        async def perform() -> str:
            found = await recall(
                memory, brief, exemplars=settings.exemplars, max_chars=settings.max_chars
            )
            return render(found)

        answer = await ask(
            "recall", {"task_id": brief.task_id, "exemplars": settings.exemplars}, perform
        )
        return str(answer.value)


async def judged(
    judge: Judge, effect: str, candidate: Candidate, entry_point: str, tests: Tests
) -> Verdict:
    """The judge's verdict as an effect; keyed by the candidate's text and what it is tested with.

    The log keeps the ids of the tests, not their content: a sealed case stays sealed there too.
    """
    asked = {
        "files": candidate.files,
        "entry_point": entry_point,
        "tests": tests.source,
        "cases": [case.id for case in tests.cases]
        if tests.source == "sealed"
        else tests.model_dump(mode="json")["cases"],
    }

    async def perform() -> object:
        return (await judge.verdict(candidate, entry_point, tests)).model_dump(mode="json")

    return Verdict.model_validate((await ask(effect, asked, perform)).value)
