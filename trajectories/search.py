"""Full-text search over what a log holds: prompts, answers and code.

An FTS5 table without the texts themselves, derived from the log and read up to date when a search asks
for it. It finds rollouts; what they say is read from the log.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from codojo.errors import LogError
from codojo.trajectories.derived import BUSY_S, DerivedFile, Line, clean
from codojo.trajectories.framing import Event, skim
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.schema import (
    FINISHED,
    STARTED,
    RolloutEnd,
    RolloutStart,
    StepInput,
    StepOutput,
    read_effect,
)

NAME = "texts.sqlite"

MOST_CHARS = 1_000_000
"""Of one text; the rest of a longer one cannot be found."""


def search(log: Path, text: str, *, busy_s: float = BUSY_S) -> set[str]:
    """Ids of rollouts in which a prompt, an answer or a file holds these words in this order.

    Case and punctuation do not count; an underscore is part of a word.

    Raises:
        LogError: If the text holds no word.
        LogDamaged, LogTooNew, Busy: As `Index` does.
    """
    phrase = clean(text)
    if not any(c.isalnum() or c == "_" for c in phrase):
        raise LogError(
            f"cannot search for {text[:80]!r}: it holds no word; write letters or digits"
        )
    with DerivedFile(log, NAME, _Texts(), busy_s=busy_s) as derived:
        derived.refresh()
        with derived.busy():
            return _found(derived.db, phrase)


def refresh(log: Path, *, busy_s: float = BUSY_S) -> int:
    """Read what the log has got since the last search; returns the number of new events."""
    with DerivedFile(log, NAME, _Texts(), busy_s=busy_s) as derived:
        return derived.refresh()


def _found(db: sqlite3.Connection, phrase: str) -> set[str]:
    quoted = '"' + phrase.replace('"', '""') + '"'
    rows = db.execute(
        "SELECT DISTINCT rollout FROM texts JOIN docs ON docs.doc = texts.rowid WHERE texts MATCH ?",
        (quoted,),
    )
    return {row[0] for row in rows}


class _Texts:
    """What the file holds: an inverted index, and the rollout of each text."""

    version = 1
    schema = """
CREATE TABLE docs (doc INTEGER PRIMARY KEY, rollout TEXT NOT NULL);
CREATE VIRTUAL TABLE texts USING fts5 (body, content = '', tokenize = "unicode61 tokenchars '_'")
"""

    def take(self, db: sqlite3.Connection, lines: list[Line]) -> None:
        """Texts of the events that hold any."""
        doc = db.execute("SELECT coalesce(max(doc), 0) FROM docs").fetchone()[0]
        docs, texts = [], []
        for line in lines:
            skimmed = skim(line.text) or line.event()
            if skimmed.rollout is None or skimmed.kind not in (STARTED, EFFECT, FINISHED):
                continue
            if skimmed.kind == EFFECT and b'"effect":"reply"' not in line.text:
                continue
            for text in _known_texts(line):
                if text:
                    doc += 1
                    docs.append((doc, clean(skimmed.rollout)))
                    texts.append((doc, clean(text[:MOST_CHARS])))
        db.executemany("INSERT INTO docs VALUES (?, ?)", docs)
        db.executemany("INSERT INTO texts (rowid, body) VALUES (?, ?)", texts)


def _known_texts(line: Line) -> set[str]:
    """Texts of an event; none of one in a shape that this version does not know."""
    try:
        return set(_texts(line.event()))
    except (ValidationError, KeyError):
        return set()


def _texts(event: Event) -> Iterator[str]:
    if event.kind == STARTED:
        brief = RolloutStart.model_validate(event.data).brief
        yield from (brief.task_id, brief.prompt, brief.starter)
    elif event.kind == FINISHED:
        end = RolloutEnd.model_validate(event.data)
        for proposal in end.proposals:
            yield from proposal.candidate.files.values()
        yield from (end.deliverable or {}).values()
    else:
        effect = read_effect(event.data)
        if effect.effect != "reply":
            return
        yield from (message.content for message in StepInput.model_validate(effect.input).messages)
        if effect.error is None:
            output = StepOutput.model_validate(effect.output)
            yield from (choice.text for choice in output.choices)
