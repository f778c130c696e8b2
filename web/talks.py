"""Conversations that are open in this process, each for the one person whose it is."""

import asyncio
import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from codojo.chat.conversation import Conversation
from codojo.chat.removal import left_over, remove_left_over, remove_session
from codojo.chat.sessions import Session, past_of, sessions
from codojo.dojo import Dojo
from codojo.errors import CodojoError, SettingsError
from codojo.forgetting import Forgotten
from codojo.graphs.events import RunError, RunFinished, RunStarted, TeamEvent
from codojo.graphs.hub import Hub
from codojo.trajectories.feedback import FORGOTTEN

logger = logging.getLogger(__name__)

MAX_OPEN = 1_000


class NotFound(Exception):
    """There is none of that id, or it is somebody else's: nobody is told which."""


class Talk:
    """One open conversation, and what the team does in it."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.problem = ""
        """What went wrong last, for the person."""
        self._work: asyncio.Task[None] | None = None
        self._began = asyncio.Event()
        self._has_ended = False
        """What is told of the run has ended, and it is being written down."""
        conversation.hub.listeners.append(self._see)

    async def begin(self, work: Awaitable[Any]) -> None:
        """Let the team work; returns once the run has begun, and the rest goes on by itself.

        Raises:
            CodojoError: Where it does not begin.
        """
        if self._work is not None and self._has_ended:
            await asyncio.wait({self._work})
        if self._work is not None and not self._work.done():
            if asyncio.iscoroutine(work):
                work.close()
            raise SettingsError("the team is at work; stop it first, or write it a note")
        self.problem = ""
        self._began.clear()
        self._has_ended = False
        self._work = asyncio.create_task(self._run(work))
        began = asyncio.create_task(self._began.wait())
        await asyncio.wait({self._work, began}, return_when=asyncio.FIRST_COMPLETED)
        began.cancel()
        if self._work.done() and not self._began.is_set() and self.problem:
            raise SettingsError(self.problem)

    async def close(self) -> None:
        """Stop the team, as far as it works."""
        if self._work is not None and not self._work.done():
            self.conversation.stop()
            await asyncio.wait({self._work})

    @property
    def is_working(self) -> bool:
        """Whether the team is at work, or what it did is being written down."""
        return self._work is not None and not self._work.done()

    async def settled(self) -> None:
        """Wait until the last run is written down."""
        if self._work is not None and not self.conversation.is_asking:
            await asyncio.wait({self._work}, timeout=5)

    async def _run(self, work: Awaitable[Any]) -> None:
        try:
            await work
        except CodojoError as err:
            self.problem = str(err)
        except Exception:
            logger.exception("a turn failed")
            self.problem = "something failed that nobody foresaw; the server's log has it"

    def _see(self, event: TeamEvent) -> None:
        if isinstance(event, RunStarted):
            self._began.set()
        elif isinstance(event, RunFinished | RunError):
            self._has_ended = True
        if isinstance(event, RunError):
            self.problem = event.message


class Talks:
    """All open conversations.

    Args:
        folder: That new conversations may work in; None: they write functions.
    """

    def __init__(self, dojo: Dojo, folder: Path | None = None) -> None:
        self.dojo = dojo
        self.folder = folder
        self._open: dict[str, Talk] = {}
        self._opening = asyncio.Lock()
        self._tidying: asyncio.Task[None] | None = None

    async def of(self, user: str) -> list[Session]:
        """The sessions of a person, oldest first."""
        found = await asyncio.to_thread(sessions, self.dojo.log_folder)
        return [session for session in found.values() if session.author == user]

    async def start(self, user: str, *, in_folder: bool) -> Talk:
        """A new conversation.

        Raises:
            SettingsError: If no folder was named, or too many are open.
        """
        if in_folder and self.folder is None:
            raise SettingsError("no folder was named; start the server with --dir")
        async with self._opening:
            dojo = await self.dojo.view()
            conversation = await Conversation.start(dojo, user, self.folder if in_folder else None)
            return self._add(conversation)

    async def get(self, user: str, id: str) -> Talk:
        """A conversation of that person, opened from the log where it is not open yet.

        Raises:
            NotFound: If there is none, or it is another person's.
        """
        async with self._opening:
            talk = self._open.get(id)
            if talk is None:
                found = {session.id: session for session in await self.of(user)}
                if id not in found:
                    raise NotFound
                conversation = Conversation(await self.dojo.view(), found[id], user)
                past = await asyncio.to_thread(lambda: list(past_of(self.dojo.log_folder, id)))
                conversation.hub = Hub(past)
                talk = self._add(conversation)
        if talk.conversation.session.author != user:
            raise NotFound
        return talk

    async def forget(self, talk: Talk) -> Forgotten | None:
        """Remove a conversation; None: it is out of sight, and removed once no other is at work.

        Raises:
            Busy, MemoryStoreError: See `codojo.chat.removal`.
        """
        await talk.close()
        id = talk.conversation.session.id
        async with self._opening:
            self._drop(id)
            if not self._is_working:
                return await remove_session(self.dojo, id)
        await self.dojo.log.write(FORGOTTEN, {"session": id})
        if self._tidying is None or self._tidying.done():
            self._tidying = asyncio.create_task(self._tidy())
        return None

    async def _tidy(self) -> None:
        """Remove what is to be forgotten, as soon as nobody works."""
        while True:
            await asyncio.sleep(1)
            async with self._opening:
                if not self._is_working:
                    await self.tidy()
                    return

    async def tidy(self) -> None:
        """Remove what is to be forgotten and is still there, if no other process is in the way."""
        if await asyncio.to_thread(left_over, self.dojo.log_folder):
            try:
                await remove_left_over(self.dojo)
            except CodojoError as err:
                logger.warning("%s", err)

    @property
    def _is_working(self) -> bool:
        return any(talk.is_working for talk in self._open.values())

    def _drop(self, id: str) -> None:
        talk = self._open.pop(id, None)
        if talk is not None:
            talk.conversation.hub.close()

    async def close(self) -> None:
        """Stop everything and let readers end."""
        if self._tidying is not None:
            self._tidying.cancel()
        for talk in self._open.values():
            talk.conversation.hub.close()
        await asyncio.gather(*(talk.close() for talk in self._open.values()))

    def _add(self, conversation: Conversation) -> Talk:
        if len(self._open) >= MAX_OPEN:
            for id, talk in list(self._open.items()):
                if not talk.is_working:
                    self._drop(id)
                    break
            else:
                raise SettingsError(f"{MAX_OPEN} conversations are at work; try again later")
        talk = self._open[conversation.session.id] = Talk(conversation)
        return talk
