"""From files into the log: every conversation becomes a rollout, once."""

import asyncio
import fcntl
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue
from ulid import ULID

from codojo.canonical import content_hash
from codojo.errors import Busy, LogError
from codojo.tasks.schema import Brief, Tests, Verdict
from codojo.trajectories.ids import new_id
from codojo.trajectories.importers.conversation import Answer, Thread
from codojo.trajectories.importers.formats import importer_named
from codojo.trajectories.importers.items import Item, items
from codojo.trajectories.importers.reading import Source, look_at
from codojo.trajectories.journal import Journal, Scope, ask, scope
from codojo.trajectories.log import Event, Log, read_log
from codojo.trajectories.redact import Redactor
from codojo.trajectories.schema import (
    FINISHED,
    STARTED,
    Cost,
    RolloutEnd,
    RolloutStart,
    StepInput,
    StepOutput,
    StepRef,
)

STAGE, GRAPH = "import", "imported"
IMPORTED = "imported"
"""The event that ends an import, with its counts."""
CONTEXT = "context"
"""The effect that holds messages which no answer followed."""
TEMPLATE = "imported"
"""Stands where a step names the template of its prompt."""

SUB_AGENTS = "sub-agents"
"""First segment of the place of an embedded agent: its id, which a stranger chose, never stands for a node."""

PARALLEL = 32
"""Conversations under way at once: they share the log's syncs."""
MAX_SEGMENT = 200
"""Characters of a place in the graph."""


@dataclass
class ImportReport:
    """What an import found and did."""

    files: list[Source] = field(default_factory=list)
    added: int = 0
    already: int = 0
    """Conversations that the log held before."""
    resumed: int = 0
    """Of those added: begun by an earlier import that was stopped."""
    answers: int = 0
    """Model calls of what was added."""
    formats: Counter[str] = field(default_factory=Counter)
    """Conversations of this import by format, those already there included."""
    invalid: list[str] = field(default_factory=list)
    """What could not be read and was left out, where that was allowed."""
    empty: int = 0
    """Conversations without any answer of a model, left out."""

    def as_json(self) -> dict[str, JsonValue]:
        """For the log and for programs."""
        return {
            "files": [{"file": s.path.name, "sha256": s.sha256} for s in self.files],
            "added": self.added,
            "already": self.already,
            "resumed": self.resumed,
            "answers": self.answers,
            "formats": dict(self.formats),
            "invalid": len(self.invalid),
            "empty": self.empty,
        }


Watch = Callable[[int, int], None]
"""Gets the number of conversations done, and of all."""


def import_files(
    dojo: Path,
    paths: Sequence[Path],
    *,
    redactor: Redactor | None = None,
    format: str = "",
    skip_invalid: bool = False,
    dry_run: bool = False,
    watch: Watch = lambda done, total: None,
) -> ImportReport:
    """Bring conversations of other programs into a dojo's log.

    All files are read to the end before anything is written, so a bad line leaves the log as it was. A
    conversation that the log holds is not added again; one whose import was killed is finished.

    Args:
        dojo: The folder; its log is `log/`.
        redactor: Takes secrets out of what comes in; default: one that knows all formats, and no values.
        format: Name of an importer; default: each value's own.
        skip_invalid: Leave out what cannot be read instead of stopping there.
        dry_run: Read and count, write nothing.

    Raises:
        ImportRefused: With file and line, for the first thing that cannot be read.
        SettingsError: For a format that cannot be imported.
        Busy: If another import into this dojo is under way.
        LogError: If the log cannot be read or written.
    """
    if format:
        importer_named(format)
    report = ImportReport(files=[look_at(path) for path in paths])
    if dry_run:
        known = _Known(dojo / "log")
        for item in _read(report, format, skip_invalid):
            _count(item, known, report)
        return report
    for _ in _read(report, format, skip_invalid):
        pass
    again = _read(ImportReport(report.files), format, skip_invalid=True)
    with _alone(dojo / "locks" / "import.lock"):
        known = _Known(dojo / "log")
        with _Unhurried(dojo / "log", redactor) as log:
            asyncio.run(_write_all(_Pen(log, new_id(), known, report, watch), again))
    return report


