"""A rollout that goes another way from a step of an earlier one."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from codojo.errors import SettingsError, TaskError
from codojo.graphs.parts import Parts
from codojo.graphs.replay import settings_of
from codojo.graphs.rollout import GRAPHS, graph_version, run_rollout, without_secrets
from codojo.graphs.run import Run, RunRecord, require_same
from codojo.tasks.loaders import load_suite
from codojo.tasks.requests import names_file, task_from_text
from codojo.tasks.schema import Record, Suite, Task
from codojo.trajectories.fork import answer_from, effect_at, taken_over
from codojo.trajectories.ids import new_id
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import Event
from codojo.trajectories.schema import STARTED, Origin, RolloutStart, Trajectory, fold

FORK = "fork"
"""Command of a run that forks, and the stage of its rollout."""


async def fork_rollout(
    run: Run,
    parent: Sequence[Event],
    plan: "ForkPlan",
    task: Task,
    parts: Parts,
) -> Trajectory:
    """Play a rollout that has the parent's answers up to a step, and answers of its own from there.

    Args:
        run: A run of its own; resumed, it goes on with the fork that it had begun.
        parent: The parent's events, in order.
        task: The parent's task, sealed tests included.

    Raises:
        ReplayDiverged: If graph, prompts or task are not what the parent was played with.
        BudgetExceeded, EngineError, SandboxError, LogError: The fork stays unfinished and can be resumed.
    """
    task, _ = without_secrets(task, run.log.redactor)
    earlier = run.earlier(FORK, task.task_id)
    id = earlier.id if earlier else new_id()
    before = run.events(id)
    if before and (finished := fold(before)[id]).end is not None:
        return finished
    old = fold(parent)[str(parent[0].rollout)]
    graph = GRAPHS[parts.settings.team.graph](parts)
    version = graph_version(graph)
    require_same(old.id, old.start, parts.settings.team.graph, version, task_hash=task.hash)
    start = old.start.model_copy(
        update={
            "run": run.id,
            "stage": FORK,
            "models": {"all": parts.model_name("all")},
            "settings": parts.played_with,
            "versions": run.versions,
            "parent": Origin(rollout=old.id, key=plan.at, edited=plan.edit is not None),
        }
    )
    copies = [
        run.log.redactor.redact(copy).value for copy in taken_over(parent, plan.at, id, plan.edit)
    ]
    if not before:
        run.log.append(STARTED, start.model_dump(mode="json"), id)
    logged = {event.data["key"] for event in before if event.kind == EFFECT}
    for copy in copies:
        if copy["key"] not in logged:
            run.log.append(EFFECT, copy, id)
    return await run_rollout(
        id,
        task,
        start,
        graph,
        parts,
        run.log,
        recorded=before,
        copies=copies,
        budget=run.budget,
        stop=run.stop,
    )


class ForkPlan(Record):
    """What a fork is asked for: the arguments of its run."""

    parent: str
    at: str
    """Key of the step at which it leaves."""
    edit: JsonValue = None
    """The step's answer instead of asking anew."""
    model: str | None = None
    changes: dict[str, JsonValue] = {}
    """Settings from there on, as `section__name`."""
    task: dict[str, Any]
    """Where the task came from; see `task_again`."""

    @classmethod
    def of(
        cls,
        parent: Trajectory,
        run: RunRecord,
        *,
        at: str,
        edit: str | None = None,
        model: str | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> "ForkPlan":
        """A plan from what a person says.

        Args:
            run: The parent's.
            at: Number of a step as it is shown, or the beginning of its key.
            edit: Text that takes the place of the step's answer.

        Raises:
            LogError: If there is no such step.
            SettingsError: If its answer cannot be edited, or a setting cannot be changed so.
        """
        effect = effect_at(parent, at)
        for name in changes or {}:
            if name == "team__graph" or name.partition("__")[0] not in CHANGEABLE:
                raise SettingsError(
                    f"a fork cannot change {name.replace('__', '.', 1)!r}: it goes on in its parent's graph, with the "
                    f"engine and the sandbox of the dojo; it can change {', '.join(CHANGEABLE)}"
                )
        return cls(
            parent=parent.id,
            at=effect.key,
            edit=None if edit is None else answer_from(effect, edit),
            model=model,
            changes=dict(changes or {}),
            task=_origin_of_task(parent, run),
        )

    def settings(self, start: RolloutStart) -> dict[str, Any]:
        """The parent's settings with these changes, as `section__name`."""
        played = settings_of(start)
        before = {
            f"{section}__{name}": value
            for section in CHANGEABLE
            for name, value in getattr(played, section).model_dump().items()
        }
        return before | self.changes


CHANGEABLE = ("team", "sampling", "memory")
"""Sections of settings that a fork takes from its parent, and may change."""


def _origin_of_task(parent: Trajectory, run: RunRecord) -> dict[str, Any]:
    args = run.args
    if run.command == FORK:
        return dict(args["task"])
    return {
        "id": parent.brief.task_id,
        "suite": args.get("suite") or "",
        "text": args.get("what") or args.get("text") or "",
        "tests": args.get("tests") or [],
    }


def task_again(origin: dict[str, Any]) -> tuple[Task, Suite | None]:
    """The task from where it came, with its sealed tests, and the suite whose tests memory must not hold.

    Raises:
        TaskError: If it is not there any more.
    """
    text = origin["text"]
    try:
        if origin["suite"]:
            suite = load_suite(origin["suite"])
            return suite.task(origin["id"]), suite
        if names_file(text):
            return load_suite(text).task(origin["id"]), None
    except (TaskError, OSError) as err:
        raise TaskError(
            f"the task '{origin['id']}' is needed with its sealed tests, and is not where it was: {err}"
        ) from err
    return task_from_text(text, origin["tests"]), None
