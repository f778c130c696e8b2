"""The programs that run inside cages, as text for an empty interpreter."""

from functools import cache
from importlib import import_module
from pathlib import Path

SHARED = ("codojo.tasks.values", "codojo.sandboxes.frames")
"""Modules that they and we have in common; standard library only."""


@cache
def source_of(name: str) -> str:
    """The program `sandboxes/<name>.py`, with the modules that it shares with us."""
    program = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    packages = {module.rpartition(".")[0] for module in SHARED}
    known = ("codojo", *sorted(packages), *SHARED)
    lines = ["import sys, types"]
    lines += [f"sys.modules[{module!r}] = types.ModuleType({module!r})" for module in known]
    for module in SHARED:
        text = Path(str(import_module(module).__file__)).read_text(encoding="utf-8")
        lines.append(f"exec(compile({text!r}, {module!r}, 'exec'), vars(sys.modules[{module!r}]))")
    lines.append(f"exec(compile({program!r}, '{name}.py', 'exec'), {{'__name__': '__main__'}})")
    return "\n".join(lines) + "\n"
