"""The critic: what is wrong with an attempt and what to change."""

from dataclasses import dataclass, replace

from langchain_core.language_models import BaseChatModel
from pydantic import Field, ValidationError

from codojo.agents.asking import Sampling, ask_model
from codojo.agents.parsing import json_object
from codojo.agents.prompts import render
from codojo.tasks.schema import Brief, Candidate, Record, Verdict


class Critique(Record):
    """An opinion about a candidate; never a verdict."""

    diagnosis: str = Field(max_length=1000)
    advice: str = Field(max_length=1000)
    confidence: float = Field(ge=0, le=1)


@dataclass(frozen=True)
class Critic:
    """Reviews. Sees the candidate and the report of its run; never the sealed tests."""

    model: BaseChatModel
    sampling: Sampling

    async def review(self, brief: Brief, candidate: Candidate, report: str) -> Critique | None:
        """A critique; None where the model wrote nothing that can be read as one."""
        prompt = render("critic", brief=brief, code=candidate.code, report=report)
        reply = await ask_model(
            self.model,
            prompt.text,
            agent="critic",
            template=prompt.template,
            sampling=replace(self.sampling, n=1),
        )
        return read_critique(reply.choices[0].text)


def read_critique(text: str) -> Critique | None:
    """The critique in an answer; None where it holds none."""
    found = json_object(text)
    if found is None:
        return None
    known = {name: found[name] for name in Critique.model_fields if name in found}
    try:
        return Critique.model_validate({"diagnosis": "", "advice": "", "confidence": 0.5} | known)
    except ValidationError:
        return None


def describe(verdict: Verdict) -> str:
    """What happened when a candidate ran, in lines that a model or a person can read."""
    if verdict.passed:
        return f"All {len(verdict.outcomes)} tests passed."
    lines = [
        f"{outcome.status}: {outcome.detail or outcome.id}"
        for outcome in verdict.outcomes
        if outcome.status != "passed"
    ]
    return "\n".join(lines[:4]) or f"{verdict.status}: {verdict.reason}"
