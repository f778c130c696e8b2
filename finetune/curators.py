"""Curators: pure functions that choose which answers become training rows."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from codojo.errors import TaskError
from codojo.finetune.curating import Curated, Curator, Guard, choose, curate
from codojo.finetune.picks import ANY_ROLE, Answer, LeftOut, Pick, answers
from codojo.tasks.schema import Suite
from codojo.trajectories.rows import (
    Preference,
    PromptCompletion,
    Row,
    Stepwise,
    TokenExact,
    Unpaired,
)
from codojo.trajectories.schema import Trajectory

MAX_COMPLETION_CHARS = 4000


def rft(
    trajectories: Iterable[Trajectory],
    *,
    guard: Guard,
    per_task: int,
    max_completion_chars: int = MAX_COMPLETION_CHARS,
) -> Curated[PromptCompletion]:
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
    pick = Pick(splits=("train",), per_task=per_task, max_chars=max_completion_chars)
    return curate(CALLS, trajectories, pick, guard)


def require_isolated(suite: Suite) -> None:
    """Refuse a suite that cannot give a row, before anything is spent on it.

    Raises:
        TaskError: If the tests of every train task are files, which share a process with the answer.
    """
    train = suite.split("train")
    if train and all(task.sealed.files is not None for task in train):
        raise TaskError(
            f"suite '{suite.name}' keeps its tests in files, which run in one process with the answer "
            "(integrity: shared_process), so no answer to it is trained on; solve it with 'codojo run "
            "--suite', score it with 'codojo judge', or improve on a suite of cases or checks"
        )


def calls(
    trajectories: Iterable[Trajectory], *, guard: Guard, pick: Pick | None = None
) -> Curated[PromptCompletion]:
    """One row for each model call that the pick is about; `rft` is this with its own pick."""
    return curate(CALLS, trajectories, pick or CALLS.pick, guard)


def labels(
    trajectories: Iterable[Trajectory], *, guard: Guard, pick: Pick | None = None
) -> Curated[Unpaired]:
    """One row for each answer, with whether it passed, for KTO (Ethayarajh et al. 2024, arXiv:2402.01306).

    They label with a person's thumb or the sign of a score; our label is the verdict. Answers that nobody
    could judge have none and are left out.
    """
    return curate(LABELS, trajectories, pick or LABELS.pick, guard)


def pairs(
    trajectories: Iterable[Trajectory], *, guard: Guard, pick: Pick | None = None
) -> Curated[Preference]:
    """A passed and a failed answer to the same prompt of the same task, for DPO (Rafailov et al. 2023,
    arXiv:2305.18290).

    They pair by a person's choice; we by the verdict. Each answer is in one pair at most, and the partner of
    a passed answer is the failed one closest to it in length, because DPO otherwise learns length (Park
    et al. 2024, arXiv:2403.19159). The report counts answers: `considered` is twice `kept` plus all
    of `left_out`.
    """
    return curate(PAIRS, trajectories, pick or PAIRS.pick, guard)


def steps(
    trajectories: Iterable[Trajectory], *, guard: Guard, pick: Pick | None = None
) -> Curated[Stepwise]:
    """The attempts of one conversation, each with whether it passed, for a process reward model.

    Lightman et al. 2023, arXiv:2305.20050, label the steps of a proof by people. Our steps are whole attempts,
    the first and its repairs, and the label is the sealed verdict on each, which the conversation itself
    never saw. A conversation with an attempt that was not judged is left out.
    """
    return curate(STEPS, trajectories, pick or STEPS.pick, guard)


def tokens(
    trajectories: Iterable[Trajectory], *, guard: Guard, pick: Pick | None = None
) -> Curated[TokenExact]:
    """One row for each model call, as the tokens that went in and came out.

    Calls whose tokens the log does not hold, because the engine gave none or redaction took them, are left
    out (`not_token_exact`): text that is encoded anew may be other tokens.
    """
    return curate(TOKENS, trajectories, pick or TOKENS.pick, guard)


def _calls(trajectory: Trajectory, pick: Pick) -> Iterator[Row | LeftOut]:
    for found in _whole(trajectory, pick):
        if isinstance(found, LeftOut):
            yield found
        else:
            yield PromptCompletion.trusted(
                source=found.source,
                kind="prompt_completion",
                prompt=found.prompt,
                completion=(found.said,),
                tools=found.step.input.tools,
            )


def _labels(trajectory: Trajectory, pick: Pick) -> Iterator[Row | LeftOut]:
    for found in _whole(trajectory, pick):
        if isinstance(found, LeftOut):
            yield found
        elif found.source.status == "unverified":
            yield LeftOut("unverified")
        else:
            yield Unpaired.trusted(
                source=found.source,
                kind="unpaired",
                prompt=found.prompt,
                completion=(found.said,),
                label=found.source.status == "passed",
                tools=found.step.input.tools,
            )


def _whole(trajectory: Trajectory, pick: Pick) -> Iterator[Answer | LeftOut]:
    for found in answers(trajectory, pick):
        yield LeftOut("cut") if isinstance(found, Answer) and found.is_cut else found


def _said(found: Answer) -> dict[str, Any]:
    return {
        "prompt": found.prompt,
        "completion": (found.said,),
        "tools": found.step.input.tools,
        "source": found.source,
    }


def _pairs(rows: Sequence[Row], pick: Pick, guard: Guard) -> Iterator[Preference | LeftOut]:
    by_prompt: defaultdict[object, list[Unpaired]] = defaultdict(list)
    for row in choose(rows, pick.model_copy(update={"per_task": len(rows) + 1}), guard):
        if isinstance(row, LeftOut):
            yield row
        else:
            assert isinstance(row, Unpaired)
            by_prompt[row.prompt, repr(row.tools)].append(row)
    kept = 0
    for prompt in sorted(by_prompt, key=repr):
        passed = [row for row in by_prompt[prompt] if row.label]
        failed = [row for row in by_prompt[prompt] if not row.label]
        yield from [LeftOut("no_partner")] * abs(len(passed) - len(failed))
        for good, bad in _closest(passed, failed):
            if kept == pick.per_task:
                yield from [LeftOut("over_cap")] * 2
                continue
            kept += 1
            yield Preference.trusted(
                source=good.source,
                kind="preference",
                prompt=good.prompt,
                chosen=good.completion,
                rejected=bad.completion,
                rejected_source=bad.source,
                tools=good.tools,
            )


def _closest(passed: list[Unpaired], failed: list[Unpaired]) -> Iterator[tuple[Unpaired, Unpaired]]:
    """Each of the fewer with the free one of the others that is closest in length, of equals the first."""
    few, many = (passed, failed) if len(passed) <= len(failed) else (failed, passed)
    free = sorted((len(row.completion[0].content), at) for at, row in enumerate(many))
    for one in few:
        size = len(one.completion[0].content)
        above = bisect_left(free, (size, 0))
        nearest = free[above : above + 1]
        if above:
            nearest.append(free[bisect_left(free, (free[above - 1][0], 0))])
        found = min(nearest, key=lambda it: (abs(it[0] - size), it[1]))
        free.remove(found)
        partner = many[found[1]]
        yield (one, partner) if one.label else (partner, one)


def _steps(trajectory: Trajectory, pick: Pick) -> Iterator[Row | LeftOut]:
    found = {
        (a.source.step, a.source.choice): a
        for a in answers(trajectory, pick)
        if isinstance(a, Answer) and a.source.status != "unverified"
    }
    origins = {(p.origin.step, p.origin.choice) for p in trajectory.proposals if p.origin}
    chains = [_chain(trajectory, origin) for origin in sorted(origins)]
    inner = {ref for chain in chains for ref in chain[:-1]}
    for chain in chains:
        if chain[-1] in inner:
            continue
        attempts = [found.get(ref) for ref in chain if ref in origins]
        judged = [attempt for attempt in attempts if attempt is not None]
        if len(judged) < len(attempts):
            yield LeftOut("step_not_judged")
            continue
        yield Stepwise(
            prompt="\n\n".join(m.content for m in judged[0].prompt if m.content),
            completions=tuple(attempt.said.content for attempt in judged),
            labels=tuple(attempt.source.status == "passed" for attempt in judged),
            source=judged[-1].source,
        )


def _chain(trajectory: Trajectory, ref: tuple[str, int]) -> list[tuple[str, int]]:
    """The answers of a conversation from the first to this one."""
    chain = [ref]
    step = trajectory.steps.get(ref[0])
    while step and step.input.parent:
        parent = step.input.parent
        chain.append((parent.step, parent.choice))
        step = trajectory.steps.get(parent.step)
    return chain[::-1]


def _tokens(trajectory: Trajectory, pick: Pick) -> Iterator[Row | LeftOut]:
    for found in answers(trajectory, pick.model_copy(update={"learn": "answer"})):
        if isinstance(found, LeftOut):
            yield found
            continue
        prompt_ids = trajectory.prompt_token_ids(found.step.id)
        if prompt_ids is None or found.choice.token_ids is None:
            yield LeftOut("not_token_exact")
            continue
        yield TokenExact(
            **_said(found),
            prompt_ids=prompt_ids,
            completion_ids=found.choice.token_ids,
            logprobs=found.choice.logprobs,
            finish_reason=found.choice.finish_reason,
            reward=float(found.source.status == "passed"),
        )


def _choose(rows: Sequence[Any], pick: Pick, guard: Guard) -> Iterator[Any]:
    return choose(rows, pick, guard)


CALLS = Curator("calls", PromptCompletion, PromptCompletion, _calls, _choose, Pick())
LABELS = Curator("labels", Unpaired, Unpaired, _labels, _choose, Pick(only="all"))
PAIRS = Curator("pairs", Preference, Unpaired, _labels, _pairs, Pick(only="all"))
STEPS = Curator("steps", Stepwise, Stepwise, _steps, _choose, Pick(only="all"))
_AS_SAMPLED = Pick(only="all", roles=(ANY_ROLE,), learn="answer", dedupe="none")
TOKENS = Curator("tokens", TokenExact, TokenExact, _tokens, _choose, _AS_SAMPLED)

CURATORS: dict[type[Row], Curator[Any]] = {
    c.makes: c for c in (CALLS, LABELS, PAIRS, STEPS, TOKENS)
}
"""The curator that makes each kind of row."""
