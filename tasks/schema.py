"""Tasks, the briefs cut from them, suites, splits and verdicts: the words everyone else uses."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from codojo.canonical import content_hash
from codojo.errors import TaskError

Split = Literal["train", "gate", "held_out"]
SPLITS: tuple[Split, ...] = ("train", "gate", "held_out")

Status = Literal[
    "passed", "failed", "error", "timeout", "resource_limit", "infra_error", "unverified"
]
TestSource = Literal["sealed", "visible", "self_made", "person"]
Integrity = Literal["isolated", "shared_process"]
Rule = Literal["equal", "close", "unordered", "raises"]


def _nothing(value: object) -> bool:
    """Whether a field is left out of what is stored: so older records keep their hashes."""
    return not value


_set = object.__setattr__
_NO_FIELDS: set[str] = set()
"""Fields that were given, which only `exclude_unset` asks for; nothing adds to it, as records are frozen."""


class Record(BaseModel):
    """What every stored record of codojo is: frozen, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def trusted(cls, **values: object) -> Self:
        """As the constructor, for values that were checked before: it looks at none of them.

        Args:
            values: Every field in the order of the class, those with defaults too.
        """
        record = cls.__new__(cls)
        _set(record, "__dict__", values)
        _set(record, "__pydantic_fields_set__", _NO_FIELDS)
        _set(record, "__pydantic_extra__", None)
        _set(record, "__pydantic_private__", None)
        return record


class Case(Record):
    """One call of the entry point and what must come back."""

    id: str
    args: JsonValue
    """Encoded tuple of positional arguments (`tasks.values.encode`)."""
    expected: JsonValue
    """Encoded result, or the exception's name for the rule `raises`."""
    rule: Rule = "equal"
    """How the result is compared, outside the cage. `close`: floats to 1e-6, relative or absolute."""


class Check(Record):
    """Tests written as code, in the convention of HumanEval: `def check(candidate): ...`."""

    id: str = "check"
    source: str
    presets: tuple[str, ...] = ()
    """Standard modules that the test uses without importing them."""
    prelude: str = ""
    """Code of the prompt that the test may call (helpers, imports); never the candidate's."""


class TestFiles(Record):
    """Test files for pytest or unittest, which import the candidate's files from beside them."""

    __test__ = False  # pytest would take it for a test of ours

    files: dict[str, str]
    """Relative path to text; data files that tests read may be among them."""
    target: str = "solution.py"
    """Where a candidate of one file is put."""


class Tests(Record):
    """A set of tests of one origin: cases judged by value, one check in code, or test files."""

    source: TestSource
    cases: tuple[Case, ...] = ()
    check: Check | None = None
    files: TestFiles | None = None

    def __len__(self) -> int:
        return len(self.cases) + (self.check is not None) + (self.files is not None)


class Brief(Record):
    """What agents, graphs and memory may know of a task. It holds no way to the sealed tests."""

    task_id: str
    suite: str
    family: str
    split: Split | None
    """None for a task of no suite (a chat, a one-off request)."""
    prompt: str
    entry_point: str
    starter: str
    """Signature line, or the code that the answer must begin with."""
    visible: Tests
    files: dict[str, str] = Field(default={}, exclude_if=_nothing)
    """What is there already and may be changed, by relative path."""


class Task(Record):
    """What to solve, with the tests that decide. Only a judge reads `sealed`."""

    task_id: str
    suite: str
    family: str
    prompt: str
    entry_point: str
    starter: str = ""
    visible: Tests = Tests(source="visible")
    sealed: Tests = Field(default=Tests(source="sealed"), repr=False)
    reference: str | None = Field(default=None, repr=False)
    """A solution that passes, where the suite has one. Used to check the suite, never to train."""
    split: Split | None = None
    files: dict[str, str] = Field(default={}, exclude_if=_nothing)
    """What is there already and may be changed, by relative path."""

    def brief(self) -> Brief:
        """The part of the task that may leave this room."""
        return Brief(
            task_id=self.task_id,
            suite=self.suite,
            family=self.family,
            split=self.split,
            prompt=self.prompt,
            entry_point=self.entry_point,
            starter=self.starter,
            visible=self.visible,
            files=self.files,
        )

    @property
    def hash(self) -> str:
        """Content hash of everything that defines the task, sealed tests included."""
        return content_hash(self.model_dump(mode="json"))


