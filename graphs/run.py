"""A run: many rollouts under one budget, each resumable, none able to take the others down."""

import asyncio
import fcntl
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from codojo.errors import Busy, CodojoError, LogError, ReplayDiverged, SettingsError
from codojo.graphs.history import History, cost_of
from codojo.graphs.parts import Parts
from codojo.graphs.rollout import (
    GRAPHS,
    WithoutSecrets,
    graph_version,
    run_rollout,
    without_secrets,
)
from codojo.settings import Settings
from codojo.tasks.schema import Task
from codojo.trajectories.budget import Budget
from codojo.trajectories.ids import new_id
from codojo.trajectories.index import Index, IndexedRollout
from codojo.trajectories.journal import Answer, Journal, Scope, ask, scope
from codojo.trajectories.log import Event, Log
from codojo.trajectories.redact import together
from codojo.trajectories.schema import Cost, RolloutStart, Trajectory, fold
from codojo.trajectories.secret_context import MARK
from codojo.trajectories.stopping import Stop
from codojo.trajectories.watching import is_watched, tell

RUN_STARTED, RUN_FINISHED = "run_started", "run_finished"
RUN_STOPPED, RUN_FAILED = "run_stopped", "run_failed"
"""How a run ends unfinished: it was told to, or by an error."""


RESUME = {
    "run": "codojo run --resume {id}",
    "improve": "codojo improve --resume {id}",
    "fork": "codojo trajectories fork --resume {id}",
}
"""How a run of each command is gone on with."""


@dataclass(frozen=True)
class Progress:
    """How far a stage is; given to whoever watches."""

    stage: str
    done: int
    total: int
    solved: int
    cost: Cost
    note: str = ""


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class RunRecord:
    """How a run began, as the log holds it."""

    id: str
    command: str
    args: dict[str, Any]
    settings: dict[str, Any]
    finished: bool
    rollouts: int = 0
    """Rollouts of it that have started."""

    @property
    def state(self) -> str:
        """Where it is, in words: a run is in the log before its engine starts."""
        if self.finished:
            return "finished"
        return "unfinished" if self.rollouts else "accepted, not started"

    @property
    def resume_with(self) -> str:
        """The command that goes on with it; empty where only a program can."""
        return RESUME.get(self.command, "").format(id=self.id)

    @property
    def overrides(self) -> dict[str, object]:
        """Its settings, to open the dojo with: a resumed run goes on as it began.

        Only its budget may be raised. What was secret is not among them (see `withheld`).
        """
        return {name: value for name, value in self._settings if not MARK.search(str(value))}

    @property
    def withheld(self) -> frozenset[str]:
        """Settings that held a secret, so that the log does not have them: whoever resumes says them again."""
        return frozenset(name for name, value in self._settings if MARK.search(str(value)))

    @property
    def _settings(self) -> list[tuple[str, object]]:
        return [
            (f"{section}.{name}", value)
            for section, values in self.settings.items()
            for name, value in values.items()
        ]


