"""From the log to training files: a curator makes the rows, a format says them, a card tells what they are.

The log is read once, rollout by rollout; what a format needs of a task is gathered aside, so memory does
not grow with the log.
"""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from codojo.errors import SettingsError, TaskError
from codojo.filters import Filters, curator_of, takes_rows
from codojo.finetune.curating import PROTECTED, CurationReport, Curator, Guard, Tally
from codojo.finetune.feedback import feedback_rows
from codojo.finetune.picks import Pick, unfit
from codojo.reports.dataset_card import Facts, render_card
from codojo.reports.page import plural
from codojo.tasks.contamination import ContaminationGuard
from codojo.tasks.loaders import load_suite
from codojo.tasks.schema import Suite, Verdict
from codojo.trajectories.exporters.formats import Format, format_named
from codojo.trajectories.exporters.grouping import Groups
from codojo.trajectories.exporters.writing import TRAIN, Exported, Writer
from codojo.trajectories.feedback import KINDS, feedback_of, forgotten_runs
from codojo.trajectories.lines import Line, read_kinds, read_lines
from codojo.trajectories.rows import Row, RowSource
from codojo.trajectories.schema import RolloutStart, Trajectory
from codojo.trajectories.stream import Seen, finished

logger = logging.getLogger(__name__)

VALIDATION = "validation"
CARD = "README.md"
TELL_EVERY_S = 2.0
"""Between two words to who watches."""


class Report(NamedTuple):
    """What an export did."""

    exported: Exported
    curation: CurationReport
    card: str


Watch = Callable[[Seen, int], None]
"""Told now and then: what was read, and how many rows are written."""


def export(
    dojo: Path,
    format: str,
    path: Path,
    filters: Filters | None = None,
    *,
    parquet: bool = False,
    dry_run: bool = False,
    watch: Watch = lambda seen, rows: None,
) -> Report:
    """Write training files, with a card that says what they are.

    By default: work on `train` tasks and work without a suite. Rows that hold text of a gate or
    held-out task of their own suite are left out.

    Args:
        path: A file, or (without a suffix) a folder.
        dry_run: Do everything but leave the disk as it is.

    Raises:
        SettingsError: For an unknown format or filter, or if there is nothing to write.
        LogError: If the log cannot be read or the files not be written.
    """
    chosen = format_named(format)
    filters = filters or Filters()
    pick = filters.pick(chosen)
    with Writer(chosen, path, parquet=parquet, dry_run=dry_run) as writer:
        work = _Work(filters, pick, watch, list(read_kinds(dojo / "log", KINDS)))
        items = (
            work.all_rows(dojo / "log", chosen)
            if takes_rows(chosen)
            else work.rollouts(dojo / "log")
        )
        for item, source in items:
            part = _part(source, filters.validation)
            written = writer.write(item, part)
            if written:
                work.facts.count(source, part, written)
        exported = writer.close_data()
        report = work.report
        if not exported.rows:
            raise SettingsError(_nothing(dojo, report, exported, work.seen))
        card = render_card(
            work.facts,
            format=chosen,
            exported=exported,
            files={part: writer.file_name(part) for part in exported.parts},
            curation=report,
            filters=filters.model_dump(mode="json", exclude_defaults=True),
            adapters=dojo / "adapters",
        )
        writer.add_text(CARD, card)
    return Report(exported, report, card)


