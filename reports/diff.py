"""Two rollouts side by side, as text for a terminal."""

from collections.abc import Iterator

from codojo.reports.page import count, duration, visible
from codojo.trajectories.diff import Difference, Pair, Spent

SIGNS = {
    "same": "=",
    "asked_differently": "≠",
    "answered_differently": "≠",
    "only_first": "-",
    "only_second": "+",
}
SAID = {
    "same": "",
    "asked_differently": "asked differently",
    "answered_differently": "asked alike, answered differently",
    "only_first": "only in the first",
    "only_second": "only in the second",
}
MAX_CHANGES = 12
"""Lines of a change that are shown; `--json` has all."""

RELATED = {
    "fork": "The second was forked from the first.",
    "parent": "The first was forked from the second.",
    "siblings": "Both were forked from the same rollout.",
}


def render_difference(difference: Difference, *, whole: bool = False) -> str:
    """The comparison as text that cannot drive a terminal, whatever a model wrote.

    Args:
        whole: Show every line of a change.
    """
    return "\n".join(_lines(difference, whole)) + "\n"


def _lines(difference: Difference, whole: bool) -> Iterator[str]:
    for name, id, task, verdict, cost in zip(
        ("first ", "second"),
        difference.ids,
        difference.tasks,
        difference.verdicts,
        difference.costs,
        strict=True,
    ):
        spent = f"{count(cost.tokens)} tokens, {cost.calls} calls, {duration(cost.seconds)}"
        yield _line(f"{name}  {id}  {task}  {verdict}; {spent}")
    if difference.related:
        yield RELATED[difference.related]
    for name, (first, second) in difference.settings.items():
        yield _line(f"  {name}: {first} | {second}")
    yield ""
    for number, pair in enumerate(difference.pairs, 1):
        if number - 1 == difference.parts_at:
            yield f"they part here, at step {number} of {len(difference.pairs)}:"
        yield from _pair(number, pair, whole)
    yield ""
    yield _end(difference)


def _pair(number: int, pair: Pair, whole: bool) -> Iterator[str]:
    who = f" by {pair.who}" if pair.who else ""
    said = SAID[pair.outcome]
    spent = " | ".join(_spent(side) for side in (pair.first, pair.second))
    told = f": {said}" if said else ""
    yield _line(
        f"{number:4} {SIGNS[pair.outcome]} {pair.effect}{who} at {pair.where}{told}  [{spent}]"
    )
    shown = pair.changes if whole else pair.changes[:MAX_CHANGES]
    for change in shown:
        yield "       │ " + _line(change)
    if len(shown) < len(pair.changes):
        yield f"       │ ... {len(pair.changes) - len(shown)} more lines; --whole shows all"


def _spent(side: Spent | None) -> str:
    if side is None:
        return "-"
    if side.copied:
        return "taken over"
    tokens = f"{count(side.tokens)} tokens, " if side.tokens else ""
    return tokens + duration(side.seconds)


def _end(difference: Difference) -> str:
    if difference.parts_at is None:
        return f"all {len(difference.pairs)} steps are the same"
    same = sum(pair.outcome == "same" for pair in difference.pairs)
    told = f"{same} of {len(difference.pairs)} steps are the same"
    first, second = difference.costs
    more = second.tokens - first.tokens
    told += f"; the second spent {count(abs(more))} tokens {'less' if more < 0 else 'more'}"
    if difference.same_code is not None:
        told += "; both handed in " + (
            "the same program" if difference.same_code else "another program"
        )
    first_end, second_end = difference.verdicts
    return _line(f"{told}; {first_end} | {second_end}")


def _line(text: str) -> str:
    """One line, whatever line breaks the values in it hold."""
    return visible(text.replace("\n", "\\n").replace("\t", "    "))
