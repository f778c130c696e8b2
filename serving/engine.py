"""Engines as their users see them: an address with abilities, and the client that talks to it.

`open_engine` (supervisor) hands out an `EngineClient`; chat models are built on it. Abilities that
an engine lacks are in its `Capabilities` and refused by name, never skipped in silence.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeVar, cast

import httpx
from pydantic import BaseModel, ConfigDict, Field

from codojo.errors import EngineUnavailable, RequestRefused
from codojo.serving.keeper import read_state
from codojo.serving.retry import with_retries
from codojo.trajectories.redact import Redactor

MAX_REPLY_BYTES = 64 * 2**20
"""More than any honest answer: 32 choices of 8,000 tokens with log-probabilities are 30 MB."""

T = TypeVar("T")

Kind = Literal["vllm", "transformers", "external", "scripted"]


class Capabilities(BaseModel):
    """What an engine can do beyond answering a chat."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    adapters: bool = False
    """Loads and unloads LoRA adapters while it serves."""
    choices: bool = True
    """Several choices per request; without it, codojo sends one request per choice."""
    tokens: bool = False
    """Returns token ids and log-probabilities of what it sampled."""
    prompt_logprobs: bool = False
    """Scores a given text."""
    schemas: bool = False
    """Holds its answer to a JSON schema."""
    seeds: bool = True
    """Takes a seed with a request; one seeded request ends vLLM's CPU engine for everybody."""


class Endpoint(BaseModel):
    """Where an engine answers, and what answers there."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Kind
    url: str
    """Base URL with `/v1`."""
    api_key: str = Field("", repr=False)
    login: tuple[str, str] | None = Field(None, repr=False)
    """User and password, where the address that was given held them; `url` holds none."""
    base_model: str
    """Name of the base model in requests."""
    model_path: str = ""
    """Its folder or hub name, as trainers need it; empty for an `external` engine."""
    model_hash: str = ""
    """What adapters are bound to; empty for an `external` engine."""
    version: str = ""
    """Of the software that serves."""
    capabilities: Capabilities = Capabilities()
    max_concurrent: int = Field(32, ge=1)
    """Sequences in flight at once."""
    request_timeout_s: float = Field(600, gt=0)
    first_wait_s: float = Field(0.5, gt=0)
    """Before a failed request is asked again; doubles with each attempt."""
    pid: int | None = None
    """Of the process that keeps the engine; None for an `external` engine."""
    state_file: str = ""
    """Where the keeper says how the engine is; empty for an `external` engine."""
    log_file: str = ""


class Launch(NamedTuple):
    """How to start an engine process."""

    argv: list[str]
    env: dict[str, str]


class Engine(Protocol):
    """A kind of engine that codojo starts itself: vLLM, transformers, or a script."""

    @property
    def served_name(self) -> str:
        """Name of the base model in requests."""

    @property
    def version(self) -> str:
        """Of the software that serves."""

    @property
    def capabilities(self) -> Capabilities: ...

    def launch(self, port: int, api_key: str) -> Launch:
        """Command line and whole environment; the key never stands in the command line.

        Raises:
            EngineUnavailable: If what it needs is not installed.
        """


class ServedModel(BaseModel):
    """One line of the engine's list of models."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    root: str | None = None
    parent: str | None = None