def _read(report: ImportReport, format: str, skip_invalid: bool) -> Iterator[Item]:
    """The conversations of all files, in order; what is found is counted."""
    tell = (lambda err: report.invalid.append(str(err))) if skip_invalid else None
    for source in report.files:
        for item in items(source, format, tell):
            if item.conversation.answers:
                report.formats[item.imported.format] += 1
                yield item
            else:
                report.empty += 1


class _Unhurried(Log):
    """A log whose `write` does not wait for the disk.

    The answers of an import come from a file that can be read again, so only the end of a rollout has to be
    acknowledged (`finish`); lines reach the disk in order, all before it with it.
    """

    async def write(
        self,
        kind: str,
        data: object,
        rollout: str | None = None,
        *,
        redacted: bool = False,
        alone: bool = False,
    ) -> None:
        self.append(kind, data, rollout, redacted=redacted)

    async def finish(self, kind: str, data: object, rollout: str | None = None) -> None:
        """Append an event and return once it is on disk, and with it all before it."""
        await super().write(kind, data, rollout)


class _Begun(NamedTuple):
    """A rollout of an import that was stopped before its end."""

    id: str
    events: list[Event]


class _Known:
    """What earlier imports brought into a log."""

    def __init__(self, folder: Path) -> None:
        self.finished: set[str] = set()
        self.begun: dict[str, _Begun] = {}
        items: dict[str, str] = {}
        for event in read_log(folder):
            if event.kind == STARTED and event.rollout and event.data.get("imported"):
                items[event.rollout] = event.data["imported"]["item"]
            elif event.kind == FINISHED and event.rollout in items:
                self.finished.add(items[event.rollout])
        open_items = {id: item for id, item in items.items() if item not in self.finished}
        for event in read_log(folder) if open_items else ():
            if event.rollout in open_items:
                item = open_items[event.rollout]
                self.begun.setdefault(item, _Begun(event.rollout, [])).events.append(event)


def _count(item: Item, known: _Known, report: ImportReport) -> bool:
    """Count a conversation; returns whether it is to be added."""
    hash = item.imported.item
    if hash in known.finished:
        report.already += 1
        return False
    known.finished.add(hash)
    report.added += 1
    report.answers += len(item.conversation.answers)
    report.resumed += hash in known.begun
    return True


@dataclass
class _Pen:
    """What the workers of an import share."""

    log: _Unhurried
    run: str
    known: _Known
    report: ImportReport
    watch: Watch
    done: int = 0


async def _write_all(pen: _Pen, todo: Iterator[Item]) -> None:
    """Several conversations at once, so that they share syncs; then the event with the counts."""
    total = sum(pen.report.formats.values())

    async def work() -> None:
        for item in todo:  # one iterator for all workers: each takes the next
            if _count(item, pen.known, pen.report):
                await _write(pen, item)
            pen.done += 1
            pen.watch(pen.done, total)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(PARALLEL, total)):
                group.create_task(work())
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    await pen.log.finish(IMPORTED, {"run": pen.run, **pen.report.as_json()})


async def _write(pen: _Pen, item: Item) -> None:
    """One conversation: the journal asks for each answer, and the file gives it."""
    conversation = item.conversation
    begun = pen.known.begun.get(item.imported.item)
    times = sorted(a.at for a in conversation.answers if a.at is not None)
    id = begun.id if begun else _id(times[0] if times else time.time(), item.imported.item)
    journal = Journal(pen.log, id, begun.events if begun else ())
    if not begun:
        await pen.log.write(
            STARTED, _start(pen.run, item, pen.log.redactor).model_dump(mode="json"), id
        )
    for thread in conversation.threads:
        path = tuple(segment[:MAX_SEGMENT] for segment in thread.path)
        path = (SUB_AGENTS, *path) if path else ()
        with scope(Scope(journal, path)):
            await _speak(thread)
    answers = conversation.answers
    end = RolloutEnd(
        verdict=Verdict(status="unverified", reason="imported", tests="person"),
        cost=Cost(
            prompt_tokens=sum(a.prompt_tokens for a in answers),
            completion_tokens=sum(a.completion_tokens for a in answers),
            calls=len(answers),
            seconds=round(times[-1] - times[0], 3) if times else 0.0,
        ),
    )
    await pen.log.finish(FINISHED, end.model_dump(mode="json"), id)


