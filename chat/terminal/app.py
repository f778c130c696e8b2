"""The loop of the terminal: reads what is typed while the team works, and piped input without a terminal."""

import asyncio
import signal
import sys
import termios
import time
import tty
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue
from rich.console import Console

from codojo.chat.conversation import Conversation
from codojo.chat.terminal.commands import COMMANDS, parse
from codojo.chat.terminal.doing import Doing
from codojo.chat.terminal.screen import Screen
from codojo.errors import CodojoError
from codojo.graphs.events import Interrupt, RunError, TeamEvent
from codojo.reports.page import visible
from codojo.tasks.changes import changes_of, diff_of
from codojo.tasks.schema import Verdict

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.input import Input

REFRESH_S = 0.5


class Terminal:
    """A conversation with a person at a terminal."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.screen = Screen(Console(highlight=False, markup=False, emoji=False, soft_wrap=False))
        self.doing = Doing(conversation, self.screen, self._edit)
        self._input = _session(self)
        self._question: dict[str, Any] = {}
        self._work: asyncio.Task[None] | None = None
        self._told = ""
        conversation.hub.listeners.append(self._see)

    async def run(self, first: str = "") -> None:
        """Talk until the person leaves; whatever works then is stopped."""
        from prompt_toolkit.patch_stdout import patch_stdout

        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupted)
        with _keys_kept(), patch_stdout(raw=True):
            self.screen.say("codojo: say what you need; /help lists what else can be typed", "dim")
            if self.conversation.session.turns:
                self.doing.recap()
            if first:
                await self._take(first)
            while True:
                try:
                    text = await self._input.prompt_async(self.prompt, handle_sigint=False)
                except KeyboardInterrupt:
                    self._interrupted()
                    continue
                except EOFError:
                    break
                typed = parse(text)
                if typed is not None and typed.name == "quit":
                    break
                await self._take(text)
            if self.conversation.stop() and self._work is not None:
                await asyncio.wait({self._work})

    def prompt(self) -> str:
        """What stands before the cursor: whether an answer, a note or a request is expected."""
        if self.conversation.is_asking:
            return "answer> "
        return "note> " if self.conversation.is_working else "> "

    def toolbar(self) -> str:
        """The status line."""
        left = self.screen.status.line(time.time())
        if self.conversation.is_asking:
            left = left.replace("working", "waits for you", 1)
        return f" {visible(left)} · {self.conversation.graph}"[
            : max(20, self.screen.console.width - 1)
        ]

    async def _take(self, text: str) -> None:
        """Whatever was typed: an answer, a command, a note, or a request."""
        text = text.strip()
        typed = parse(text)
        if self._work is not None and self.screen.status.ended:
            await asyncio.wait({self._work})  # what has ended is written down first
        try:
            if typed is not None:
                await self.doing.do(typed)
                if self.doing.work is not None:
                    work, self.doing.work = self.doing.work, None
                    self._start(work)
            elif self.conversation.is_asking:
                await self._answer(text)
            elif not text:
                return
            elif self.conversation.is_working:
                self.conversation.steer(text)
                self.screen.say("the coder hears it before its next answer", "dim")
            else:
                self._start(lambda: self._request(text))
        except CodojoError as err:
            self.screen.say(str(err), "red")

    def _start(self, work: Callable[[], Awaitable[None]]) -> None:
        self.screen.status.ended = 0.0
        self._work = asyncio.create_task(self._working(work))

    async def _working(self, work: Callable[[], Awaitable[None]]) -> None:
        self._told = ""
        try:
            await work()
        except CodojoError as err:
            if str(err) != self._told:
                self.screen.say(str(err), "red")

    async def _request(self, text: str) -> None:
        turn = await self.conversation.say(text)
        if self.conversation.left_out:
            left = ", ".join(self.conversation.left_out[:5])
            self.screen.say(f"did not fit into the prompt: {left}", "yellow")
        if self.conversation.session.folder and turn.end == "finished" and turn.files:
            changed = changes_of(turn.task.files, turn.files)
            paths = ", ".join(change.path for change in changed)
            self.screen.say(f"written: {paths}; /undo takes it back", "green")

    def _see(self, event: TeamEvent) -> None:
        self.screen.see(event)
        if isinstance(event, RunError):
            self._told = event.message
        if isinstance(event, Interrupt) and not event.replayed:
            self._asked(event.question)
        self._input.app.invalidate()

    def _asked(self, question: JsonValue) -> None:
        if self.conversation.will_ask(question):
            self._question = question if isinstance(question, dict) else {}
            self._show_question()

    def _show_question(self) -> None:
        asked = self._question
        if asked.get("kind") == "question":
            self.screen.say(f"the team asks: {asked['text']}", "bold magenta")
            return
        if asked.get("kind") == "plan":
            plan = str(asked["plan"])
            if plan and plan.strip() == self.screen.last_said.strip():
                self.screen.say("is this plan right?", "bold magenta")
            else:
                self.screen.say("the plan:", "bold magenta")
                self.screen.say(plan or "(no plan was made)")
        else:
            self.screen.say("the change:", "bold magenta")
            self.screen.code(str(asked["diff"]) or "(no difference)", "diff")
            for path, why in (asked.get("refused") or {}).items():
                self.screen.say(f"left out: {path} ({why})", "yellow")
            if asked.get("verdict"):
                self.screen.verdict(Verdict.model_validate(asked["verdict"]))
        self.screen.say("y: yes · n: no · e: edit · or say what to do otherwise", "magenta")

    async def _answer(self, text: str) -> None:
        if self._question.get("kind") == "question":
            self.conversation.answer(text)
        elif text.lower() in ("y", "yes", "ok"):
            self.conversation.answer({"decision": "approve"})
        elif text.lower() in ("n", "no"):
            self.conversation.answer({"decision": "reject"})
        elif text.lower() in ("e", "edit"):
            await self._answer_edited()
        elif text:
            self.conversation.answer({"decision": "reject", "text": text})

    async def _answer_edited(self) -> None:
        if self._question.get("kind") == "plan":
            plan = await self._edit(str(self._question["plan"]))
            if plan is not None:
                self.conversation.answer({"decision": "edit", "text": plan})
            return
        files: dict[str, str] = {}
        for path, content in self._question["files"].items():
            self.screen.say(f"── {path}", "bold")
            edited = await self._edit(content)
            files[path] = content if edited is None else f"{edited.rstrip(chr(10))}\n"
        self.conversation.answer({"decision": "edit", "files": files})

    async def _edit(self, text: str) -> str | None:
        """Several lines, with what is there; Alt-Enter takes them, Ctrl-C leaves them as they were."""
        from prompt_toolkit import PromptSession

        self.screen.say("Alt-Enter when it is right, Ctrl-C to leave it", "dim")
        several: PromptSession[str] = PromptSession(
            multiline=True, enable_open_in_editor=True, input=_keys()
        )
        try:
            return await several.prompt_async("", default=visible(text), handle_sigint=False)
        except (KeyboardInterrupt, EOFError):
            return None

    def _interrupted(self) -> None:
        if self.conversation.stop():
            self.screen.say("stopping; what was done is kept", "yellow")
        else:
            self.screen.say("nothing runs; /quit or Ctrl-D leaves", "dim")


@contextmanager
def _keys_kept() -> Iterator[None]:
    """Between two prompts keys wait for the next one as they were typed, and are not echoed.

    A terminal that edits lines itself would take a Ctrl-D there for an end of its own, and lose it.
    """
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd, termios.TCSANOW)
    keys = termios.tcgetattr(fd)
    keys[tty.IFLAG] &= ~termios.ICRNL
    termios.tcsetattr(fd, termios.TCSANOW, keys)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _keys() -> "Input":
    """The terminal's keys, for a prompt during which others print: the terminal edits no lines then either."""
    from prompt_toolkit.input.vt100 import Vt100Input

    class Keys(Vt100Input):
        def cooked_mode(self) -> AbstractContextManager[None]:
            return nullcontext()

    return Keys(sys.stdin)


