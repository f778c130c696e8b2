"""Scoring samples of anyone: each with a verdict of its own, kept as it comes, and what they add up to."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from codojo.canonical import content_hash
from codojo.errors import TaskError
from codojo.sandboxes.judge import Judge
from codojo.sandboxes.opening import open_sandbox
from codojo.scoring.passk import mean_pass_at_k
from codojo.settings import SandboxSettings
from codojo.tasks.loaders import Sample, candidate_of
from codojo.tasks.schema import Candidate, Record, Suite, Task, Verdict

KS = (1, 2, 5, 8, 10, 20, 50, 100)


class Judged(Record):
    """One sample and its verdict: a line of a results file."""

    number: int
    """Of the sample in its file, from 0."""
    task_id: str
    key: str
    """Hash of everything the verdict depends on: task, files, backend, repeats."""
    verdict: Verdict


async def judge_samples(
    suite: Suite,
    samples: Sequence[Sample],
    settings: SandboxSettings,
    *,
    repeats: int = 1,
    results: Path | None = None,
    watch: Callable[[int], None] = lambda done: None,
) -> list[Judged]:
    """A verdict for each sample, in order.

    Args:
        repeats: Judge each so often, in cages with different hash seeds; it passes if it always does.
        results: A file that gets each verdict as soon as it is known. What it holds already, from a
            run that was interrupted, is not judged again.
        watch: Told how many are done.

    Raises:
        TaskError: If a sample answers a task that the suite lacks, or the file cannot be used.
        SandboxError: If there is no sandbox; what is done lies in the file.
    """
    known = {task.task_id: task for task in suite}
    asked = [_asked(known, sample, suite.name) for sample in samples]
    keys = [_key(task, candidate, settings, repeats) for task, candidate in asked]
    done = _read(results) if results else {}
    found = [done.get((n, key)) for n, key in enumerate(keys)]
    count = sum(judged is not None for judged in found)
    watch(count)
    # As many as can be judged at once wait for a cage; the rest wait here, in order.
    queue = iter([n for n, judged in enumerate(found) if judged is None])
    with _opened(results) as file:
        async with open_sandbox(settings) as sandbox:
            judge = Judge(sandbox, settings)

            async def work() -> None:
                nonlocal count
                for n in queue:
                    task, candidate = asked[n]
                    verdict = await judge.verdict(
                        candidate, task.entry_point, task.sealed, repeats=repeats
                    )
                    judged = Judged(number=n, task_id=task.task_id, key=keys[n], verdict=verdict)
                    found[n] = judged
                    if file is not None:
                        file.write(judged.model_dump_json() + "\n")
                        file.flush()
                    count += 1
                    watch(count)

            async with asyncio.TaskGroup() as group:
                for _ in range(2 * settings.parallel):
                    group.create_task(work())
    return [judged for judged in found if judged is not None]


def rates(judged: Iterable[Judged]) -> dict[str, float]:
    """pass@k for every k that each task has enough samples for."""
    counts: dict[str, list[int]] = {}
    for sample in judged:
        tally = counts.setdefault(sample.task_id, [0, 0])
        tally[0] += 1
        tally[1] += sample.verdict.passed
    pairs = [(samples, passed) for samples, passed in counts.values()]
    least = min((samples for samples, _ in pairs), default=0)
    return {f"pass@{k}": round(mean_pass_at_k(pairs, k), 4) for k in KS if k <= least}


def _asked(known: dict[str, Task], sample: Sample, suite: str) -> tuple[Task, Candidate]:
    task = known.get(sample.task_id)
    if task is None:
        raise TaskError(
            f"a sample answers task '{sample.task_id}', which suite '{suite}' lacks; give the suite "
            "that the samples were made for"
        )
    return task, candidate_of(task, sample)


def _key(task: Task, candidate: Candidate, settings: SandboxSettings, repeats: int) -> str:
    limits = settings.model_dump(mode="json", exclude={"parallel"})
    return content_hash([task.hash, candidate.files, limits, repeats])[:32]


def _read(path: Path) -> dict[tuple[int, str], Judged]:
    """The verdicts of an earlier run; a last line that was torn is cut off."""
    found: dict[tuple[int, str], Judged] = {}
    if not path.exists():
        return found
    try:
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            judged = Judged.model_validate_json(line)
            found[judged.number, judged.key] = judged
        if whole != data:
            path.write_bytes(whole)
    except (OSError, ValueError) as err:
        raise TaskError(
            f"{path} is no results file of 'codojo judge' ({type(err).__name__}); choose another"
        ) from err
    return found


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[str] | None]:
    """The results file for the block; None where nobody wants one."""
    if path is None:
        yield None
        return
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as err:
        raise TaskError(f"cannot write {path}: {err.strerror}; choose another place") from err
    with file:
        yield file