async def _speak(thread: Thread) -> None:
    steps: list[str] = []
    tokens: list[tuple[int, ...] | None] = []
    held_secrets: list[bool] = []
    for call in thread.calls:
        question = StepInput(
            agent=thread.agent[:MAX_SEGMENT],
            model=call.answer.model,
            template=TEMPLATE,
            parent=None if call.parent is None else StepRef(step=steps[call.parent]),
            messages=call.messages,
            sampling={},
            tools=thread.tools,
        )
        before = None if call.parent is None else tokens[call.parent]
        held = call.parent is not None and held_secrets[call.parent]
        # A prompt that goes on from a secret says it again in its tokens, which the journal cannot read.
        prompt, said = None if held else call.answer.prompt_token_ids, call.answer.choice.token_ids
        output = _output(call.answer, prompt, before).model_dump(mode="json")
        given = await ask("reply", question.model_dump(mode="json"), _giver(output))
        steps.append(given.key)
        held_secrets.append(held or given.redacted)
        tokens.append(None if prompt is None or said is None else prompt + said)
    if thread.rest:
        parent = {"step": steps[-1], "choice": 0} if steps else None
        rest = [message.model_dump(mode="json") for message in thread.rest]
        asked = {"agent": thread.agent[:MAX_SEGMENT], "parent": parent, "messages": rest}
        await ask(CONTEXT, asked, _giver(None))


def _giver(value: JsonValue) -> Callable[[], Awaitable[JsonValue]]:
    async def give() -> JsonValue:
        return value

    return give


def _output(
    answer: Answer, prompt: tuple[int, ...] | None, before: tuple[int, ...] | None
) -> StepOutput:
    goes_on = before is not None and prompt is not None and prompt[: len(before)] == before
    shared = len(before or ()) if goes_on else 0
    return StepOutput(
        model=answer.model,
        choices=(answer.choice,),
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        prompt_shared=shared,
        prompt_token_ids=None if prompt is None else prompt[shared:],
        answered_at=answer.at,
    )


def _start(run: str, item: Item, redactor: Redactor) -> RolloutStart:
    conversation = item.conversation
    prompt = redactor.text(conversation.prompt)
    brief = Brief(
        task_id=(conversation.task_id or item.stem)[:MAX_SEGMENT],
        suite="",
        family=f"prompt-{content_hash(prompt)[:12]}",
        split=None,
        prompt=prompt,
        entry_point="",
        starter="",
        visible=Tests(source="visible"),
    )
    return RolloutStart(
        run=run,
        stage=STAGE,
        brief=brief,
        task_hash=content_hash(brief.model_dump(mode="json")),
        graph=GRAPH,
        graph_version="",
        models={
            thread.agent[:MAX_SEGMENT]: call.answer.model
            for thread in conversation.threads
            for call in thread.calls[:1]
        },
        imported=item.imported,
    )


def _id(at: float, hash: str) -> str:
    """A ULID of the time when it happened and of what it holds."""
    return str(ULID.from_bytes(int(at * 1000).to_bytes(6, "big") + bytes.fromhex(hash)[:10]))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of imports: two at once could add the same conversation twice."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as err:
        raise LogError(
            f"cannot write {path}: {err.strerror}; check permissions and free space"
        ) from err
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Busy(
            "another import into this dojo is under way; wait for it, or stop it first"
        ) from None
    finally:
        os.close(fd)
