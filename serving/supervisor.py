"""Engines opened, left running, and stopped.

`open_engine` is what every command uses: it takes the engine that `codojo models start` left, when
that one serves what the settings ask for, and otherwise starts one that ends with the command,
however the command ends (see `keeper`).
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, cast

import platformdirs
import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from codojo.canonical import content_hash
from codojo.errors import EngineError, EngineUnavailable, SettingsError
from codojo.serving.embedded import model_hash, resolve_model
from codojo.serving.engine import Endpoint, Engine, EngineClient
from codojo.serving.external import external_endpoint
from codojo.serving.keeper import KEEP, Job, State, last_words, read_state, tail
from codojo.serving.processes import own_env, reserved_port
from codojo.settings import EngineSettings

Progress = Callable[[str], None]


class Runtime(BaseModel):
    """What a detached engine leaves for later commands; the file is readable by its owner only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = 1
    fingerprint: str
    endpoint: Endpoint


@dataclass(frozen=True)
class EngineStatus:
    """The detached engine, if there is one."""

    running: bool
    endpoint: Endpoint | None = None
    state: State | None = None
    resident_mb: int = 0
    """Memory of the engine and everything it started."""


@contextlib.asynccontextmanager
async def open_engine(
    settings: EngineSettings,
    *,
    runtime_dir: Path | None = None,
    progress: Progress | None = None,
) -> AsyncIterator[EngineClient]:
    """An engine that answers, as the settings ask for it.

    Args:
        runtime_dir: Where a detached engine left its address; default: the user's state folder.
        progress: Gets a line a few times a minute while an engine starts.

    Raises:
        EngineUnavailable: If it cannot be started or reached; says why and where its log is.
    """
    if settings.kind == "external":
        async with EngineClient(await external_endpoint(settings)) as client:
            yield client
        return
    plan = await asyncio.to_thread(_plan, settings, progress)
    left = _left_running(runtime_dir or default_runtime_dir())
    if left and left.fingerprint == plan.fingerprint:
        async with EngineClient(left.endpoint) as client:
            await client.ensure_alive()
            yield client
        return
    if left and progress:
        progress("the engine that 'codojo models start' left serves other settings; starting one")
    folder = Path(tempfile.mkdtemp(prefix="codojo-engine-"))
    with reserved_port() as port:
        keeper, endpoint = _start_keeper(plan, folder, port, bound=True)
        try:
            endpoint = await _ready(endpoint, keeper, progress)
            async with EngineClient(endpoint) as client:
                yield client
        except EngineError:
            (folder / KEEP).touch()  # whoever reads the message will want the log
            raise
        finally:
            cast(IO[bytes], keeper.stdin).close()
            await asyncio.to_thread(keeper.wait)


def default_runtime_dir() -> Path:
    """Where a detached engine leaves its address, for all dojos of a user."""
    return Path(platformdirs.user_state_dir("codojo")) / "engine"


