"""Scripts for the scripted engine, shared by tests: a model with a known chance of solving a kata."""

import json
from collections.abc import Sequence
from pathlib import Path

from codojo.tasks.schema import Task


def kata_script(path: Path, tasks: Sequence[Task], *, p_pass: float = 0.5, **more: object) -> Path:
    """A script that answers each task with its reference, or with a stub, by a known chance."""
    rules = [
        {
            "match": rf"\b{task.entry_point}\(",
            "p_pass": p_pass,
            "passing": [f"```python\n{task.reference}\n```"],
            "failing": [f"```python\n{task.starter}\n    return None\n```"],
        }
        for task in tasks
    ]
    rules.append({"match": "", "replies": ["I do not know."]})
    path.write_text(json.dumps({"rules": rules, **more}))
    return path


def run_settings(script: Path) -> list[str]:
    """Options that make any command use that script."""
    return ["--set", "engine.kind=scripted", "--set", f"engine.model={script}"]
