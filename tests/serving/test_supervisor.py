"""Engines that start, stay, end and come back; the scripted engine stands for any."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from codojo.errors import EngineUnavailable, SettingsError
from codojo.serving.chat_model import chat_model
from codojo.serving.keeper import read_state
from codojo.serving.processes import own_env, reserved_port
from codojo.serving.supervisor import engine_status, open_engine, start_engine, stop_engine
from codojo.settings import EngineSettings


@pytest.fixture(autouse=True)
def folders_of_failed_engines_go_with_the_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def scripted(tmp_path: Path, **script: Any) -> EngineSettings:
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"rules": [{"replies": ["fine"]}]} | script))
    return EngineSettings(kind="scripted", model=str(path), ready_timeout_s=30)


def engine_pid(state_file: str) -> int:
    state = read_state(state_file)
    assert state is not None
    return state.engine_pid


async def gone(pid: int, within_s: float) -> bool:
    return await until(lambda: not psutil.pid_exists(pid), within_s)


async def until(true: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


def test_a_reserved_port_is_given_to_nobody_else_and_a_server_may_listen_on_it() -> None:
    with reserved_port() as port, contextlib.ExitStack() as others:
        given = {others.enter_context(reserved_port()) for _ in range(200)}
        assert port not in given
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", port))


async def test_engine_answers_and_ends_with_the_block(tmp_path: Path) -> None:
    lines: list[str] = []
    async with open_engine(
        scripted(tmp_path), runtime_dir=tmp_path, progress=lines.append
    ) as client:
        assert (await chat_model(client).ainvoke("hello")).text == "fine"
        assert await client.health()
        pid = engine_pid(client.endpoint.state_file)
        folder = Path(client.endpoint.state_file).parent
    assert await gone(pid, 1)
    assert not folder.exists()
    assert "ready after" in lines[-1]


async def test_engine_ends_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_engine(scripted(tmp_path), runtime_dir=tmp_path) as client:
            pid = engine_pid(client.endpoint.state_file)
            raise ZeroDivisionError
    assert await gone(pid, 1)


async def test_engine_does_not_outlive_a_killed_command(tmp_path: Path) -> None:
    command = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from codojo.serving.supervisor import open_engine\n"
        "from codojo.settings import EngineSettings\n"
        "async def main():\n"
        "    settings = EngineSettings(kind='scripted', model=sys.argv[1])\n"
        "    async with open_engine(settings, runtime_dir=Path(sys.argv[2])) as client:\n"
        "        print(client.endpoint.state_file, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    settings = scripted(tmp_path)
    argv = [sys.executable, "-c", command, settings.model, str(tmp_path)]
    child = await asyncio.create_subprocess_exec(
        *argv, env=own_env(), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    state = read_state((await child.stdout.readline()).decode().strip())
    assert state is not None
    child.kill()
    await child.wait()
    assert await gone(state.engine_pid, 3)
    assert await gone(state.keeper_pid, 3)


async def test_engine_does_not_outlive_a_killed_keeper(tmp_path: Path) -> None:
    async with open_engine(scripted(tmp_path), runtime_dir=tmp_path) as client:
        pid = engine_pid(client.endpoint.state_file)
        assert client.endpoint.pid
        os.kill(client.endpoint.pid, signal.SIGKILL)
        assert await gone(pid, 3)


async def test_engine_that_dies_at_start_gives_one_clear_error(tmp_path: Path) -> None:
    settings = scripted(tmp_path)
    broken = settings.model_copy(update={"ready_timeout_s": 0.01})
    with pytest.raises(EngineUnavailable, match=r"not ready after 0 s.*engine\.log"):
        async with open_engine(broken, runtime_dir=tmp_path):
            pass


async def test_missing_script_is_a_matter_of_settings(tmp_path: Path) -> None:
    settings = EngineSettings(kind="scripted", model=str(tmp_path / "none.json"))
    with pytest.raises(SettingsError, match=r"none\.json"):
        async with open_engine(settings, runtime_dir=tmp_path):
            pass


async def test_missing_vllm_says_how_to_get_it(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    settings = EngineSettings(kind="vllm", model=str(model), venv=str(tmp_path))
    with pytest.raises(EngineUnavailable, match="codojo models install"):
        async with open_engine(settings, runtime_dir=tmp_path):
            pass


async def test_killed_engine_comes_back_with_its_adapters(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    async with open_engine(scripted(tmp_path), runtime_dir=tmp_path) as client:
        await client.load_adapter("coder-1", adapter)
        os.kill(engine_pid(client.endpoint.state_file), signal.SIGKILL)
        answer = await chat_model(client, "coder-1").ainvoke("hello")
        state = read_state(client.endpoint.state_file)
    assert answer.text == "fine"
    assert state is not None
    assert (state.phase, state.generation) == ("ready", 2)


async def test_engine_that_dies_in_the_middle_of_a_request_is_asked_again(tmp_path: Path) -> None:
    settings = scripted(tmp_path, faults=[{"requests": [2], "kind": "die"}])
    async with open_engine(settings, runtime_dir=tmp_path) as client:
        model = chat_model(client)
        answers = [(await model.ainvoke("hello")).text for _ in range(2)]
    assert answers == ["fine", "fine"]


async def test_engine_that_keeps_dying_is_given_up(tmp_path: Path) -> None:
    settings = scripted(tmp_path, faults=[{"requests": [1], "kind": "die"}])
    async with open_engine(settings, runtime_dir=tmp_path) as client:
        with pytest.raises(EngineUnavailable, match="died 3 times"):
            await chat_model(client).ainvoke("hello")


async def test_detached_engine_is_used_by_later_commands_until_stopped(tmp_path: Path) -> None:
    settings = scripted(tmp_path)
    runtime = tmp_path / "runtime"
    assert not engine_status(runtime_dir=runtime).running
    endpoint = await start_engine(settings, runtime_dir=runtime)
    try:
        assert (runtime / "runtime.json").stat().st_mode & 0o777 == 0o600
        assert endpoint.api_key not in repr(endpoint)
        again = await start_engine(settings, runtime_dir=runtime)
        assert again == endpoint
        async with open_engine(settings, runtime_dir=runtime) as client:
            assert client.endpoint == endpoint
            assert (await chat_model(client).ainvoke("hello")).text == "fine"
        status = engine_status(runtime_dir=runtime)
        assert status.running
        assert status.state is not None
        assert status.state.phase == "ready"
        assert status.resident_mb > 0
        assert endpoint.api_key not in " ".join(psutil.Process(status.state.engine_pid).cmdline())
    finally:
        assert stop_engine(runtime_dir=runtime)
    assert not psutil.pid_exists(status.state.engine_pid)
    assert not engine_status(runtime_dir=runtime).running
    assert not stop_engine(runtime_dir=runtime)


async def test_engine_with_other_settings_is_left_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    runtime = tmp_path / "runtime"
    endpoint = await start_engine(scripted(first), runtime_dir=runtime)
    try:
        other = scripted(second, rules=[{"replies": ["other"]}])
        with pytest.raises(EngineUnavailable, match="codojo models stop"):
            await start_engine(other, runtime_dir=runtime)
        async with open_engine(other, runtime_dir=runtime) as client:
            assert client.endpoint.url != endpoint.url
            assert (await chat_model(client).ainvoke("hello")).text == "other"
        assert engine_status(runtime_dir=runtime).endpoint == endpoint
    finally:
        stop_engine(runtime_dir=runtime)


async def test_cancelling_a_start_leaves_no_process(tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}

    async def opens() -> None:
        async with open_engine(scripted(tmp_path), runtime_dir=tmp_path):
            await asyncio.sleep(60)

    task = asyncio.create_task(opens())
    await asyncio.sleep(0.3)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    after = {child.pid for child in psutil.Process().children(recursive=True)}
    assert after <= before


async def test_external_engine_is_asked_what_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "runtime"
    endpoint = await start_engine(scripted(tmp_path), runtime_dir=runtime)
    try:
        monkeypatch.setenv("MY_KEY", endpoint.api_key)
        settings = EngineSettings(kind="external", url=endpoint.url, key_env="MY_KEY")
        async with open_engine(settings) as client:
            assert client.endpoint.base_model == "scripted"
            assert await client.health()
            assert (await chat_model(client).ainvoke("hello")).text == "fine"
        wrong = settings.model_copy(update={"model": "nobody"})
        with pytest.raises(SettingsError, match="serves scripted"):
            async with open_engine(wrong):
                pass
    finally:
        stop_engine(runtime_dir=runtime)
