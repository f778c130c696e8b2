"""Curators: pure functions that choose which answers become training rows."""

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from codojo.errors import ContaminationError
from codojo.tasks.schema import Record, Verdict
from codojo.trajectories.rows import PromptCompletion, RowSource
from codojo.trajectories.schema import Message, Proposal, StepRef, Trajectory

MAX_COMPLETION_CHARS = 4000


class Guard(Protocol):
    """Finds text of tasks that nobody may learn from (`codojo.tasks.contamination`)."""

    def find(self, text: str) -> list[str]:
        """What of the gate and held-out tasks the text holds; empty if it is clean."""


class CurationReport(Record):
    """What a curator saw, kept and left out; `considered` is `kept` plus all of `left_out`."""

    rollouts: int
    considered: int
    """Candidates of those rollouts."""
    passed: int
    """Candidates that passed their sealed tests in isolation."""
    kept: int
    left_out: dict[str, int]
    """Candidates by the first reason that ruled them out."""
    tasks: int
    """Tasks with at least one row."""
    completion_chars: int


@dataclass(frozen=True)
class Curated:
    """Rows, and how they were chosen."""

    rows: tuple[PromptCompletion, ...]
    report: CurationReport


def rft(
    trajectories: Iterable[Trajectory],
    *,
    guard: Guard,
    per_task: int,
    max_completion_chars: int = MAX_COMPLETION_CHARS,
) -> Curated:
    """Rows of a model's own answers that passed: rejection-sampling fine-tuning.

    Yuan et al. 2023, arXiv:2308.01825, after STaR (Zelikman et al. 2022, arXiv:2203.14465). They
    keep reasoning paths whose final answer is right and whose list of equations is new. We keep
    programs that pass sealed tests in a cage and whose syntax tree is new, whatever comments,
    docstrings, annotations and local names say. Behaviour would not tell them apart: what passes all sealed
    tests of a task behaves the same on them. Of one task's programs the shortest are kept, because
    long ones teach detours. The prompt is exactly what the model was asked with; of its answer only
    the code is learnt, so that a trained model stops after it.

    Args:
        trajectories: Rollouts of `train` tasks, in any order; the same ones give the same rows.
        guard: Rows in which it finds something are left out.
        per_task: Upper bound on the rows of one task (>= 1).
        max_completion_chars: Longer completions are left out.

    Returns:
        Rows ordered by task, then length, then text.

    Raises:
        ContaminationError: If a rollout of a gate or held-out task is among the trajectories.
    """
    if per_task < 1:
        raise ValueError(f"per_task is {per_task}, must be >= 1; to drop a task, filter it out")
    rollouts = considered = 0
    left_out: Counter[str] = Counter()
    passing: defaultdict[tuple[str, str], list[PromptCompletion]] = defaultdict(list)
    for trajectory in trajectories:
        rollouts += 1
        _refuse_test_split(trajectory)
        for proposal in trajectory.proposals:
            considered += 1
            found = _row(trajectory, proposal, max_completion_chars)
            if isinstance(found, str):
                left_out[found] += 1
            else:
                passing[found.source.suite, found.source.task_id].append(found)
    rows: list[PromptCompletion] = []
    for task in sorted(passing):
        for row, reason in _choose(passing[task], guard, per_task):
            if reason:
                left_out[reason] += 1
            else:
                rows.append(row)
    return Curated(
        rows=tuple(rows),
        report=CurationReport(
            rollouts=rollouts,
            considered=considered,
            passed=considered - sum(left_out[reason] for reason in NOT_PASSED),
            kept=len(rows),
            left_out=dict(sorted(left_out.items())),
            tasks=len({(row.source.suite, row.source.task_id) for row in rows}),
            completion_chars=sum(len(row.completion[0].content) for row in rows),
        ),
    )


NOT_PASSED = ("no_split", "not_judged", "infra_error", "not_passed", "not_sealed", "not_isolated")
"""Reasons that say a candidate has not earned its place; all others are about the row."""


def _refuse_test_split(trajectory: Trajectory) -> None:
    brief = trajectory.brief
    if brief.split in ("gate", "held_out"):
        raise ContaminationError(
            f"rollout {trajectory.id} solves '{brief.task_id}' of the {brief.split} split, which "
            "nobody may learn from; hand curators rollouts of train tasks only"
        )


