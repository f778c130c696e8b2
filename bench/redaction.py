"""What redaction costs for each kilobyte of text: clean code, code that speaks of passwords, and secrets.

Processor time of this process, best of several passes; a busy machine makes it larger, not smaller.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from codojo.tasks.katas import load_katas
from codojo.trajectories.redact import Redactor

CHUNK = 2_048
"""Characters of one text: about what a model's answer has."""


class Row(NamedTuple):
    """One kind of text."""

    text: str
    kilobytes: float
    us_per_kb: float
    found: int
    """Secrets found in one pass."""


def main(*, rounds: int = 5) -> list[Row]:
    """Measure, and return a row for each kind of text."""
    katas = "\n".join(f"{task.prompt}\n{task.reference}" for task in load_katas())
    package = "\n".join(
        p.read_text() for p in sorted(Path(__file__).parents[1].glob("serving/*.py"))
    )
    secret = "\n".join(f"TOKEN = 'ghp_{n:036d}'" for n in range(2_000))
    texts = {
        "katas: tasks and solutions": katas,
        "own code about engines and keys": package,
        "a token in each line": secret,
    }
    return [_row(name, _chunks(text), rounds) for name, text in texts.items()]


def _row(name: str, chunks: Sequence[str], rounds: int) -> Row:
    redactor = Redactor()
    kilobytes = sum(len(chunk.encode()) for chunk in chunks) / 1024
    seconds = min(_timed(lambda: [redactor.text(chunk) for chunk in chunks]) for _ in range(rounds))
    found = sum(sum(redactor.redact(chunk).findings.values()) for chunk in chunks)
    return Row(name, round(kilobytes, 1), round(seconds / kilobytes * 1e6, 1), found)


def _timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _chunks(text: str) -> list[str]:
    return [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)]


if __name__ == "__main__":
    print("| text | KB | µs per KB | found |\n|---|---|---|---|")
    for row in main():
        print(f"| {row.text} | {row.kilobytes:,} | {row.us_per_kb:,} | {row.found:,} |")
