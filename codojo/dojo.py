"""A dojo: one folder that holds a team's whole life, and the parts that work in it.

    settings    codojo.toml
    log         log/            the only truth
    adapters    adapters/       immutable, and which one serves
    memory      memory/         an index made from the log
    reports     reports/        documents made from the log

Copy the folder, move the team. Parts are opened when they are first needed: reading the log starts no
engine.
"""

import asyncio
import platform
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from codojo.errors import AdapterRejected, ContaminationError
from codojo.folder import init
from codojo.settings import DOJO_FILE, Settings, load
from codojo.tasks.schema import Suite, Task, Verdict

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from codojo.graphs.improve_report import ImprovePlan, ImproveReport
    from codojo.graphs.parts import Parts
    from codojo.graphs.run import Run, RunRecord, Watch
    from codojo.memory.schema import Entry
    from codojo.memory.store import ChromaStore
    from codojo.sandboxes.judge import Judge
    from codojo.serving.engine import EngineClient
    from codojo.serving.registry import AdapterRegistry
    from codojo.tasks.contamination import ContaminationGuard
    from codojo.trajectories.export import Exported
    from codojo.trajectories.log import Log
    from codojo.trajectories.schema import Cost, Trajectory

Say = Callable[[str], None]


@dataclass(frozen=True)
class Solved:
    """What `Dojo.solve` gives back."""

    code: str
    """Empty where the team wrote nothing that defines the function."""
    verdict: Verdict | None
    """What the tests said; `unverified` where there were none."""
    cost: "Cost"
    trajectory: "Trajectory"


