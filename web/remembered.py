"""What memory holds, as a page: each entry with where it comes from, and what came of the rollouts it was shown to."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from codojo.memory.remember import entries
from codojo.memory.schema import MEMORY_WRITTEN, Entry
from codojo.reports.overview import Cell, Table, render_overview
from codojo.reports.page import count, plural
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import Event
from codojo.trajectories.schema import FINISHED, STARTED

TITLES = {"rule": "Rules of the manual", "exemplar": "Exemplars"}
COLUMNS = ("text", "learnt from", "verdict there", "guides", "shown to", "of these solved")
EMPTY = (
    "Memory is empty. 'codojo improve' and 'codojo run --suite' fill it, with memory.enabled = true: what they "
    "solved of train tasks is kept, where sealed tests passed. Conversations are never learnt from."
)
LEAD = (
    "What the team is shown of earlier work, where memory is asked. That rollouts were solved which saw an entry "
    "does not say that it helped: nothing was tried without it."
)


@dataclass
class _Seen:
    """What the log says of memory's use."""

    runs: dict[str, str] = field(default_factory=dict)
    """Of rollouts, their runs."""
    passed: dict[str, bool] = field(default_factory=dict)
    """Rollouts that ended with a verdict."""
    shown: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Rollouts that an entry was shown to."""
    written: list[Event] = field(default_factory=list)

    def add(self, event: Event) -> None:
        data, rollout = event.data, event.rollout or ""
        if event.kind == MEMORY_WRITTEN:
            self.written.append(event)
        elif event.kind == STARTED:
            self.runs[rollout] = data["run"]
        elif event.kind == FINISHED and data.get("verdict"):
            self.passed[rollout] = data["verdict"]["status"] == "passed"
        elif event.kind == EFFECT and data["effect"] == "recall":
            output = data.get("output")
            for hit in output.get("hits", ()) if isinstance(output, dict) else ():
                self.shown[hit["id"]].add(rollout)


def memory_page(events: Callable[[], Iterable[Event]], mine: Collection[str], limit: int) -> str:
    """The page.

    Args:
        mine: Runs that whoever looks may see; what was learnt in others is left out.
        limit: Entries of a kind at most; the newest.
    """
    seen = _Seen()
    for event in events():
        seen.add(event)
    found = [
        entry
        for entry in reversed(entries(seen.written).values())
        if seen.runs.get(entry.provenance.rollout, "") in ("", *mine)
    ]
    tables = []
    for kind, title in TITLES.items():
        of_kind = [entry for entry in found if entry.kind == kind]
        rows = [_row(entry, seen) for entry in of_kind[:limit]]
        more = f", the newest {limit}" if len(of_kind) > limit else ""
        if rows:
            tables.append(Table(f"{title} ({count(len(of_kind))}{more})", COLUMNS, rows))
    trail = [("chat", "/"), ("runs", "/runs"), ("adapters", "/adapters")]
    return render_overview(
        "memory", tables or [Table("", (), (), EMPTY)], lead=LEAD if tables else "", trail=trail
    )


def _row(entry: Entry, seen: _Seen) -> tuple[Cell, ...]:
    known, shown = entry.provenance, seen.shown[entry.id]
    ended = [seen.passed[rollout] for rollout in shown if rollout in seen.passed]
    where = f"/rollouts/{known.rollout}" if known.rollout in seen.runs else ""
    first = str(getattr(entry, entry.found_by)).strip().partition("\n")[0]
    return (
        Cell(first or "(no text)", more=entry.texts),
        Cell(f"{entry.task_id} ({known.agent} on {known.model})", where),
        Cell(f"{known.verdict} {known.tests} tests, {known.isolation}"),
        Cell("yes" if entry.may_steer else f"no, {known.trust}"),
        Cell(plural(len(shown), "rollout") if shown else "nobody yet"),
        Cell(f"{sum(ended)} of {len(ended)}" if ended else ""),
    )