def _session(terminal: Terminal) -> "PromptSession[str]":
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer, Completion
    from prompt_toolkit.history import InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings

    class Slash(Completer):
        """Commands, with what they do."""

        def get_completions(self, document: Any, complete_event: Any) -> Iterable[Completion]:
            """Those that begin as the line does."""
            text = document.text_before_cursor
            if text.startswith("/") and " " not in text:
                for name, command in COMMANDS.items():
                    if name.startswith(text[1:]):
                        yield Completion(f"/{name}", -len(text), display_meta=command.help)

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    history = InMemoryHistory()
    for turn in terminal.conversation.session.turns:
        history.append_string(turn.text)
    return PromptSession(
        input=_keys(),
        history=history,
        completer=Slash(),
        complete_while_typing=False,
        key_bindings=keys,
        bottom_toolbar=terminal.toolbar,
        refresh_interval=REFRESH_S,
        prompt_continuation="",
    )


async def talk_piped(conversation: Conversation, text: str) -> bool:
    """Requests from a pipe, one after the other: what comes of them to stdout, progress to stderr.

    Requests are set apart by blank lines; a line with a slash in front is a command.

    Returns:
        Whether all of them came to an end, and no tests of the person failed.
    """
    plain = {"highlight": False, "markup": False, "emoji": False}
    progress = Screen(Console(file=sys.stderr, width=None, **plain), streams=False)  # type: ignore[arg-type]  # flags
    results = Screen(Console(width=_pipe_width(), **plain))  # type: ignore[arg-type]  # flags
    doing = Doing(conversation, results, None)
    conversation.hub.listeners.append(progress.see)
    went_well = True
    for message in messages(text):
        typed = parse(message)
        try:
            if typed is not None:
                if typed.name == "quit":
                    break
                await doing.do(typed)
                if doing.work is not None:
                    work, doing.work = doing.work, None
                    await work()
                continue
            turn = await conversation.say(message)
        except CodojoError as err:
            print(f"codojo: {visible(str(err))}", file=sys.stderr)  # noqa: T201  # a command's face
            went_well = False
            continue
        verdict = turn.trajectory.verdict if turn.trajectory else None
        went_well &= turn.end == "finished" and not turn.failure
        went_well &= not (verdict and verdict.status == "failed")
        if conversation.session.folder:
            results.code(diff_of(changes_of(turn.task.files, turn.files)) or turn.answer, "diff")
        else:
            results.code(turn.code or turn.answer)
    return went_well


def messages(text: str) -> list[str]:
    """The messages of a pipe.

    >>> messages("Write f(x)\\nassert f(1) == 1\\n\\n/good\\nnow g\\n")
    ['Write f(x)\\nassert f(1) == 1', '/good', 'now g']
    """
    found: list[str] = []
    going_on = False
    for line in text.splitlines():
        if not line.strip():
            going_on = False
        elif line.startswith("/"):
            found.append(line.strip())
            going_on = False
        elif going_on:
            found[-1] += f"\n{line}"
        else:
            found.append(line)
            going_on = True
    return found


def _pipe_width() -> int | None:
    return None if sys.stdout.isatty() else 10_000
