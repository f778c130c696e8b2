"""What is behind the conversations: runs, rollouts step by step, adapters, how an improve run goes.

Each page is rendered from the log when it is asked for, by the same code as the static reports. Runs of other
people's conversations are not found.
"""

import asyncio
import re
import time
from collections import defaultdict
from functools import partial

from codojo.dojo import Dojo
from codojo.errors import CodojoError
from codojo.finetune.recipe import Manifest
from codojo.graphs.improve_report import ImproveReport
from codojo.graphs.run import RunRecord, runs
from codojo.reports.charts import loss_chart
from codojo.reports.improve import load_reports, render_improve
from codojo.reports.overview import Cell, StageBar, Table, render_overview
from codojo.reports.page import count
from codojo.reports.story import when
from codojo.reports.trajectory import render_trajectory
from codojo.trajectories.index import Index, IndexedRollout
from codojo.trajectories.log import read_log
from codojo.trajectories.schema import load_trajectories
from codojo.web.remembered import memory_page
from codojo.web.talks import NotFound

MANIFEST = "manifest.json"
SHOWN = 200
"""Rows of a table; the newest."""


class Pages:
    """The pages of one dojo."""

    def __init__(self, dojo: Dojo) -> None:
        self._dojo = dojo

    async def runs(self, user: str) -> str:
        """All runs, the newest first."""
        return await asyncio.to_thread(self._runs, user)

    async def run(self, user: str, id: str) -> str:
        """The rollouts of one run."""
        return await asyncio.to_thread(self._run, user, id)

    async def rollout(self, user: str, id: str) -> str:
        """One rollout, step by step."""
        return await asyncio.to_thread(self._rollout, user, id)

    async def report(self, id: str) -> str:
        """The report of an improve run, with its learning curves."""
        return await asyncio.to_thread(self._report, id)

    async def adapters(self) -> str:
        """The adapters, how they were trained, and what the gate said."""
        return await asyncio.to_thread(self._adapters)

    async def memory(self, user: str) -> str:
        """What memory holds."""
        return await asyncio.to_thread(self._memory, user)

    async def improving(self) -> tuple[str, list[StageBar]]:
        """How far the newest improve run is, of this process or another: a title, and its stages."""
        return await asyncio.to_thread(self._improving)

    def _mine(self, user: str) -> list[RunRecord]:
        return [run for run in runs(self._dojo.root) if is_open_to(run, user)]

    def _runs(self, user: str) -> str:
        mine = self._mine(user)[-SHOWN:]
        reported = load_reports(self._dojo.log_folder)
        rows = [
            (
                Cell(run.id, f"/runs/{run.id}"),
                Cell(when(run.id)),
                Cell(run.command),
                Cell(str(run.args.get("text") or run.args.get("suite") or "")),
                Cell(run.state),
                Cell(count(run.rollouts)),
                Cell("report", f"/reports/{run.id}") if run.id in reported else Cell(""),
            )
            for run in reversed(mine)
        ]
        columns = ("run", "began", "command", "what", "state", "rollouts", "")
        table = Table("", columns, rows, "nothing has run in this dojo")
        improving = any(run.command == "improve" for run in mine)
        return render_overview(
            "runs",
            [table],
            trail=[("chat", "/"), ("adapters", "/adapters"), ("memory", "/memory")],
            picture="/improve.svg" if improving else "",
        )

    def _run(self, user: str, id: str) -> str:
        if not any(run.id == id for run in self._mine(user)):
            raise NotFound
        with Index(self._dojo.log_folder) as index:
            index.refresh()
            found = [r for r in index.rollouts(run=id, limit=SHOWN) if r.run == id]
        columns = ("rollout", "stage", "task", "verdict", "tokens", "seconds")
        table = Table("", columns, [_row(r) for r in found], "no rollout has begun")
        return render_overview(f"run {id}", [table], trail=[("chat", "/"), ("runs", "/runs")])

    def _rollout(self, user: str, id: str) -> str:
        with Index(self._dojo.log_folder) as index:
            index.refresh()
            try:
                trajectory = index.trajectory(id)
            except KeyError:
                raise NotFound from None
        run = trajectory.start.run
        if not any(known.id == run for known in self._mine(user)):
            raise NotFound
        return render_trajectory(trajectory, back=f"/runs/{run}")

    def _report(self, id: str) -> str:
        report = load_reports(self._dojo.log_folder).get(id)
        if report is None:
            raise NotFound
        page = render_improve(report, load_trajectories(self._dojo.log_folder, id))
        return _relinked(page)

    def _adapters(self) -> str:
        registry = self._dojo.registry
        champion, gates = registry.champion(), _gates(load_reports(self._dojo.log_folder))
        tables = []
        for name in registry.names():
            try:
                read = (registry.path(name) / MANIFEST).read_text(encoding="utf-8")
                made = Manifest.model_validate_json(read)
            except (OSError, ValueError, CodojoError):
                tables.append(Table(name, (), (), "its manifest cannot be read"))
                continue
            rows = [
                (Cell("rows"), Cell(count(made.rows))),
                (Cell("steps"), Cell(count(made.steps))),
                (Cell("tokens"), Cell(count(made.tokens))),
                *gates.get(name, ()),
            ]
            title = f"{name} (champion)" if name == champion else name
            curve = loss_chart(made.losses) if len(made.losses) > 1 else None
            tables.append(Table(title, ("", ""), rows, curve=curve))
        lead = f"Answers come from {champion or 'the base model'}."
        empty = [Table("", (), (), "no adapters yet; 'codojo improve' trains them")]
        return render_overview(
            "adapters",
            tables or empty,
            lead=lead,
            trail=[("chat", "/"), ("runs", "/runs"), ("memory", "/memory")],
        )

    def _memory(self, user: str) -> str:
        mine = {run.id for run in self._mine(user)}
        return memory_page(partial(read_log, self._dojo.log_folder), mine, SHOWN)

    def _improving(self) -> tuple[str, list[StageBar]]:
        newest = next((r for r in reversed(runs(self._dojo.root)) if r.command == "improve"), None)
        if newest is None:
            return "improve", []
        with Index(self._dojo.log_folder) as index:
            index.refresh()
            found = index.rollouts(run=newest.id)
        done: defaultdict[str, list[bool]] = defaultdict(list)
        for rollout in found:
            if rollout.finished:
                done[rollout.stage].append(rollout.verdict == "passed")
        at = time.strftime("%H:%M:%S")
        title = f"improve, {when(newest.id)}: {newest.state}, as of {at}"
        return title, [StageBar(stage, len(all), sum(all)) for stage, all in done.items()]


