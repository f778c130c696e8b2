"""A state machine as a picture: the nodes and edges of Mermaid text, laid out in layers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

EDGE = re.compile(
    r"^\s*(\w+)\s*(?:-->|-\.->|--\s(?P<sure>.*?)\s-->|-\.\s(?P<choice>.*?)\s\.->)"
    r"\s*(?:\|(?P<bars>[^|]*)\|)?\s*(\w+)\s*;?\s*$"
)
BLANK = re.compile(r"(?:&nbsp;?|<br/?>|\s)+")
"""What Mermaid text has in a label instead of a space."""
ROW, COLUMN, WIDTH, HEIGHT, MARGIN = 62, 124, 96, 34, 44
LETTER, MAX_LABEL = 6.5, 14
"""Width of a label's letter, and how many are drawn."""
MAX_NODES = 60


@dataclass(frozen=True)
class Box:
    """A node of the picture."""

    name: str
    x: float
    y: float
    is_end: bool
    """Start or end of the machine."""


@dataclass(frozen=True)
class Arrow:
    """An edge of the picture."""

    path: str
    is_choice: bool
    """Taken or not, as a policy decides."""
    label: str
    x: float
    """Where the label begins (of an arrow back), or has its middle."""
    y: float
    is_back: bool


@dataclass(frozen=True)
class Picture:
    """What the template draws."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    box_width: float = WIDTH
    box_height: float = HEIGHT


@dataclass(frozen=True)
class Edge:
    """A transition."""

    start: str
    end: str
    is_choice: bool
    label: str = ""


def parse(mermaid: str) -> list[Edge]:
    """The edges of a Mermaid graph, in the order they are written; all else is left out.

    >>> parse("graph TD;\\n a --> b;\\n b -. &nbsp;once more&nbsp; .-> a;")[1]
    Edge(start='b', end='a', is_choice=True, label='once more')
    """
    return [_edge(found) for line in mermaid.splitlines() if (found := EDGE.match(line))]


def _edge(found: re.Match[str]) -> Edge:
    label = found["sure"] or found["choice"] or found["bars"] or ""
    is_choice = found[0].lstrip().removeprefix(found[1]).lstrip().startswith("-.")
    return Edge(found[1], found[5], is_choice, BLANK.sub(" ", label).strip())


def draw(mermaid: str) -> Picture | None:
    """The picture of a machine; None where the text holds none, or too much for one."""
    edges = parse(mermaid)
    names = dict.fromkeys(name for edge in edges for name in (edge.start, edge.end))
    if not names or len(names) > MAX_NODES:
        return None
    back = _back_edges(list(names), edges)
    layers = _layers(list(names), [edge for edge in edges if edge not in back])
    looping = _looping(edges, back)
    rows: dict[int, list[str]] = {}
    for name in sorted(names, key=lambda n: n in looping):
        rows.setdefault(layers[name], []).append(name)
    widest = max(map(len, rows.values()))
    middle = widest * COLUMN / 2
    places: dict[str, tuple[float, float]] = {}
    for layer, row in rows.items():
        for i, name in enumerate(row):
            x = middle + (i - (len(row) - 1) / 2) * COLUMN
            places[name] = (x, 24 + layer * ROW)
    beside = max((len(edge.label[:MAX_LABEL]) for edge in back), default=0)
    return Picture(
        width=widest * COLUMN + (MARGIN + beside * LETTER if back else 0),
        height=48 + max(rows) * ROW,
        boxes=tuple(Box(name.strip("_"), x, y, "__" in name) for name, (x, y) in places.items()),
        arrows=tuple(_arrow(edge, places, edge in back, widest * COLUMN) for edge in edges),
    )


def _arrow(
    edge: Edge, places: Mapping[str, tuple[float, float]], is_back: bool, edge_of_picture: float
) -> Arrow:
    (x1, y1), (x2, y2) = places[edge.start], places[edge.end]
    half_width, half_height = WIDTH / 2, HEIGHT / 2
    if is_back:
        out = edge_of_picture + MARGIN * 0.6
        path = (
            f"M{x1 + half_width:g},{y1:g} C{out:g},{y1:g} {out:g},{y1:g} {out:g},{(y1 + y2) / 2:g} "
            f"S{out:g},{y2:g} {x2 + half_width + 7:g},{y2:g}"
        )
        x, y = out + 5, (y1 + y2) / 2
    else:
        start, end = y1 + half_height, y2 - half_height - 7
        bend = (end - start) / 2
        path = f"M{x1:g},{start:g} C{x1:g},{start + bend:g} {x2:g},{end - bend:g} {x2:g},{end:g}"
        x, y = (x1 + x2) / 2, (start + end) / 2
    return Arrow(path, edge.is_choice, edge.label[:MAX_LABEL], x, y + 4, is_back)


def _back_edges(names: list[str], edges: list[Edge]) -> set[Edge]:
    """Edges that close a cycle, found depth first from the first node without predecessors."""
    after: dict[str, list[Edge]] = {name: [] for name in names}
    for edge in edges:
        after[edge.start].append(edge)
    entered = {edge.end for edge in edges}
    back: set[Edge] = set()
    done: set[str] = set()
    for root in sorted(names, key=lambda name: name in entered):
        stack: list[tuple[str, int]] = [(root, 0)] if root not in done else []
        while stack:
            name, i = stack.pop()
            if i == len(after[name]):
                done.add(name)
                continue
            stack.append((name, i + 1))
            edge = after[name][i]
            if any(edge.end == open_name for open_name, _ in stack):
                back.add(edge)
            elif edge.end not in done:
                stack.append((edge.end, 0))
    return back


def _layers(names: list[str], edges: list[Edge]) -> dict[str, int]:
    """How many steps the longest way to each node has."""
    layers = dict.fromkeys(names, 0)
    for _ in names:
        for edge in edges:
            layers[edge.end] = max(layers[edge.end], layers[edge.start] + 1)
    return layers


def _looping(edges: list[Edge], back: set[Edge]) -> set[str]:
    """Nodes on the way of a back edge, its end excepted; they stand on the right, near its curve."""
    forward = [(edge.start, edge.end) for edge in edges if edge not in back]
    backward = [(end, start) for start, end in forward]
    found: set[str] = set()
    for closing in back:
        round_trip = _reach(closing.end, forward) & _reach(closing.start, backward)
        found |= round_trip - {closing.end}
    return found


def _reach(name: str, steps: list[tuple[str, str]]) -> set[str]:
    """The node and all that steps lead to from it."""
    found, fresh = {name}, {name}
    while fresh:
        fresh = {end for start, end in steps if start in fresh} - found
        found |= fresh
    return found
