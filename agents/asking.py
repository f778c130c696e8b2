"""The one place where an agent's question to a model becomes a step of the rollout."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration
from pydantic import JsonValue

from codojo.trajectories.journal import ask, current_scope
from codojo.trajectories.schema import Choice, Message, StepInput, StepOutput, StepRef

_LANGCHAIN: dict[str, type[BaseMessage]] = {
    "system": SystemMessage,
    "user": HumanMessage,
    "assistant": AIMessage,
}


@dataclass(frozen=True)
class Thread:
    """A conversation so far. It only grows at its end, so an engine's prefix cache stays valid."""

    messages: tuple[Message, ...] = ()
    parent: StepRef | None = None
    """The step whose answer is the last message, if any."""
    tokens: tuple[int, ...] | None = None
    """The conversation as the engine's tokens, where it tells them."""


@dataclass(frozen=True)
class Reply:
    """What a model answered, and the conversation that each of its choices continues."""

    step: str
    asked: tuple[Message, ...]
    """The whole prompt."""
    choices: tuple[Choice, ...]
    prompt_ids: tuple[int, ...] | None = None
    """The whole prompt as tokens, where the engine tells them."""

    def origin(self, choice: int) -> StepRef:
        """Where that choice can be found again in the log."""
        return StepRef(step=self.step, choice=choice)

    def thread(self, choice: int) -> Thread:
        """The conversation with that choice as its last word."""
        said = self.choices[choice]
        known = self.prompt_ids is not None and said.token_ids is not None
        tokens = (self.prompt_ids or ()) + (said.token_ids or ()) if known else None
        return Thread((*self.asked, said.message), self.origin(choice), tokens)


@dataclass(frozen=True)
class Sampling:
    """How one question is sampled."""

    temperature: float = 0.8
    top_p: float = 1.0
    max_tokens: int = 256
    n: int = 1
    """Choices wanted."""
    stop: tuple[str, ...] = ()

    def as_json(self) -> dict[str, JsonValue]:
        """For the log; part of the effect's key."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "n": self.n,
            "stop": list(self.stop),
        }


def model_name(model: BaseChatModel) -> str:
    """The name under which a model is served, as far as the class tells."""
    return str(getattr(model, "model_name", None) or type(model).__name__)


async def ask_model(
    model: BaseChatModel,
    text: str,
    *,
    agent: str,
    template: str,
    sampling: Sampling,
    thread: Thread | None = None,
) -> Reply:
    """Ask a model one thing, as a journalled step, and charge the rollout's budget.

    Args:
        text: The new user message.
        thread: The conversation it continues; default: a fresh one.

    Raises:
        BudgetExceeded: Before the call, where nothing is left.
        RequestRefused: Where the engine will not answer this prompt (too long, unknown model).
        EngineError: Where it could not answer; nothing is logged then.
    """
    thread, scope = thread or Thread(), current_scope()
    if scope:
        text = scope.journal.redactor.text(text)  # what is logged is what the model is asked
    new = (Message(role="user", content=text),)
    asked = thread.messages + new
    question = StepInput(
        agent=agent,
        model=model_name(model),
        template=template,
        parent=thread.parent,
        messages=new,
        sampling=sampling.as_json(),
    )

    async def perform() -> JsonValue:
        if scope:
            scope.journal.budget.check()
        output = await _generate(model, asked, sampling)
        return _without_shared(output, thread.tokens).model_dump(mode="json")

    answer = await ask("reply", question.model_dump(mode="json"), perform)
    output = StepOutput.model_validate(answer.value)
    if scope and not answer.copied:
        scope.journal.budget.charge(output.prompt_tokens, output.completion_tokens)
    new_ids = output.prompt_token_ids
    before = (thread.tokens or ())[: output.prompt_shared]
    whole = before + new_ids if new_ids is not None else None
    return Reply(answer.key, asked, output.choices, whole)


def _without_shared(output: StepOutput, before: tuple[int, ...] | None) -> StepOutput:
    """Tokens of the parent's conversation are in the log already; a template may have rewritten them."""
    ids = output.prompt_token_ids
    if not before or ids is None or ids[: len(before)] != before:
        return output
    update = {"prompt_token_ids": ids[len(before) :], "prompt_shared": len(before)}
    return output.model_copy(update=update)


async def _generate(
    model: BaseChatModel, messages: Sequence[Message], sampling: Sampling
) -> StepOutput:
    """One request for all choices where the engine can, else one request for each."""
    prompt = [_LANGCHAIN[m.role](content=m.content) for m in messages]
    options: dict[str, Any] = {
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.top_p < 1:
        options["top_p"] = sampling.top_p
    stop = list(sampling.stop) or None
    if hasattr(model, "n"):
        result = await model.agenerate([prompt], stop=stop, n=sampling.n, **options)
    else:
        result = await model.agenerate([prompt] * sampling.n, stop=stop, **options)
    generations = [
        g for batch in result.generations for g in batch if isinstance(g, ChatGeneration)
    ]
    usage = (result.llm_output or {}).get("token_usage") or {}
    return StepOutput(
        model=str((result.llm_output or {}).get("model_name") or model_name(model)),
        choices=tuple(_choice(g) for g in generations),
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        completion_tokens=int(usage.get("completion_tokens") or 0),
        prompt_token_ids=_prompt_ids(generations),
    )


def _prompt_ids(generations: Sequence[ChatGeneration]) -> tuple[int, ...] | None:
    for generation in generations:
        ids = generation.message.response_metadata.get("prompt_token_ids")
        if ids is not None:
            return tuple(ids)
    return None


def _choice(generation: ChatGeneration) -> Choice:
    meta = generation.message.response_metadata | (generation.generation_info or {})
    ids, logprobs = meta.get("token_ids"), meta.get("token_logprobs")
    return Choice(
        text=generation.message.text if isinstance(generation.message.text, str) else "",
        finish_reason=str(meta.get("finish_reason") or ""),
        token_ids=tuple(ids) if ids is not None else None,
        logprobs=tuple(logprobs) if logprobs is not None else None,
    )
