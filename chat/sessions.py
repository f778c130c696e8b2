"""Sessions: conversations of many runs, folded from the log, so that they outlive every process.

What a session holds beside its runs are three kinds of event: that it began, that a change was written to
its folder, and that it was forgotten. A turn is a run of the command `chat` whose arguments name the session.
"""

import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal

from codojo.errors import SettingsError
from codojo.graphs.events import TeamEvent
from codojo.graphs.run import RUN_FAILED, RUN_FINISHED, RUN_STARTED, RUN_STOPPED
from codojo.graphs.translate import Translator
from codojo.tasks.changes import Change
from codojo.tasks.schema import Record, Task
from codojo.trajectories.feedback import FORGOTTEN, Feedback, feedback_of
from codojo.trajectories.journal import ASKED, EFFECT
from codojo.trajectories.log import Event, read_log
from codojo.trajectories.schema import FINISHED, STARTED, Trajectory, fold

STARTED_SESSION, APPLIED = "chat_session", "chat_applied"
COMMAND = "chat"

End = Literal["finished", "stopped", "failed", "open"]


class Turn(Record):
    """One request and what came of it."""

    run: str
    at: float
    text: str
    """As the person typed it."""
    graph: str
    task: Task
    end: End
    """`open`: its process died, or works on it still."""
    why: str = ""
    """Of a turn that was stopped or failed."""
    trajectory: Trajectory | None = None
    feedback: tuple[Feedback, ...] = ()

    @property
    def failure(self) -> str:
        """The named failure of a finished turn; empty where it has none."""
        end = self.trajectory.end if self.trajectory else None
        return (end.failure if end else None) or ""

    @property
    def files(self) -> dict[str, str]:
        """What the team handed in, or what a person made or picked instead; empty where nothing came."""
        end = self.trajectory.end if self.trajectory else None
        for said in reversed(self.feedback):
            if said.kind == "edit" and self.task.entry_point:
                return {"solution.py": _code_of(said.text)}
            if said.kind == "pick" and end:
                for proposal in end.proposals:
                    if proposal.origin == said.answer:
                        return proposal.candidate.files
        if end is None or end.chosen is None:
            return {}
        return end.proposals[end.chosen].candidate.files

    @property
    def answer(self) -> str:
        """The last words of the coder: what there is to read where no file was changed."""
        steps = self.trajectory.steps.values() if self.trajectory else ()
        said = [s.output.choices[0].text for s in steps if s.input.agent == "coder"]
        return said[-1] if said else ""

    @property
    def code(self) -> str:
        """The function as it stands after this turn."""
        return self.files.get("solution.py", "")


class Applied(Record):
    """Changes that were written to the folder of a session."""

    run: str
    changes: tuple[Change, ...]
    undo: bool = False
    at: float


class Session(Record):
    """A conversation."""

    id: str
    at: float
    author: str
    folder: str = ""
    """Absolute path of the working folder; empty: none."""
    turns: tuple[Turn, ...] = ()
    applied: tuple[Applied, ...] = ()

    @cached_property
    def title(self) -> str:
        """The first request, on one line."""
        text = " ".join(self.turns[0].text.split()) if self.turns else "(nothing asked yet)"
        return text if len(text) <= 60 else f"{text[:59]}…"

    @property
    def can_undo(self) -> Applied | None:
        """The last change that was not taken back."""
        left: list[Applied] = []
        for applied in self.applied:
            if applied.undo:
                left = left[:-1]
            else:
                left.append(applied)
        return left[-1] if left else None

    def holds(self, text: str) -> bool:
        """Whether a text stands in its requests or answers, case ignored."""
        wanted = text.casefold()
        said = (t for turn in self.turns for t in (turn.text, turn.answer, *turn.files.values()))
        return any(wanted in each.casefold() for each in said)


def sessions(log: Path) -> dict[str, Session]:
    """All sessions that were not forgotten, oldest first."""
    events = list(_of_chats(read_log(log)))
    trajectories = fold(events)
    said = feedback_of(events)
    ends = {e.data["run"]: e for e in events if e.kind in _ENDS}
    forgotten = {e.data["session"] for e in events if e.kind == FORGOTTEN}
    found: dict[str, Session] = {}
    for event in events:
        if event.kind == STARTED_SESSION and event.data["session"] not in forgotten:
            found[event.data["session"]] = Session(
                id=event.data["session"],
                at=event.at,
                author=event.data["author"],
                folder=event.data["folder"],
                turns=tuple(_turns(events, event.data["session"], trajectories, ends, said)),
                applied=tuple(_applied(events, event.data["session"])),
            )
    return found


_ENDS: dict[str, End] = {RUN_FINISHED: "finished", RUN_STOPPED: "stopped", RUN_FAILED: "failed"}


