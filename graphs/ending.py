"""How a run ends before its time: what is under way gets a while, then everything is let go in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from codojo.errors import Stopped
from codojo.graphs.run import Run


@asynccontextmanager
async def ending_in_order(run: Run, grace_s: float, resume_with: str = "") -> AsyncIterator[None]:
    """End the block once a stop was requested and no effect is under way any more.

    Args:
        grace_s: Seconds that effects under way get to end and be logged; then they are cancelled, and
            asked again by whoever resumes the run.
        resume_with: The command that does so, for the message.

    Raises:
        Stopped: Instead of the cancellation, saying how to go on.
    """
    task = asyncio.current_task()
    assert task is not None

    async def watch() -> None:
        await run.stop.requested()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await run.stop.idle()
        run.stop.left = run.stop.busy
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not run.stop.reason or task.uncancel():
            raise
        left = f", {run.stop.left} effects were cut short" if run.stop.left else ""
        on = f": go on with '{resume_with}'" if resume_with else f" (run {run.id})"
        raise Stopped(f"stopped by {run.stop.reason}{left}; what ended is in the log{on}") from None
    finally:
        watcher.cancel()
