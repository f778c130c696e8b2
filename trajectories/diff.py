"""Two rollouts side by side: where they part, what each spent, and what became of it."""

import difflib
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

from codojo.canonical import canonical_json
from codojo.tasks.schema import Record
from codojo.trajectories.places import step_of
from codojo.trajectories.schema import Cost, Effect, StepOutput, Trajectory

Outcome = Literal["same", "asked_differently", "answered_differently", "only_first", "only_second"]


class Spent(Record):
    """What one rollout spent at a place."""

    tokens: int = 0
    seconds: float = 0.0
    copied: bool = False
    """It was taken over from another rollout, and cost nothing."""


class Pair(Record):
    """One place, and what the two rollouts had there."""

    where: str
    effect: str
    who: str = ""
    """The agent of a reply."""
    outcome: Outcome
    first: Spent | None
    second: Spent | None
    changes: tuple[str, ...] = ()
    """Lines of a unified diff: of the questions where they differ, else of the answers."""


class Difference(Record):
    """Everything that tells two rollouts apart."""

    ids: tuple[str, str]
    tasks: tuple[str, str]
    related: str = ""
    """`fork` if the second was forked from the first, `parent` if it is the other way round, or
    `siblings`."""
    settings: dict[str, tuple[Any, Any]] = {}
    """Settings, models and versions of the graph that differ, by name."""
    pairs: tuple[Pair, ...]
    parts_at: int | None
    """Index of the first pair that is not the same; None where all are."""
    costs: tuple[Cost, Cost]
    verdicts: tuple[str, str]
    same_code: bool | None
    """Whether both handed in the same program; None where one handed in nothing."""


def diff(first: Trajectory, second: Trajectory) -> Difference:
    """Compare two rollouts place by place, in the order of their super-steps.

    Durations, ids and keys differ always and do not count. Answers count by what they say: the texts
    and ends of replies, the statuses of executions and verdicts.
    """
    sides = (_by_place(first), _by_place(second))
    keys = tuple(_labels(side) for side in sides)
    order = {label: n for side in reversed(sides) for n, label in enumerate(side)}
    labels = sorted(order, key=lambda label: (step_of(label[0]) or 0, order[label]))
    pairs = tuple(
        _pair(label, sides[0].get(label), sides[1].get(label), keys[0], keys[1]) for label in labels
    )
    codes = [_code(trajectory) for trajectory in (first, second)]
    return Difference(
        ids=(first.id, second.id),
        tasks=(first.brief.task_id, second.brief.task_id),
        related=_related(first, second),
        settings=dict(_settings(first, second)),
        pairs=pairs,
        parts_at=next((n for n, pair in enumerate(pairs) if pair.outcome != "same"), None),
        costs=(_cost(first), _cost(second)),
        verdicts=(_end(first), _end(second)),
        same_code=None if None in codes else codes[0] == codes[1],
    )


Label = tuple[tuple[str, ...], str, int]


def _by_place(trajectory: Trajectory) -> dict[Label, Effect]:
    """Effects by place, kind and order of asking; an older log has no order but its own."""
    seen: Counter[tuple[tuple[str, ...], str]] = Counter()
    found: dict[Label, Effect] = {}
    for effect in trajectory.effects:
        place = (effect.path, effect.effect)
        call = effect.call if (*place, effect.call) not in found else seen[place]
        found[(*place, call)] = effect
        seen[place] += 1
    return found


def _labels(side: dict[Label, Effect]) -> dict[str, str]:
    """What stands for a key that another effect refers to."""
    return {effect.key: "/".join(path) + f"#{call}" for (path, _, call), effect in side.items()}


def _pair(
    label: Label,
    first: Effect | None,
    second: Effect | None,
    keys_first: dict[str, str],
    keys_second: dict[str, str],
) -> Pair:
    path, kind, call = label
    one = first or second
    assert one is not None
    who = str(one.input.get("agent", "")) if isinstance(one.input, dict) else ""
    outcome: Outcome = "same"
    changes: tuple[str, ...] = ()
    if first is None:
        outcome = "only_second"
    elif second is None:
        outcome = "only_first"
    else:
        asked = (_asked(first, keys_first), _asked(second, keys_second))
        said = (_said(first), _said(second))
        if asked[0] != asked[1]:
            outcome, changes = "asked_differently", _changes(*asked)
        elif said[0] != said[1]:
            outcome, changes = "answered_differently", _changes(*said)
    where = "/".join(path) or "the rollout"
    return Pair(
        where=f"{where} #{call + 1}" if call else where,
        effect=kind,
        who=who,
        outcome=outcome,
        first=_spent(first),
        second=_spent(second),
        changes=changes,
    )


