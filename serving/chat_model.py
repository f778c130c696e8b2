"""The chat model that agents get: `ChatOpenAI` that keeps tokens, accounts and trusts nobody."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, PrivateAttr, SecretStr, ValidationError

from codojo.errors import CodojoError, EngineUnavailable, RequestRefused, WrongModel
from codojo.serving.engine import EngineClient
from codojo.serving.retry import translated
from codojo.serving.streaming import collect
from codojo.settings import SamplingSettings
from codojo.trajectories.watching import is_watched, tell_delta

T = TypeVar("T")


class ServedChatModel(ChatOpenAI):
    """A model of one engine. Made by `chat_model`.

    Each answer's `response_metadata` holds `model_name` and `finish_reason` and, where the engine
    tells them, `token_ids`, `token_logprobs` (natural, of the model itself, before temperature) and
    `prompt_token_ids`. `token_ids` include the end-of-turn token or the stop string that the text
    leaves out. Of several choices of one request, the first carries the prompt's tokens in its
    `usage_metadata`, so that sums are right.

    Raises `EngineError`s only. Asynchronous only: `invoke` and `stream` have no sync twins.
    """

    _client: EngineClient = PrivateAttr()

    async def sample(
        self, messages: Sequence[BaseMessage], *, n: int = 1, **kwargs: Any
    ) -> list[AIMessage]:
        """`n` answers to one prompt, from one request where the engine can do that.

        Args:
            kwargs: `stop`, `temperature`, `max_tokens`, `response_format`, ... of this call.
        """
        result = await self.agenerate([list(messages)], n=n, **kwargs)
        return [
            cast(AIMessage, cast(ChatGeneration, choice).message)
            for choice in result.generations[0]
        ]

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        wanted = int(kwargs.pop("n", None) or self.n or 1)
        per_request = wanted if self._client.endpoint.capabilities.choices else 1
        if per_request > 1:
            kwargs["n"] = per_request
        schema = kwargs.get("response_format")
        if isinstance(schema, type):
            kwargs["response_format"] = _as_json_schema(schema)

        attempts: Counter[int] = Counter()

        async def once(first: int) -> ChatResult:
            attempts[first] += 1
            async with self._client.slots.taken(per_request):
                await self._client.ensure_alive()
                # The whole answer, not each read of it: an answer that drips in ends too.
                async with asyncio.timeout(self._client.endpoint.request_timeout_s):
                    if is_watched():
                        result = await self._watched(
                            messages, stop, first=first, attempt=attempts[first], **kwargs
                        )
                    else:
                        result = await super(ServedChatModel, self)._agenerate(
                            messages, stop, run_manager, **kwargs
                        )
            if len(result.generations) != per_request:
                raise ValueError(f"{len(result.generations)} choices instead of {per_request}")
            self._check_model(str((result.llm_output or {}).get("model_name")))
            return result

        firsts = range(0, wanted, per_request)
        results = await _all([self._client.retried(partial(once, first)) for first in firsts])
        generations = [g for result in results for g in result.generations]
        if isinstance(schema, type):
            _keep_parsed(generations, schema)
        output = (results[0].llm_output or {}) | {"token_usage": _summed_usage(results)}
        return ChatResult(generations=generations, llm_output=output)

    async def _watched(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        *,
        first: int,
        attempt: int,
        **kwargs: Any,
    ) -> ChatResult:
        """The same answer, whose text is told while it is written.

        Args:
            first: Number of this request's first choice among all that were asked for.
            attempt: A retry's text takes the place of what was told before.
        """
        payload = self._get_request_payload(messages, stop=stop, **kwargs)
        payload |= {"stream": True, "stream_options": {"include_usage": True}}

        async def pieces() -> AsyncIterator[dict[str, Any]]:
            async with await self.async_client.create(**payload) as stream:
                async for piece in stream:
                    yield piece.model_dump(warnings=False)

        def on_text(choice: int, text: str) -> None:
            tell_delta(first + choice, text, attempt)

        return self._create_chat_result(await collect(pieces(), on_text))

    def _check_model(self, answered: str) -> None:
        # `transformers serve` appends the revision.
        if answered.partition("@")[0] != self.model_name.partition("@")[0]:
            raise WrongModel(
                f"asked '{self.model_name}' at {self._client.endpoint.url} but '{answered}' "
                "answered; the answer was thrown away: see 'codojo models status'"
            )

    def _get_request_payload(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(*args, **kwargs)
        if "max_completion_tokens" in payload:  # every engine knows the older name, some only that
            payload["max_tokens"] = payload.pop("max_completion_tokens")
        if payload.get("seed") is not None and not self._client.endpoint.capabilities.seeds:
            raise RequestRefused(
                "vLLM's CPU engine dies of a request with a seed, so none was sent; leave it out"
            )
        if "response_format" in payload:
            # Sent past the client, which would raise for an answer that was cut or does not parse.
            extra = payload.get("extra_body") or {}
            payload["extra_body"] = extra | {"response_format": payload.pop("response_format")}
        return payload

    def _create_chat_result(self, response: Any, generation_info: Any = None) -> ChatResult:
        raw = response if isinstance(response, dict) else None
        if raw is None and hasattr(response, "model_dump"):
            raw = response.model_dump(warnings=False)
        result = super()._create_chat_result(response, generation_info)
        for index, (generation, choice) in enumerate(
            zip(result.generations, (raw or {})["choices"], strict=True)
        ):
            _keep_tokens(generation, choice, raw or {}, is_first=index == 0)
        return result

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        """Stream one answer; what has been shown cannot be asked again, so nothing is retried."""
        await self._client.ensure_alive()
        async with self._client.slots.taken(1):
            kwargs["stream_usage"] = True
            whole = False
            try:
                async for chunk in super()._astream(messages, stop, run_manager, **kwargs):
                    told = chunk.generation_info or {}
                    whole = whole or bool(told.get("finish_reason"))
                    if name := told.get("model_name"):
                        self._check_model(str(name))
                    yield chunk
            except CodojoError:
                raise
            except Exception as err:
                raise translated(err, self._client.endpoint.url, self._client.hide) from err
            if not whole:
                raise EngineUnavailable(
                    f"the stream from {self._client.endpoint.url} ended in the middle of an "
                    "answer; ask again"
                )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError("a served chat model is asynchronous: use 'ainvoke' or 'astream'")


def chat_model(
    client: EngineClient,
    model: str | None = None,
    sampling: SamplingSettings | None = None,
    **overrides: Any,
) -> ServedChatModel:
    """A chat model of an engine.

    Args:
        model: Name of a loaded adapter; default: the base model.
        sampling: Temperature and length; each call may override them.
        overrides: Further fields of `ChatOpenAI`.
    """
    sampling = sampling or SamplingSettings()
    endpoint = client.endpoint
    tokens = sampling.logprobs and endpoint.capabilities.tokens
    fields: dict[str, Any] = {
        "model": model or endpoint.base_model,
        "base_url": endpoint.url,
        "api_key": SecretStr(endpoint.api_key or "none"),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "timeout": endpoint.request_timeout_s,
        "max_retries": 0,
        "use_responses_api": False,
        "http_async_client": client.http,
        "extra_body": {"return_token_ids": True} if tokens else None,
        "logprobs": True if tokens else None,
    }
    made = ServedChatModel(**(fields | overrides))
    made._client = client
    return made


def _as_json_schema(schema: type[BaseModel]) -> dict[str, Any]:
    described = {"name": schema.__name__, "schema": schema.model_json_schema(), "strict": True}
    return {"type": "json_schema", "json_schema": described}


def _keep_parsed(generations: Sequence[ChatGeneration], schema: type[BaseModel]) -> None:
    """Where LangChain's structured output looks; an answer that does not parse has none."""
    for generation in generations:
        with contextlib.suppress(ValidationError):
            parsed = schema.model_validate_json(generation.text)
            generation.message.additional_kwargs["parsed"] = parsed


