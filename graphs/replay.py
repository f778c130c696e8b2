"""A rollout run again from its log alone: no model, no cage, nothing written."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult
from pydantic import ValidationError

from codojo.canonical import content_hash
from codojo.errors import LogEnds, LogError, ReplayDiverged
from codojo.graphs.node import namespace
from codojo.graphs.parts import Parts
from codojo.graphs.rollout import GRAPHS, graph_version, play
from codojo.graphs.run import require_same
from codojo.memory.schema import Entry
from codojo.settings import Settings
from codojo.tasks.schema import Case, Check, Record, Task, Tests
from codojo.trajectories.journal import EFFECT, Journal, Scope, scope
from codojo.trajectories.log import Event
from codojo.trajectories.places import recorded_key
from codojo.trajectories.schema import RolloutEnd, RolloutStart, Trajectory, fold


class Replayed(Record):
    """What a replay found. It is only made where everything fits."""

    rollout: str
    task: str
    effects: dict[str, int]
    """Effects that the log answered, by kind; nothing else happened."""
    keys: int
    """Keys computed anew from what their records say, and equal."""
    copied: int = 0
    """Of the effects, those that a fork took over."""
    finished: bool
    """Whether the log holds an end; the replay then came to the same one."""
    verdict: str = ""
    stopped_at: str = ""
    """Of an unfinished rollout: what it would do next."""
    seconds: float


async def replay(id: str, events: Sequence[Event]) -> Replayed:
    """Run a rollout again from what the log holds of it, and check that everything fits.

    Args:
        events: The rollout's, in order.

    Raises:
        LogError: If no graph here played it.
        ReplayDiverged: Where a key is not what its record gives, where the graph asks for something
            that the log does not hold, leaves something of it unused, or comes to another end.
    """
    began = time.monotonic()
    trajectory = fold(events)[id]
    start = trajectory.start
    if start.imported or start.graph not in GRAPHS:
        where = f"imported from {start.imported.file}" if start.imported else "played elsewhere"
        raise LogError(
            f"rollout {id} was {where}: no graph here is called '{start.graph}', so there is nothing to replay; "
            "'codojo trajectories show' shows it"
        )
    records = [event.data for event in events if event.kind == EFFECT]
    _check_keys(id, records)
    parts = _parts(trajectory)
    graph = GRAPHS[start.graph](parts)
    task = _task(trajectory)
    require_same(id, start, start.graph, graph_version(graph), task_hash=start.task_hash)
    journal = Journal(None, id, events, replay_only=True, namespace=namespace)
    stopped_at = ""
    with scope(Scope(journal, owner=namespace())):
        try:
            end = await play(task, start, graph, parts)
        except LogEnds as err:
            if trajectory.end is not None or journal.unused:
                raise
            stopped_at = str(err)
        else:
            _check_end(trajectory, end)
    journal.finish()
    return Replayed(
        rollout=id,
        task=start.brief.task_id,
        effects=dict(sorted(Counter(record["effect"] for record in records).items())),
        keys=len(records),
        copied=sum("origin" in record for record in records),
        finished=trajectory.end is not None,
        verdict=trajectory.verdict.status if trajectory.verdict else "",
        stopped_at=stopped_at,
        seconds=round(time.monotonic() - began, 3),
    )


def _check_keys(id: str, records: Sequence[dict[str, Any]]) -> None:
    for record in records:
        if recorded_key(id, record) != record["key"]:
            raise ReplayDiverged(
                f"the {record['effect']} at {'/'.join(record['path'])} of rollout {id} has not the key that its "
                "content gives: the record was changed, or another version of codojo made its keys"
            )


def _check_end(trajectory: Trajectory, end: RolloutEnd) -> None:
    """Compare the ends in all that a pure graph decides."""
    logged = trajectory.end
    if logged is None:
        raise ReplayDiverged(
            f"rollout {trajectory.id} is unfinished in the log, and its replay came to an end: everything but the "
            "last record is there; finish it with --resume"
        )
    decided = {"proposals", "chosen", "verdict", "failure", "deliverable"}
    was, now = (e.model_dump(mode="json", include=decided) for e in (logged, end))
    other = [name for name in sorted(decided) if content_hash(was[name]) != content_hash(now[name])]
    if other:
        raise ReplayDiverged(
            f"the replay of rollout {trajectory.id} used the log's answers and came to other {' and '.join(other)}: "
            "code between the effects has changed since, or is not pure"
        )


class SilentModel(BaseChatModel):
    """Stands for a model in a replay: it has its name and says nothing."""

    model_name: str

    @property
    def _llm_type(self) -> str:
        return "codojo-replay"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise ReplayDiverged("a replay asks no model")


def settings_of(start: RolloutStart) -> Settings:
    """The settings that a rollout was played with.

    Raises:
        ReplayDiverged: If this version of codojo does not know them.
    """
    try:
        return Settings(**start.settings)  # type: ignore[arg-type]  # pydantic validates the sections
    except ValidationError as err:
        raise ReplayDiverged(
            f"the rollout was played with settings that this version of codojo does not know: {err.errors()[0]['loc']}"
        ) from err


def _parts(trajectory: Trajectory) -> Parts:
    start = trajectory.start
    models = {agent: SilentModel(model_name=name) for agent, name in start.models.items()}
    every = models.get("all") or SilentModel(model_name="")
    remembers = any(effect.effect == "remember" for effect in trajectory.effects)
    return Parts(
        model=lambda agent: models.get(agent, every),
        judge=None,
        settings=settings_of(start),
        remember=_nowhere if remembers else None,
    )


async def _nowhere(entry: Entry) -> None:
    raise ReplayDiverged("a replay remembers nothing")


def _task(trajectory: Trajectory) -> Task:
    """The task as far as the log knows it: of sealed tests there are only the ids, and a replay needs no more."""
    brief, end = trajectory.brief, trajectory.end
    judged = [e.input for e in trajectory.effects if e.effect == "verdict"]
    sealed = Tests(source="sealed")
    if judged or (end is None and brief.suite) or _says_sealed(end):
        first = judged[0] if judged else {}
        ids: Any = first.get("cases") if isinstance(first, dict) else None
        cases = tuple(Case(id=str(id), args=None, expected=None) for id in ids or ())
        sealed = Tests(source="sealed", cases=cases, check=None if cases else Check(source=""))
    return Task(**brief.model_dump(), sealed=sealed)


def _says_sealed(end: RolloutEnd | None) -> bool:
    return bool(end and end.verdict and end.verdict.tests == "sealed")
