"""Plain questions whose answers by the base model are mixed into training, so that it forgets less.

None of them is a question of the guard suite: what measures forgetting must not be rehearsed.
"""

import json
from functools import cache
from importlib.resources import files


@cache
def load_rehearsal() -> tuple[str, ...]:
    """The questions, always in the same order; many kinds come early, so that a few cover much."""
    text = files("codojo.tasks").joinpath("rehearsal.json").read_text(encoding="utf-8")
    return tuple(json.loads(text))
