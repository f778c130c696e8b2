"""Requests of one conversation come one after the other."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from codojo.errors import SettingsError
from codojo.graphs.events import RunFinished, RunStarted
from codojo.web.talks import Talk


async def test_a_request_just_after_the_end_waits_until_the_last_one_is_written_down() -> None:
    listeners: list[Any] = []
    talk = Talk(cast(Any, SimpleNamespace(hub=SimpleNamespace(listeners=listeners))))
    finished, written, began = asyncio.Event(), asyncio.Event(), []

    async def run(name: str) -> None:
        began.append(name)
        await asyncio.sleep(0.01)
        listeners[0](cast(Any, RunStarted).model_construct())
        await finished.wait()
        listeners[0](cast(Any, RunFinished).model_construct())
        await written.wait()

    await talk.begin(run("first"))
    with pytest.raises(SettingsError, match="at work"):
        await talk.begin(run("too early"))
    finished.set()
    await asyncio.sleep(0)
    second = asyncio.create_task(talk.begin(run("second")))
    await asyncio.sleep(0.05)
    assert began == ["first"] and not second.done()
    written.set()
    with pytest.raises(SettingsError, match="at work"):
        await asyncio.gather(second, talk.begin(run("twice")))
    assert began == ["first", "second"]
