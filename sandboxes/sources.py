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
"""Modules that our programs have in common with us, each after those that it imports; standard library only."""
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
        if not self.shared:
            return self.text
        return f"{shared_modules(_imported(self.text))}\n{self._run()}"

    def _run(self) -> str:
        name = f"{self.name}.py"
        return f"exec(compile({self.text!r}, {name!r}, 'exec'), {{'__name__': '__main__'}})\n"


@cache
def program(name: str) -> Program:
    """One of our programs, `sandboxes/<name>.py`."""
    text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return Program(name, text, shared=True)


@cache
def shared_modules(wanted: tuple[str, ...] = SHARED) -> str:
    """Python text that defines some of the shared modules, in their order."""
    packages = sorted({module.rpartition(".")[0] for module in wanted})
    known = ("codojo", *packages, *wanted)
    lines = ["import sys, types"]
    lines += [f"sys.modules[{module!r}] = types.ModuleType({module!r})" for module in known]
    for module in wanted:
        text = _text(module)
        package, _, name = module.rpartition(".")
        lines.append(f"exec(compile({text!r}, {module!r}, 'exec'), vars(sys.modules[{module!r}]))")
        lines.append(f"sys.modules[{package!r}].{name} = sys.modules[{module!r}]")
    return "\n".join(lines)


@cache
def _imported(text: str) -> tuple[str, ...]:
    """The shared modules that a program needs: a fresh cage pays for the compiling of each."""
    wanted: list[str] = []
    for module in reversed(SHARED):
        package, _, name = module.rpartition(".")
        lines = (f"from {module} import", f"from {package} import {name}")
        texts = [text, *map(_text, wanted)]
        if any(line in each for line in lines for each in texts):
            wanted.insert(0, module)
    return tuple(wanted)


def _text(module: str) -> str:
    return Path(str(import_module(module).__file__)).read_text(encoding="utf-8")