class Dojo:
    """An open dojo. Use `async with Dojo.open(path) as dojo`.

    Attributes:
        root: The folder.
        settings: As read when it was opened.
    """

    def __init__(self, root: Path, settings: Settings, sources: dict[str, str], say: Say) -> None:
        self.root = root
        self.settings = settings
        self.sources = sources
        self.say = say
        self._stack = AsyncExitStack()
        self._log: Log | None = None
        self._engine: EngineClient | None = None
        self._judge: Judge | None = None
        self._memory: ChromaStore | None = None
        self._memory_opened = False
        self._isolation = "none"
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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    @property
    def log_folder(self) -> Path:
        """Where the log lies."""
        return self.root / "log"

    @property
    def log(self) -> "Log":
        """The pen of this process; taken up at the first use."""
        if self._log is None:
            from codojo.trajectories.log import Log

            self._log = Log(self.log_folder)
            self._stack.callback(self._log.close)
        return self._log

    @property
    def registry(self) -> "AdapterRegistry":
        """The adapters of this dojo."""
        from codojo.serving.registry import AdapterRegistry

        return AdapterRegistry(self.root / "adapters", self.log_folder)

    async def engine(self) -> "EngineClient":
        """The engine: the running one where it fits, else one that ends with this dojo."""
        if self._engine is None:
            from codojo.serving.supervisor import open_engine

            opened = open_engine(self.settings.engine, progress=self.say)
            self._engine = await self._stack.enter_async_context(opened)
        return self._engine

    async def judge(self) -> "Judge":
        """The judge, in a sandbox whose barriers were proved."""
        if self._judge is None:
            from codojo.sandboxes.judge import Judge
            from codojo.sandboxes.opening import open_sandbox

            sandbox = await self._stack.enter_async_context(open_sandbox(self.settings.sandbox))
            self._isolation = sandbox.capabilities.level
            self._judge = Judge(sandbox, self.settings.sandbox)
        return self._judge

    async def memory(self) -> "ChromaStore | None":
        """The team's memory; None where it is switched off or another process owns it."""
        if self._memory_opened or not self.settings.memory.enabled:
            return self._memory
        from codojo.memory.remember import catch_up
        from codojo.memory.store import open_memory, owner_of
        from codojo.trajectories.log import read_log

        folder = self.root / "memory"
        self._memory = await asyncio.to_thread(open_memory, folder)
        self._memory_opened = True
        if self._memory is None:
            self.say(f"memory is in use by process {owner_of(folder)}: working without it")
            await self.log.write("memory_unavailable", {"owner": owner_of(folder)})
        else:
            self._stack.callback(self._memory.close)
            await asyncio.to_thread(catch_up, self._memory, read_log(self.log_folder))
        return self._memory

    async def chat_model(self, name: str | None) -> "BaseChatModel":
        """The chat model that serves under a name; None: the base model."""
        from codojo.serving.chat_model import chat_model

        return chat_model(await self.engine(), name, self.settings.sampling)

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
            remember=partial(self._remember, suite) if memory and suite else None,
        )

    async def champion_loaded(self) -> str | None:
        """The champion's served name, loaded into the engine; None: the base model."""
        name = self.registry.champion()
        if name is not None:
            await self.load_adapter(name)
        return name

    async def load_adapter(self, name: str) -> None:
        """Load one of the dojo's adapters into the engine.

        Raises:
            AdapterRejected: If it was trained on another base than the engine serves.
        """
        engine, folder = await self.engine(), self.registry.path(name)
        base = base_of(folder)
        if base != engine.endpoint.model_hash:
            raise AdapterRejected(
                f"the adapter '{name}' was trained on base {base[:12]} but the engine serves "
                f"{engine.endpoint.base_model} ({engine.endpoint.model_hash[:12]}); set engine.model back, or go "
                "on from the base with 'codojo models promote base'"
            )
        await engine.load_adapter(name, folder)

    async def versions(self) -> dict[str, str]:
        """What this run stands on, for the record."""
        endpoint = (await self.engine()).endpoint
        await self.judge()
        found = {
            "python": platform.python_version(),
            "engine": f"{endpoint.kind} {endpoint.version}",
        }
        for name in ("codojo", "langgraph", "chromadb", "trl", "peft", "transformers", "torch"):
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
        found["base_model"] = f"{endpoint.base_model} {endpoint.model_hash[:12]}"
        found["isolation"] = self._isolation
        return found

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
        """
        from codojo.graphs.run import open_run

        with open_run(
            self.root, self.log, command, args, self.settings, resume=resume, watch=watch
        ) as run:
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
        from codojo.graphs.improve import Loop
        from codojo.graphs.improve_report import REPORT, ImprovePlan
        from codojo.reports.improve import write_improve
        from codojo.tasks.loaders import load_suite
        from codojo.trajectories.schema import load_trajectories

        if resume:
            plan = ImprovePlan.model_validate(resume.args)
        plan = plan or ImprovePlan(suite=suite, rounds=rounds)
        loaded = load_suite(plan.suite)
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
            report = await loop.play()
            await self.log.write(REPORT, report.model_dump(mode="json"))
            write_improve(self.root, report, load_trajectories(self.log_folder, run.id))
        return report

    async def export(self, format: str, path: str | Path, *, suite: str = "") -> "Exported":
        """Write a training file from what passed on train tasks; see `codojo.exporting.export`."""
        from codojo.exporting import export

        exported, _ = await asyncio.to_thread(
            export, self.log_folder, format, Path(path), suite=suite
        )
        return exported

    async def _remember(self, suite: Suite, entry: "Entry") -> None:
        """Keep what the team learnt, unless it holds text of the suite's tests."""
        from codojo.memory.remember import remember
        from codojo.tasks.contamination import ContaminationGuard

        if suite.name not in self._guards:
            self._guards[suite.name] = ContaminationGuard.of(suite)
        guard = self._guards[suite.name]
        try:
            await remember(entry, log=self.log, store=self._memory, guard=guard)
        except ContaminationError as err:
            self.say(str(err))


def base_of(adapter: Path) -> str:
    """Hash of the base model that an adapter was trained on.

    Raises:
        AdapterRejected: If its manifest is missing or unreadable.
    """
    from codojo.finetune.recipe import MANIFEST, Manifest

    try:
        return Manifest.model_validate_json((adapter / MANIFEST).read_bytes()).recipe.base_hash
    except (OSError, ValueError) as err:
        raise AdapterRejected(
            f"adapter {adapter.name} cannot be read: {err}; go back with 'codojo models rollback'"
        ) from err


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
