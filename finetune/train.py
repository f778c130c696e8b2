"""Train an adapter in a process of its own, which can be killed, resumed and watched."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from codojo.canonical import canonical_json
from codojo.errors import Busy, ContaminationError, TrainingError
from codojo.finetune.recipe import MANIFEST, Manifest, Recipe
from codojo.tasks.schema import Record
from codojo.trajectories.rows import PromptCompletion, rows_hash

MIN_ROWS = 2
"""A single row teaches one answer by heart and nothing else."""

CHECKPOINT_STEPS = 5
"""Steps between checkpoints: on two cores, 30 seconds or so of lost work at most."""

LOG_TAIL = 3

ENVIRONMENT = {
    # Training allocates and frees the same large blocks at every step. glibc would return each to
    # the kernel and fault it in again, which cost a third of the time; these keep them.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(32 * 2**30),
    "MALLOC_TOP_PAD_": str(256 * 2**20),
    # A core that waits for the other one sleeps, and leaves its time to the engine beside it.
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
"""For a base model that lies on this machine; one with a hub name may still have to be fetched."""


class Job(Record):
    """What the child process is told."""

    recipe: Recipe
    rows: str
    """File of the rows, one JSON object a line."""
    work: str
    """Folder for checkpoints and, at the end, the adapter."""
    accumulate: int = 1
    """Pieces each batch is cut into."""
    checkpoint_steps: int = CHECKPOINT_STEPS


Say = Callable[[dict[str, Any]], None]
"""How the child process tells its parent something."""


class NotFinite(Exception):
    """A loss, a gradient or a weight is not a number."""


class Failed(Record):
    """Why the child process gave up."""

    kind: Literal["memory", "not_finite", "rows", "other"]
    detail: str


@dataclass(frozen=True)
class TrainProgress:
    """One optimiser step."""

    step: int
    """Steps done, this one included."""
    total: int
    loss: float


@dataclass(frozen=True)
class TrainResult:
    """A complete adapter folder."""

    folder: Path
    manifest: Manifest


async def train(
    recipe: Recipe,
    rows: Sequence[PromptCompletion],
    base: Path | str,
    out: Path,
    *,
    progress: Callable[[TrainProgress], None] | None = None,
    checkpoint_steps: int = CHECKPOINT_STEPS,
) -> TrainResult:
    """Train the adapter of a recipe and put it at `out`, whole or not at all.

    If `out` holds this recipe's adapter, it is returned as it is. An interrupted run of the same
    recipe is taken up at its last checkpoint, which lies beside `out` in `<out>.partial`. Cancelling
    ends the child process. Out of memory, each batch is cut into pieces once, which computes the
    same more slowly.

    Args:
        base: The base model; the recipe's own `base` may name a folder that has moved.
        out: Folder to make. Its parent is made too.
        progress: Called after every step, in the caller's thread.

    Raises:
        ContaminationError: If a row was made from a task outside the `train` split.
        Busy: If another process trains into the same folder.
        TrainingError: If no adapter came out; the message says why and what to do.
    """
    _check_rows(recipe, rows)
    work = out.with_name(f"{out.name}.partial")
    with _alone(out):
        if made := _finished(recipe, out):
            return made
        job = Job(
            recipe=recipe.model_copy(update={"base": str(base)}),
            rows=str(work / "rows.jsonl"),
            work=str(work),
            checkpoint_steps=checkpoint_steps,
        )
        _open_work(work, recipe, rows)
        await _run_within_memory(job, progress)
        (work / "adapter").rename(out)
        shutil.rmtree(work, ignore_errors=True)
        made = _finished(recipe, out)
        assert made  # renamed a moment ago
        return made


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.with_name(f".{out.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as err:
        raise Busy(f"another process trains into {out}; wait for it or train elsewhere") from err
    try:
        yield
    finally:
        lock.release()


def _check_rows(recipe: Recipe, rows: Sequence[PromptCompletion]) -> None:
    for row in rows:
        if row.source.split != "train":
            raise ContaminationError(
                f"a row made from task '{row.source.task_id}' of split {row.source.split} was about "
                "to be trained on; only rows of train tasks may be"
            )
    if len(rows) < MIN_ROWS:
        raise TrainingError(
            f"{len(rows)} rows are too few to train on, need {MIN_ROWS}; see the curation report "
            "for what was left out, or collect more rollouts"
        )
    if rows_hash(rows) != recipe.rows_hash:
        raise TrainingError(
            f"the recipe was made for rows {recipe.rows_hash[:12]}, these are "
            f"{rows_hash(rows)[:12]}; make a new recipe from them"
        )


def _finished(recipe: Recipe, out: Path) -> TrainResult | None:
    """The adapter of this recipe, if it is there already."""
    if not out.exists():
        return None
    try:
        manifest = Manifest.model_validate_json((out / MANIFEST).read_bytes())
    except (OSError, ValueError) as err:
        raise TrainingError(f"{out} exists and is no adapter of codojo; choose another") from err
    if manifest.recipe_hash != recipe.hash:
        raise TrainingError(
            f"{out} holds the adapter of recipe {manifest.recipe_hash[:12]}, not of "
            f"{recipe.hash[:12]}; adapters never change, so choose another folder"
        )
    return TrainResult(out, manifest)


def _open_work(work: Path, recipe: Recipe, rows: Sequence[PromptCompletion]) -> None:
    """Write the rows, and keep what an interrupted run of this recipe left, and nothing else."""
    mark = work / "recipe"
    if not mark.is_file() or mark.read_text() != recipe.hash:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        mark.write_text(recipe.hash)
    shutil.rmtree(work / "adapter", ignore_errors=True)
    lines = (canonical_json(row.model_dump(mode="json")) + b"\n" for row in rows)
    (work / "rows.jsonl").write_bytes(b"".join(lines))


async def _run_within_memory(job: Job, progress: Callable[[TrainProgress], None] | None) -> None:
    """Run the job; if memory runs out, once more with each batch cut into the fewest pieces."""
    failed = await _run(job, progress)
    rows = job.recipe.batch_size
    if failed and failed.kind == "memory" and rows > 1:
        pieces = next(n for n in range(2, rows + 1) if rows % n == 0)
        failed = await _run(job.model_copy(update={"accumulate": pieces}), progress)
    if failed:
        advice = {
            "memory": "; lower train.batch_size or train.max_length, or free memory",
            "not_finite": "; lower train.learning_rate or look at the rows of these tasks",
            "rows": "; raise train.max_length or collect other rollouts",
            "other": f"; the whole output is in {Path(job.work) / 'train.log'}",
        }[failed.kind]
        raise TrainingError(f"training stopped: {failed.detail}{advice}")


async def _run(job: Job, progress: Callable[[TrainProgress], None] | None) -> Failed | None:
    """Run one child process to its end; None if it made an adapter."""
    work = Path(job.work)
    path = work / "job.json"
    path.write_text(job.model_dump_json())
    failed: Failed | None = None
    done = False
    async with _child(path, work / "train.log", _network(job.recipe.base)) as process:
        assert process.stdout is not None  # asked for as a pipe
        async for line in process.stdout:
            said: dict[str, Any] = json.loads(line)
            if "step" in said and progress:
                progress(TrainProgress(**said))
            elif "failed" in said:
                failed = Failed.model_validate(said["failed"])
            done = done or "done" in said
        code = await process.wait()
    if failed or (done and code == 0):
        return failed
    if code == -9:
        # Nobody here killed it, so the kernel did, and memory is why it does.
        return Failed(kind="memory", detail="the kernel killed the training process")
    tail = (work / "train.log").read_text(errors="replace").strip().splitlines()[-LOG_TAIL:]
    return Failed(kind="other", detail=f"exit code {code}: {' | '.join(tail)}")


def _network(base: str) -> Mapping[str, str]:
    """Variables that keep the trainer offline, where its base model needs no fetching."""
    return OFFLINE if Path(base).is_dir() else {}


@contextlib.asynccontextmanager
async def _child(
    job: Path, log: Path, more: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The training process; it has ended when the block has, however that was left.

    Its standard input is a pipe that nothing is ever written to: it closes when this process dies,
    by whatever death, and then the child ends itself.
    """
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "codojo.finetune.train_child",
            str(job),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **ENVIRONMENT, **more},
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
        assert process.stdin is not None  # asked for as a pipe
        process.stdin.close()