def _row(
    trajectory: Trajectory, proposal: Proposal, max_completion_chars: int
) -> PromptCompletion | str:
    """The row of one candidate, or the name of the reason why it has none."""
    verdict, origin = proposal.verdict, proposal.origin
    if trajectory.brief.split is None:
        return "no_split"
    if verdict is None:
        return "not_judged"
    if reason := _not_evidence(verdict):
        return reason
    if origin is None or origin.step not in trajectory.steps:
        return "no_origin"
    if proposal.candidate.files.keys() != {"solution.py"}:
        return "several_files"
    code = proposal.candidate.code.strip()
    if "```" in code:
        return "breaks_fence"
    completion = f"```python\n{code}\n```"
    if len(completion) > max_completion_chars:
        return "too_long"
    return PromptCompletion(
        prompt=trajectory.prompt(origin.step),
        completion=(Message(role="assistant", content=completion),),
        source=_source(trajectory, origin, verdict),
    )


def _not_evidence(verdict: Verdict) -> str | None:
    if verdict.status == "infra_error":
        return "infra_error"
    if not verdict.passed:
        return "not_passed"
    if verdict.tests != "sealed":
        return "not_sealed"
    if verdict.isolation == "none" or verdict.integrity != "isolated":
        return "not_isolated"
    return None


def _source(trajectory: Trajectory, origin: StepRef, verdict: Verdict) -> RowSource:
    brief = trajectory.brief
    return RowSource(
        rollout=trajectory.id,
        step=origin.step,
        choice=origin.choice,
        task_id=brief.task_id,
        suite=brief.suite,
        family=brief.family,
        split=brief.split,
        model=trajectory.steps[origin.step].output.model,
        status=verdict.status,
        tests=verdict.tests,
        isolation=verdict.isolation,
        integrity=verdict.integrity,
        behaviour=verdict.behaviour,
    )


class _Choice(NamedTuple):
    row: PromptCompletion
    reason: str | None


def _choose(rows: list[PromptCompletion], guard: Guard, per_task: int) -> Iterator[_Choice]:
    """Each row of one task, with the reason why it is left out; None for those that are kept."""
    seen: set[str] = set()
    kept = 0
    for row in sorted(rows, key=_rank):
        text = row.completion[0].content
        shape = code_shape(text.removeprefix("```python\n").removesuffix("\n```"))
        if shape in seen:
            yield _Choice(row, "duplicate")
            continue
        seen.add(shape)
        if guard.find("\n\n".join(message.content for message in (*row.prompt, *row.completion))):
            yield _Choice(row, "contaminated")
        elif kept == per_task:
            yield _Choice(row, "over_cap")
        else:
            kept += 1
            yield _Choice(row, None)


def _rank(row: PromptCompletion) -> tuple[int, str, int, str, str, int]:
    text = row.completion[0].content
    prompt_chars = sum(len(message.content) for message in row.prompt)
    source = row.source
    return len(text), text, prompt_chars, source.rollout, source.step, source.choice


def code_shape(code: str) -> str:
    """A text that is equal for programs equal up to layout, comments, docstrings, annotations, local names.

    >>> code_shape("def f(xs):\\n    return sum(xs)") == code_shape("def f(a): return sum(a)  # .")
    True
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code
    bound = dict.fromkeys(name for node in ast.walk(tree) for name in _bound_locals(node))
    names = {name: f"·{i}" for i, name in enumerate(bound)}
    for node in ast.walk(tree):
        _plain(node, names)
    return ast.dump(tree)


def _bound_locals(node: ast.AST) -> Iterator[str]:
    """Names that a function binds: its parameters and what its body assigns to."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for inner in ast.walk(node):
            if isinstance(inner, ast.arg):
                yield inner.arg
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                yield inner.id


def _plain(node: ast.AST, names: Mapping[str, str]) -> None:
    """Rename locals and drop docstrings, in place."""
    if isinstance(node, ast.Name):
        node.id = names.get(node.id, node.id)
    elif isinstance(node, ast.arg):
        node.arg = names.get(node.arg, node.arg)
        node.annotation = None
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        if not isinstance(node, ast.ClassDef | ast.Module):
            node.returns = None
