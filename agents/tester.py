"""The tester: test cases from the brief alone."""

from dataclasses import dataclass, replace

from langchain_core.language_models import BaseChatModel

from codojo.agents.asking import Sampling, ask_model
from codojo.agents.prompts import examples, render
from codojo.tasks.requests import read_cases
from codojo.tasks.schema import Brief, Tests


@dataclass(frozen=True)
class Tester:
    """Writes tests. Sees the brief; never a candidate and never the sealed tests."""

    model: BaseChatModel
    sampling: Sampling
    limit: int = 6

    async def write_tests(self, brief: Brief) -> Tests:
        """Cases with literal arguments and results; none where the model wrote none.

        They are suspects: nothing says yet that they are right. See `graphs.team` for how far they
        are believed.
        """
        prompt = render("tester", brief=brief, examples=examples(brief), limit=self.limit)
        reply = await ask_model(
            self.model,
            prompt.text,
            agent="tester",
            template=prompt.template,
            sampling=replace(self.sampling, n=1),
        )
        lines = reply.choices[0].text.splitlines()
        cases = read_cases(lines, brief.entry_point, "self", self.limit)
        return Tests(source="self_made", cases=cases)
