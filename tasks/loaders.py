"""Suites and samples by name or from files: the katas, HumanEval, MBPP, EvalPlus, anyone's JSONL."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codojo.errors import TaskError
from codojo.tasks.conventions import RowRefused, task_of
from codojo.tasks.folders import tasks_in
from codojo.tasks.programs import defined_functions, join
from codojo.tasks.schema import Candidate, Record, Suite, Task, make_suite
from codojo.tasks.similarity import clusters, words_of

BUILT_IN = ("katas",)
LONG_SOLUTION_WORDS = 25


class Sample(Record):
    """One answer to a task from a samples file, as HumanEval and EvalPlus write them."""

    task_id: str
    text: str = ""
    is_whole: bool = False
    """Whether the text is a program (`solution`) or continues the prompt (`completion`)."""
    files: dict[str, str] = {}
    """An answer of several files, by relative path; then there is no text."""


def load_suite(name_or_path: str) -> Suite:
    """A suite by its name, from a JSON Lines file (also `.gz`) in a published convention, or from a
    folder of tasks (`codojo.tasks.folders`).

    A file's suite is named for the file, without its endings. The split of a task follows from the
    suite's name and the task's family: its key `family`, or the cluster of tasks with nearly the
    same text.

    Raises:
        TaskError: If there is no such suite or file, or a row cannot be used; names file and line.
    """
    if name_or_path == "katas":
        from codojo.tasks.katas import load_katas

        return load_katas()
    path = Path(name_or_path)
    if not path.exists() and not path.suffix and len(path.parts) == 1:
        raise TaskError(
            f"no suite is called '{name_or_path}'; built in: {', '.join(BUILT_IN)}; "
            "or give the path of a .jsonl file or of a folder of tasks"
        )
    if path.is_dir():
        return make_suite(path.resolve().name, tasks_in(path, path.resolve().name))
    name = path.name.removesuffix(".gz").removesuffix(".jsonl")
    tasks: dict[str, Task] = {}
    for number, row in _rows(path):
        try:
            task = task_of(row, name)
        except RowRefused as err:
            raise TaskError(f"{path}, line {number}: the row {err}; {_REMEDY}") from None
        if task.task_id in tasks:
            raise TaskError(
                f"{path}, line {number}: task '{task.task_id}' is there twice; make the ids unique"
            )
        tasks[task.task_id] = task
    if not tasks:
        raise TaskError(f"{path} holds no tasks; {_REMEDY}")
    return make_suite(name, _with_families(list(tasks.values())))


_REMEDY = "each line must be an object with the keys of HumanEval, MBPP or EvalPlus"


def load_samples(path: str | Path) -> list[Sample]:
    """The samples of a file: `task_id` with `solution` (a program), `completion` (goes on), or `files`.

    Raises:
        TaskError: If the file or a line cannot be used; names both.
    """
    samples = [_sample(row, f"{path}, line {number}") for number, row in _rows(Path(path))]
    if not samples:
        raise TaskError(f"{path} holds no samples; write one JSON object a line")
    return samples


def _sample(row: dict[str, Any], place: str) -> Sample:
    id, files = str(row.get("task_id", "")), row.get("files")
    if id and isinstance(files, dict) and all(isinstance(text, str) for text in files.values()):
        return Sample(task_id=id, files={str(name): text for name, text in files.items()})
    kind = next((key for key in ("solution", "completion") if key in row), None)
    if not id or kind is None or not isinstance(row[kind], str):
        raise TaskError(
            f"{place}: a sample needs 'task_id' and the text of a 'solution' or a 'completion', or "
            f"'files' by their paths; this one has {sorted(map(str, row))}"
        )
    return Sample(task_id=id, text=row[kind], is_whole=kind == "solution")


def candidate_of(task: Task, sample: Sample) -> Candidate:
    """What a sample hands in for its task."""
    if sample.files:
        return Candidate(files=sample.files)
    return Candidate.of(solution_text(task, sample))


def solution_text(task: Task, sample: Sample | str) -> str:
    """The program that a sample stands for; plain text is taken as a completion of the prompt."""
    if isinstance(sample, Sample) and sample.is_whole:
        return sample.text
    text = sample.text if isinstance(sample, Sample) else sample
    start = task.prompt if defined_functions(task.prompt) else f"{task.starter}\n"
    return join(start, task.entry_point, text)


def _with_families(tasks: list[Task]) -> list[Task]:
    unnamed = [task for task in tasks if not task.family]
    # Short solutions are alike by nature (`return sum(x)`) and say nothing about their tasks.
    solutions = {
        task.task_id: task.reference.removeprefix(task.prompt)
        for task in unnamed
        if task.reference and len(words_of(task.reference)) >= LONG_SOLUTION_WORDS
    }
    leaders = clusters({task.task_id: task.prompt for task in unnamed}, solutions)
    return [
        task if task.family else task.model_copy(update={"family": f"like {leaders[task.task_id]}"})
        for task in tasks
    ]


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each object of a JSON Lines file with its line number; empty lines are skipped."""
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as err:
            raise TaskError(
                f"{path}, line {number}: not JSON ({err}); write one object a line"
            ) from None
        if not isinstance(row, dict):
            raise TaskError(f"{path}, line {number}: a {type(row).__name__}, not an object")
        yield number, row


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as err:
        raise TaskError(f"cannot read {path}: {err.strerror}; check the path") from err
    try:
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, EOFError, zlib.error) as err:
        raise TaskError(f"{path} is not a whole gzip file ({err}); fetch it again") from err
    except UnicodeDecodeError as err:
        raise TaskError(f"{path} is not UTF-8 text ({err}); save it as UTF-8") from err
