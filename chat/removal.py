"""Forgetting conversations: out of history and training at once, and every byte of them gone.

First the log says that a session is to be forgotten, so that a crash, or another process that uses the
log, leaves nothing that a later call does not finish.
"""

import asyncio
from pathlib import Path

from codojo.dojo import Dojo
from codojo.errors import Busy, MemoryStoreError
from codojo.forgetting import Forgotten, forget
from codojo.trajectories.feedback import FORGOTTEN, session_of
from codojo.trajectories.log import read_log


def left_over(log: Path) -> list[str]:
    """Sessions that are to be forgotten and are still there, in part at least."""
    doomed: dict[str, bool] = {}
    for event in read_log(log):
        if event.kind == FORGOTTEN:
            doomed.setdefault(event.data["session"], False)
    for event in read_log(log) if doomed else ():
        session = session_of(event) or (event.data.get("session") if event.rollout is None else "")
        if session in doomed and (event.kind != FORGOTTEN or set(event.data) != {"session"}):
            doomed[session] = True
    return [session for session, is_left in doomed.items() if is_left]


async def remove_session(dojo: Dojo, session: str) -> Forgotten:
    """Forget a session, and whatever earlier calls left of others.

    Nobody may write to the dojo from this process meanwhile: its log and memory are put down.

    Raises:
        Busy, MemoryStoreError: While another process uses them; the session is out of history and
            training all the same, and the next call removes it.
    """
    await dojo.log.write(FORGOTTEN, {"session": session})
    return (await remove_left_over(dojo, session))[-1]


async def remove_left_over(dojo: Dojo, last: str = "") -> list[Forgotten]:
    """Remove what is to be forgotten and is still there, and then the session that is named."""
    dojo.let_go()
    try:
        return await asyncio.to_thread(_remove, dojo.root, last)
    except (Busy, MemoryStoreError) as err:
        raise type(err)(
            f"it is out of history and training from now on, but its bytes are still there: {err} "
            "('codojo chat --forget ID', or the next start of 'codojo web')"
        ) from err


def _remove(root: Path, last: str) -> list[Forgotten]:
    others = [left for left in left_over(root / "log") if left != last]
    return [forget(root, session=id) for id in (*others, last) if id]
