"""The graphs as `langgraph.json` lists them, for those who mount them in applications of their own.

Each opens the dojo named by `CODOJO_DOJO` (default: `dojo`). Outside a rollout effects are not
journalled; the log of the program says so once.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from codojo.dojo import Dojo
from codojo.graphs.rollout import GRAPHS, Graph


@asynccontextmanager
async def solo(config: dict[str, Any]) -> AsyncIterator[Graph]:
    """The coder alone."""
    async with _opened("solo") as graph:
        yield graph


@asynccontextmanager
async def team(config: dict[str, Any]) -> AsyncIterator[Graph]:
    """Planner, coder, tester, critic and builder."""
    async with _opened("team") as graph:
        yield graph


@asynccontextmanager
async def _opened(name: str) -> AsyncIterator[Graph]:
    async with Dojo.open(os.environ.get("CODOJO_DOJO", "dojo")) as dojo:
        yield GRAPHS[name](await dojo.parts(adapter=await dojo.champion_loaded()))
