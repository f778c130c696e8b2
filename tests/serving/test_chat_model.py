"""The chat model against a scripted engine: a real process, with faults."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from langchain_core.messages import HumanMessage
from pydantic import BaseModel

from codojo.errors import EngineUnavailable, RequestRefused, WrongModel
from codojo.serving import retry
from codojo.serving.chat_model import ServedChatModel, chat_model
from codojo.serving.engine import EngineClient
from codojo.serving.scripted_engine import ScriptedServer, start_scripted
from codojo.settings import SamplingSettings

HELLO = [HumanMessage("hello")]
RULES = [{"replies": ["one two three", "four five", "six", "seven eight nine ten"]}]


class Served:
    """A scripted engine with a model on it."""

    def __init__(self, server: ScriptedServer, client: EngineClient) -> None:
        self.server = server
        self.client = client

    def model(self, name: str | None = None, **kwargs: Any) -> ServedChatModel:
        return chat_model(self.client, name, **kwargs)


@asynccontextmanager
async def served(**script: Any) -> AsyncIterator[Served]:
    with start_scripted({"rules": RULES} | script) as server:
        async with EngineClient(server.endpoint) as client:
            yield Served(server, client)


async def test_answer_keeps_tokens_and_who_gave_it() -> None:
    async with served(rules=[{"replies": ["one two three"]}]) as s:
        answer = await s.model().ainvoke("hello")
    assert answer.text == "one two three"
    kept = answer.response_metadata
    assert kept["model_name"] == "scripted"
    assert kept["finish_reason"] == "stop"
    assert len(kept["token_ids"]) == len(kept["token_logprobs"]) == 3
    assert len(kept["prompt_token_ids"]) == 1
    assert "logprobs" not in kept


async def test_choices_of_one_request_have_their_own_tokens_and_share_the_prompt() -> None:
    async with served() as s:
        answers = await s.model().sample(HELLO, n=8)
        assert s.server.requests() == 1
    assert len({a.text for a in answers}) > 1
    for answer in answers:
        assert len(answer.response_metadata["token_ids"]) == len(answer.text.split())
    read = [a.usage_metadata["input_tokens"] for a in answers if a.usage_metadata]
    assert read == [1] + [0] * 7


async def test_engine_without_choices_gets_one_request_each() -> None:
    with start_scripted({"rules": RULES}) as server:
        poor = server.endpoint.capabilities.model_copy(update={"choices": False})
        async with EngineClient(server.endpoint.model_copy(update={"capabilities": poor})) as c:
            answers = await chat_model(c).sample(HELLO, n=3)
            assert (len(answers), server.requests()) == (3, 3)
            result = await chat_model(c).agenerate([list(HELLO)], n=3)
            assert result.llm_output
            assert result.llm_output["token_usage"]["prompt_tokens"] == 1, (
                "one prompt, however asked"
            )


async def test_answer_is_capped_by_settings_and_by_call() -> None:
    async with served(rules=[{"replies": ["word " * 100]}]) as s:
        model = s.model(sampling=SamplingSettings(max_tokens=20))
        capped = await model.ainvoke("hello")
        shorter = await model.ainvoke("hello", max_tokens=5)
    assert capped.response_metadata["finish_reason"] == "length"
    assert [len(a.text.split()) for a in (capped, shorter)] == [20, 5]


async def test_stop_string_cuts_the_answer() -> None:
    async with served(rules=[{"replies": ["before STOP after"]}]) as s:
        answer = await s.model().ainvoke("hello", stop=["STOP"])
    assert answer.text == "before "


async def test_answer_of_another_model_is_thrown_away() -> None:
    async with served(faults=[{"requests": [1], "kind": "wrong_model"}]) as s:
        with pytest.raises(WrongModel, match="'another-model' answered"):
            await s.model().ainvoke("hello")
        assert s.server.requests() == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_passing_failure_is_asked_again(status: int) -> None:
    async with served(faults=[{"requests": [1, 2], "kind": "status", "status": status}]) as s:
        answer = await s.model().ainvoke("hello")
        assert s.server.requests() == 3
    assert answer.text


@pytest.mark.parametrize("kind", ["malformed", "cut"])
async def test_broken_body_is_asked_again(kind: str) -> None:
    async with served(faults=[{"requests": [1], "kind": kind}]) as s:
        answer = await s.model().ainvoke("hello")
        assert s.server.requests() == 2
    assert answer.text


@pytest.mark.parametrize("kind", ["malformed", "status"])
async def test_lasting_failure_ends_after_a_bounded_number_of_attempts(kind: str) -> None:
    async with served(faults=[{"requests": list(range(1, 50)), "kind": kind}]) as s:
        with pytest.raises(EngineUnavailable, match=str(s.server.endpoint.url)):
            await s.model().ainvoke("hello")
        assert s.server.requests() == retry.ATTEMPTS


async def test_retry_after_is_honoured() -> None:
    fault = {"requests": [1], "kind": "status", "status": 429, "retry_after_s": 1}
    async with served(faults=[fault]) as s:
        began = time.monotonic()
        await s.model().ainvoke("hello")
    assert time.monotonic() - began >= 1


async def test_engine_that_never_answers_is_given_up() -> None:
    faults = [{"requests": list(range(1, 9)), "kind": "hang"}]
    with start_scripted({"rules": RULES, "faults": faults}) as server:
        quick = server.endpoint.model_copy(update={"request_timeout_s": 0.3})
        async with EngineClient(quick) as client:
            with pytest.raises(EngineUnavailable, match="did not answer in time"):
                await chat_model(client).ainvoke("hello")


async def test_unknown_model_is_refused_without_asking_again() -> None:
    async with served() as s:
        with pytest.raises(RequestRefused, match="`nobody` does not exist"):
            await s.model("nobody").ainvoke("hello")
        assert s.server.requests() == 1


async def test_prompt_that_is_too_long_is_refused_with_a_remedy() -> None:
    async with served(max_model_len=100) as s:
        with pytest.raises(RequestRefused, match="shorten the prompt"):
            await s.model().ainvoke("word " * 200)
        assert s.server.requests() == 1


async def test_stream_gives_the_same_text() -> None:
    async with served(rules=[{"replies": ["one two three"]}]) as s:
        pieces = [chunk.text async for chunk in s.model().astream("hello")]
    assert "".join(pieces) == "one two three"
    assert len([piece for piece in pieces if piece]) == 3


async def test_stream_that_is_cut_raises_instead_of_passing_for_whole() -> None:
    rules = [{"replies": ["one two three four"]}]
    async with served(rules=rules, faults=[{"requests": [1], "kind": "cut"}]) as s:
        with pytest.raises(EngineUnavailable):
            async for _ in s.model().astream("hello"):
                pass


async def test_no_more_sequences_are_in_flight_than_the_engine_decodes() -> None:
    with start_scripted({"rules": RULES, "latency_ms": 100}) as server:
        narrow = server.endpoint.model_copy(update={"max_concurrent": 2})
        async with EngineClient(narrow) as client:
            model = chat_model(client)
            began = time.monotonic()
            await asyncio.gather(*(model.ainvoke("hello") for _ in range(6)))
            assert time.monotonic() - began >= 0.3
            await model.sample(HELLO, n=5)  # more than there are: takes them all, not for ever


class Colour(BaseModel):
    name: str


async def test_structured_answer_is_parsed_and_a_broken_one_is_data() -> None:
    replies = ['{"name": "red"}', '{"name": ']
    async with served(rules=[{"replies": replies, "order": "sequence"}]) as s:
        structured = s.model().with_structured_output(Colour, include_raw=True)
        good = cast(dict[str, Any], await structured.ainvoke("hello"))
        bad = cast(dict[str, Any], await structured.ainvoke("hello"))
        assert s.server.requests() == 2
    assert good["parsed"] == Colour(name="red")
    assert bad["parsed"] is None
    assert bad["parsing_error"] is not None
    assert bad["raw"].text == '{"name": '


async def test_structured_answer_that_is_cut_keeps_what_there_is() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "any", "schema": {}}}
    async with served(rules=[{"replies": ["word " * 50]}]) as s:
        answer = await s.model().ainvoke("hello", max_tokens=5, response_format=schema)
    assert answer.response_metadata["finish_reason"] == "length"
    assert len(answer.text.split()) == 5


async def test_adapter_answers_under_its_own_name_and_changes_scores(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "scripted.json").write_text('{"p_pass": 1.0}')
    law = {"p_pass": 0.0, "passing": ["good"], "failing": ["bad"]}
    async with served(rules=[law]) as s:
        await s.client.load_adapter("coder-1", adapter)
        await s.client.load_adapter("coder-1", adapter)  # the same again is no error
        assert [m.id for m in await s.client.models()] == ["scripted", "coder-1"]
        assert (await s.model().ainvoke("hello")).text == "bad"
        assert (await s.model("coder-1").ainvoke("hello")).text == "good"
        base = await s.client.prompt_logprobs("scripted", "def add(a, b):")
        changed = await s.client.prompt_logprobs("coder-1", "def add(a, b):")
        assert len(base) == len(await s.client.tokenize("def add(a, b):")) - 1
        assert base != changed
        await s.client.unload_adapter("coder-1")
        with pytest.raises(RequestRefused):
            await s.model("coder-1").ainvoke("hello")


async def test_adapter_that_is_not_there_is_refused(tmp_path: Path) -> None:
    async with served() as s:
        with pytest.raises(RequestRefused, match="adapter 'gone'"):
            await s.client.load_adapter("gone", tmp_path / "nothing")


async def test_what_an_engine_cannot_do_is_refused_by_name(tmp_path: Path) -> None:
    with start_scripted({"rules": RULES}) as server:
        none = server.endpoint.capabilities.model_copy(
            update={"adapters": False, "prompt_logprobs": False, "seeds": False}
        )
        async with EngineClient(server.endpoint.model_copy(update={"capabilities": none})) as c:
            with pytest.raises(RequestRefused, match="cannot load adapters"):
                await c.load_adapter("x", tmp_path)
            with pytest.raises(RequestRefused, match="cannot score"):
                await c.prompt_logprobs("scripted", "text")
            with pytest.raises(RequestRefused, match="dies of a request with a seed"):
                await chat_model(c).ainvoke("hello", seed=1)
        assert server.requests() == 0
