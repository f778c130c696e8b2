"""Pages that list things: runs, the rollouts of a run, adapters with what the gate said of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.sax.saxutils import escape

from codojo.reports.charts import Chart
from codojo.reports.page import percent, render, short, visible


class Cell(NamedTuple):
    """A text, and where it leads, or what is folded away below it."""

    text: str
    href: str = ""
    more: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """Rows under a heading, and a curve above them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    empty: str = ""
    """What stands there where there are no rows."""
    curve: Chart | None = None


class StageBar(NamedTuple):
    """How far a stage of a run is."""

    name: str
    done: int
    passed: int


def render_overview(
    title: str,
    tables: Sequence[Table],
    *,
    lead: str = "",
    trail: Sequence[tuple[str, str]] = (),
    picture: str = "",
) -> str:
    """A page of tables.

    Args:
        trail: Pages above this one: name and address.
        picture: Address of a picture of this server.
    """
    return render(
        "overview.html.j2", title=title, tables=tables, lead=lead, trail=trail, picture=picture
    )


def render_stages(stages: Sequence[StageBar], title: str) -> str:
    """A picture of a run under way: of each stage, what share of its rollouts has passed."""
    height = 40 + 30 * max(1, len(stages))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" width="720" '
        f'height="{height}" font-family="sans-serif" font-size="13" fill="#808080">',
        f'<text x="0" y="18" font-weight="bold">{_plain(title)}</text>',
    ]
    if not stages:
        parts.append('<text x="0" y="46">no improve run yet</text>')
    for i, stage in enumerate(stages):
        y, share = 34 + 30 * i, stage.passed / stage.done if stage.done else 0.0
        said = f"{stage.passed} of {stage.done} passed, {percent(share)}"
        parts += [
            f'<text x="0" y="{y + 15}">{_plain(stage.name)}</text>',
            f'<rect x="200" y="{y}" width="300" height="20" rx="4" fill="#80808033"/>',
            f'<rect x="200" y="{y}" width="{300 * share:.1f}" height="20" rx="4" fill="#4f6fd0"/>',
            f'<text x="510" y="{y + 15}">{_plain(said)}</text>',
        ]
    return "\n".join([*parts, "</svg>"])


def _plain(text: str) -> str:
    return escape(visible(short(text)).encode("utf-8", "replace").decode())
