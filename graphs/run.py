"""A run: many rollouts under one budget, each resumable, none able to take the others down."""

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codojo.errors import Busy, CodojoError, LogError, SettingsError
from codojo.graphs.parts import Parts
from codojo.graphs.rollout import GRAPHS, graph_version, run_rollout
from codojo.settings import Settings
from codojo.tasks.schema import Task
from codojo.trajectories.budget import Budget
from codojo.trajectories.ids import new_id
from codojo.trajectories.journal import Answer, Journal, Scope, ask, scope
from codojo.trajectories.log import Event, Log, read_log
from codojo.trajectories.schema import STARTED, Cost, RolloutStart, Trajectory, fold

RUN_STARTED, RUN_FINISHED = "run_started", "run_finished"


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

    @property
    def overrides(self) -> dict[str, object]:
        """Its settings, to open the dojo with: a resumed run goes on as it began.

        Only its budget may be raised.
        """
        return {
            f"{section}.{name}": value
            for section, values in self.settings.items()
            for name, value in values.items()
        }


@dataclass
class Run:
    """One invocation of a command.

    Everything it needs from the log is read once, at its start; what happens after is appended.
    """

    id: str
    log: Log
    budget: Budget
    watch: Watch = lambda progress: None
    versions: dict[str, str] = field(default_factory=dict)
    history: dict[str, list[Event]] = field(default_factory=dict)
    """Events of this run's rollouts, and of the run itself under its own id, from before."""

    def __post_init__(self) -> None:
        self.journal = Journal(self.log, self.id, self.history.get(self.id, ()), budget=self.budget)
        self._known = {
            (event.data["stage"], event.data["brief"]["task_id"], event.data["attempt"]): rollout
            for rollout, events in self.history.items()
            for event in events
            if event.kind == STARTED
        }

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
        done: list[Trajectory] = []
        fault: list[CodojoError] = []
        total = Cost()

        async def one(task: Task) -> Trajectory | None:
            nonlocal total
            async with gate:
                if fault:
                    return None
                try:
                    trajectory = await self._rollout(
                        name,
                        task,
                        parts,
                        machine,
                        graph=graph,
                        version=version,
                        models=models or {},
                    )
                except CodojoError as err:
                    fault.append(err)
                    return None
            done.append(trajectory)
            total = total + (trajectory.end.cost if trajectory.end else Cost())
            solved = sum(bool(t.verdict and t.verdict.passed) for t in done)
            self.watch(Progress(name, len(done), len(tasks), solved, total))
            return trajectory

        self.watch(Progress(name, 0, len(tasks), 0, total))
        found = await asyncio.gather(*(one(task) for task in tasks))
        if fault:
            raise fault[0]
        return [trajectory for trajectory in found if trajectory is not None]

    async def _rollout(
        self,
        stage: str,
        task: Task,
        parts: Parts,
        machine: Any,
        *,
        graph: str,
        version: str,
        models: dict[str, str],
    ) -> Trajectory:
        id = self._known.get((stage, task.task_id, 0)) or new_id()
        before = self.history.get(id, [])
        if before:
            trajectory = fold(before)[id]
            if trajectory.end is not None:
                cost = trajectory.end.cost
                self.budget.charge(cost.prompt_tokens, cost.completion_tokens, cost.calls)
                return trajectory
            if trajectory.start.graph_version != version or trajectory.start.task_hash != task.hash:
                raise SettingsError(
                    f"rollout {id} of task '{task.task_id}' was begun with another graph, prompt or task; "
                    "start a new run instead of --resume"
                )
            start = trajectory.start
        else:
            start = RolloutStart(
                run=self.id,
                stage=stage,
                brief=task.brief(),
                task_hash=task.hash,
                graph=graph,
                graph_version=version,
                models=models,
                settings=parts.settings.model_dump(
                    mode="json", include={"team", "sampling", "memory"}
                ),
                versions=self.versions,
            )
        return await run_rollout(
            id, task, start, machine, parts, self.log, recorded=before, budget=self.budget
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
) -> Iterator[Run]:
    """A new run, or an earlier one to go on with; only one process has it at a time.

    Args:
        folder: The dojo.
        args: What the command was given; with the settings it says how to run it again.

    Raises:
        Busy: When another process is running it.
    """
    id = resume.id if resume else new_id()
    with _held(folder / "locks" / f"{id}.lock", f"run {id}"):
        history: dict[str, list[Event]] = {}
        if resume:
            for event in events_of_run(read_log(folder / "log"), id):
                history.setdefault(event.rollout or id, []).append(event)
        else:
            data = {"run": id, "command": command, "args": args}
            log.append(RUN_STARTED, data | {"settings": settings.model_dump(mode="json")}).result()
        run = Run(id, log, Budget(settings.budget), watch, history=history)
        yield run
        cost = Cost.of(run.budget)
        log.append(RUN_FINISHED, {"run": id, "cost": cost.model_dump(mode="json")}).result()


def runs(folder: Path) -> list[RunRecord]:
    """The runs of a dojo, oldest first."""
    started: dict[str, Event] = {}
    finished: set[str] = set()
    for event in read_log(folder / "log"):
        if event.kind == RUN_STARTED:
            started[event.data["run"]] = event
        elif event.kind == RUN_FINISHED:
            finished.add(event.data["run"])
    return [
        RunRecord(id, e.data["command"], e.data["args"], e.data["settings"], id in finished)
        for id, e in started.items()
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


def events_of_run(events: Iterable[Event], id: str) -> Iterator[Event]:
    """The events of a run and of its rollouts, in order."""
    rollouts = {id}
    for event in events:
        if event.kind == STARTED and event.data["run"] == id and event.rollout:
            rollouts.add(event.rollout)
        if event.rollout in rollouts or event.data.get("run") == id:
            yield event


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
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            raise Busy(
                f"{what} is being run by process {holder}; wait for it, or stop it first"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)
