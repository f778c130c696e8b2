"""Which self-made tests are worth anything, from what they said of programs known to be wrong."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Evidence(NamedTuple):
    """What one test said. A row of the matrix that `graphs.evidence` collects through the judge."""

    test: str
    passes_stub: bool
    """On a program that does nothing."""
    passes_mutants: tuple[bool, ...]
    """On the mutants: copies of a passing candidate with one small fault each."""


class Kept(NamedTuple):
    """The tests that count, and why the others do not."""

    tests: tuple[str, ...]
    dropped: Mapping[str, str]


def useful_tests(matrix: Sequence[Evidence]) -> Kept:
    """The tests that notice a stub and at least one fault of a passing candidate.

    Mutation analysis (DeMillo, Lipton, Sayward 1978) as a filter of tests that a model wrote: a test
    that holds for wrong programs too says nothing, and one without a passing candidate to mutate is
    unproved, which is no better. What is kept can still be wrong: it asks for something, and perhaps
    for the wrong thing.
    """
    dropped = {row.test: reason for row in matrix if (reason := _why_not(row))}
    return Kept(tuple(row.test for row in matrix if row.test not in dropped), dropped)


def _why_not(row: Evidence) -> str:
    if row.passes_stub:
        return "a stub passes it"
    if not row.passes_mutants:
        return "no passing candidate to prove it on"
    if all(row.passes_mutants):
        return "it notices no fault"
    return ""