class EngineClient:
    """Talks to one engine; use it as an async context manager, or close it.

    When a supervised engine was restarted, its adapters are loaded again before the next request.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        headers = {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
        self.http = httpx.AsyncClient(
            base_url=endpoint.url,
            headers=headers,
            auth=endpoint.login,
            timeout=httpx.Timeout(endpoint.request_timeout_s, connect=10),
            transport=_CappedTransport(
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=64)
            ),
        )
        secrets = (endpoint.api_key, *(endpoint.login or ())[1:])
        self.hide: Callable[[str], str] = Redactor(known=secrets).text
        """Takes secrets out of what the engine says of a failure, its own key among them."""
        self.slots = Slots(endpoint.max_concurrent)
        self._root = endpoint.url.removesuffix("/").removesuffix("/v1")
        self._adapters: dict[str, Path] = {}
        self._generation = self._state_generation()
        self._restoring = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; the engine stays as it is."""
        await self.http.aclose()

    async def health(self) -> bool:
        """Whether the engine says that it is well; never raises."""
        path = "/health" if self.endpoint.kind != "external" else "/v1/models"
        try:
            answer = await self.http.get(self._root + path, timeout=10)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    async def models(self) -> list[ServedModel]:
        """The base model and every adapter that is loaded."""
        if self.endpoint.kind == "transformers":
            # Its own list looks at the hub and fails without a network.
            return [ServedModel(id=self.endpoint.base_model, root=self.endpoint.model_path)]
        return await self._models()

    async def load_adapter(self, name: str, path: Path) -> None:
        """Serve the LoRA folder at `path` as model `name`, now and after a restart.

        A name stands for one content for ever: engines cache by name, so new weights need a new
        name. Loading the same name and path twice is no error.

        Raises:
            RequestRefused: If the engine cannot load adapters or refuses this one.
        """
        self._require("adapters", "load adapters while it serves; merge the adapter instead")
        folder = _absolute(path)
        await self._load(name, folder)
        self._adapters[name] = folder

    async def unload_adapter(self, name: str) -> None:
        """Stop serving an adapter.

        Raises:
            RequestRefused: If no such adapter is loaded.
        """
        self._require("adapters", "unload adapters")
        self._adapters.pop(name, None)
        await self._ask("POST", "/v1/unload_lora_adapter", {"lora_name": name})

    async def prompt_logprobs(self, model: str, prompt: str | Sequence[int]) -> list[float]:
        """Natural log-probability of each token of `prompt` after the first, given those before.

        Args:
            model: The base model's name or an adapter's.
            prompt: Text, or token ids taken as they are.
        """
        self._require("prompt_logprobs", "score a given text")
        body = {
            "model": model,
            "prompt": prompt if isinstance(prompt, str) else list(prompt),
            "max_tokens": 1,
            "temperature": 0,
            "prompt_logprobs": 0,
        }
        answer = await self._ask("POST", "/v1/completions", body)
        scored = answer["choices"][0]["prompt_logprobs"]
        return [next(iter(token.values()))["logprob"] for token in scored[1:]]

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens around it."""
        self._require("tokens", "tell token ids")
        body = {"model": self.endpoint.base_model, "prompt": text, "add_special_tokens": False}
        answer = await self._ask("POST", "/tokenize", body)
        return [int(token) for token in answer["tokens"]]

    async def retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` returns, asked again as `with_retries` says."""
        return await with_retries(
            attempt,
            where=self.endpoint.url,
            first_wait_s=self.endpoint.first_wait_s,
            hide=self.hide,
        )

    async def ensure_alive(self) -> None:
        """Return once the engine is ready and holds our adapters; waits for a restart.

        Costs the reading of one small file. Chat models call it before every attempt.

        Raises:
            EngineUnavailable: If the keeper gave the engine up.
        """
        if not self.endpoint.state_file:
            return
        while (state := read_state(self.endpoint.state_file)) and state.phase != "ready":
            if state.phase in ("failed", "stopped"):
                raise EngineUnavailable(
                    f"the {self.endpoint.kind} engine is {state.phase}: {state.reason}; log: "
                    f"{self.endpoint.log_file}; start it again"
                )
            await asyncio.sleep(0.2)
        if state is None:
            raise EngineUnavailable(
                f"the {self.endpoint.kind} engine at {self.endpoint.url} was stopped; start it "
                "again with 'codojo models start'"
            )
        if state.generation != self._generation:
            async with self._restoring:
                if state.generation != self._generation:
                    for name, path in self._adapters.items():
                        await self._load(name, path, restoring=True)
                    self._generation = state.generation

    async def _load(self, name: str, path: Path, *, restoring: bool = False) -> None:
        body = {"lora_name": name, "lora_path": str(path)}
        try:
            await self._ask("POST", "/v1/load_lora_adapter", body, restoring=restoring)
        except RequestRefused as err:
            # A second command, or an attempt whose answer was lost, may have loaded it already.
            loaded = await self._models(restoring=restoring)
            if str(path) not in {model.root for model in loaded if model.id == name}:
                raise RequestRefused(f"adapter '{name}' from {path}: {err}") from err

    async def _models(self, *, restoring: bool = False) -> list[ServedModel]:
        listed = await self._ask("GET", "/v1/models", restoring=restoring)
        return [ServedModel.model_validate(line) for line in listed["data"]]

    async def _ask(
        self, method: str, path: str, body: object = None, *, restoring: bool = False
    ) -> Any:
        async def once() -> Any:
            if not restoring:  # else we would wait for ourselves
                await self.ensure_alive()
            async with asyncio.timeout(self.endpoint.request_timeout_s):
                answer = await self.http.request(method, self._root + path, json=body)
            answer.raise_for_status()
            is_json = answer.headers.get("content-type", "").startswith("application/json")
            return answer.json() if is_json else answer.text

        return await self.retried(once)

    def _require(self, ability: str, what: str) -> None:
        if not getattr(self.endpoint.capabilities, ability):
            raise RequestRefused(
                f"the {self.endpoint.kind} engine at {self.endpoint.url} cannot {what}; "
                'engine.kind = "vllm" can'
            )

    def _state_generation(self) -> int:
        state = read_state(self.endpoint.state_file) if self.endpoint.state_file else None
        return state.generation if state else 0


def _absolute(path: Path) -> Path:
    return path.absolute()  # the engine's working folder is another


class Slots:
    """Sequences that one engine decodes at once, handed out in order of asking."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = asyncio.Semaphore(count)
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def taken(self, wanted: int) -> AsyncIterator[None]:
        """Hold `wanted` slots, or all of them where there are fewer."""
        held = 0
        try:
            async with self._turn:  # so that two large requests never each hold half
                for _ in range(min(wanted, self._count)):
                    await self._free.acquire()
                    held += 1
            yield
        finally:
            for _ in range(held):
                self._free.release()


class _CappedTransport(httpx.AsyncHTTPTransport):
    """Stops reading an answer that grows without end."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        response.stream = _CappedStream(cast(httpx.AsyncByteStream, response.stream))
        return response


class _CappedStream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._inner:
            read += len(chunk)
            if read > MAX_REPLY_BYTES:
                raise RequestRefused(
                    f"the engine's answer passed {MAX_REPLY_BYTES} bytes and was cut; lower "
                    "sampling.max_tokens"
                )
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
