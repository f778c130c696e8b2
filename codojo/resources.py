"""What a dojo's folder holds, opened when it is first needed: reading the log starts no engine."""

import asyncio
import platform
from collections.abc import Callable
from contextlib import AsyncExitStack
from copy import copy
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from codojo.errors import AdapterRejected
from codojo.settings import Settings, secrets_of_environment
from codojo.trajectories.stopping import Stop

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from codojo.memory.store import ChromaStore
    from codojo.sandboxes.judge import Judge
    from codojo.serving.engine import EngineClient
    from codojo.serving.registry import AdapterRegistry
    from codojo.trajectories.log import Log
    from codojo.trajectories.redact import Redactor

Say = Callable[[str], None]


@dataclass
class _Held:
    """What one process at a time may hold of a dojo; the same in all of its views."""

    log: "Log | None" = None
    memory: "ChromaStore | None" = None
    memory_opened: bool = False


class Resources:
    """Log, adapters, memory, engine and judge of one dojo; an async context manager.

    Attributes:
        root: The folder.
        settings: As read when it was opened.
        stop: Requested, it ends what runs here in order, with `Stopped`.
    """

    def __init__(self, root: Path, settings: Settings, sources: dict[str, str], say: Say) -> None:
        self.root = root
        self.settings = settings
        self.sources = sources
        self.say = say
        self.stop = Stop()
        self._stack = AsyncExitStack()
        self._redactor: Redactor | None = None
        self._engine: EngineClient | None = None
        self._judge: Judge | None = None
        self._held = _Held()
        self._isolation = "none"
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def view(self) -> Self:
        """The same dojo, log and engine under settings of its own, which end with this one.

        For several conversations in one process: what one changes is not changed for the others.
        """
        async with self._opening:
            await self.engine()
            await self.judge()
            await self.memory()
            _ = self.log
        return copy(self)

    @property
    def log_folder(self) -> Path:
        """Where the log lies."""
        return self.root / "log"

    @property
    def log(self) -> "Log":
        """The pen of this process; taken up at the first use."""
        if self._held.log is None:
            from codojo.trajectories.log import Log

            self._held.log = Log(self.log_folder, self.redactor)
            self._stack.callback(self._held.log.close)
        return self._held.log

    @property
    def redactor(self) -> "Redactor":
        """Takes out secrets, those of this process's environment too; made at the first use."""
        if self._redactor is None:
            self._redactor = redactor_for(self.settings)
        return self._redactor

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
        held = self._held
        if held.memory_opened or not self.settings.memory.enabled:
            return held.memory
        from codojo.memory.remember import catch_up
        from codojo.memory.store import open_memory, owner_of
        from codojo.trajectories.log import read_log

        folder = self.root / "memory"
        held.memory = await asyncio.to_thread(open_memory, folder)
        held.memory_opened = True
        if held.memory is None:
            self.say(f"memory is in use by process {owner_of(folder)}: working without it")
            await self.log.write("memory_unavailable", {"owner": owner_of(folder)})
        else:
            self._stack.callback(held.memory.close)
            await asyncio.to_thread(catch_up, held.memory, read_log(self.log_folder))
        return held.memory

    def let_go(self) -> None:
        """Put log and memory down, in every view of this dojo; whoever needs one takes it up again."""
        if self._held.log is not None:
            self._held.log.close()
        if self._held.memory is not None:
            self._held.memory.close()
        self._held.log, self._held.memory, self._held.memory_opened = None, None, False

    async def chat_model(self, name: str | None) -> "BaseChatModel":
        """The chat model that serves under a name; None: the base model."""
        from codojo.serving.chat_model import chat_model

        return chat_model(await self.engine(), name, self.settings.sampling)

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
        if name in self.registry.retired():
            raise AdapterRejected(
                f"the adapter '{name}' is retired: it learnt from what was forgotten; train another, or go on "
                "from the base with 'codojo models promote base'"
            )
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


def redactor_for(settings: Settings) -> "Redactor":
    """What takes secrets out under some settings, those of this process's environment too."""
    from codojo.trajectories.redact import Redactor

    return Redactor(settings.redaction, secrets_of_environment(settings.engine))


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