@dataclass
class Run:
    """One invocation of a command.

    What an earlier process logged is read when it is needed; what happens is appended.
    """

    id: str
    log: Log
    budget: Budget
    watch: Watch = lambda progress: None
    versions: dict[str, str] = field(default_factory=dict)
    history: History | None = None
    """From before, of a run that goes on."""
    stop: Stop = field(default_factory=Stop)
    redacted: dict[str, int] = field(default_factory=dict)
    """Secrets that were taken out of its rollouts, by kind."""

    def __post_init__(self) -> None:
        own = self.history.own if self.history else ()
        self.journal = Journal(self.log, self.id, own, budget=self.budget, stop=self.stop)

    def earlier(self, stage: str, task_id: str) -> IndexedRollout | None:
        """The rollout that an earlier process began for a task of a stage."""
        return self.history.rollout(stage, task_id) if self.history else None

    def events(self, rollout: str) -> list[Event]:
        """What an earlier process logged of a rollout."""
        return self.history.events(rollout) if self.history else []

    async def effect(
        self, place: str, name: str, input: Any, perform: Callable[[], Awaitable[Any]]
    ) -> Answer:
        """Something the run itself does once: training, a promotion."""
        with scope(Scope(self.journal, (place,))):
            return await ask(name, input, perform)

    async def stage(
        self,
        name: str,
        tasks: Sequence[Task],
        parts: Parts,
        *,
        graph: str,
        models: dict[str, str] | None = None,
    ) -> list[Trajectory]:
        """One rollout for each task; those that the log holds as finished are taken from it.

        Those are counted by the index and read when the others have ended, so that a long run goes on
        at once.

        Args:
            models: Served names by agent, for the record.

        Returns:
            Finished trajectories, in the order of `tasks`.

        Raises:
            CodojoError: The first fault that left a rollout unfinished, once the others have ended.
        """
        machine = GRAPHS[graph](parts)
        version = graph_version(machine)
        gate = asyncio.Semaphore(parts.settings.team.parallel)
        clean = [without_secrets(task, self.log.redactor) for task in tasks]
        found: dict[int, Trajectory] = {}
        fault: list[CodojoError] = []
        total, done, solved = Cost(), 0, 0

        def count(cost: Cost, passed: bool) -> None:
            nonlocal total, done, solved
            total, done, solved = total + cost, done + 1, solved + passed
            self.watch(Progress(name, done, len(tasks), solved, total))

        async def one(place: int) -> None:
            async with gate:
                if fault:
                    return
                try:
                    trajectory = await self._rollout(
                        name,
                        clean[place],
                        parts,
                        machine,
                        graph=graph,
                        version=version,
                        models=models or {},
                    )
                except CodojoError as err:
                    fault.append(err)
                    return
            found[place] = trajectory
            verdict = trajectory.verdict
            count(
                trajectory.end.cost if trajectory.end else Cost(), bool(verdict and verdict.passed)
            )

        self.watch(Progress(name, 0, len(tasks), 0, total))
        earlier = {place: self.earlier(name, c.task.task_id) for place, c in enumerate(clean)}
        finished = {place: known for place, known in earlier.items() if known and known.finished}
        for known in finished.values():
            if is_watched():
                for event in self.events(known.id):
                    tell(event.kind, event.rollout, event.data, replayed=True)
            cost = cost_of(known)
            self.budget.charge(cost.prompt_tokens, cost.completion_tokens, cost.calls)
            count(cost, known.verdict == "passed")
        await asyncio.gather(*(one(place) for place in earlier if place not in finished))
        if fault:
            raise fault[0]
        for place, known in finished.items():
            found[place] = await asyncio.to_thread(self._whole, known.id)
        ended = [found[place] for place in sorted(found)]
        self.redacted = together([self.redacted, *(t.end.redacted for t in ended if t.end)])
        return ended

    def _whole(self, rollout: str) -> Trajectory:
        assert self.history is not None, "only a run that goes on has finished rollouts"
        return self.history.trajectory(rollout)

    async def _rollout(
        self,
        stage: str,
        clean: WithoutSecrets,
        parts: Parts,
        machine: Any,
        *,
        graph: str,
        version: str,
        models: dict[str, str],
    ) -> Trajectory:
        task, secrets = clean
        earlier = self.earlier(stage, task.task_id)
        id = earlier.id if earlier else new_id()
        before = self.events(id)
        if before:
            start = fold(before)[id].start
            require_same(id, start, graph, version, task_hash=task.hash)
        else:
            start = RolloutStart(
                run=self.id,
                stage=stage,
                brief=task.brief(),
                redacted=secrets,
                task_hash=task.hash,
                graph=graph,
                graph_version=version,
                models=models,
                settings=parts.played_with,
                versions=self.versions,
            )
        return await run_rollout(
            id,
            task,
            start,
            machine,
            parts,
            self.log,
            recorded=before,
            budget=self.budget,
            stop=self.stop,
        )


def require_same(id: str, start: RolloutStart, graph: str, version: str, *, task_hash: str) -> None:
    """Raise where a rollout was begun with something else than it would now go on with.

    Raises:
        ReplayDiverged: Naming what has changed.
    """
    changed = []
    if (start.graph, start.graph_version) != (graph, version):
        changed.append(
            f"the graph '{start.graph}' or a prompt of it (then {start.graph_version}, now {version})"
        )
    if start.task_hash != task_hash:
        changed.append(f"the task '{start.brief.task_id}'")
    if changed:
        raise ReplayDiverged(
            f"rollout {id} was begun before {' and '.join(changed)} changed, so the log does not fit any more; "
            "start a new run instead, or go back to that version of codojo and of the suite"
        )


