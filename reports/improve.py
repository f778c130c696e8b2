"""The page of an improve run: what happened, in the order a newcomer wants to know it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from codojo.canonical import content_hash
from codojo.errors import LogError
from codojo.finetune.gate import GateReport
from codojo.graphs.improve_report import REPORT, ImproveReport, RoundReport
from codojo.reports.charts import (
    Bar,
    Chart,
    Span,
    loss_chart,
    pass_chart,
    rates_chart,
    spans,
    stacked,
)
from codojo.reports.machine import draw
from codojo.reports.measures import FEW_FAMILIES, Estimate, HeldOut, held_out, table_ks
from codojo.reports.page import count, duration, plural, render, write_page
from codojo.reports.story import (
    LEFT_OUT,
    OUTCOMES,
    Shown,
    choose_shown,
    headline,
    when,
)
from codojo.reports.trajectory import render_trajectory
from codojo.scoring.attempts import count_attempts
from codojo.trajectories.log import read_log
from codojo.trajectories.schema import Cost, Trajectory

PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")

STAGES = {
    "held-out": "held-out figures",
    "solve": "solve",
    "train": "train",
    "gate": "gate, sampled",
    "greedy": "gate, greedy",
    "guard": "guard suite",
}
"""Kinds of stages, in the order and with the colours of the bars."""


@dataclass(frozen=True)
class Figure:
    """One line of the table of figures: before, after and the paired difference."""

    label: str
    before: Estimate
    after: Estimate | None
    difference: Estimate | None
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class RoundView:
    """A round with its charts."""

    done: RoundReport
    outcome: str
    solved: int
    """Train tasks with a passing answer."""
    answers: int
    passed: int
    curated: Bar
    loss: Chart | None
    rates: Chart | None
    differences: tuple[Span, ...]
    """On the gate split, then on the guard suite if it was asked; on one scale."""


@dataclass(frozen=True)
class StageRow:
    """What one stage took."""

    name: str
    kind: str
    seconds: float
    cost: Cost


def render_improve(report: ImproveReport, trajectories: Mapping[str, Trajectory]) -> str:
    """The page of a run, which stands alone; it links to the pages of up to three rollouts.

    Args:
        trajectories: Rollouts of the run by id; without them no rollout is shown.
    """
    figures = held_out(report)
    sides = [("before", figures.before)]
    sides += [("after", figures.after)] if figures.after else []
    stages = [StageRow(s.stage, _kind(s.stage), s.seconds, s.cost) for s in report.stages]
    return render(
        "improve.html.j2",
        report=report,
        headline=headline(report, figures),
        when=when(report.run),
        figures=figures,
        few_families=figures.families < FEW_FAMILIES,
        lines=_figures(figures),
        ks=table_ks(figures.k),
        moved=[c for c in figures.changes if c.difference],
        still=_still(figures),
        curve=pass_chart(sides, by_tokens=False),
        tokens=pass_chart(sides, by_tokens=True) if figures.before.tokens_per_sample else None,
        rounds=[_round(done) for done in report.rounds],
        reasons=LEFT_OUT,
        stages=stages,
        bars=_bars(stages),
        total=_total(stages),
        learning=_total([stage for stage in stages if stage.kind != STAGES["held-out"]]),
        trained=sum(done.training.tokens for done in report.rounds if done.training),
        picture=draw(report.graph),
        shown=[(item, page_name(item.trajectory)) for item in _chosen(report, trajectories)],
        sections=_sections(report.settings),
        isolation=report.versions.get("isolation", "not recorded"),
        tricks=count_attempts(
            p.verdict for t in trajectories.values() for p in t.proposals if p.verdict
        ),
    )


def write_improve(
    dojo_root: Path, report: ImproveReport, trajectories: Mapping[str, Trajectory]
) -> Path:
    """Write `reports/<run>/index.html` and the pages it links to; each appears whole.

    The page itself comes last, so that what it links to is always there.

    Raises:
        LogError: If a page cannot be written.
    """
    folder = dojo_root / "reports" / _safe(report.run)
    for item in _chosen(report, trajectories):
        write_page(
            folder / page_name(item.trajectory),
            render_trajectory(item.trajectory, back="index.html", why=item.why),
        )
    return write_page(folder / "index.html", render_improve(report, trajectories))


def load_reports(log_folder: Path) -> dict[str, ImproveReport]:
    """The last report of each improve run in a log, by run, the newest at the end.

    Raises:
        LogError: If a report has another shape than this version of codojo knows.
    """
    found: dict[str, ImproveReport] = {}
    for event in read_log(log_folder):
        if event.kind == REPORT:
            try:
                report = ImproveReport.model_validate(event.data)
            except ValidationError as err:
                raise LogError(
                    f"the improve report in segment {event.segment} of {log_folder} has "
                    f"{err.error_count()} fields that this version does not know; "
                    "render it with the version of codojo that made it"
                ) from err
            found.pop(report.run, None)
            found[report.run] = report
    return found


def page_name(trajectory: Trajectory) -> str:
    """File name of a rollout's page."""
    return f"rollout-{_safe(trajectory.id)}.html"


