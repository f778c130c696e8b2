"""The `kata` decorator: a plain function becomes a task with a statement, examples and cases."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from codojo.tasks.schema import Rule

Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class Kata:
    """A reference solution with what is needed to make a task of it.

    The function's docstring is the statement, its signature the starter.
    """

    solve: Callable[..., Any]
    family: str
    examples: tuple[Arguments, ...]
    """Arguments of the visible cases."""
    draw: Callable[[Random], Arguments]
    """Draws the arguments of one sealed case."""
    rule: Rule = "equal"
    edges: tuple[Arguments, ...] = ()
    """Arguments that are always among the sealed cases: limits, ties, what chance may miss."""
    wrong: tuple[str, ...] = ()
    """Plausible wrong solutions as source of a lambda; the tests check that each one fails."""

    @property
    def name(self) -> str:
        """The name of the function, which is the entry point and ends the task's id."""
        return self.solve.__name__

    def __call__(self, *args: Any) -> Any:
        """What the reference returns; a recursive reference finds itself under its name."""
        return self.solve(*args)


def kata(
    family: str,
    *,
    examples: Sequence[Arguments],
    draw: Callable[[Random], Arguments],
    rule: Rule = "equal",
    edges: Sequence[Arguments] = (),
    wrong: Sequence[str] = (),
) -> Callable[[Callable[..., Any]], Kata]:
    """Make a kata of the reference solution below it."""

    def register(solve: Callable[..., Any]) -> Kata:
        return Kata(solve, family, tuple(examples), draw, rule, tuple(edges), tuple(wrong))

    return register
