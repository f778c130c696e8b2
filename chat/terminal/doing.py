"""What the slash commands do: each calls the conversation and says what came of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from codojo.chat.conversation import Conversation
from codojo.chat.sessions import Session, Turn, export_session, sessions
from codojo.chat.terminal.commands import Typed, help_lines
from codojo.chat.terminal.screen import Screen
from codojo.dojo import changed
from codojo.errors import SettingsError
from codojo.forgetting import said
from codojo.graphs.rollout import GRAPHS
from codojo.reports.page import plural
from codojo.tasks.changes import changes_of, diff_of

Edit = Callable[[str], Awaitable[str | None]]
"""Lets the person edit a text; None: they gave it up."""


class Doing:
    """The commands of one conversation.

    Args:
        edit: None where nobody can edit (a pipe).
    """

    def __init__(self, conversation: Conversation, screen: Screen, edit: Edit | None) -> None:
        self.conversation = conversation
        self.screen = screen
        self.edit = edit
        self.work: Callable[[], Awaitable[None]] | None = None
        """What a command wants done that takes a while: the loop runs it as it runs a request."""

    async def do(self, typed: Typed) -> None:
        """Do one command.

        Raises:
            CodojoError: With what to do instead.
        """
        found = getattr(self, f"_{typed.name}", None)
        if found is None:
            raise SettingsError(f"there is no /{typed.name}; /help lists what there is")
        await found(typed.rest)

    async def _help(self, rest: str) -> None:
        for line in help_lines():
            self.screen.say(line)

    async def _plan(self, rest: str) -> None:
        talk = self.conversation
        if rest:
            talk.asks_plan = _switch(rest)
        else:
            self.screen.say(self.screen.plan or "there is no plan yet")
        state = "waits for your word" if talk.asks_plan else "does not wait"
        self.screen.say(f"a plan {state}", "dim")

    async def _run(self, rest: str) -> None:
        tests = [f"assert {part.strip()}" for part in f" {rest}".split(" assert ")[1:]]
        if rest and not tests:
            raise SettingsError("write tests as /run assert f(1) == 2")
        verdict = await self.conversation.check(tests)
        self.screen.verdict(verdict)
        self.screen.table(verdict)

    async def _diff(self, rest: str) -> None:
        turns = [turn for turn in self.conversation.session.turns if turn.files]
        if not turns:
            raise SettingsError("nothing was changed yet")
        before = turns[-1].task.files if self.conversation.session.folder else _code_before(turns)
        text = diff_of(changes_of(before, turns[-1].files))
        self.screen.code(text or "no difference", "diff")

    async def _candidates(self, rest: str) -> None:
        turn = self.conversation.last
        proposals = turn.trajectory.proposals if turn and turn.trajectory else ()
        if not proposals:
            raise SettingsError("there are no candidates yet")
        for number, proposal in enumerate(proposals, start=1):
            seen = proposal.visible
            self.screen.say(f"── candidate {number}: {seen.status if seen else 'not run'}", "bold")
            for text in proposal.candidate.files.values():
                self.screen.code(text)

    async def _pick(self, rest: str) -> None:
        if not rest.isdigit():
            raise SettingsError("say which: /pick 2; /candidates shows them")
        await self.conversation.pick(int(rest) - 1)
        self.screen.say(f"candidate {rest} it is; it is logged as your preference")

    async def _edit(self, rest: str) -> None:
        turn = self.conversation.last
        if self.edit is None or turn is None or not turn.code:
            raise SettingsError("there is no code to edit here")
        text = await self.edit(turn.code)
        if text is None or text.strip() == turn.code.strip():
            self.screen.say("nothing was changed")
            return
        await self.conversation.correct(text)
        self.screen.say("your correction is logged, and follow-ups go on from it")

    async def _good(self, rest: str) -> None:
        feedback = await self.conversation.rate(True, rest)
        self.screen.say(f"logged as good by {feedback.author}; /feedback shows it")

    async def _bad(self, rest: str) -> None:
        feedback = await self.conversation.rate(False, rest)
        self.screen.say(f"logged as bad by {feedback.author}; /feedback shows it")

    async def _feedback(self, rest: str) -> None:
        given = [f for turn in self.conversation.session.turns for f in turn.feedback]
        word, _, id = rest.partition(" ")
        if word == "revoke":
            matching = [f for f in given if f.id.lower().startswith(id.strip().lower())]
            if len(matching) != 1:
                raise SettingsError("name one of them by its id, or by the beginning of it")
            await self.conversation.revoke(matching[0].id)
            self.screen.say("taken back")
            return
        for f in given:
            self.screen.say(f"{f.id}  {_when(f.at)}  {f.author}: {f.kind} {f.comment}".rstrip())
        if not given:
            self.screen.say("nothing was said of the answers here")

    async def _undo(self, rest: str) -> None:
        changes = await self.conversation.undo()
        self.screen.say(f"taken back: {', '.join(change.path for change in changes)}")

    async def _memory(self, rest: str) -> None:
        dojo = self.conversation.dojo
        if rest:
            dojo.settings = changed(dojo.settings, {"memory__enabled": _switch(rest)})
        for hit in self.screen.hits:
            self.screen.say(f"── {hit.kind} ({hit.why})", "bold")
            self.screen.code(hit.text)
        state = "is asked" if dojo.settings.memory.enabled else "is not asked"
        self.screen.say(f"memory {state}; it said {len(self.screen.hits)} things last", "dim")

    async def _model(self, rest: str) -> None:
        talk = self.conversation
        if rest:
            await talk.set_adapter(rest)
        base = talk.dojo.settings.engine.model
        self.screen.say(f"answers come from {talk.adapter or 'the champion'}, on {base}")

    async def _graph(self, rest: str) -> None:
        if rest:
            self.conversation.set_graph(rest)
        working = set(self.screen.status.nodes)
        parts = await self.conversation.parts()
        drawn = GRAPHS[self.conversation.graph](parts).get_graph()
        self.screen.say(f"{self.conversation.graph}:", "bold")
        for edge in drawn.edges:
            mark = "●" if edge.source in working else " "
            self.screen.say(f"{mark} {edge.source.strip('_')} → {edge.target.strip('_')}")

    async def _budget(self, rest: str) -> None:
        if rest:
            if not rest.replace(",", "").isdigit():
                raise SettingsError("say a number of tokens: /budget 20000; 0 for no limit")
            self.conversation.set_budget(int(rest.replace(",", "")))
        limit = self.conversation.dojo.settings.budget.tokens
        self.screen.say(self.screen.status.line(time.time()))
        self.screen.say(f"each request may spend {f'{limit:,} tokens' if limit else 'any number'}")

    async def _history(self, rest: str) -> None:
        found = sessions(self.conversation.dojo.log_folder)
        for line in history_lines(found, rest):
            self.screen.say(line)

    async def _resume(self, rest: str) -> None:
        if not rest:
            if self.conversation.unfinished is None:
                raise SettingsError(
                    "the last request is finished; /resume ID opens another session"
                )
            self.work = self._go_on
            return
        talk = self.conversation
        opened = await Conversation.open(talk.dojo, rest, talk.author)
        talk.session = opened.session
        talk.graph = opened.graph
        self.recap()

    async def _go_on(self) -> None:
        await self.conversation.go_on()

    async def _export(self, rest: str) -> None:
        session = self.conversation.session
        path = Path(rest or f"session-{session.id[-8:].lower()}.md")
        text = export_session(session, "json" if path.suffix == ".json" else "markdown")
        await asyncio.to_thread(_write_new, path, text)
        self.screen.say(f"wrote {path}")

    async def _forget(self, rest: str) -> None:
        talk = self.conversation
        if rest != "yes":
            requests = plural(len(talk.session.turns), "request")
            self.screen.say(
                f"removes this session for good: {requests}, the answers, what you said of them, and what "
                "memory and adapters learnt from them. Sure? /forget yes",
                "yellow",
            )
            return
        folder = Path(talk.session.folder) if talk.session.folder else None
        for line in said(await talk.forget()):
            self.screen.say(line)
        talk.session = (await Conversation.start(talk.dojo, talk.author, folder)).session
        self.screen.say("a new session begins here", "dim")

    def recap(self) -> None:
        """What was said in the session that was opened, in short."""
        session = self.conversation.session
        self.screen.say(f"session {session.id}: {session.title}", "bold")
        for turn in session.turns:
            self.screen.say(f"> {turn.text}", "cyan")
            self.screen.say(_came_of(turn), "dim")
        last = next((turn for turn in reversed(session.turns) if turn.code), None)
        if last is not None and not session.folder:
            self.screen.code(last.code)
        if self.conversation.unfinished is not None:
            self.screen.say("the last request is not finished: /resume goes on with it", "yellow")


def history_lines(found: dict[str, Session], text: str) -> list[str]:
    """Sessions with a request, the newest last; with a text, those that hold it."""
    shown = [s for s in found.values() if s.turns and (not text or s.holds(text))]
    lines = [
        f"{s.id}  {_when(s.turns[-1].at)}  {len(s.turns)} "
        f"request{'' if len(s.turns) == 1 else 's'}  {s.title}"
        for s in shown
    ]
    return lines or [f"no session holds {text!r}" if text else "no sessions yet"]


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("xb") as file:
            file.write(text.encode("utf-8", "replace"))
    except OSError as err:
        raise SettingsError(f"cannot write {path}: {err.strerror}; name another file") from err


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _came_of(turn: Turn) -> str:
    if turn.end != "finished":
        return f"  {'unfinished' if turn.end == 'open' else turn.end} {turn.why}".rstrip()
    verdict = turn.trajectory.verdict if turn.trajectory else None
    return f"  {turn.failure or (verdict.status if verdict else 'answered')}"


def _code_before(turns: list[Turn]) -> dict[str, str]:
    last = turns[-1]
    same = [t for t in turns[:-1] if t.task.entry_point == last.task.entry_point]
    return same[-1].files if same else {}


def _switch(word: str) -> bool:
    if word not in ("on", "off"):
        raise SettingsError(f"say on or off, not {word!r}")
    return word == "on"
