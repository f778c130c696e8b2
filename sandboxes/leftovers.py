"""What a killed codojo can leave behind, and its removal at the next start.

Cages die with the process that started them, with one gap: for about a millisecond bwrap's first
process waits for its starter before it has asked to die with it. It then waits for ever, and never
runs anything. Control groups are swept where they are made (`cgroups.py`).
"""

import contextlib
import os
import time

import psutil

OLD_S = 60.0
"""A cage that starts is through in less."""
MARK = "codojo"
"""Stands in the command line of every cage: the text of its program."""


def sweep(*, older_than_s: float = OLD_S) -> list[int]:
    """Kill orphans of bwrap that wait for a starter who is dead; their ids.

    An orphan's parent is the first process of the machine, so nothing is done where that is us.
    """
    killed: list[int] = []
    if os.getpid() == 1:
        return killed
    for process in psutil.process_iter(["name", "ppid", "create_time"]):
        seen = process.info
        if seen["name"] != "bwrap" or seen["ppid"] != 1:
            continue
        if time.time() - seen["create_time"] < older_than_s:
            continue
        with contextlib.suppress(psutil.Error):
            if any(MARK in word for word in process.cmdline()) and not process.children():
                process.kill()
                killed.append(process.pid)
    return killed
