"""A conversation with the team: what a face can do in it. Everything it does is in the log.

A face (terminal, browser) reads `Conversation.hub` and calls the methods here; it holds no state of its own
that matters. Belongs to one event loop.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import JsonValue

from codojo.chat.context import room
from codojo.chat.folder import apply, read_folder
from codojo.chat.removal import remove_session
from codojo.chat.requests import Composed, Earlier, files_task, function_task, read_request
from codojo.chat.sessions import (
    APPLIED,
    COMMAND,
    STARTED_SESSION,
    Session,
    Turn,
    find_session,
    sessions,
)
from codojo.dojo import Dojo, changed
from codojo.errors import SettingsError
from codojo.forgetting import Forgotten
from codojo.graphs.hub import Hub
from codojo.graphs.parts import Parts
from codojo.graphs.rollout import GRAPHS
from codojo.graphs.run import RunRecord, runs
from codojo.settings import load
from codojo.tasks.changes import Change, changes_of, is_runner_setting, reversed_changes
from codojo.tasks.requests import task_from_text
from codojo.tasks.schema import Candidate, Task, Verdict
from codojo.trajectories.feedback import (
    FEEDBACK,
    FEEDBACK_REVOKED,
    MAX_COMMENT,
    Feedback,
)
from codojo.trajectories.ids import new_id
from codojo.trajectories.schema import StepRef

Approval = Literal["ask", "yes", "no"]


class Conversation:
    """One session, open in this process.

    Attributes:
        hub: Everything that happens in it.
        session: As the log has it; renewed after each turn.
        approval: Who decides on plans and changes: `ask` the person, or nobody is there and all is
            approved (`yes`), or no change is (`no`).
        asks_plan: Whether the plan waits for a word.
        graph: Which graph runs; in a folder always `edit`.
        left_out: What of the conversation did not fit into the last prompt.
    """

    def __init__(self, dojo: Dojo, session: Session, author: str) -> None:
        self.dojo = dojo
        self.session = session
        self.author = author
        self.hub = Hub()
        self.approval: Approval = "ask"
        self.asks_plan = True
        self.adapter: str | None = None
        self.graph = "edit" if session.folder else dojo.settings.team.graph
        self.left_out: tuple[str, ...] = ()
        self._pending: asyncio.Future[JsonValue] | None = None
        self._task: asyncio.Task[None] | None = None
        self._notes: list[str] = []

    @classmethod
    async def start(cls, dojo: Dojo, author: str, folder: Path | None = None) -> Self:
        """A new session.

        Raises:
            SettingsError: If the folder is none.
        """
        if folder is not None and not await asyncio.to_thread(folder.is_dir):
            raise SettingsError(f"{folder} is no folder; name one with --dir")
        place = str(await asyncio.to_thread(folder.resolve)) if folder else ""
        begun = {"session": new_id(), "author": author, "folder": place}
        await dojo.log.write(STARTED_SESSION, begun)
        session = Session(id=begun["session"], at=time.time(), author=author, folder=place)
        return cls(dojo, session, author)

    @classmethod
    async def open(cls, dojo: Dojo, prefix: str, author: str) -> Self:
        """An earlier session to go on with.

        Raises:
            SettingsError: If no session's id starts so.
        """
        return cls(dojo, await asyncio.to_thread(find_session, dojo.log_folder, prefix), author)

    @property
    def is_working(self) -> bool:
        """Whether the team is at work."""
        return self._task is not None

    @property
    def is_asking(self) -> bool:
        """Whether the team waits for the person."""
        return self._pending is not None

    @property
    def last(self) -> Turn | None:
        """The last turn."""
        return self.session.turns[-1] if self.session.turns else None

    @property
    def unfinished(self) -> Turn | None:
        """The last turn, if it can be gone on with."""
        return self.last if self.last and self.last.end != "finished" else None

    async def say(self, text: str) -> Turn:
        """Ask the team for something and wait for the end; the hub tells what happens meanwhile.

        An error of ours ends the turn, which can be resumed, and is raised.

        Raises:
            TaskError: For a request that cannot be read.
            CodojoError: With what to do.
        """
        composed = await asyncio.to_thread(self._compose, text)
        self.left_out = composed.left_out
        args = {
            "session": self.session.id,
            "text": text,
            "author": self.author,
            "graph": self.graph,
            "task": composed.task.model_dump(mode="json"),
        }
        return await self._work(args, None)

    async def go_on(self) -> Turn:
        """Go on with a turn that was stopped, failed, or whose process died.

        Raises:
            SettingsError: If there is none.
        """
        turn = self.unfinished
        if turn is None:
            raise SettingsError("the last request is finished; ask for something new")
        known = await asyncio.to_thread(runs, self.dojo.root)
        record = next(run for run in known if run.id == turn.run)
        return await self._work(record.args, record)

    def stop(self) -> bool:
        """Stop what the team does; what it has done is kept, and can be gone on with."""
        if self._task is None:
            return False
        self._task.cancel()
        return True

    def steer(self, note: str) -> None:
        """Tell the team something while it works; its coder hears it before the next answer."""
        if note.strip():
            self._notes.append(note.strip())

    def answer(self, value: Mapping[str, Any] | str) -> None:
        """Answer what the team asks (see the event `interrupt`): a decision, or a sentence."""
        if self._pending is not None and not self._pending.done():
            said = value if isinstance(value, str) else {**value, "author": self.author}
            self._pending.set_result(said)

    async def rate(
        self, good: bool, comment: str = "", answer: StepRef | None = None, *, run: str = ""
    ) -> Feedback:
        """Say that an answer is good or bad: any of the session, or what came of a run.

        Args:
            run: Of this session, here and below; default: the last that finished.

        Raises:
            SettingsError: If there is no such answer here.
        """
        turn = self._turn_of(answer) if answer else self._finished(run)
        kind: Literal["good", "bad"] = "good" if good else "bad"
        return await self._say_of(turn, kind, answer or _answer(turn), comment=comment)

    async def correct(self, text: str, *, run: str = "") -> Feedback:
        """Give the answer as it should have been; follow-ups go on from it."""
        turn = self._finished(run)
        code = f"```python\n{text.rstrip()}\n```"
        return await self._say_of(turn, "edit", _answer(turn), text=code)

    async def pick(self, index: int, *, run: str = "") -> Feedback:
        """Choose another of the candidates.

        Raises:
            SettingsError: If there is no such candidate.
        """
        turn = self._finished(run)
        proposals = turn.trajectory.proposals if turn.trajectory else ()
        origins = [p.origin for p in proposals if p.origin is not None]
        if not 0 <= index < len(origins):
            raise SettingsError(f"there is no candidate {index + 1}; there are {len(origins)}")
        over = tuple(o for i, o in enumerate(origins) if i != index)
        return await self._say_of(turn, "pick", origins[index], over=over)

    async def revoke(self, id: str) -> None:
        """Take back what was said of an answer."""
        await self.dojo.log.write(FEEDBACK_REVOKED, {"id": id, "author": self.author})
        await self.refresh()

    async def undo(self) -> list[Change]:
        """Take the last change of the folder back.

        Raises:
            SettingsError: If there is none, or a file was changed since.
        """
        applied = self.session.can_undo
        if applied is None:
            raise SettingsError("nothing was changed that could be taken back")
        changes = reversed_changes(applied.changes)
        await self._apply(applied.run, changes, undo=True)
        return changes

    async def check(self, tests: list[str], *, run: str = "") -> Verdict:
        """Run an answer on tests of the person, in a cage.

        Raises:
            TaskError: For a test that cannot be read.
        """
        turn = self._finished(run)
        judge = await self.dojo.judge()
        if self.session.folder:
            files = await asyncio.to_thread(read_folder, Path(self.session.folder))
            task = files_task(read_request("run"), files, (), chars=0).task
            tested = task.visible.files.files if task.visible.files else {}
            copy = {
                path: text
                for path, text in files.items()
                if path not in tested and not is_runner_setting(path)
            }
            return await judge.verdict(Candidate(files=copy), "", task.visible)
        visible = turn.task.visible
        if tests:
            visible = task_from_text(turn.text or "tests", tests).visible
        return await judge.verdict(Candidate(files=turn.files), turn.task.entry_point, visible)

    async def forget(self) -> Forgotten:
        """Remove the session, every byte of it; returns what that was. No other may be at work here.

        Raises:
            SettingsError: While the team is at work.
            Busy, MemoryStoreError: See `codojo.chat.removal`.
        """
        if self._task is not None:
            raise SettingsError("the team is at work; stop it first")
        return await remove_session(self.dojo, self.session.id)

    def set_budget(self, tokens: int) -> None:
        """Tokens that each request may spend from now on; 0: no limit."""
        self.dojo.settings = changed(self.dojo.settings, {"budget__tokens": tokens})

    def set_graph(self, name: str) -> None:
        """Have another graph work from now on.

        Raises:
            SettingsError: If there is none of that name, or it cannot be used here.
        """
        known = [graph for graph in GRAPHS if (graph == "edit") == bool(self.session.folder)]
        if name not in known:
            raise SettingsError(f"no graph '{name}' here; there is {', '.join(known)}")
        self.graph = name

    async def set_adapter(self, name: str) -> None:
        """Have another model work from now on; `base`: the base model.

        Raises:
            AdapterRejected, RequestRefused: If it cannot be loaded.
        """
        if name != "base":
            await self.dojo.load_adapter(name)
        self.adapter = name

    async def refresh(self) -> None:
        """Read the session anew from the log."""
        found = await asyncio.to_thread(sessions, self.dojo.log_folder)
        self.session = found.get(self.session.id, self.session)

    def _compose(self, text: str) -> Composed:
        settings = self.dojo.settings
        chars = room(settings.engine.max_model_len, settings.sampling.max_tokens)
        request = read_request(text)
        done = [turn for turn in self.session.turns if turn.end == "finished"]
        if self.session.folder:
            files = read_folder(Path(self.session.folder))
            return files_task(request, files, [turn.text for turn in done], chars=chars)
        return function_task(request, _earlier(done), chars=chars)

    async def _work(self, args: dict[str, Any], record: RunRecord | None) -> Turn:
        if self._task is not None:
            raise SettingsError("the team is at work; stop it first, or steer it")
        self._notes.clear()
        task = self._task = asyncio.create_task(self._play(args, record))
        try:
            await asyncio.wait({task})
            await self.refresh()
            if not task.cancelled() and (err := task.exception()) is not None:
                raise err
            turn = self.session.turns[-1]
            if self.session.folder and turn.end == "finished" and turn.files:
                await self._apply(turn.run, changes_of(turn.task.files, turn.files))
            return self.session.turns[-1]
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            self._task = None

    async def _play(self, args: dict[str, Any], record: RunRecord | None) -> None:
        task = Task.model_validate(args["task"])
        dojo, now = self.dojo, self.dojo.settings
        if record is not None:  # as it began, but for the budget
            spend = {"budget.tokens": now.budget.tokens}
            dojo.settings = load(dojo.root, record.overrides | spend).settings
        try:
            with self.hub.watching():
                async with dojo.run(COMMAND, args, resume=record) as run:
                    parts = await self.parts()
                    models = {"all": parts.model_name("all")}
                    await run.stage("chat", [task], parts, graph=args["graph"], models=models)
        finally:
            dojo.settings = now

    async def parts(self) -> Parts:
        """What the graph is wired from here, with the person in it."""
        adapter = self.adapter if self.adapter else await self.dojo.champion_loaded()
        parts = await self.dojo.parts(adapter=None if adapter == "base" else adapter)
        return replace(parts, person=self._ask, notes=self._take_notes)

    def will_ask(self, question: JsonValue) -> bool:
        """Whether the person is asked that, rather than that it is decided by `approval`."""
        kind = question.get("kind") if isinstance(question, dict) else ""
        return self.approval == "ask" and (kind != "plan" or self.asks_plan)

    async def _ask(self, question: JsonValue) -> JsonValue:
        kind = question.get("kind") if isinstance(question, dict) else ""
        if kind == "plan" and not self.will_ask(question):
            return {"decision": "approve"}
        if self.approval == "yes" and kind == "diff":
            return {"decision": "approve", "author": self.author}
        if self.approval != "ask":
            return {"decision": "reject"} if kind == "diff" else "I leave that to you."
        self._pending = asyncio.get_running_loop().create_future()
        try:
            return await self._pending
        finally:
            self._pending = None

    def _take_notes(self) -> str:
        notes, self._notes = self._notes, []
        return "\n".join(notes)

    async def _apply(self, run: str, changes: list[Change], *, undo: bool = False) -> None:
        await asyncio.to_thread(apply, Path(self.session.folder), changes)
        data = {
            "session": self.session.id,
            "run": run,
            "changes": [change.model_dump(mode="json") for change in changes],
            "undo": undo,
            "author": self.author,
        }
        await self.dojo.log.write(APPLIED, data)
        await self.refresh()

    def _finished(self, run: str = "") -> Turn:
        for turn in reversed(self.session.turns):
            if turn.end == "finished" and turn.trajectory and run in ("", turn.run):
                return turn
        raise SettingsError("there is no answer yet; ask for something first")

    def _turn_of(self, answer: StepRef) -> Turn:
        for turn in self.session.turns:
            step = turn.trajectory.steps.get(answer.step) if turn.trajectory else None
            if step is not None and 0 <= answer.choice < len(step.output.choices):
                return turn
        raise SettingsError("this session holds no such answer")

    async def _say_of(
        self,
        turn: Turn,
        kind: Literal["good", "bad", "edit", "pick"],
        answer: StepRef,
        *,
        text: str = "",
        comment: str = "",
        over: tuple[StepRef, ...] = (),
    ) -> Feedback:
        assert turn.trajectory is not None
        feedback = Feedback(
            id=new_id(),
            session=self.session.id,
            run=turn.run,
            rollout=turn.trajectory.id,
            answer=answer,
            kind=kind,
            text=text,
            over=over,
            comment=comment[:MAX_COMMENT],
            author=self.author,
            at=time.time(),
        )
        await self.dojo.log.write(FEEDBACK, feedback.model_dump(mode="json"))
        await self.refresh()
        return feedback


def _earlier(done: list[Turn]) -> Earlier | None:
    """What a follow-up goes on from: the last turn that gave code, and what was asked about it."""
    last = next((turn for turn in reversed(done) if turn.code), None)
    if last is None:
        return None
    requests = [turn.text for turn in done if turn.task.entry_point == last.task.entry_point]
    task = last.task
    return Earlier(task.entry_point, task.starter, last.code, task.visible.cases, tuple(requests))


def _answer(turn: Turn) -> StepRef:
    """The answer that a rating is about: the chosen one, else the coder's last words."""
    assert turn.trajectory is not None
    for said in reversed(turn.feedback):
        if said.kind == "pick":
            return said.answer
    end = turn.trajectory.end
    if end and end.chosen is not None and (origin := end.proposals[end.chosen].origin):
        return origin
    steps = [s.id for s in turn.trajectory.steps.values() if s.input.agent == "coder"]
    if not steps:
        raise SettingsError("the team said nothing that could be rated")
    return StepRef(step=steps[-1])