def _of_chats(events: Iterable[Event]) -> Iterator[Event]:
    """Events of sessions, and of the runs and rollouts that are their turns."""
    ours: set[str] = set()
    for event in events:
        if event.kind == RUN_STARTED and event.data["command"] == COMMAND:
            ours.add(event.data["run"])
        elif event.kind == STARTED and event.data["run"] in ours and event.rollout:
            ours.add(event.rollout)
        about = event.rollout or event.data.get("run") or ""
        known = event.kind in (STARTED, FINISHED, ASKED, EFFECT, RUN_STARTED, *_ENDS)
        if (known and about in ours) or event.kind.startswith(("chat_", "feedback")):
            yield event


def _turns(
    events: list[Event],
    session: str,
    trajectories: dict[str, Trajectory],
    ends: dict[str, Event],
    said: list[Feedback],
) -> Iterator[Turn]:
    by_run = {trajectory.start.run: trajectory for trajectory in trajectories.values()}
    for event in events:
        if event.kind == RUN_STARTED and event.data["args"].get("session") == session:
            run, args = event.data["run"], event.data["args"]
            end = ends.get(run)
            yield Turn(
                run=run,
                at=event.at,
                text=args["text"],
                graph=args["graph"],
                task=Task.model_validate(args["task"]),
                end=_ENDS[end.kind] if end else "open",
                why=str(end.data.get("message") or end.data.get("reason") or "") if end else "",
                trajectory=by_run.get(run),
                feedback=tuple(f for f in said if f.run == run),
            )


def _applied(events: Iterable[Event], session: str) -> Iterator[Applied]:
    for event in events:
        if event.kind == APPLIED and event.data["session"] == session:
            yield Applied(
                run=event.data["run"],
                changes=tuple(Change.model_validate(c) for c in event.data["changes"]),
                undo=event.data["undo"],
                at=event.at,
            )


def past_of(log: Path, session: str) -> Iterator[TeamEvent]:
    """What happened in the runs of a session, oldest first."""
    events = list(_of_chats(read_log(log)))
    runs = {
        event.data["run"]
        for event in events
        if event.kind == RUN_STARTED and event.data["args"].get("session") == session
    }
    yield from (event for event in Translator().of_log(events) if event.run in runs)


def find_session(log: Path, prefix: str) -> Session:
    """The session whose id starts so; `last`: the newest that holds a request.

    Raises:
        SettingsError: If there is none, or several.
    """
    found = sessions(log)
    if prefix == "last":
        asked = [session for session in found.values() if session.turns]
        if asked:
            return max(asked, key=lambda s: s.turns[-1].at)
        raise SettingsError("there is no session yet; start one with 'codojo chat'")
    matching = [session for id, session in found.items() if id.lower().startswith(prefix.lower())]
    if len(matching) == 1:
        return matching[0]
    many = f"{len(matching)} sessions start" if matching else "no session starts"
    raise SettingsError(f"{many} with '{prefix}'; see the ids with 'codojo chat --history'")


def export_session(session: Session, format: str) -> str:
    """A session as `json`, or as `markdown` to read; every quote in a fence that it cannot end.

    Raises:
        SettingsError: For another format.
    """
    if format == "json":
        return json.dumps(session.model_dump(mode="json"), indent=1) + "\n"
    if format != "markdown":
        raise SettingsError(f"a session cannot be exported as '{format}'; say markdown or json")
    parts = [f"# {_plain(session.title)}", f"Session {session.id}, {_plain(session.author)}"]
    for turn in session.turns:
        parts += ["## Request", _fenced(turn.text, "text")]
        for path, text in turn.files.items():
            parts += [f"`{_plain(path)}`", _fenced(text, "python")]
        if not turn.files:
            parts.append(_fenced(turn.answer, "text") if turn.answer else "No answer.")
        verdict = turn.trajectory.verdict if turn.trajectory else None
        ended = f"{verdict.status} on {verdict.tests} tests" if verdict else turn.end
        parts.append(f"Ended: {ended}" + (f" ({_plain(turn.failure)})" if turn.failure else ""))
        parts += [
            f"Feedback of {_plain(f.author)}: {f.kind} {_plain(f.comment)}" for f in turn.feedback
        ]
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """One line that means nothing to Markdown or HTML."""
    marks = str.maketrans({c: f"&#{ord(c)};" for c in "<>&[]`!*_|"})
    return " ".join(text.split()).translate(marks)


def _fenced(text: str, language: str) -> str:
    from codojo.chat.requests import longest_run

    fence = "`" * max(3, longest_run(text) + 1)
    return f"{fence}{language}\n{text.rstrip(chr(10))}\n{fence}"


def _code_of(answer: str) -> str:
    from codojo.agents.parsing import code_blocks

    blocks = code_blocks(answer)
    return f"{blocks[0]}\n" if blocks else answer
