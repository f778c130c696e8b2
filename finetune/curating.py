"""What every curator does: from rollouts to rows, task by task, with a report.

A curator is two pure functions. `of_rollout` gives the rows that one rollout has in it; `of_task` chooses
among the rows of one task. So a set of rollouts can be curated at once (`curate`), or a log of any size
rollout by rollout and then task by task, with the same result.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from codojo.finetune.picks import FENCE, NO_EVIDENCE, LeftOut, Pick
from codojo.finetune.shape import code_shape
from codojo.tasks.schema import Record, Split
from codojo.trajectories.rows import (
    PromptCompletion,
    Row,
    Stepwise,
    TokenExact,
    Unpaired,
)
from codojo.trajectories.schema import Message, Trajectory

PROTECTED: tuple[Split, ...] = ("gate", "held_out")
"""Splits whose own rows, where someone asked for them by name, are not searched for their text."""

R = TypeVar("R", bound=Row)
"""What a curator makes."""


class Guard(Protocol):
    """Finds text of tasks that nobody may learn from (`codojo.tasks.contamination`)."""

    def find(self, text: str) -> list[str]:
        """What of the gate and held-out tasks the text holds; empty if it is clean."""


class CurationReport(Record):
    """What a curator saw, kept and left out; `considered` is `used` plus all of `left_out`."""

    rollouts: int
    considered: int
    """Candidates of those rollouts, or answers of the agents asked for."""
    passed: int
    """Those that have the verdict asked for (by default: passed their sealed tests in isolation)."""
    kept: int
    """Rows."""
    left_out: dict[str, int]
    """Candidates by the first reason that ruled them out."""
    tasks: int
    """Tasks with at least one row."""
    completion_chars: int

    def __add__(self, other: "CurationReport") -> "CurationReport":
        """Of both; their tasks must differ."""
        left_out = Counter(self.left_out) + Counter(other.left_out)
        return CurationReport(
            rollouts=self.rollouts + other.rollouts,
            considered=self.considered + other.considered,
            passed=self.passed + other.passed,
            kept=self.kept + other.kept,
            left_out=dict(sorted(left_out.items())),
            tasks=self.tasks + other.tasks,
            completion_chars=self.completion_chars + other.completion_chars,
        )


@dataclass(frozen=True)
class Curated(Generic[R]):
    """Rows, and how they were chosen."""

    rows: tuple[R, ...]
    report: CurationReport


@dataclass(frozen=True)
class Curator(Generic[R]):
    """A way to make rows; both functions are pure."""

    name: str
    makes: type[R]
    gathers: type[Row]
    """What `of_rollout` gives."""
    of_rollout: Callable[[Trajectory, Pick], Iterator[Row | LeftOut]]
    of_task: Callable[[Sequence[Row], Pick, Guard], Iterator[R | LeftOut]]
    pick: Pick
    """Its defaults."""


def curate(
    curator: Curator[R], trajectories: Iterable[Trajectory], pick: Pick, guard: Guard
) -> Curated[R]:
    """All rows of some rollouts, ordered by task, then as `of_task` orders them.

    Args:
        trajectories: In any order; the same ones give the same rows.
        guard: Rows in which it finds something are left out.

    Raises:
        ContaminationError: For a rollout of a gate or held-out task, unless the pick names the split.
    """
    tally = Tally()
    by_task: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for trajectory in trajectories:
        for row in tally.of_rollout(curator, trajectory, pick):
            by_task[row.source.suite, row.source.task_id].append(row)
    rows: list[R] = []
    for task in sorted(by_task):
        rows += tally.of_task(curator, by_task[task], pick, guard)
    return Curated(tuple(rows), tally.report)


class Tally:
    """Counts what a curator does, for its report."""

    def __init__(self) -> None:
        self._rollouts = self._considered = self._kept = self._tasks = self._chars = 0
        self._left_out: Counter[str] = Counter()

    def of_rollout(self, curator: Curator[R], trajectory: Trajectory, pick: Pick) -> Iterator[Row]:
        """The rows that a rollout has in it."""
        self._rollouts += 1
        for found in curator.of_rollout(trajectory, pick):
            self._considered += 1
            if isinstance(found, LeftOut):
                self._left_out[found.reason] += 1
            else:
                yield found

    def of_task(
        self, curator: Curator[R], rows: Sequence[Row], pick: Pick, guard: Guard
    ) -> Iterator[R]:
        """The rows of one task that are kept."""
        kept = self._kept
        for found in curator.of_task(rows, pick, guard):
            if isinstance(found, LeftOut):
                self._left_out[found.reason] += 1
            else:
                self._kept += 1
                self._chars += sum(map(len, learnt(found)))
                yield found
        self._tasks += self._kept > kept

    def rollout(self, reason: str | None, *, first: bool) -> None:
        """Count a rollout that is taken or left whole.

        Args:
            reason: Why it is left out; None where it is kept.
            first: Whether it is the first of its task that is kept.
        """
        self._rollouts += 1
        self._considered += 1
        self._kept += reason is None
        self._tasks += first
        if reason:
            self._left_out[reason] += 1

    @property
    def report(self) -> CurationReport:
        """What was seen so far."""
        no_evidence = sum(n for reason, n in self._left_out.items() if reason in NO_EVIDENCE)
        return CurationReport(
            rollouts=self._rollouts,
            considered=self._considered,
            passed=self._considered - no_evidence,
            kept=self._kept,
            left_out=dict(sorted(self._left_out.items())),
            tasks=self._tasks,
            completion_chars=self._chars,
        )


def choose(rows: Iterable[R], pick: Pick, guard: Guard) -> Iterator[R | LeftOut]:
    """Of one task's rows the shortest, each text or shape once, none with text that is protected.

    Of several that are equal the first by length, text, prompt and place in the log is kept, so the
    order of the rows does not matter.
    """
    seen: set[object] = set()
    kept = 0
    for row in sorted(rows, key=rank):
        mark = _mark(row, pick)
        if mark is not None:
            if mark in seen:
                yield LeftOut("duplicate")
                continue
            seen.add(mark)
        if row.source.split not in PROTECTED and guard.find(text_of(row)):
            yield LeftOut("contaminated")
        elif kept == pick.per_task:
            yield LeftOut("over_cap")
        else:
            kept += 1
            yield row


def rank(row: Row) -> tuple[int, str, int, str, str, int]:
    """Order of a task's rows: the shortest first, because long ones teach detours."""
    text, source = "\n\n".join(learnt(row)), row.source
    return len(text), text, sum(map(len, asked(row))), source.rollout, source.step, source.choice