def _asked(effect: Effect, keys: dict[str, str]) -> str:
    """A question as text; lines of prompts stay lines."""
    if effect.effect == "reply" and isinstance(effect.input, dict):
        rest = {k: v for k, v in effect.input.items() if k != "messages"}
        parent = rest.get("parent")
        if isinstance(parent, dict):
            rest["parent"] = {**parent, "step": keys.get(str(parent.get("step")), "?")}
        messages: Any = effect.input.get("messages") or []
        spoken = [f"{message['role']}: {message['content']}" for message in messages]
        return "\n".join([_json(rest), *spoken])
    return _text(effect.input)


def _said(effect: Effect) -> str:
    """An answer as text, without what differs from run to run."""
    if effect.error is not None:
        return f"error: {effect.error.get('type')}: {effect.error.get('message')}"
    if effect.effect == "reply":
        choices = StepOutput.model_validate(effect.output).choices
        return "\n".join(f"[{c.finish_reason}] {c.text}" for c in choices)
    output = effect.output
    if effect.effect in ("execution", "verdict") and isinstance(output, dict):
        output = {k: v for k, v in output.items() if k != "duration_s"}
    return _text(output)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_text(value[name])}" for name in sorted(value))
    return _json(value)


def _json(value: Any) -> str:
    return canonical_json(value).decode("utf-8", "surrogatepass")


def _changes(before: str, after: str) -> tuple[str, ...]:
    lines = difflib.unified_diff(before.split("\n"), after.split("\n"), n=1, lineterm="")
    return tuple(line for line in lines if not line.startswith(("---", "+++", "@@")))


def _spent(effect: Effect | None) -> Spent | None:
    if effect is None:
        return None
    tokens = 0
    if effect.effect == "reply" and isinstance(effect.output, dict):
        output = StepOutput.model_validate(effect.output)
        tokens = output.prompt_tokens + output.completion_tokens
    return Spent(tokens=tokens, seconds=effect.duration_s, copied=effect.origin is not None)


def _cost(trajectory: Trajectory) -> Cost:
    """Of a finished rollout what it says; else what its replies add up to."""
    if trajectory.end:
        return trajectory.end.cost
    own = [s for e in trajectory.effects if (s := _spent(e)) and not s.copied]
    replies = [e for e in trajectory.effects if e.effect == "reply" and e.origin is None]
    return Cost(
        completion_tokens=sum(s.tokens for s in own),
        calls=len(replies),
        seconds=round(sum(s.seconds for s in own), 3),
    )


def _end(trajectory: Trajectory) -> str:
    end = trajectory.end
    if end is None:
        return "unfinished"
    if end.failure:
        return end.failure
    verdict = end.verdict
    if verdict is None:
        return "none"
    return verdict.status + (f" ({verdict.reason})" if verdict.reason else "")


def _code(trajectory: Trajectory) -> dict[str, str] | None:
    end = trajectory.end
    if end is None or end.chosen is None:
        return None
    return end.proposals[end.chosen].candidate.files


def _related(first: Trajectory, second: Trajectory) -> str:
    up = [t.start.parent.rollout if t.start.parent else "" for t in (first, second)]
    if up[1] == first.id:
        return "fork"
    if up[0] == second.id:
        return "parent"
    return "siblings" if up[0] and up[0] == up[1] else ""


def _settings(first: Trajectory, second: Trajectory) -> Iterator[tuple[str, tuple[Any, Any]]]:
    flat = [_flat(t) for t in (first, second)]
    for name in sorted(flat[0] | flat[1]):
        values = (flat[0].get(name), flat[1].get(name))
        if values[0] != values[1]:
            yield name, values


def _flat(trajectory: Trajectory) -> dict[str, Any]:
    start = trajectory.start
    found: dict[str, Any] = {"graph": start.graph, "graph_version": start.graph_version}
    found |= {f"model.{agent}": name for agent, name in start.models.items()}
    for section, values in start.settings.items():
        if isinstance(values, dict):
            found |= {f"{section}.{name}": value for name, value in values.items()}
    return found
