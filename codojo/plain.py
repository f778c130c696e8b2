"""Three functions without `async`, for scripts and notebooks."""

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from codojo.dojo import Dojo, Solved

if TYPE_CHECKING:
    from codojo.graphs.improve_report import ImproveReport
    from codojo.trajectories.exporters.writing import Exported

T = TypeVar("T")


def solve(
    text: str, tests: Sequence[str] = (), *, dojo: str | Path = "dojo", **settings: object
) -> Solved:
    """`Dojo.solve`. Settings as `team__samples=8`."""

    async def work() -> Solved:
        async with Dojo.open(dojo, overrides=_dotted(settings)) as opened:
            return await opened.solve(text, tests)

    return _run(work())


def export(
    format: str,
    path: str | Path,
    *,
    dojo: str | Path = "dojo",
    parquet: bool = False,
    **filters: object,
) -> "Exported":
    """`Dojo.export`. Filters as `only="passed"`."""

    async def work() -> "Exported":
        async with Dojo.open(dojo) as opened:
            return await opened.export(format, path, parquet=parquet, **filters)

    return _run(work())


def improve(
    suite: str = "katas", rounds: int = 1, *, dojo: str | Path = "dojo", **settings: object
) -> "ImproveReport":
    """`Dojo.improve`. Settings as `gate__samples=4`."""

    async def work() -> "ImproveReport":
        async with Dojo.open(dojo, overrides=_dotted(settings)) as opened:
            return await opened.improve(suite, rounds)

    return _run(work())


def _dotted(settings: dict[str, object]) -> dict[str, object]:
    return {name.replace("__", ".", 1): value for name, value in settings.items()}


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, also inside a notebook, whose own event loop is busy."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