async def start_engine(
    settings: EngineSettings,
    *,
    runtime_dir: Path | None = None,
    progress: Progress | None = None,
) -> Endpoint:
    """Start an engine that stays until `stop_engine`; one that already serves this is kept.

    Raises:
        EngineUnavailable: If it does not start, or another one is running.
    """
    if settings.kind == "external":
        raise SettingsError("an external engine is yours to start; engine.kind is 'external'")
    folder = runtime_dir or default_runtime_dir()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    plan = await asyncio.to_thread(_plan, settings, progress)
    if left := _left_running(folder):
        if left.fingerprint == plan.fingerprint:
            return left.endpoint
        raise EngineUnavailable(
            f"an engine with other settings runs already ({left.endpoint.kind}, "
            f"{left.endpoint.base_model}); run 'codojo models stop' first"
        )
    if _is_locked(folder):
        raise EngineUnavailable("an engine is starting already; see 'codojo models status'")
    for name in ("state.json", "runtime.json", "engine.log"):
        (folder / name).unlink(missing_ok=True)
    with reserved_port() as port:
        keeper, endpoint = _start_keeper(plan, folder, port, bound=False)
        cast(IO[bytes], keeper.stdin).close()
        keeper.wait()  # it goes on in a child of its own
        try:
            endpoint = await _ready(endpoint, keeper, progress)
        except BaseException:
            stop_engine(runtime_dir=folder)
            raise
    runtime = Runtime(fingerprint=plan.fingerprint, endpoint=endpoint)
    descriptor = os.open(folder / "runtime.json", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(runtime.model_dump_json())
    return endpoint


def stop_engine(*, runtime_dir: Path | None = None, timeout_s: float = 15) -> bool:
    """End the detached engine and all its processes; False if none was running.

    Raises:
        EngineUnavailable: If its keeper does not end.
    """
    folder = runtime_dir or default_runtime_dir()
    deadline = time.monotonic() + timeout_s
    asked = False
    while _is_locked(folder):
        state = read_state(folder / "state.json")  # None while it has not said who it is
        if state and not asked:
            os.kill(state.keeper_pid, signal.SIGTERM)
            asked = True
        if time.monotonic() > deadline:
            raise EngineUnavailable(
                f"the engine's keeper ({state.keeper_pid if state else 'unknown process'}) did not "
                f"end within {timeout_s:.0f} s; kill it by hand"
            )
        time.sleep(0.1)
    (folder / "runtime.json").unlink(missing_ok=True)
    return asked


def engine_status(*, runtime_dir: Path | None = None) -> EngineStatus:
    """How the detached engine is."""
    folder = runtime_dir or default_runtime_dir()
    left = _left_running(folder)
    if left is None:
        return EngineStatus(False)
    state = read_state(folder / "state.json")
    resident = 0
    with contextlib.suppress(psutil.Error):
        keeper = psutil.Process(left.endpoint.pid)
        for process in keeper.children(recursive=True):
            resident += process.memory_info().rss
    return EngineStatus(True, left.endpoint, state, resident // 2**20)


@dataclass(frozen=True)
class _Plan:
    settings: EngineSettings
    engine: Engine
    model: str
    model_hash: str

    @property
    def fingerprint(self) -> str:
        """Names what an engine serves and how, so that a running one is used only if it is that."""
        limits = {"max_model_len", "max_num_seqs", "max_lora_rank", "max_loras", "dtype", "venv"}
        return content_hash(
            {
                "kind": self.settings.kind,
                "model": self.model_hash,
                "name": self.engine.served_name,
                "version": self.engine.version,
                "limits": self.settings.model_dump(include=limits),
            }
        )


def _plan(settings: EngineSettings, progress: Progress | None) -> _Plan:
    """Which engine, which model; converts the embedded model if need be."""
    if settings.kind == "scripted":
        from codojo.serving.scripted_engine import ScriptedEngine

        scripted = ScriptedEngine(Path(settings.model))
        trained = scripted.model_path or settings.model
        return _Plan(settings, scripted, trained, scripted.script_hash)
    model = resolve_model(settings.model, progress=progress)
    if settings.kind == "vllm":
        from codojo.serving.vllm import VllmEngine

        return _Plan(settings, VllmEngine(settings, model), str(model), model_hash(model))
    from codojo.serving.transformers_engine import TransformersEngine

    return _Plan(settings, TransformersEngine(settings, model), str(model), model_hash(model))


def _start_keeper(
    plan: _Plan, folder: Path, port: int, *, bound: bool
) -> tuple[subprocess.Popen[bytes], Endpoint]:
    key = secrets.token_urlsafe(24)
    launch = plan.engine.launch(port, key)
    root = f"http://127.0.0.1:{port}"
    job = Job(
        argv=launch.argv,
        env=launch.env,
        health_url=f"{root}/health",
        folder=str(folder),
        ready_timeout_s=plan.settings.ready_timeout_s,
        bound=bound,
    )
    with (folder / "keeper.log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "codojo.serving.keeper"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=own_env(),
            start_new_session=True,  # Ctrl-C in the terminal is for us: we end the engine in order
        )
    lifeline = cast(IO[bytes], keeper.stdin)
    lifeline.write(json.dumps(asdict(job)).encode() + b"\n")
    lifeline.flush()
    endpoint = Endpoint(
        kind=plan.settings.kind,
        url=f"{root}/v1",
        api_key=key,
        base_model=plan.engine.served_name,
        model_path=plan.model,
        model_hash=plan.model_hash,
        version=plan.engine.version,
        capabilities=plan.engine.capabilities,
        max_concurrent=plan.settings.max_num_seqs,
        request_timeout_s=plan.settings.request_timeout_s,
        state_file=str(folder / "state.json"),
        log_file=str(folder / "engine.log"),
    )
    return keeper, endpoint


async def _ready(
    endpoint: Endpoint, keeper: subprocess.Popen[bytes], progress: Progress | None
) -> Endpoint:
    """Wait until the engine answers; tell every ten seconds what it is doing."""
    began = told = time.monotonic()
    log = Path(endpoint.log_file)
    if progress:
        progress(f"starting {endpoint.kind} with {endpoint.base_model}; log: {log}")
    while True:
        state = read_state(endpoint.state_file)
        if state and state.phase == "ready":
            break
        if _has_ended(keeper, state):
            state = read_state(endpoint.state_file)
            reason = state.reason if state else last_words(log.with_name("keeper.log"))
            raise EngineUnavailable(
                f"{endpoint.kind} did not start: {reason}; whole log: {log}; "
                "run 'codojo doctor', or choose another engine.kind"
            )
        now = time.monotonic()
        if progress and now - told > 10:
            told = now
            progress(f"starting {endpoint.kind}: {now - began:.0f} s, {_doing(log)}")
        await asyncio.sleep(0.1)
    if progress:
        progress(f"{endpoint.kind} is ready after {time.monotonic() - began:.0f} s")
    return endpoint.model_copy(update={"pid": state.keeper_pid})


def _has_ended(keeper: subprocess.Popen[bytes], state: State | None) -> bool:
    if keeper.poll() not in (None, 0):
        return True
    return state is not None and not psutil.pid_exists(state.keeper_pid)


def _doing(log: Path) -> str:
    """The engine's last log line, without its prefix and short enough for a terminal."""
    line = (tail(log) or ["nothing logged yet"])[-1].rpartition("] ")[2]
    return line if len(line) <= 60 else f"{line[:60]}..."


def _left_running(folder: Path) -> Runtime | None:
    if not _is_locked(folder):
        return None
    try:
        return Runtime.model_validate_json((folder / "runtime.json").read_bytes())
    except (OSError, ValidationError):
        return None  # still starting, or written by another version


def _is_locked(folder: Path) -> bool:
    """Whether a keeper lives; its lock goes with it, however it ends."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