def is_open_to(run: RunRecord, user: str) -> bool:
    """Whether a person may look at a run: every one but those of other people's conversations."""
    return run.command != "chat" or run.args.get("author") == user


def _row(r: IndexedRollout) -> tuple[Cell, ...]:
    return (
        Cell(r.id, f"/rollouts/{r.id}"),
        Cell(r.stage),
        Cell(r.task),
        Cell(r.verdict or r.failure or ("none" if r.finished else "under way")),
        Cell(count(r.tokens)),
        Cell(f"{r.seconds:.1f}"),
    )


def _gates(reports: dict[str, ImproveReport]) -> dict[str, list[tuple[Cell, Cell]]]:
    """What the gate said of each adapter."""
    said: dict[str, list[tuple[Cell, Cell]]] = {}
    for report in reports.values():
        for done in report.rounds:
            if done.adapter is None:
                continue
            rows = [
                (Cell("outcome"), Cell(f"{done.outcome}: {done.reason}", f"/reports/{report.run}"))
            ]
            if done.gate is not None:
                rows += [
                    (Cell(name.replace("_", " ")), Cell(_number(value)))
                    for name, value in done.gate.model_dump().items()
                    if isinstance(value, int | float)
                ]
            said[done.adapter] = rows
    return said


def _number(value: float) -> str:
    return str(value) if isinstance(value, bool | int) else f"{value:.4g}"


def _relinked(page: str) -> str:
    """The report's links to files beside it lead to the pages of this server."""
    return re.sub(r'href="rollout-([0-9A-Za-z]+)\.html"', r'href="/rollouts/\1"', page)