def _mark(row: Row, pick: Pick) -> object:
    """What is equal for rows of one task of which one is enough; None: each is kept."""
    if pick.dedupe == "none":
        return None
    texts = learnt(row)
    if pick.dedupe == "shape":
        texts = tuple(map(shape_of, texts))
    if type(row) is Unpaired:
        return row.label, texts
    if type(row) is Stepwise:
        return row.prompt, texts
    return texts


def shape_of(text: str) -> str:
    """The shape of a program in a fence; of anything else its text."""
    if text.startswith(FENCE) and text.endswith("\n```"):
        return code_shape(text.removeprefix(FENCE).removesuffix("\n```"))
    return text


def learnt(row: Row) -> tuple[str, ...]:
    """The texts that a row teaches."""
    # Classes are compared by identity: pydantic's isinstance takes longer than all the rest.
    if type(row) is PromptCompletion or type(row) is Unpaired or type(row) is TokenExact:
        return tuple([_said(message) for message in row.completion])
    if type(row) is Stepwise:
        return row.completions
    return tuple(_said(m) for name in ("chosen", "rejected") for m in getattr(row, name, ()))


def asked(row: Row) -> tuple[str, ...]:
    """The texts of a row's prompt."""
    prompt = getattr(row, "prompt", ())
    return (prompt,) if isinstance(prompt, str) else tuple([m.content for m in prompt])


def text_of(row: Row) -> str:
    """All text of a row, for a guard."""
    return "\n\n".join((*asked(row), *learnt(row)))


def _said(message: Message) -> str:
    if not message.tool_calls:
        return message.content
    return "\n".join((message.content, *(f"{c.name} {c.arguments}" for c in message.tool_calls)))
