"""A team with a script, for conversations: what it plans, writes and repairs is known."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from codojo.dojo import Dojo

RIGHT = "```python\ndef double(x):\n    return x + x\n```"
WRONG = "```python\ndef double(x):\n    return x\n```"
SAFE = "```python\ndef double(x):\n    return abs(x) + abs(x)\n```"
FILE = "Here it is.\n\n```python calc.py\ndef add(a, b):\n    return a + b\n```\n"
RULES: list[dict[str, Any]] = [
    {"match": "change files of a folder", "replies": ["- repair add"]},
    {"match": "Answer with every file", "replies": [FILE]},
    {"match": "The person says:\nuse abs", "replies": ["- use abs"]},
    {"match": "Plan it", "replies": ["- add it to itself\n- mind zero"]},
    {"match": "handle negatives", "replies": [SAFE]},
    {"match": "Complete this", "replies": [RIGHT]},
    {"match": "Write test cases", "replies": ["assert double(3) == 6"]},
    {"match": "", "replies": ["It doubles."]},
]
REQUEST = "Write double(x) that returns x twice\nassert double(2) == 4"


def write_script(folder: Path, rules: list[dict[str, Any]] | None = None, **more: object) -> Path:
    """A script file."""
    path = folder / "script.json"
    path.write_text(json.dumps({"rules": RULES if rules is None else rules, **more}))
    return path


@asynccontextmanager
async def a_dojo(folder: Path, script: Path, **changes: object) -> AsyncIterator[Dojo]:
    """An open dojo with that engine, one candidate a request unless said otherwise."""
    overrides = {"engine.kind": "scripted", "engine.model": str(script), "team.samples": 1}
    overrides |= {name.replace("__", "."): value for name, value in changes.items()}
    async with Dojo.open(folder / "dojo", overrides=overrides) as dojo:
        yield dojo
