"""codojo: a team of language-model agents that solves tasks and trains itself on what worked.

    async with Dojo.open("my-dojo") as dojo:
        solved = await dojo.solve("Write `slugify(text)` ...", tests=["assert slugify('A b') == 'a-b'"])

For scripts and notebooks three plain functions do the same without `async`: `solve`, `export`, `improve`.
Names are loaded when they are first used: `import codojo` is light.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codojo.dojo import Dojo, Solved
    from codojo.errors import CodojoError
    from codojo.plain import export, improve, solve
    from codojo.tasks.schema import Brief, Candidate, Suite, Task, Verdict

__version__ = "0.1.0"

__all__ = [
    "Brief",
    "Candidate",
    "CodojoError",
    "Dojo",
    "Solved",
    "Suite",
    "Task",
    "Verdict",
    "export",
    "improve",
    "solve",
]

_HOMES = {
    "codojo.dojo": ("Dojo", "Solved"),
    "codojo.errors": ("CodojoError",),
    "codojo.plain": ("export", "improve", "solve"),
    "codojo.tasks.schema": ("Brief", "Candidate", "Suite", "Task", "Verdict"),
}


def __getattr__(name: str) -> Any:
    """Load a public name from the room that owns it (PEP 562)."""
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'codojo' has no attribute '{name}'")
