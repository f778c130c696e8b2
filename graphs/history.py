"""What the log holds of a run from before: found by the index, read rollout by rollout when asked for."""

from pathlib import Path
from typing import Self

from codojo.trajectories.index import Index, IndexedRollout
from codojo.trajectories.log import Event
from codojo.trajectories.schema import Cost, Trajectory


class History:
    """The earlier events of one run. Use as a context manager.

    Args:
        log: Folder of the log.
        run: Id of the run.

    Raises:
        LogError: If the log or its index cannot be read.
    """

    def __init__(self, log: Path, run: str) -> None:
        self._index = Index(log)
        self.own = self._index.events(run)
        """Effects of the run itself."""
        self._rollouts = {
            (rollout.stage, rollout.task, rollout.attempt): rollout
            for rollout in self._index.rollouts(run=run)
            if rollout.run == run
        }

    def rollout(self, stage: str, task_id: str) -> IndexedRollout | None:
        """The rollout that an earlier process began for a task of a stage."""
        return self._rollouts.get((stage, task_id, 0))

    def events(self, rollout: str) -> list[Event]:
        """What was logged of a rollout, in order; empty where nothing was."""
        return self._index.events(rollout)

    def trajectory(self, rollout: str) -> Trajectory:
        """A rollout, whole; for any thread."""
        return self._index.trajectory(rollout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._index.close()


def cost_of(rollout: IndexedRollout) -> Cost:
    """What a finished rollout has spent."""
    return Cost(
        prompt_tokens=rollout.prompt_tokens,
        completion_tokens=rollout.completion_tokens,
        calls=rollout.calls,
        seconds=rollout.seconds,
    )