class _Work:
    """One pass over a log."""

    def __init__(self, filters: Filters, pick: Pick, watch: Watch, people: list[Line]) -> None:
        self.seen = Seen()
        self.facts = Facts()
        self._filters = filters
        self._pick = pick
        self._watch = watch
        self._told = time.monotonic()
        self._tally = Tally()
        self._suites: set[str] = set()
        self._loaded: dict[str, Suite | None] = {}
        self._known: Guard = _NoGuard()
        self._people = 0
        self._said = feedback_of(people)
        self._forgotten = forgotten_runs(people)

    def all_rows(self, log: Path, format: Format) -> Iterator[tuple[Row, RowSource]]:
        """What people said, then what verdicts say of the answers that nobody spoke of."""
        spoken: set[tuple[str, str, int]] = set()
        if self._filters.feedback:
            for row, source in self.feedback(log, format):
                spoken.add((source.rollout, source.step, source.choice))
                yield row, source
        for row, source in self.rows(log, curator_of(format)):
            if (source.rollout, source.step, source.choice) not in spoken:
                yield row, source

    def feedback(self, log: Path, format: Format) -> Iterator[tuple[Row, RowSource]]:
        """Rows of a format's kind that the curator `feedback` makes of the rollouts the filters let pass."""
        said = self._said
        if not said:
            return
        rollouts = {feedback.rollout for feedback in said}
        about = {
            trajectory.id: trajectory
            for trajectory in finished(
                read_lines(log),
                want=lambda id, start, at: id in rollouts and self._meets(start, at) is None,
                effects=("reply",),
            )
        }
        for trajectory in about.values():
            if trajectory.brief.split is not None:
                self._suites.add(trajectory.brief.suite)
        made = feedback_rows(about, said, guard=self._guard())
        assert issubclass(format.takes, Row)
        for row in made.of_kind(format.takes):
            self._people += 1
            yield row, row.source

    def rows(self, log: Path, curator: Curator[Any]) -> Iterator[tuple[Row, RowSource]]:
        """The rows that a curator makes of the log, task by task."""
        with Groups(curator.gathers) as groups:
            for trajectory in self._wanted(log, ("reply",)):
                for row in self._tally.of_rollout(curator, trajectory, self._pick):
                    groups.add(row)
            guard = self._guard()
            for rows in groups:
                for row in self._tally.of_task(curator, rows, self._pick, guard):
                    self._tell()
                    yield row, row.source

    def rollouts(self, log: Path) -> Iterator[tuple[Trajectory, RowSource]]:
        """Whole rollouts, in the order in which they ended."""
        kept = Counter[tuple[str, str]]()
        for trajectory in self._wanted(log, None):
            task = (trajectory.brief.suite, trajectory.brief.task_id)
            reason = self._unfit(trajectory)
            if reason is None and kept[task] == self._pick.per_task:
                reason = "over_cap"
            kept[task] += reason is None
            self._tally.rollout(reason, first=reason is None and kept[task] == 1)
            if reason is None:
                yield trajectory, rollout_source(trajectory)

    def _unfit(self, trajectory: Trajectory) -> str | None:
        """Why a whole rollout is left out. Where all are wanted, as a record, its verdict decides nothing."""
        pick, brief = self._pick, trajectory.brief
        is_choosy = pick.only != "all" or pick.min_isolation != "none" or pick.integrity
        if is_choosy and (reason := unfit(trajectory.verdict, brief, pick)):
            return reason
        if brief.split in PROTECTED:
            return None
        texts = [m.content for step in trajectory.steps.values() for m in step.input.messages]
        texts += [c.text for step in trajectory.steps.values() for c in step.output.choices]
        return "contaminated" if self._guard().find("\n\n".join(texts)) else None

    @property
    def report(self) -> CurationReport:
        """What was seen, kept and left out; rows of people's words count as seen and kept."""
        made = self._tally.report
        more = {"considered": made.considered + self._people, "kept": made.kept + self._people}
        return made.model_copy(update=more)

    def _wanted(self, log: Path, effects: tuple[str, ...] | None) -> Iterator[Trajectory]:
        for trajectory in finished(
            read_lines(log), want=self._want, effects=effects, seen=self.seen
        ):
            if trajectory.brief.split is not None:
                self._suites.add(trajectory.brief.suite)
            self.facts.rollout(trajectory)
            self._tell()
            yield trajectory
        self.facts.unfinished = self.seen.open

    def _want(self, id: str, start: RolloutStart, at: float) -> bool:
        reason = self._meets(start, at)
        if reason:
            self.facts.unwanted[reason] += 1
        return reason is None

    def _meets(self, start: RolloutStart, at: float) -> str | None:
        """Why the filters leave a rollout out; None if they let it pass."""
        wanted, brief = self._filters, start.brief
        models = set(start.models.values())
        for reason, is_out in (
            ("forgotten", start.run in self._forgotten),
            ("other split", brief.split not in wanted.split),
            ("other suite", bool(wanted.suite) and brief.suite not in wanted.suite),
            ("earlier", at < wanted.since),
            ("other graph", bool(wanted.graph) and start.graph not in wanted.graph),
            ("other model", bool(wanted.model and models) and models.isdisjoint(wanted.model)),
        ):
            if is_out:
                return reason
        return None

    def _guard(self) -> Guard:
        """A guard of the suites met so far that can still be loaded; a file that has moved cannot be asked."""
        new = sorted(self._suites - self._loaded.keys())
        for name in new:
            try:
                self._loaded[name] = load_suite(name)
            except TaskError:
                self._loaded[name] = None
                self.facts.unguarded.append(name)
                logger.warning(
                    "suite '%s' cannot be loaded: its rows are not searched for test text", name
                )
        if new:
            loaded = [suite for suite in self._loaded.values() if suite]
            self._known = ContaminationGuard.of(*loaded) if loaded else _NoGuard()
        return self._known

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told >= TELL_EVERY_S:
            self._told = now
            self._watch(self.seen, self.facts.rows)