class Question(Record):
    """A plain question of a guard suite with an answer that a rule can check."""

    id: str
    prompt: str
    accept: tuple[str, ...]
    """Regular expressions; the answer counts when one of them is found in it, case ignored."""


class Candidate(Record):
    """One proposed solution: relative path to text. A function task has the one file `solution.py`."""

    files: dict[str, str]

    @classmethod
    def of(cls, code: str) -> "Candidate":
        """A candidate of one file."""
        return cls(files={"solution.py": code})

    @property
    def code(self) -> str:
        """The text of `solution.py`; empty where the candidate has none."""
        return self.files.get("solution.py", "")


class Outcome(Record):
    """What one test said."""

    id: str
    status: Status
    detail: str = ""
    """One short line for a person or a critic; for sealed tests it names no expected value."""


class Verdict(Record):
    """The judge's word on one candidate."""

    status: Status
    reason: str = ""
    """Why it is not `passed`: pids, memory, output, disk, unsupported, no_call, abort, syntax, ..."""
    tests: TestSource
    outcomes: tuple[Outcome, ...] = ()
    isolation: str = "none"
    """The level the sandbox proved, for example `bubblewrap`."""
    integrity: Integrity = "isolated"
    behaviour: str | None = None
    """Hash of the values the candidate returned, case by case: equal for equal behaviour."""
    attempts: tuple[str, ...] = ()
    """What looked like a trick to be judged better: `abort` (it ended before it answered), `canary`
    (a test of the judge's own came out wrong), `tampered` (test files changed), `planted` (files that
    steer the test runner). Counted for the record; what decides are the outcomes."""
    duration_s: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every test passed; only with `tests == "sealed"` does it count as solved."""
        return self.status == "passed"

    @property
    def share(self) -> float:
        """Share of the tests that passed, between 0 and 1; 0 where none ran."""
        if not self.outcomes:
            return 0.0
        return sum(o.status == "passed" for o in self.outcomes) / len(self.outcomes)


class Suite(Record):
    """Named tasks in three parts that never mix."""

    name: str
    tasks: tuple[Task, ...]

    def __iter__(self) -> Iterator[Task]:  # type: ignore[override]  # a suite is its tasks, not its fields
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)

    def split(self, split: Split) -> tuple[Task, ...]:
        """The tasks of one part, in suite order."""
        return tuple(task for task in self.tasks if task.split == split)

    def task(self, task_id: str) -> Task:
        """The task of that id.

        Raises:
            TaskError: If the suite has none.
        """
        for task in self.tasks:
            if task.task_id == task_id:
                return task
        raise TaskError(f"suite '{self.name}' has no task '{task_id}'; see 'codojo tasks list'")


def split_of(suite: str, family: str) -> Split:
    """Where a family belongs: half to `train`, a quarter each to `gate` and `held_out`.

    A hash decides, so the answer never depends on which other tasks exist.
    """
    draw = int(hashlib.sha256(f"{suite}/{family}".encode()).hexdigest()[:8], 16) % 100
    return "train" if draw < 50 else "gate" if draw < 75 else "held_out"


def make_suite(name: str, tasks: Iterable[Task]) -> Suite:
    """A suite with each task's split set from its family.

    Raises:
        TaskError: If two tasks share an id.
    """
    placed = tuple(
        task.model_copy(update={"suite": name, "split": split_of(name, task.family)})
        for task in tasks
    )
    seen: set[str] = set()
    for task in placed:
        if task.task_id in seen:
            raise TaskError(
                f"suite '{name}' holds task '{task.task_id}' twice; make the ids unique"
            )
        seen.add(task.task_id)
    return Suite(name=name, tasks=placed)