def _safe(id: str) -> str:
    """The id, where it can be a file name; else its hash."""
    return id if PLAIN_NAME.fullmatch(id) else content_hash(id)[:26]


def _chosen(report: ImproveReport, trajectories: Mapping[str, Trajectory]) -> tuple[Shown, ...]:
    return choose_shown(report, trajectories)


def _figures(figures: HeldOut) -> list[Figure]:
    """pass@1 and pass@k, each with what lies before and after."""
    found = []
    for k, change in ((1, figures.difference), (figures.k, figures.difference_k)):
        before = figures.before.at(k)
        after = figures.after.at(k) if figures.after else None
        pair = [("before", before)] + ([("after", after)] if after else [])
        found.append(Figure(f"pass@{k}", before, after, change, tuple(spans(pair))))
    return found[: 1 if figures.k == 1 else 2]


def _still(figures: HeldOut) -> str:
    """What can be said of tasks that did not move, in one sentence."""
    still = [c for c in figures.changes if not c.difference]
    never = sum(c.after == 0 for c in still)
    always = sum(c.after == 1 for c in still)
    if not still:
        return ""
    parts = [f"{n} {text}" for n, text in ((never, "never solved"), (always, "always solved")) if n]
    return f"{plural(len(still), 'task')} did not change" + (
        f" ({', '.join(parts)})." if parts else "."
    )


def _round(done: RoundReport) -> RoundView:
    curated, gate = done.curated, done.gate
    amounts = [("kept as rows", "kept", float(curated.kept), count(curated.kept))]
    amounts += [
        (LEFT_OUT.get(reason, reason), f"c{i % 6}", float(n), count(n))
        for i, (reason, n) in enumerate(
            sorted(curated.left_out.items(), key=lambda item: (-item[1], item[0]))
        )
    ]
    losses = done.training.losses if done.training else ()
    return RoundView(
        done=done,
        outcome=OUTCOMES[done.outcome],
        solved=sum(score.passed > 0 for score in done.solved.scores),
        answers=sum(score.samples for score in done.solved.scores),
        passed=sum(score.passed for score in done.solved.scores),
        curated=stacked("candidates", plural(curated.considered, "candidate"), amounts),
        loss=loss_chart(losses) if losses else None,
        rates=rates_chart([(t.task_id, t.champion, t.candidate) for t in gate.gate.tasks])
        if gate
        else None,
        differences=_differences(gate) if gate else (),
    )


def _differences(gate: GateReport) -> tuple[Span, ...]:
    compared = [comparison for comparison in (gate.gate, gate.guard) if comparison]
    estimates = [Estimate(c.difference, c.low, c.high) for c in compared]
    kinds = ["gain" if e.is_gain else "fall" if e.is_loss else "same" for e in estimates]
    return tuple(spans(list(zip(kinds, estimates, strict=True))))


def _kind(stage: str) -> str:
    """Which of the kinds a stage belongs to, from names like `round-1/gate-champion`."""
    first, _, rest = stage.partition("/")
    name = first if first in STAGES else rest.partition("-")[0]
    return STAGES.get(name, name or stage)


def _bars(stages: list[StageRow]) -> list[Bar]:
    """Seconds and tokens, stacked by kind of stage."""
    kinds = [*STAGES.values(), *sorted({s.kind for s in stages} - set(STAGES.values()))]
    seconds = {kind: sum(s.seconds for s in stages if s.kind == kind) for kind in kinds}
    tokens = {kind: sum(s.cost.tokens for s in stages if s.kind == kind) for kind in kinds}
    bars = [
        stacked(
            "Time",
            duration(sum(seconds.values())),
            [
                (kind, f"c{i % 6}", seconds[kind], duration(seconds[kind]))
                for i, kind in enumerate(kinds)
            ],
        ),
        stacked(
            "Tokens asked of models",
            count(sum(tokens.values())),
            [
                (kind, f"c{i % 6}", float(tokens[kind]), f"{count(tokens[kind])} tokens")
                for i, kind in enumerate(kinds)
            ],
        ),
    ]
    return [bar for bar in bars if bar.parts]


def _total(stages: list[StageRow]) -> StageRow:
    cost = Cost()
    for stage in stages:
        cost = cost + stage.cost
    return StageRow("all stages", "", sum(stage.seconds for stage in stages), cost)


def _sections(settings: Mapping[str, object]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Settings by section, values as text."""
    for section, values in sorted(settings.items()):
        if isinstance(values, dict):
            yield section, [(str(name), str(value)) for name, value in sorted(values.items())]
        else:
            yield "", [(section, str(values))]