class _NoGuard:
    """Where there is nothing to protect."""

    def find(self, text: str) -> list[str]:
        return []


def rollout_source(trajectory: Trajectory) -> RowSource:
    """Where a whole rollout comes from, as a row says it."""
    brief, verdict = trajectory.brief, trajectory.verdict
    verdict = verdict or Verdict(status="unverified", tests="person")
    return RowSource(
        rollout=trajectory.id,
        step="",
        choice=0,
        task_id=brief.task_id,
        suite=brief.suite,
        family=brief.family,
        split=brief.split,
        model=", ".join(sorted(set(trajectory.start.models.values()))),
        status=verdict.status,
        tests=verdict.tests,
        isolation=verdict.isolation,
        integrity=verdict.integrity,
        graph=trajectory.start.graph,
    )


def _part(source: RowSource, validation: float) -> str:
    """Train or validation: a hash of the family decides, so near-duplicates stay on one side."""
    if not validation:
        return TRAIN
    family = f"{source.suite}/{source.family or source.task_id}"
    digest = hashlib.sha256(f"validation/{family}".encode("utf-8", "surrogatepass")).digest()
    draw = int.from_bytes(digest[:8], "big") / 2**64
    return VALIDATION if draw < validation else TRAIN


def _nothing(dojo: Path, report: CurationReport, exported: Exported, seen: Seen) -> str:
    """Why nothing was written, and what to do."""
    left = {**report.left_out, **exported.left_out}
    why = ", ".join(f"{n} {reason}" for reason, n in left.items())
    if not seen.rollouts:
        return f"{dojo} holds no rollout yet; solve some tasks with 'codojo run --suite katas'"
    if report.rollouts and not report.considered:
        return (
            f"{dojo} holds nothing to export: no answer in {plural(report.rollouts, 'rollout')} became a candidate; "
            "take other answers with --role all (and --only all, where nobody judged them)"
        )
    if not report.rollouts:
        return (
            f"{dojo} holds nothing to export: of {plural(seen.rollouts, 'rollout')} none is finished and meets the filters; "
            "solve some tasks with 'codojo run --suite katas', or name --split, --suite and --since otherwise"
        )
    return (
        f"{dojo} holds nothing to export: {plural(report.considered, 'candidate')} in {plural(report.rollouts, 'rollout')}, none fit "
        f"({why}); see --only, --min-isolation and --split, or solve more with 'codojo run --suite katas'"
    )
