"""The planner: how to go about a task, before any code."""

from dataclasses import dataclass, replace

from langchain_core.language_models import BaseChatModel

from codojo.agents.asking import Sampling, ask_model
from codojo.agents.parsing import bullet_lines
from codojo.agents.prompts import examples, render
from codojo.tasks.schema import Brief

MAX_STEPS = 8


@dataclass(frozen=True)
class Plan:
    """Steps and edge cases, in order; empty where the model listed nothing."""

    steps: tuple[str, ...]

    @property
    def text(self) -> str:
        """The plan as a Markdown list."""
        return "\n".join(f"- {step}" for step in self.steps)


@dataclass(frozen=True)
class Planner:
    """Plans. Sees the brief and what memory recalled; never code of this rollout."""

    model: BaseChatModel
    sampling: Sampling

    async def plan(self, brief: Brief, *, recalled: str = "") -> Plan:
        """A plan of at most eight lines."""
        prompt = render("planner", brief=brief, examples=examples(brief), recalled=recalled)
        reply = await ask_model(
            self.model,
            prompt.text,
            agent="planner",
            template=prompt.template,
            sampling=replace(self.sampling, n=1),
        )
        return Plan(bullet_lines(reply.choices[0].text, MAX_STEPS))
