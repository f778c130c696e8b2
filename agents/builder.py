"""The builder: the deliverable of a finished rollout, and what the team should remember of it."""

from dataclasses import dataclass, replace

from langchain_core.language_models import BaseChatModel

from codojo.agents.asking import Sampling, ask_model
from codojo.agents.prompts import render
from codojo.tasks.schema import Brief, Candidate

MAX_RULE_WORDS = 40


@dataclass(frozen=True)
class Builder:
    """Finishes. Sees the chosen candidate; and, for a `train` task, which attempts passed."""

    model: BaseChatModel
    sampling: Sampling

    async def build(self, brief: Brief, candidate: Candidate) -> dict[str, str]:
        """The final files by relative path: the code as it was chosen, and how to use it."""
        prompt = render("builder", brief=brief, code=candidate.code)
        usage = await self._say(prompt.text, prompt.template)
        readme = f"# {brief.entry_point}\n\n{brief.prompt}\n\n{usage}\n"
        return {**candidate.files, "README.md": readme}

    async def rule(self, brief: Brief, failed: Candidate, passed: Candidate) -> str | None:
        """A line for the team's manual from a failed and a passed attempt; None where the answer is
        no single short sentence."""
        prompt = render("builder_rule", brief=brief, failed=failed.code, passed=passed.code)
        line = (await self._say(prompt.text, prompt.template)).strip().strip('"')
        if not line or "\n" in line or "```" in line or len(line.split()) > MAX_RULE_WORDS:
            return None
        return line

    async def _say(self, text: str, template: str) -> str:
        sampling = replace(self.sampling, n=1, max_tokens=min(self.sampling.max_tokens, 80))
        reply = await ask_model(
            self.model, text, agent="builder", template=template, sampling=sampling
        )
        return reply.choices[0].text.strip()
