"""Keys of effects whose inputs were changed afterwards: made anew, so that the rollout can still be replayed.

A key follows from an effect's input, and what came later names it by that key. Whoever changes inputs in a
log that is written shows the changed events to `note` first, in order, and then gives each to `follow`.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

from codojo.canonical import content_hash
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import Event
from codojo.trajectories.places import key_of


class Rekeying:
    """What keys have become. Keeps three short values for each effect of a rollout that was noted."""

    def __init__(self) -> None:
        self._made: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, str] = {}
        self._asked: Counter[tuple[str | None, tuple[str, ...], str]] = Counter()

    def note(self, event: Event) -> None:
        """An event of a rollout of which something changed, as it is now."""
        if event.kind != EFFECT:
            return
        record = event.data
        input_hash = content_hash([record["effect"], renamed(record["input"], self._keys)])
        path, under = tuple(record["path"]), record.get("under")
        place = (event.rollout, path, input_hash)
        nth = self._asked[place] if under is None else record["nth"]
        self._asked[place] += 1
        key = key_of(event.rollout or "", path, input_hash, nth, under)
        if key != record["key"]:
            self._keys[record["key"]] = key
            self._made[record["key"]] = {"key": key, "input_hash": input_hash, "nth": nth}

    def follow(self, event: Event) -> Event:
        """The event with the keys that it has or names made anew; itself where it has none of them."""
        if not self._keys:
            return event
        data = renamed(event.data, self._keys)
        if event.kind == EFFECT and event.data["key"] in self._made:
            data = {**data, **self._made[event.data["key"]]}
        return event if data is event.data else replace(event, data=data)


def renamed(value: Any, names: dict[str, str]) -> Any:
    """The value with every string that is a name replaced by what it has become; itself if there is none."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, list):
        items = [renamed(item, names) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    if isinstance(value, dict):
        fields = {name: renamed(item, names) for name, item in value.items()}
        return value if all(fields[name] is value[name] for name in fields) else fields
    return value
