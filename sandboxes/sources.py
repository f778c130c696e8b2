"""The programs that run inside cages, as text for an interpreter that knows nothing of ours."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

SHARED = (
    "codojo.tasks.values",
    "codojo.sandboxes.forks",
    "codojo.sandboxes.frames",
    "codojo.sandboxes.solution",
)
"""Modules that our programs have in common with us; standard library only."""
NAMES = ("runner", "answerer", "tester", "examiner", "attendant")
"""Our programs; a warm cage has them ready."""


@dataclass(frozen=True, slots=True)
class Program:
    """Python text that runs as the first process of a cage."""

    name: str
    text: str
    shared: bool = False
    """Whether it imports the shared modules."""

    def whole(self) -> str:
        """The text, with the modules that it needs, for an empty interpreter."""
        return f"{shared_modules()}\n{self._run()}" if self.shared else self.text

    def _run(self) -> str:
        name = f"{self.name}.py"
        return f"exec(compile({self.text!r}, {name!r}, 'exec'), {{'__name__': '__main__'}})\n"


@cache
def program(name: str) -> Program:
    """One of our programs, `sandboxes/<name>.py`."""
    text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return Program(name, text, shared=True)


@cache
def shared_modules() -> str:
    """Python text that defines the shared modules."""
    packages = sorted({module.rpartition(".")[0] for module in SHARED})
    known = ("codojo", *packages, *SHARED)
    lines = ["import sys, types"]
    lines += [f"sys.modules[{module!r}] = types.ModuleType({module!r})" for module in known]
    for module in SHARED:
        text = Path(str(import_module(module).__file__)).read_text(encoding="utf-8")
        package, _, name = module.rpartition(".")
        lines.append(f"exec(compile({text!r}, {module!r}, 'exec'), vars(sys.modules[{module!r}]))")
        lines.append(f"sys.modules[{package!r}].{name} = sys.modules[{module!r}]")
    return "\n".join(lines)