def _summed_usage(results: Sequence[ChatResult]) -> dict[str, int]:
    """Tokens of all answers, and of their one prompt once: as an engine counts that takes `n` itself."""
    usages = [(result.llm_output or {}).get("token_usage") or {} for result in results]
    read = max(int(usage.get("prompt_tokens") or 0) for usage in usages)
    wrote = sum(int(usage.get("completion_tokens") or 0) for usage in usages)
    return {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}


async def _all(waiting: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results; the first failure cancels the rest and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in waiting]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def _keep_tokens(
    generation: ChatGeneration, choice: dict[str, Any], raw: dict[str, Any], *, is_first: bool
) -> None:
    message = cast(AIMessage, generation.message)
    kept = message.response_metadata
    kept["model_name"] = raw.get("model")
    kept["finish_reason"] = choice.get("finish_reason")
    if (token_ids := choice.get("token_ids")) is not None:
        kept["token_ids"] = token_ids
        kept["prompt_token_ids"] = raw.get("prompt_token_ids")
    if content := (choice.get("logprobs") or {}).get("content"):
        kept["token_logprobs"] = [token["logprob"] for token in content]
        if generation.generation_info and not any(token.get("top_logprobs") for token in content):
            generation.generation_info.pop("logprobs", None)  # the same again, ten times larger
    if usage := message.usage_metadata:
        read = usage["input_tokens"] if is_first else 0
        if token_ids is not None:
            wrote = len(token_ids)
        else:
            wrote = usage["output_tokens"] if is_first else 0
        message.usage_metadata = {
            "input_tokens": read,
            "output_tokens": wrote,
            "total_tokens": read + wrote,
        }