@contextmanager
def open_run(
    folder: Path,
    log: Log,
    command: str,
    args: dict[str, Any],
    settings: Settings,
    *,
    resume: RunRecord | None = None,
    watch: Watch = lambda progress: None,
    stop: Stop | None = None,
) -> Iterator[Run]:
    """A new run, or an earlier one to go on with; only one process has it at a time.

    Args:
        folder: The dojo.
        args: What the command was given; with the settings it says how to run it again.
        stop: Whoever holds it can end the run in order.

    Raises:
        Busy: When another process is running it.
    """
    id = resume.id if resume else new_id()
    with _held(folder / "locks" / f"{id}.lock", f"run {id}"), ExitStack() as stack:
        history = stack.enter_context(History(folder / "log", id)) if resume else None
        begun = {"run": id, "command": command, "args": args}
        begun["settings"] = settings.model_dump(mode="json")
        begun = log.redactor.redact(begun).value
        if not resume:
            log.put(RUN_STARTED, begun, redacted=True)
        tell(RUN_STARTED, None, begun, replayed=resume is not None)
        run = Run(id, log, Budget(settings.budget), watch, history=history, stop=stop or Stop())
        try:
            yield run
        except BaseException as err:
            _end_early(log, run, err)
            raise
        run.journal.finish()
        _end(log, RUN_FINISHED, run, redacted=run.redacted)


def _end_early(log: Log, run: Run, err: BaseException) -> None:
    """Say why a run ends unfinished; where the log itself has failed, nobody can be told later."""
    stop = run.stop
    if stop.reason:
        _end(log, RUN_STOPPED, run, reason=stop.reason, cut_short=stop.left)
    elif isinstance(err, asyncio.CancelledError):
        _end(log, RUN_STOPPED, run, reason="the person", cut_short=0)
    elif isinstance(err, CodojoError):
        try:
            _end(log, RUN_FAILED, run, error=type(err).__name__, message=str(err))
        except LogError:
            if not isinstance(err, LogError):
                raise


def _end(log: Log, kind: str, run: Run, **more: object) -> None:
    data = {"run": run.id, "cost": Cost.of(run.budget).model_dump(mode="json"), **more}
    data = log.redactor.redact(data).value
    log.put(kind, data, redacted=True)
    tell(kind, None, data)


def runs(folder: Path) -> list[RunRecord]:
    """The runs of a dojo, oldest first."""
    with Index(folder / "log") as index:
        marks = index.marks(RUN_STARTED, RUN_FINISHED)
        rollouts = index.count_by_run()
    finished = {event.data["run"] for event in marks if event.kind == RUN_FINISHED}
    started = {event.data["run"]: event.data for event in marks if event.kind == RUN_STARTED}
    return [
        RunRecord(
            id, data["command"], data["args"], data["settings"], id in finished, rollouts.get(id, 0)
        )
        for id, data in started.items()
    ]


def find_run(folder: Path, command: str, id: str = "") -> RunRecord:
    """The run to resume: the one of that id, or the last unfinished one of the command.

    Raises:
        SettingsError: If there is none.
    """
    of_command = [run for run in runs(folder) if run.command == command]
    for run in reversed(of_command):
        if run.id == id or (not id and not run.finished):
            return run
    wanted = f"run {id}" if id else "unfinished run"
    raise SettingsError(
        f"{folder} holds no {wanted} of 'codojo {command}'; leave --resume away to start a new one"
    )


@contextmanager
def _held(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file for the block; the kernel lets go of it however the process ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as err:
        raise LogError(
            f"cannot write {path}: {err.strerror}; check permissions and free space"
        ) from err
    try:
        if (holder := _held_by(fd)) is not None:
            raise Busy(f"{what} is being run by process {holder}; wait for it, or stop it first")
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def _held_by(fd: int) -> str | None:
    """Take the lock, or say who has it.

    One that has only just got it has not written its name yet, and one without a name may have let
    go by now: so look again, for a moment, before calling the holder unknown.
    """
    for _ in range(100):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
        if holder.isdecimal() and psutil.pid_exists(int(holder)):
            return holder
        time.sleep(0.005)
    return "unknown"
