"""Collecting what self-made tests say of programs known to be wrong: each run is a journalled effect."""

import asyncio
import itertools

from codojo.graphs.parts import Parts
from codojo.scoring.test_quality import Evidence
from codojo.tasks.mutants import mutants
from codojo.tasks.schema import Brief, Candidate, Tests, Verdict

MUTANTS = 5
"""Faults that are tried, spread over the program."""


async def collect(
    parts: Parts, brief: Brief, tests: Tests, passing: Candidate | None
) -> list[Evidence]:
    """The matrix of outcomes: each test on a stub and on mutants of a passing candidate.

    Args:
        passing: A candidate that passes the task's own examples; None where there is none.
    """
    name = brief.entry_point
    stub = Candidate.of(f"def {name}(*args, **kwargs):\n    return None\n")
    wrong = [Candidate.of(text) for text in some_mutants(passing.code)] if passing else []
    verdicts = await asyncio.gather(
        *(parts.execute(candidate, name, tests) for candidate in (stub, *wrong))
    )
    passed = [_passed(verdict) for verdict in verdicts]
    return [
        Evidence(
            test=case.id,
            passes_stub=case.id in passed[0],
            passes_mutants=tuple(case.id in on_mutant for on_mutant in passed[1:]),
        )
        for case in tests.cases
    ]


def some_mutants(code: str) -> list[str]:
    """Up to five different faults, taken at even distances; none where the code does not parse."""
    try:
        every = list(dict.fromkeys(itertools.islice(mutants(code), 200)))
    except (SyntaxError, ValueError, RecursionError):
        return []
    step = max(1, len(every) // MUTANTS)
    return every[::step][:MUTANTS]


def _passed(verdict: Verdict) -> set[str]:
    return {outcome.id for outcome in verdict.outcomes if outcome.status == "passed"}
