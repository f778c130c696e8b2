"""The coder: candidates from a brief, and better ones from a report."""

from dataclasses import dataclass, replace

from langchain_core.language_models import BaseChatModel

from codojo.agents.asking import Reply, Sampling, Thread, ask_model
from codojo.agents.parsing import solution
from codojo.agents.prompts import examples, render
from codojo.tasks.schema import Brief, Candidate
from codojo.trajectories.schema import StepRef

STOP = ("\n```\n",)
"""The end of the code block: small models go on explaining after it, at three times the cost."""


@dataclass(frozen=True)
class Draft:
    """One candidate and the conversation it ended."""

    candidate: Candidate
    origin: StepRef
    thread: Thread


@dataclass(frozen=True)
class Coder:
    """Writes candidates. Sees the brief, a plan, and reports on its own attempts."""

    model: BaseChatModel
    sampling: Sampling

    async def propose(
        self, brief: Brief, *, n: int, plan: str = "", recalled: str = ""
    ) -> list[Draft]:
        """Up to `n` candidates, in the order they were sampled.

        Answers without a function of the right name are dropped; when none has one, the coder is
        asked once more. An empty list means that it wrote no code at all.
        """
        prompt = render(
            "coder", brief=brief, examples=examples(brief), plan=plan, recalled=recalled
        )
        reply = await self._ask(prompt.text, prompt.template, n)
        drafts = _drafts(reply, brief.entry_point)
        if drafts:
            return drafts
        again = render("coder_again", entry_point=brief.entry_point)
        return _drafts(
            await self._ask(again.text, again.template, 1, reply.thread(0)), brief.entry_point
        )

    async def repair(
        self, draft: Draft, entry_point: str, *, report: str, advice: str = "", n: int = 1
    ) -> list[Draft]:
        """New candidates from an attempt, what happened when it ran, and a critic's advice."""
        prompt = render("coder_repair", entry_point=entry_point, report=report, advice=advice)
        reply = await self._ask(prompt.text, prompt.template, n, draft.thread)
        return _drafts(reply, entry_point)

    async def _ask(self, text: str, template: str, n: int, thread: Thread | None = None) -> Reply:
        sampling = replace(self.sampling, n=n, stop=STOP)
        return await ask_model(
            self.model, text, agent="coder", template=template, sampling=sampling, thread=thread
        )


def _drafts(reply: Reply, entry_point: str) -> list[Draft]:
    drafts = []
    for index, choice in enumerate(reply.choices):
        code = solution(choice.text, entry_point)
        if code is not None:
            drafts.append(Draft(Candidate.of(code), reply.origin(index), reply.thread(index)))
    return drafts
