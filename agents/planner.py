"""The planner: how to go about a task, before any code."""

import re
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
    question: str = ""
    """What the planner wants to know of the person first."""

    @property
    def text(self) -> str:
        """The plan as a Markdown list."""
        return "\n".join(f"- {step}" for step in self.steps)


@dataclass(frozen=True)
class Planner:
    """Plans. Sees the brief and what memory recalled; never code of this rollout."""

    model: BaseChatModel
    sampling: Sampling

    async def plan(
        self, brief: Brief, *, recalled: str = "", remarks: str = "", may_ask: bool = False
    ) -> Plan:
        """A plan of at most eight lines.

        Args:
            remarks: What the person said of earlier plans.
            may_ask: Whether a person is there to answer a question.
        """
        template = "planner" if brief.entry_point else "planner_files"
        prompt = render(
            template,
            brief=brief,
            examples=examples(brief),
            recalled=recalled,
            remarks=remarks,
            may_ask=may_ask,
        )
        reply = await ask_model(
            self.model,
            prompt.text,
            agent="planner",
            template=prompt.template,
            sampling=replace(self.sampling, n=1),
        )
        text = reply.choices[0].text
        return Plan(bullet_lines(text, MAX_STEPS), question_in(text) if may_ask else "")


def question_in(text: str) -> str:
    """The question to the person in an answer; empty where there is none.

    >>> question_in("- sort it\\nQUESTION: which order?")
    'which order?'
    """
    found = re.search(r"^\s*(?:[-*]\s*)?QUESTION:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip()[:500] if found else ""
