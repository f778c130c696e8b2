"""`codojo bench chat`: what the browser's face adds to the first token, and many conversations at once.

The first token is timed by a client of the engine itself, and by a client of `codojo web` who asks for
something and reads the event stream, in rounds by turns, with one scripted engine behind both; it waits
a known while before its first token, so that what is added stands beside something. Then many
conversations are open in one server, each with a reader: most idle, some at work at once. Each client
checks that it got every event there was.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from codojo.bench.rounds import (
    Batch,
    Sheet,
    Target,
    about,
    as_json,
    interleave,
    machine,
    quiet_load,
    ratio,
    show,
    spread,
    tell,
    write_markdown,
)
from codojo.serving.scripted import Script
from codojo.serving.scripted_engine import ScriptedServer, start_scripted

ENGINE, WEB = "the engine alone", "through codojo web"
REQUESTS = 10
"""For each way and round."""
FIRST_TOKEN_MS = 200.0
"""What the scripted engine waits: about what a small model takes on a laptop for a short prompt."""
TOKEN_MS = 20.0
MOST_ADDED = 0.25
SESSIONS, ACTIVE = 250, 50
TEXT = "Write double(x) that returns x twice"
ANSWER = "```python\ndef double(x):\n    return x + x\n```"
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Crowd:
    """What came of many conversations at once."""

    sessions: int
    active: int
    finished: int
    """Requests whose reader saw their end."""
    missing: int
    """Events that a reader did not get, over all readers."""
    first_token_p50_ms: float
    first_token_p95_ms: float
    wall_s: float
    memory_mb: float
    """What the server's resident memory grew by."""
    files_left: int
    """Descriptors that were open once all had left, over those before."""


def main(
    *,
    rounds: int = 9,
    sessions: int = SESSIONS,
    active: int = ACTIVE,
    first_token_ms: float = FIRST_TOKEN_MS,
    force: bool = False,
    markdown: Path | None = None,
) -> dict[str, object]:
    """Measure, show, and return everything.

    Raises:
        MeasurementRefused: On a busy machine, unless forced.
    """
    load = quiet_load(force=force)
    rules: Any = [{"replies": [ANSWER]}]
    script = Script(rules=rules, latency_ms=first_token_ms, token_ms=TOKEN_MS)
    with start_scripted(script) as engine, _server(engine) as (url, token, process):
        found, crowd = asyncio.run(_measure(engine, url, token, process, rounds, sessions, active))
    alone, web = found[ENGINE], found[WEB]
    times = ratio([b.middle_s for b in web], [b.middle_s for b in alone])
    added_ms = 1000 * float(
        np.median([b.middle_s for b in web]) - np.median([b.middle_s for b in alone])
    )
    targets = [
        Target(
            f"codojo web adds at most {MOST_ADDED:.0%} to a first token that takes {first_token_ms:.0f} ms",
            f"{times} times, {added_ms:.1f} ms more",
            times.value <= 1 + MOST_ADDED,
        ),
        Target(
            f"{sessions} conversations at once, {active} of them at work, lose nothing",
            f"{crowd.finished} of {active} ended, {crowd.missing} events missing",
            crowd.finished == active and crowd.missing == 0,
        ),
    ]
    sheets = [_times(found), _crowd(crowd)]
    lines = about(machine(load), targets)
    show(sheets, lines)
    write_markdown(markdown, sheets, lines)
    return {
        "first_token_ms": {name: spread(batches)._asdict() for name, batches in found.items()},
        "added_ms": added_ms,
        "crowd": asdict(crowd),
        "targets": as_json(targets),
        "machine": machine(load),
    }


async def _measure(
    engine: ScriptedServer,
    url: str,
    token: str,
    process: psutil.Process,
    rounds: int,
    sessions: int,
    active: int,
) -> tuple[dict[str, list[Batch]], Crowd]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, limits=limits) as web:
        (await web.post("/api/login", json={"token": token})).raise_for_status()

        async def direct() -> Batch:
            return await _batch([await _of_engine(web, engine) for _ in range(REQUESTS)])

        async def through() -> Batch:
            return await _batch([await _of_web(web) for _ in range(REQUESTS)])

        found = await interleave({ENGINE: direct, WEB: through}, rounds, tell)
        return found, await _many(web, process, sessions, active)


async def _batch(took_s: list[float]) -> Batch:
    return Batch(len(took_s), sum(took_s), tuple(took_s))


async def _of_engine(client: httpx.AsyncClient, engine: ScriptedServer) -> float:
    body = {
        "model": "scripted",
        "messages": [{"role": "user", "content": TEXT}],
        "stream": True,
    }
    headers = {"authorization": f"Bearer {engine.endpoint.api_key}"}
    began = time.monotonic()
    url = f"{engine.endpoint.url}/chat/completions"
    took = 0.0
    async with client.stream("POST", url, json=body, headers=headers) as answer:
        async for line in answer.aiter_lines():
            if not took and '"content"' in line:
                took = time.monotonic() - began
    return took


async def _of_web(client: httpx.AsyncClient) -> float:
    id = await _session(client)
    reader = _Reader(client, id)
    task = asyncio.create_task(reader.read())
    await reader.ready.wait()
    began = time.monotonic()
    (await client.post(f"/api/sessions/{id}/say", json={"text": TEXT})).raise_for_status()
    await task
    return reader.first - began


