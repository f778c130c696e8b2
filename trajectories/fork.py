"""What a fork takes over from its parent: the effects before the step it leaves at, under keys of its own.

A fork is a rollout of its own that runs the same graph from the start. Up to the step it leaves at, the
parent's answers are its answers; they stand in its log with a note of their origin. From there on
effects are performed.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from pydantic import JsonValue

from codojo.canonical import content_hash
from codojo.errors import LogError, ReplayDiverged, SettingsError
from codojo.trajectories.journal import CANCELLED, EFFECT
from codojo.trajectories.log import Event
from codojo.trajectories.places import key_of
from codojo.trajectories.schema import Choice, Effect, Origin, StepOutput, Trajectory

EDITED = "edited"
"""Who answered a step whose answer a person has replaced."""


def happenings(effects: Iterable[Effect]) -> list[list[Effect]]:
    """Effects as they are shown and counted: each reply for itself, else neighbours of one kind together."""
    found: list[list[Effect]] = []
    for (kind, _, failed), group in groupby(
        effects, key=lambda e: (e.effect, e.path, e.error is not None)
    ):
        together = list(group)
        alone = kind == "reply" and not failed
        found += [[effect] for effect in together] if alone else [together]
    return found


def effect_at(trajectory: Trajectory, step: str) -> Effect:
    """The effect that a person means: by the number that `show` prints, or the beginning of a key.

    Up to five digits are a number, also where a key begins with them.

    Raises:
        LogError: If there is none, or more than one.
    """
    shown = happenings(trajectory.effects)
    if step.isdecimal() and len(step) < 6:
        found = [effect for effect, *_ in shown[int(step) - 1 : int(step)]] if int(step) else []
    else:
        found = [effect for effect in trajectory.effects if step and effect.key.startswith(step)]
    if len(found) == 1:
        return found[0]
    raise LogError(
        f"rollout {trajectory.id} has no step {step[:40]!r}; give a number from 1 to {len(shown)} as 'codojo "
        "trajectories show' prints it, or the beginning of one step's key"
    )


def taken_over(
    parent: Sequence[Event], at: str, rollout: str, edit: JsonValue = None
) -> list[dict[str, Any]]:
    """Records of the parent before an effect, as the new rollout's log will hold them.

    Keys follow from the rollout, so they change, and with them the references of a conversation to the
    step it goes on from; nothing else of a record does.

    Args:
        parent: The parent's events, in order.
        at: Key of the effect at which the fork leaves; it is asked anew.
        rollout: Id of the fork.
        edit: Its answer instead; the effect is then taken over too, with this output.

    Raises:
        ReplayDiverged: If something before it was cancelled while it ran, and so has no answer.
    """
    id = parent[0].rollout or ""
    keys: dict[str, str] = {}
    copies: list[dict[str, Any]] = []
    left = None
    for event in parent:
        if event.kind == CANCELLED:
            raise ReplayDiverged(
                f"rollout {id} went on without an answer that was cancelled (a time limit, a neighbour that "
                "failed) before that step, and a fork could not know when; fork at an earlier step"
            )
        if event.kind == EFFECT and event.data["key"] == at:
            left = event.data
            break
        if event.kind == EFFECT and event.data["key"] not in keys:
            copies.append(_rekeyed(event.data, rollout, keys, id))
    assert left is not None, "the effect is one of the parent's"
    if edit is not None:
        copy = _rekeyed(left, rollout, keys, id)
        copy.pop("error", None)
        copy |= {"output": edit, "duration_s": 0.0}
        copy["origin"]["edited"] = True
        copies.append(copy)
    return copies


def answer_from(effect: Effect, text: str) -> JsonValue:
    """An effect's output where a person's text takes its place.

    Raises:
        SettingsError: For an effect whose answer must come from outside.
    """
    if effect.effect == "reply":
        choice = Choice(text=text, finish_reason="stop")
        return StepOutput(model=EDITED, choices=(choice,)).model_dump(mode="json")
    if effect.effect == "recall":
        return text
    if effect.effect == "person":
        try:
            given: JsonValue = json.loads(text)
        except ValueError:
            return text.rstrip("\n")
        return given
    raise SettingsError(
        f"the answer of a '{effect.effect}' cannot be edited: it comes from what ran, not from what anybody says; "
        "edit a reply, a recall or a person's answer"
    )


def _rekeyed(
    record: dict[str, Any], rollout: str, keys: dict[str, str], parent: str
) -> dict[str, Any]:
    """A record under the fork's key; notes in `keys` what the old key has become."""
    old = record["key"]
    asked = _replaced(record["input"], keys)
    input_hash = content_hash([record["effect"], asked])
    path = tuple(record["path"])
    new = key_of(rollout, path, input_hash, record["nth"], record.get("under"))
    keys[old] = new
    origin = Origin(rollout=parent, key=old).model_dump(mode="json")
    return {**record, "key": new, "input": asked, "input_hash": input_hash, "origin": origin}


def _replaced(value: Any, keys: dict[str, str]) -> Any:
    """The value with every string that is a known key replaced by what it has become."""
    if isinstance(value, str):
        return keys.get(value, value)
    if isinstance(value, list):
        return [_replaced(item, keys) for item in value]
    if isinstance(value, dict):
        return {name: _replaced(item, keys) for name, item in value.items()}
    return value
