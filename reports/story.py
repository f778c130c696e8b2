"""What an improve report says in words: the headline, each round, and which rollouts are shown."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ulid import ULID

from codojo.errors import ContaminationError
from codojo.finetune.curators import rft
from codojo.graphs.improve_report import ImproveReport, RoundReport
from codojo.reports.measures import Estimate, HeldOut
from codojo.reports.page import THIN, percent, plural, points
from codojo.trajectories.rows import PromptCompletion, rows_hash
from codojo.trajectories.schema import Trajectory

OUTCOMES = {
    "promoted": "promoted",
    "refused": "refused by the gate",
    "rejected": "rejected by the load check",
    "nothing_to_learn": "nothing to learn from",
}

LEFT_OUT = {
    "no_split": "of a task that belongs to no split",
    "not_judged": "never judged",
    "infra_error": "the sandbox or server failed, not the answer",
    "not_passed": "did not pass its sealed tests",
    "not_sealed": "judged by other tests than sealed ones",
    "not_isolated": "judged without proved isolation",
    "no_origin": "no step of the log it came from",
    "several_files": "more than the one file",
    "breaks_fence": "contains a code fence of its own",
    "too_long": "too long to learn from",
    "duplicate": "the same program as a shorter row",
    "contaminated": "holds text of a gate or held-out task",
    "over_cap": "its task already gave its share of rows",
}
"""Why a candidate gave no row, by the curator's name for the reason."""


@dataclass(frozen=True)
class Headline:
    """One sentence that says what happened, and one that says how far to trust it."""

    text: str
    more: str
    won: bool


@dataclass(frozen=True)
class Shown:
    """A rollout worth looking at, and why."""

    why: str
    trajectory: Trajectory


def interval(estimate: Estimate, *, signed: bool = False) -> str:
    """The interval in words: `95 % interval 3.2 to 19.0`, in percent or, signed, in points."""
    show = points if signed else _plain
    return f"95{THIN}% interval {show(estimate.low)} to {show(estimate.high)}"


def headline(report: ImproveReport, figures: HeldOut) -> Headline:
    """What happened, in plain words with numbers."""
    before = figures.before.at(1)
    if figures.after and figures.difference:
        after, gain = figures.after.at(1), figures.difference
        text = (
            f"The adapter {report.champion} won: {percent(after.value)} of held-out answers pass, "
            f"from {percent(before.value)} ({points(gain.value)} points, "
            f"{interval(gain, signed=True)})."
        )
        return Headline(text, _trust(gain, figures), True)
    who = "The base model" if _first(report) is None else f"The champion {_first(report)}"
    more = (
        f"{who} stays: {percent(before.value)} of its held-out answers pass "
        f"({interval(before)}{THIN}%). Nothing changed, so nothing was measured a second time."
    )
    return Headline(f"No adapter was promoted: {_why_not(report)}", more, False)


def when(id: str) -> str:
    """When a run or rollout began, as its id tells; empty for ids of another make."""
    try:
        made: datetime = ULID.from_str(id).datetime
    except ValueError:
        return ""
    return made.astimezone(UTC).strftime("%-d %B %Y, %H:%M UTC")


def choose_shown(
    report: ImproveReport, trajectories: Mapping[str, Trajectory]
) -> tuple[Shown, ...]:
    """Up to three rollouts: one that only the adapter solved, one that failed, one that taught."""
    before = _by_task(report.before.rollouts, trajectories)
    after = _by_task(report.after.rollouts if report.after else (), trajectories)
    chosen: list[Shown] = []
    gained = [
        t
        for task, t in after.items()
        if _passed(t) and task in before and not _any_passed(before[task])
    ]
    solved = [t for t in (after or before).values() if _passed(t)]
    if gained:
        chosen.append(
            Shown("Solved by the adapter, and by no answer of the model before", gained[0])
        )
    elif solved:
        chosen.append(Shown("A held-out task that was solved", solved[0]))
    failed = [t for t in (after or before).values() if not _passed(t)]
    if failed:
        worst = max(failed, key=lambda t: len(t.proposals) > 0)
        chosen.append(Shown("A held-out task that was not solved", worst))
    taught = _taught(report, trajectories)
    if taught:
        chosen.append(taught)
    return tuple(chosen)


