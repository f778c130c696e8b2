"""A dojo: one folder that holds a team's whole life, and the parts that work in it.

    settings    codojo.toml
    log         log/            the only truth
    adapters    adapters/       immutable, and which one serves
    memory      memory/         an index made from the log
    reports     reports/        documents made from the log

Copy the folder, move the team. What is in it is opened when it is first needed (`codojo.resources`); what
can be done with it is here.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from codojo.errors import ContaminationError, LogError, SettingsError
from codojo.folder import init
from codojo.resources import Resources, Say
from codojo.settings import DOJO_FILE, Settings, load
from codojo.tasks.schema import Suite, Task, Verdict

if TYPE_CHECKING:
    from codojo.graphs.improve_report import ImprovePlan, ImproveReport
    from codojo.graphs.parts import Parts
    from codojo.graphs.replay import Replayed
    from codojo.graphs.run import Run, RunRecord, Watch
    from codojo.memory.schema import Entry
    from codojo.tasks.contamination import ContaminationGuard
    from codojo.trajectories.exporters.writing import Exported
    from codojo.trajectories.log import Event
    from codojo.trajectories.schema import Cost, Trajectory


@dataclass(frozen=True)
class Solved:
    """What `Dojo.solve` gives back."""

    code: str
    """Empty where the team wrote nothing that defines the function."""
    verdict: Verdict | None
    """What the tests said; `unverified` where there were none."""
    cost: "Cost"
    trajectory: "Trajectory"


class Dojo(Resources):
    """An open dojo. Use `async with Dojo.open(path) as dojo`."""

    def __init__(self, root: Path, settings: Settings, sources: dict[str, str], say: Say) -> None:
        super().__init__(root, settings, sources, say)
        self._guards: dict[str, ContaminationGuard] = {}

    @classmethod
    def open(
        cls,
        path: str | Path = "dojo",
        *,
        overrides: Mapping[str, object] | None = None,
        say: Say = lambda line: None,
    ) -> Self:
        """A dojo to enter with `async with`; a missing folder is made.

        Args:
            overrides: `{"section.name": value}`, stronger than file and environment.
            say: Gets one line for each thing that takes a while.

        Raises:
            SettingsError: If the folder cannot be used or a setting is wrong.
        """
        root = Path(path).resolve()
        if not (root / DOJO_FILE).is_file():
            init(root)
            say(f"made a new dojo in {root}")
        settings, sources = load(root, overrides)
        return cls(root, settings, sources, say)

    async def parts(
        self, *, adapter: str | None = None, suite: Suite | None = None, **changes: object
    ) -> "Parts":
        """What a graph is wired from.

        Args:
            adapter: Served by all agents; None: the base model. It must be loaded.
            suite: The suite whose gate and held-out tasks memory must never hold.
            changes: Settings to change, as `team__samples=8`.
        """
        from codojo.graphs.parts import Parts

        settings = changed(self.settings, changes)
        model = await self.chat_model(adapter)
        memory = await self.memory()
        return Parts(
            model=lambda agent: model,
            judge=await self.judge(),
            settings=settings,
            memory=memory,
            remember=partial(self._remember, suite)
            if self.settings.memory.enabled and suite
            else None,
        )

    @asynccontextmanager
    async def run(
        self,
        command: str,
        args: dict[str, Any],
        *,
        resume: "RunRecord | None" = None,
        watch: "Watch" = lambda progress: None,
    ) -> "AsyncIterator[Run]":
        """A run for the block; it is in the log before any engine starts.

        It counts as finished when the block ends without an exception; else it can be resumed.

        Raises:
            Stopped: Where `stop` was requested and what was under way has ended.
        """
        from codojo.graphs.ending import ending_in_order
        from codojo.graphs.run import RESUME, open_run

        with open_run(
            self.root,
            self.log,
            command,
            args,
            self.settings,
            resume=resume,
            watch=watch,
            stop=self.stop,
        ) as run:
            resume_with = RESUME.get(command, "").format(id=run.id)
            async with ending_in_order(run, self.settings.team.grace_s, resume_with):
                run.versions = await self.versions()
                yield run

    async def solve(self, text: str, tests: Sequence[str] = (), *, graph: str = "") -> Solved:
        """Have the team write one function.

        Args:
            text: What it is to do; a call in it (`slugify(text)`) names the function.
            tests: Lines like `assert slugify('A b') == 'a-b'`; the team sees them.
            graph: `solo` or `team`; default: the dojo's setting.

        Raises:
            TaskError, EngineError, SandboxError, BudgetExceeded: With what to do.
        """
        from codojo.tasks.requests import task_from_text

        text, tests = self.redactor.text(text), [self.redactor.text(test) for test in tests]
        task = task_from_text(text, tests)
        graph = graph or self.settings.team.graph
        args = {"text": text, "tests": list(tests), "graph": graph}
        async with self.run("solve", args) as run:
            (trajectory,) = await self.solve_all(run, "run", [task], graph=graph)
        return solved(trajectory)

    async def solve_all(
        self,
        run: "Run",
        stage: str,
        tasks: Sequence[Task],
        *,
        graph: str,
        suite: Suite | None = None,
    ) -> "list[Trajectory]":
        """One rollout for each task, by the champion."""
        champion = await self.champion_loaded()
        parts = await self.parts(adapter=champion, suite=suite)
        return await run.stage(
            stage, tasks, parts, graph=graph, models={"all": parts.model_name("all")}
        )

    async def replay(self, id: str) -> "Replayed":
        """Run a rollout again from the log alone, and check that everything fits.

        No model is asked, nothing is executed or written.

        Raises:
            LogError: If there is no such rollout.
            ReplayDiverged: If graph, prompts or records are not what they were.
        """
        from codojo.graphs.replay import replay

        return await replay(id, self._events_of(id))

    async def fork(
        self,
        id: str = "",
        *,
        at: str | int = "",
        edit: str | None = None,
        model: str | None = None,
        resume: "RunRecord | None" = None,
        **changes: object,
    ) -> "Trajectory":
        """Play a rollout that leaves an earlier one at a step; the earlier one stays as it is.

        Args:
            id: The rollout to leave.
            at: The step: its number as `codojo trajectories show` prints it, or the beginning of its key.
                What came before is taken over; the step itself is asked anew.
            edit: Text that takes the place of the step's answer instead.
            model: Who answers from there: an adapter of this dojo, or `base`; default: as before.
            resume: An earlier run of a fork to go on with; its own arguments hold.
            changes: Settings to change from there, as `team__samples=8`.

        Raises:
            LogError, SettingsError, TaskError: If it cannot be forked so, with the reason.
            ReplayDiverged: If graph, prompts or task have changed since.
        """
        from codojo.graphs.forking import FORK, ForkPlan, fork_rollout, task_again
        from codojo.graphs.run import runs
        from codojo.trajectories.schema import fold

        if resume:
            plan = ForkPlan.model_validate(resume.args)
        else:
            parent = fold(self._events_of(id))[id]
            record = next((run for run in runs(self.root) if run.id == parent.start.run), None)
            if record is None:
                raise LogError(
                    f"rollout {id} was played elsewhere: the log holds no run of it, so there is nothing to fork"
                )
            edit = None if edit is None else self.redactor.text(edit)
            plan = ForkPlan.of(parent, record, at=str(at), edit=edit, model=model, changes=changes)
        events = self._events_of(plan.parent)
        start = fold(events)[plan.parent].start
        task, suite = task_again(plan.task)
        async with self.run(FORK, plan.model_dump(mode="json"), resume=resume) as run:
            adapter = await self._served(plan.model, start.models.get("all"))
            parts = await self.parts(adapter=adapter, suite=suite, **plan.settings(start))
            return await fork_rollout(run, events, plan, task, parts)

    async def _served(self, wanted: str | None, before: str | None) -> str | None:
        """The adapter that answers in a fork, loaded; None: the base model."""
        name, base = wanted or before, (await self.engine()).endpoint.base_model
        if name in (None, "base", base):
            return None
        if name not in self.registry.names():
            raise SettingsError(
                f"neither does the engine serve '{name}' nor has this dojo such an adapter; choose one with --model: "
                f"{', '.join(['base', *self.registry.names()])}"
            )
        await self.load_adapter(name)
        return name

    def _events_of(self, id: str) -> "list[Event]":
        """The events of a rollout, in order.

        Raises:
            LogError: If the log holds none.
        """
        from codojo.trajectories.index import Index

        with Index(self.log_folder) as index:
            found = index.events(id)
        if not found:
            raise LogError(
                f"the log holds no rollout {id[:40]!r}; see the ids with 'codojo trajectories list'"
            )
        return found

    async def improve(
        self,
        suite: str = "katas",
        rounds: int = 1,
        *,
        plan: "ImprovePlan | None" = None,
        resume: "RunRecord | None" = None,
        watch: "Watch" = lambda progress: None,
    ) -> "ImproveReport":
        """Close the loop: solve, curate, train, gate, promote or refuse, measure again.

        The report is logged, and drawn as a page in `reports/<run>/`.

        Args:
            suite: Name or file of a suite with all three splits.
            plan: How much of everything; stronger than `suite` and `rounds`.
            resume: An earlier run to go on with; its own plan holds.

        Raises:
            TaskError, EngineError, SandboxError, TrainingError: With what to do; `resume` goes on.
        """
        from codojo.finetune.curators import require_isolated
        from codojo.graphs.improve import Loop
        from codojo.graphs.improve_report import REPORT, ImprovePlan, ImproveReport
        from codojo.reports.improve import write_improve
        from codojo.tasks.loaders import load_suite
        from codojo.trajectories.schema import load_trajectories

        if resume:
            plan = ImprovePlan.model_validate(resume.args)
        plan = plan or ImprovePlan(suite=suite, rounds=rounds)
        loaded = load_suite(plan.suite)
        require_isolated(loaded)
        args = plan.model_dump(mode="json")
        async with self.run("improve", args, resume=resume, watch=watch) as run:
            loop = Loop(
                run=run,
                suite=loaded,
                plan=plan,
                settings=self.settings,
                client=await self.engine(),
                registry=self.registry,
                make_parts=self.parts,
                load=self.load_adapter,
                folder=self.root,
            )
            data = self.redactor.redact((await loop.play()).model_dump(mode="json")).value
            report = ImproveReport.model_validate(data)
            await self.log.write(REPORT, data, redacted=True)
            write_improve(self.root, report, load_trajectories(self.log_folder, run.id))
        return report

    async def export(
        self, format: str, path: str | Path, *, parquet: bool = False, **filters: object
    ) -> "Exported":
        """Write training files from the log; see `codojo.exporting.export`.

        Args:
            filters: Fields of `codojo.filters.Filters`: `only="passed"`, `suite="katas"`, ...
        """
        from codojo.exporting import export
        from codojo.filters import Filters

        chosen = Filters.of(**filters)
        report = await asyncio.to_thread(
            export, self.root, format, Path(path), chosen, parquet=parquet
        )
        return report.exported

    async def _remember(self, suite: Suite, entry: "Entry") -> None:
        """Keep what the team learnt, unless it holds text of the suite's tests."""
        from codojo.memory.remember import remember
        from codojo.tasks.contamination import ContaminationGuard

        if suite.name not in self._guards:
            self._guards[suite.name] = ContaminationGuard.of(suite)
        guard = self._guards[suite.name]
        try:
            await remember(entry, log=self.log, store=self._held.memory, guard=guard)
        except ContaminationError as err:
            self.say(str(err))


def changed(settings: Settings, changes: Mapping[str, object]) -> Settings:
    """Settings with some values replaced, named as `section__name`."""
    sections: dict[str, dict[str, object]] = {}
    for dotted, value in changes.items():
        section, _, name = dotted.partition("__")
        sections.setdefault(section, {})[name] = value
    updated = {
        section: type(held)(**(held.model_dump() | values))
        for section, values in sections.items()
        for held in (getattr(settings, section),)
    }
    return settings.model_copy(update=updated)


def solved(trajectory: "Trajectory") -> Solved:
    """The answer of a finished rollout."""
    end = trajectory.end
    assert end is not None
    chosen = end.proposals[end.chosen] if end.chosen is not None else None
    return Solved(
        code=chosen.candidate.code if chosen else "",
        verdict=end.verdict,
        cost=end.cost,
        trajectory=trajectory,
    )
