"""The tester: test cases from the brief alone."""

from dataclasses import dataclass, replace

from langchain_core.language_models import BaseChatModel

from codojo.agents.asking import Sampling, ask_model
from codojo.agents.parsing import asserted_cases
from codojo.agents.prompts import examples, render
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
        cases = asserted_cases(reply.choices[0].text, brief.entry_point, self.limit)
        return Tests(source="self_made", cases=cases)
