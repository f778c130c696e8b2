"""What the browser is told of a session, as plain data. Pure."""

from typing import Any

from codojo.chat.conversation import Conversation
from codojo.chat.sessions import Session, Turn
from codojo.reports.machine import draw
from codojo.tasks.changes import changes_of, diff_of


def brief(session: Session) -> dict[str, Any]:
    """One line of the list of sessions."""
    return {
        "id": session.id,
        "title": session.title,
        "at": session.turns[-1].at if session.turns else session.at,
        "requests": len(session.turns),
        "folder": session.folder,
    }


def whole(talk: Conversation) -> dict[str, Any]:
    """A session, its turns, and what is set in it."""
    session, settings = talk.session, talk.dojo.settings
    return {
        **brief(session),
        "turns": [_turn(session, index) for index in range(len(session.turns))],
        "unfinished": talk.unfinished is not None and not talk.is_working,
        "can_undo": session.can_undo is not None,
        "asking": talk.is_asking,
        "left_out": list(talk.left_out),
        "settings": {
            "graph": talk.graph,
            "plan": talk.asks_plan,
            "budget": settings.budget.tokens,
            "model": talk.adapter or "",
            "memory": settings.memory.enabled,
            "samples": settings.team.samples,
        },
    }


def picture(mermaid: str) -> dict[str, Any] | None:
    """Where nodes and arrows of a graph go."""
    drawn = draw(mermaid)
    if drawn is None:
        return None
    return {
        "width": drawn.width,
        "height": drawn.height,
        "box": [drawn.box_width, drawn.box_height],
        "nodes": [{"name": b.name, "x": b.x, "y": b.y, "end": b.is_end} for b in drawn.boxes],
        "arrows": [
            {"path": a.path, "choice": a.is_choice, "label": a.label}
            | {"x": a.x, "y": a.y, "back": a.is_back}
            for a in drawn.arrows
        ],
    }


def _turn(session: Session, index: int) -> dict[str, Any]:
    turn = session.turns[index]
    trajectory = turn.trajectory
    end = trajectory.end if trajectory else None
    before = turn.task.files if session.folder else _code_before(session.turns[:index], turn)
    chosen = end.chosen if end else None
    return {
        "run": turn.run,
        "at": turn.at,
        "text": turn.text,
        "end": turn.end,
        "why": turn.why,
        "failure": turn.failure,
        "answer": turn.answer,
        "files": turn.files,
        "diff": diff_of(changes_of(before, turn.files)) if before and turn.files else "",
        "verdict": end.verdict.model_dump(mode="json") if end and end.verdict else None,
        "candidates": [
            {
                "files": p.candidate.files,
                "visible": p.visible.status if p.visible else "",
                "chosen": i == chosen,
            }
            for i, p in enumerate(end.proposals if end else ())
        ],
        "feedback": [
            {
                "id": f.id,
                "kind": f.kind,
                "comment": f.comment,
                "author": f.author,
                "at": f.at,
                "step": f.answer.step,
                "choice": f.answer.choice,
            }
            for f in turn.feedback
        ],
    }


def _code_before(turns: tuple[Turn, ...], turn: Turn) -> dict[str, str]:
    same = [t for t in turns if t.task.entry_point == turn.task.entry_point and t.files]
    return same[-1].files if same else {}
