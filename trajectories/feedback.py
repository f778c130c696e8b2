"""What people said of answers: ratings, corrections and picks, with who said it and when.

Each is an event of the log, so it is as durable as everything else, shown where it belongs, and taken
back by another event. The curator `feedback` (`codojo.finetune.feedback`) makes training rows of it.
"""

from collections.abc import Iterable
from typing import Literal

from codojo.tasks.schema import Record
from codojo.trajectories.framing import Event
from codojo.trajectories.lines import Line
from codojo.trajectories.schema import StepRef

FEEDBACK, FEEDBACK_REVOKED = "feedback", "feedback_revoked"

FORGOTTEN = "chat_forgotten"
"""A person wants a `session` left out of history and training."""

RUN_STARTED = "run_started"

KINDS = frozenset([FEEDBACK, FEEDBACK_REVOKED, FORGOTTEN, RUN_STARTED])
"""Events that `feedback_of` and `forgotten_runs` look at."""

MAX_COMMENT = 10_000


class Feedback(Record):
    """One thing that a person said of an answer."""

    id: str
    session: str
    """Of the conversation; empty outside of one."""
    run: str
    rollout: str
    answer: StepRef
    """The answer it is about: for a pick, the one that was chosen."""
    kind: Literal["good", "bad", "edit", "pick"]
    text: str = ""
    """Of an edit: the answer as it should have been."""
    over: tuple[StepRef, ...] = ()
    """Of a pick: the answers it was chosen over."""
    comment: str = ""
    author: str
    at: float
    """Seconds since 1970, UTC."""


def feedback_of(events: Iterable[Event | Line]) -> list[Feedback]:
    """What people said and did not take back, oldest first."""
    said: dict[str, Feedback] = {}
    revoked: set[str] = set()
    for event in events:
        if event.kind == FEEDBACK:
            feedback = Feedback.model_validate(event.data)
            said.setdefault(feedback.id, feedback)
        elif event.kind == FEEDBACK_REVOKED:
            revoked.add(event.data["id"])
    return [feedback for id, feedback in said.items() if id not in revoked]


def forgotten_runs(events: Iterable[Event | Line]) -> set[str]:
    """Runs of sessions that people want forgotten: nobody learns from them any more."""
    sessions: dict[str, str] = {}
    forgotten: set[str] = set()
    for event in events:
        if session := session_of(event):
            sessions[event.data["run"]] = session
        elif event.kind == FORGOTTEN:
            forgotten.add(event.data["session"])
    return {run for run, session in sessions.items() if session in forgotten}


def session_of(event: Event | Line) -> str:
    """The session whose turn begins with an event; empty for every other event."""
    return (event.data["args"].get("session") or "") if event.kind == RUN_STARTED else ""


def runs_of(events: Iterable[Event], session: str) -> list[str]:
    """The runs of a session, oldest first."""
    return [event.data["run"] for event in events if session_of(event) == session]