async def _session(client: httpx.AsyncClient) -> str:
    said = (await client.post("/api/sessions", json={})).raise_for_status()
    return str(said.json()["id"])


class _Reader:
    """Reads a conversation's events until its run has ended."""

    def __init__(self, client: httpx.AsyncClient, id: str) -> None:
        self.id = id
        self.ready = asyncio.Event()
        self.first = 0.0
        """When the first piece of an answer came; 0: not yet."""
        self.ended = False
        self.kinds: list[str] = []
        self._client = client

    async def read(self) -> None:
        """Until the end of a run."""
        async for kind in self._kinds():
            if kind == "text_delta":
                self.first = self.first or time.monotonic()
                continue
            self.kinds.append(kind)
            if kind in ("run_finished", "run_error"):
                self.ended = kind == "run_finished"
                return

    async def _kinds(self) -> AsyncIterator[str]:
        async with self._client.stream("GET", f"/api/sessions/{self.id}/events") as answer:
            self.ready.set()
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    yield str(json.loads(line[6:])["type"])


async def _many(
    client: httpx.AsyncClient, process: psutil.Process, sessions: int, active: int
) -> Crowd:
    before = process.num_fds()
    memory = process.memory_info().rss
    readers = [_Reader(client, await _session(client)) for _ in range(sessions)]
    reading = [asyncio.create_task(reader.read()) for reader in readers]
    await asyncio.gather(*(reader.ready.wait() for reader in readers))
    began = time.monotonic()
    at_work = readers[:: max(1, sessions // active)][:active]
    asked = {}

    async def ask(reader: _Reader) -> None:
        asked[reader.id] = time.monotonic()
        said = await client.post(f"/api/sessions/{reader.id}/say", json={"text": TEXT})
        said.raise_for_status()

    await asyncio.gather(*(ask(reader) for reader in at_work))
    working = [task for task, reader in zip(reading, readers, strict=True) if reader in at_work]
    await asyncio.wait(working, timeout=PATIENCE_S)
    wall_s = time.monotonic() - began
    grown = process.memory_info().rss - memory
    idle = [reader for reader in readers if reader not in at_work]
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    missing = sum(len(reader.kinds) for reader in idle)  # they were to get nothing
    for reader in at_work:
        late = _Reader(client, reader.id)
        await asyncio.wait_for(late.read(), PATIENCE_S)
        missing += late.kinds != reader.kinds
    first_ms = [1000 * (r.first - asked[r.id]) for r in at_work if r.first]
    end = time.monotonic() + 20
    while process.num_fds() > before + 20 and time.monotonic() < end:  # noqa: ASYNC110  # another process
        await asyncio.sleep(0.2)
    return Crowd(
        sessions=sessions,
        active=active,
        finished=sum(reader.ended for reader in at_work),
        missing=missing,
        first_token_p50_ms=float(np.percentile(first_ms, 50)),
        first_token_p95_ms=float(np.percentile(first_ms, 95)),
        wall_s=wall_s,
        memory_mb=grown / 1e6,
        files_left=max(0, process.num_fds() - before),
    )


@contextmanager
def _server(engine: ScriptedServer) -> Iterator[tuple[str, str, psutil.Process]]:
    """`codojo web` on that engine: its address, the token of its first start, its process."""
    with tempfile.TemporaryDirectory(prefix="codojo-bench-") as folder:
        settings = {
            "engine.kind": "external",
            "engine.url": engine.endpoint.url,
            "engine.key_env": "CODOJO_BENCH_KEY",
            "engine.model": "scripted",
            "engine.max_num_seqs": "64",
            "team.samples": "1",
        }
        chosen = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        command = [sys.executable, "-m", "codojo", "web", "--port", "0", "--dojo", f"{folder}/dojo"]
        environment = os.environ | {
            "CODOJO_BENCH_KEY": engine.endpoint.api_key,
            "PYTHONUNBUFFERED": "1",
        }
        with subprocess.Popen(
            [*command, *chosen], stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            try:
                token = ""
                assert process.stdout is not None
                for line in process.stdout:
                    if found := re.match(r"token of .*: (\S+)$", line):
                        token = found[1]
                    if line.startswith("http://"):
                        break
                else:
                    raise RuntimeError(
                        "the server ended before it served; its last words are above"
                    )
                yield line.strip().rstrip("/"), token, psutil.Process(process.pid)
            finally:
                process.terminate()


def _times(found: dict[str, list[Batch]]) -> Sheet:
    rows = []
    for name, batches in found.items():
        p50, p95 = spread(batches)
        rows.append((name, f"{p50:.1f}", f"{p95:.1f}"))
    return Sheet("From asking to the first token", ("way", "p50 ms", "p95 ms"), tuple(rows))


def _crowd(crowd: Crowd) -> Sheet:
    columns = tuple(name.replace("_", " ") for name in asdict(crowd))
    shown = tuple(f"{v:.1f}" if isinstance(v, float) else str(v) for v in asdict(crowd).values())
    return Sheet("Many conversations in one server", columns, (shown,))
