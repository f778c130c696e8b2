"""Runs Python code in a peer's local executor, inside the peer's own environment.

Called with two files, the order and where the answer goes: `{"peer", "python", "code", "runs",
"parallel"}` and `{"wall_s", "latencies_s"}`. It imports the one package it measures.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

Once = Callable[[], Awaitable[str]]


def swe_rex(order: dict[str, Any]) -> Once:
    """A command by the local runtime of swe-rex."""
    from swerex.runtime.abstract import Command
    from swerex.runtime.local import LocalRuntime

    runtime = LocalRuntime()

    async def once() -> str:
        command = Command(command=[order["python"], "-I", "-c", order["code"]])
        ran = await runtime.execute(command)
        return _ended(ran.exit_code, ran.stdout, ran.stderr)

    return once


def inspect_ai(order: dict[str, Any]) -> Once:
    """A command by the sandbox environment `local` of inspect-ai."""
    from inspect_ai.util._sandbox.local import LocalSandboxEnvironment

    local = LocalSandboxEnvironment()

    async def once() -> str:
        command = [order["python"], "-I", "-c", order["code"]]
        ran = await local.exec(command, concurrency=False)
        return _ended(ran.returncode, ran.stdout, ran.stderr)

    return once


def smolagents(order: dict[str, Any]) -> Once:
    """Code by the interpreter in Python of smolagents; no process is started at all."""
    from smolagents.local_python_executor import LocalPythonExecutor

    async def once() -> str:
        executor = LocalPythonExecutor(["unittest"])
        executor.send_tools({})
        return str(executor(order["code"]).logs)

    return once


PEERS = {"swe-rex": swe_rex, "inspect-ai": inspect_ai, "smolagents": smolagents}


def _ended(code: int, out: str, err: str) -> str:
    if code:
        raise RuntimeError(f"exit code {code}: {err[-200:]}")
    return out + err


def measure(once: Once, order: dict[str, Any]) -> dict[str, Any]:
    """Times of all runs; each thread has a loop of its own, since some peers block theirs."""

    def timed(_: int) -> float:
        began = time.perf_counter()
        said = loops.run(once())
        took = time.perf_counter() - began
        if order["expect"] not in said:
            raise RuntimeError(f"said {said[:100]!r} in place of {order['expect']!r}")
        return took

    loops = _Loops()
    with ThreadPoolExecutor(order["parallel"]) as pool:
        began = time.perf_counter()
        latencies = list(pool.map(timed, range(order["runs"])))
        return {"wall_s": time.perf_counter() - began, "latencies_s": latencies}


class _Loops:
    """One event loop for each thread."""

    def __init__(self) -> None:
        import threading

        self._local = threading.local()

    def run(self, work: Awaitable[str]) -> str:
        if not hasattr(self._local, "loop"):
            self._local.loop = asyncio.new_event_loop()
        said: str = self._local.loop.run_until_complete(work)
        return said


def main() -> None:
    """Read the order, measure, write the answer."""
    order = json.loads(Path(sys.argv[1]).read_text())
    try:
        found = measure(PEERS[order["peer"]](order), order)
    except BaseException as err:
        found = {"error": f"{type(err).__name__} {err}"[:200].strip()}
    Path(sys.argv[2]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
