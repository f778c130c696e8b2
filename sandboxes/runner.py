# ruff: noqa: PTH116, PTH208, S108
# Every module imported here is paid for by every candidate; running its code is the point.
"""Runs inside a cage: gives each case to a fresh child process and passes on what the child answers.

Sent as source, so standard library only, down to Python 3.9. The judge sends a job (program, entry
point, limits), then one case at a time, without what is expected. A child loads the program, calls
it and writes one answer into a pipe of its own; the runner adds how the child ended and forwards
the bytes unread. It is the first process of its cage, which the candidate therefore cannot kill.
"""

from __future__ import annotations

import json
import os
import resource
import types

from codojo.sandboxes import forks
from codojo.sandboxes.frames import claim_pipes, read_question, write_frame
from codojo.sandboxes.solution import call, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PRELOADED = ("collections", "itertools", "functools", "math", "typing", "heapq", "bisect", "string")
"""Imported once in the runner where the program mentions them, so that no child pays for it."""
SCRATCH = ("/tmp/work", "/tmp", "/dev/shm")

RLIMITS = sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")})


def serve(job: dict[str, Any], source: int, target: int) -> None:
    """Answer cases until the judge closes the pipe."""
    code = job["files"].get("solution.py", "")
    for name in PRELOADED:
        if name in code:
            __import__(name)
    # Asked of the kernel, too: what lies in /tmp is the cage's own business in a cage of its own only.
    alone = job["sealed"] and os.getpid() == 1
    found = _inherited(alone)
    while (asked := read_question(source)) is not None:
        case, _ = asked
        head, answer = run_child(job, case)
        head["nonce"], head["case"] = job["nonce"], case["case"]
        head["spoilt"] = _inherited(alone) != found
        write_frame(target, head, answer)
        del head, answer  # the next child is a fork of this very frame


def _inherited(alone: bool) -> tuple[object, ...]:
    """What the next case inherits of this process and its folders, and a case may change: they are one user's."""
    limits = tuple(resource.getrlimit(number) for number in RLIMITS)
    return (
        limits,
        os.getpriority(os.PRIO_PROCESS, 0),
        os.sched_getaffinity(0),
        os.sched_getscheduler(0),
        [_marks(folder) for folder in SCRATCH if alone],
    )


def _marks(folder: str) -> tuple[object, ...]:
    """What a case could leave in a folder, or write on the folder itself: names, times, rights, attributes."""
    names, seen = sorted(os.listdir(folder)), os.stat(folder)
    times = (seen.st_mtime_ns, seen.st_ctime_ns)
    return names, times, seen.st_mode, sorted(os.listxattr(folder))


def run_child(job: dict[str, Any], case: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """How a fresh child ended, and the bytes it answered."""

    def child() -> None:
        del job["nonce"]
        module = types.ModuleType("solution")
        answer = load(job["files"], module)
        if answer is None:
            answer = call(module, job["entry"], case["args"], {"dict": []})
        forks.say(json.dumps(answer).encode())

    ran = forks.run(child, wall_s=job["wall_s"], cap=job["max_answer"], framed=True)
    used_up = ran.why == "ended" and ran.cpu_s >= job["cpu_s"] - 0.5
    died_of = os.WTERMSIG(ran.status) if os.WIFSIGNALED(ran.status) else 0
    return {"end": "cpu" if used_up else ran.why, "signal": died_of}, ran.said


def main() -> None:
    """Take the job, then answer cases."""
    source, target = claim_pipes()
    asked = read_question(source)
    if asked is not None:
        serve(asked[0], source, target)


if __name__ == "__main__":
    main()