def _taught(report: ImproveReport, trajectories: Mapping[str, Trajectory]) -> Shown | None:
    """A train rollout that gave a row, where the rows can be made again from the log."""
    evidence: list[Trajectory] = []
    for done in report.rounds:
        evidence += [trajectories[id] for id in done.solved.rollouts if id in trajectories]
        rows = _rows(report, evidence)
        if rows and rows_hash(rows) == done.rows_hash:
            why = f"A train task whose answer became a row of round {done.number}"
            return Shown(why, trajectories[rows[0].source.rollout])
    solved = [t for t in evidence if _passed(t)]
    return Shown("A train task that was solved", solved[0]) if solved else None


class _NoGuard:
    """Finds nothing; whether the guard found something shows in the hash of the rows."""

    def find(self, text: str) -> list[str]:
        return []


def _rows(report: ImproveReport, evidence: list[Trajectory]) -> tuple[PromptCompletion, ...]:
    """The rows of these rollouts, as the curator would choose them were there no guard."""
    section = report.settings.get("train")
    per_task = section.get("per_task") if isinstance(section, dict) else None
    if not isinstance(per_task, int):
        return ()
    try:
        return rft(evidence, guard=_NoGuard(), per_task=per_task).rows
    except ContaminationError:
        return ()


def _why_not(report: ImproveReport) -> str:
    """The reason of the last round, which decided."""
    if not report.rounds:
        return "no round was run, so there was none to test."
    last = report.rounds[-1]
    if last.outcome == "nothing_to_learn":
        solved = plural(len(last.solved.scores), "train task")
        return f"none of the answers to {solved} passed, so there was nothing to learn from."
    if last.outcome == "rejected":
        bad = ", ".join(check.name for check in last.checks if not check.ok) or "its files"
        return f"the adapter {last.adapter} failed its load check ({bad}) and never served."
    if last.gate is None:
        return last.reason
    return _gate_said(last)


def _gate_said(last: RoundReport) -> str:
    gate = last.gate
    assert gate is not None
    compared = Estimate(gate.gate.difference, gate.gate.low, gate.gate.high)
    found = (
        f"({points(compared.value)} points on {plural(len(gate.gate.tasks), 'gate task')}, "
        f"{interval(compared, signed=True)})"
    )
    if gate.p <= gate.alpha:
        return f"the adapter {last.adapter} got better {found} but lost other abilities on the guard suite."
    lost = "; it also lost on the guard suite" if gate.guard_lost else ""
    if compared.value <= 0:
        return f"the adapter {last.adapter} was no better than the champion {found}{lost}."
    return f"the gain of the adapter {last.adapter} may well be luck {found}{lost}."


def _trust(gain: Estimate, figures: HeldOut) -> str:
    told = plural(figures.before.tasks, "task")
    if gain.is_gain:
        said = (
            f"These are {told} that nobody trained on and no decision looked at; the whole "
            "interval lies above zero."
        )
    elif gain.is_loss:
        said = (
            f"The gate let it pass, but on the {told} that no decision looked at it got worse: "
            "consider 'codojo models rollback'."
        )
    else:
        said = (
            f"The gate was sure on its own tasks; on the {told} that no decision looked at, the "
            "interval still includes no change at all."
        )
    return said


def _first(report: ImproveReport) -> str | None:
    return report.rounds[0].champion if report.rounds else report.champion


def _by_task(ids: Iterable[str], found: Mapping[str, Trajectory]) -> dict[str, Trajectory]:
    return {found[id].brief.task_id: found[id] for id in ids if id in found}


def _passed(trajectory: Trajectory) -> bool:
    return bool(trajectory.verdict and trajectory.verdict.passed)


def _any_passed(trajectory: Trajectory) -> bool:
    return any(p.verdict and p.verdict.passed for p in trajectory.proposals)


def _plain(share: float) -> str:
    return f"{100 * share:.1f}"
