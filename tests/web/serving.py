"""A real server for tests of the browser's face: the command itself, with a scripted engine behind it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.scripts import run_settings


@dataclass
class Served:
    """A running server."""

    process: subprocess.Popen[str]
    url: str
    token: str
    dojo: Path

    def client(self, token: str | None = None) -> httpx.Client:
        """Somebody who is logged in."""
        client = httpx.Client(base_url=self.url, timeout=120)
        said = client.post("/api/login", json={"token": token or self.token})
        assert said.status_code == 200, said.text
        return client

    def kill(self) -> None:
        """As a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def command(dojo: Path, script: Path | None, *more: str) -> list[str]:
    """The command line of a server; without a script, over the embedded model."""
    engine = run_settings(script) if script else []
    given = ["--dojo", str(dojo), *engine, "--set", "team.samples=1"]
    return [sys.executable, "-m", "codojo", "web", "--port", "0", "--as", "ada", *given, *more]


@contextmanager
def served(dojo: Path, script: Path | None, *more: str, token: str = "") -> Iterator[Served]:
    """A server for the block.

    Args:
        token: Of an earlier start of the same dojo, which prints none.
    """
    with subprocess.Popen(
        command(dojo, script, *more),
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.match(r"token of \S+, shown this once: (\S+)", line):
                    token = found[1]
                if line.startswith("http://"):
                    break
            else:
                raise AssertionError("the server ended before it served")
            yield Served(process, line.strip().rstrip("/"), token, dojo)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def told(client: httpx.Client, session: str) -> dict[str, Any]:
    """A session as the browser gets it."""
    read: dict[str, Any] = client.get(f"/api/sessions/{session}").json()
    return read


def wait_until_done(client: httpx.Client, session: str, seconds: float = 120) -> dict[str, Any]:
    """The session once the team has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        read = told(client, session)
        if not read["working"] and read["turns"] and read["turns"][-1]["end"] != "open":
            return read
        time.sleep(0.1)
    raise AssertionError(f"the team still works: {json.dumps(read)[:2000]}")
