"""bwrap's plain command line, and the least that judges a check with it in two fresh cages.

These are what codojo's warm cages are measured against. The judge is two times `bwrap` and Python for each candidate, with codojo's walls and filter. The programs inside
import nothing but builtins and talk over a socket of their own in `marshal`, so that neither the host
nor JSON costs anything. It has no limits but the clock's, and no codojo user would be served by it.
"""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from codojo.bench.candidates import Trial
from codojo.sandboxes.bubblewrap import PYTHON_OPTIONS, Bubblewrap

ANSWERER = """
import marshal, sys
source, target = sys.stdin.buffer, sys.stdout.buffer
scope = {"__name__": "solution"}
exec(compile(sys.argv[1], "solution.py", "exec"), scope)
function = scope[sys.argv[2]]
while True:
    given = marshal.load(source)
    try:
        answer = marshal.dumps((True, function(*given)))
    except Exception:
        answer = marshal.dumps((False, None))
    target.write(answer)
    target.flush()
"""
TESTER = """
import marshal, sys
source, target = sys.stdin.buffer, sys.stdout.buffer
def candidate(*given):
    target.write(marshal.dumps(given))
    target.flush()
    fine, value = marshal.load(source)
    assert fine
    return value
scope = {}
exec(compile(sys.argv[1], "check.py", "exec"), scope)
scope["check"](candidate)
"""


class CommandLine(NamedTuple):
    """How bwrap is started with the walls and the filter of codojo's backends."""

    argv: list[str]
    """Up to the options of the interpreter."""
    popen: dict[str, Any]


@contextmanager
def command_line(walls: Bubblewrap, *options: str) -> Iterator[CommandLine]:
    """The command line for one start; the filter it names is closed afterwards."""
    popen: dict[str, Any] = {"env": {}, "cwd": "/"}
    if walls.uid is not None:
        popen |= {"user": walls.uid, "group": walls.uid, "extra_groups": []}
    filtered = os.memfd_create("codojo-bench")
    try:
        os.write(filtered, walls.filter())
        os.lseek(filtered, 0, os.SEEK_SET)
        argv = [walls.bwrap, *walls.walls(walls.limits), "--seccomp", str(filtered)]
        argv += ["--remount-ro", "/", "--as-pid-1", "--", walls.python, *options]
        yield CommandLine(argv, {**popen, "pass_fds": (filtered,)})
    finally:
        os.close(filtered)


@dataclass(frozen=True, slots=True)
class FreshPair:
    """Judges by two processes behind walls, which are gone with the verdict."""

    walls: Bubblewrap

    def passed(self, trial: Trial, timeout_s: float) -> bool:
        """Whether the check returned."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            answerer = self._start(ours, ANSWERER, trial.code, trial.problem.entry)
            tester = self._start(theirs, TESTER, trial.problem.check)
        try:
            return tester.wait(timeout_s) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            for process in (answerer, tester):
                process.kill()
                process.wait()

    def _start(self, channel: socket.socket, *text: str) -> subprocess.Popen[bytes]:
        with command_line(self.walls, *PYTHON_OPTIONS) as line:
            return subprocess.Popen(
                [*line.argv, "-c", *text],
                stdin=channel.fileno(),
                stdout=channel.fileno(),
                stderr=subprocess.DEVNULL,
                **line.popen,
            )
