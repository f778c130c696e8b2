"""Kill points: a real `codojo run` in a process of its own, killed at each write, sync, open and rename.

strace delivers SIGKILL as a system call on a file of the log is entered, the n-th time it is by one of
the two threads that write there; n goes up until a run is not killed any more. After each kill the run
is resumed, and the log and the engine's count of requests say what was lost, what was repeated and what
was asked again. Processes are forked from one that has imported codojo, so that a point takes a second
and not ten.

`python -m tests.trajectories.crashpoints` does the whole sweep, does the same to a graph under
LangGraph's SqliteSaver, and prints the tables.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from codojo.bench.durable import JOURNAL, LAGGING, PEER, SYNC
from codojo.bench.environments import environment
from codojo.graphs.run import find_run, runs
from codojo.serving.supervisor import start_engine, stop_engine
from codojo.settings import EngineSettings
from codojo.tasks.katas import load_katas
from codojo.trajectories.journal import ASKED, EFFECT
from codojo.trajectories.log import Event, read_log
from codojo.trajectories.schema import Trajectory, load_trajectories

THREADS = ("main", "codojo-log")
"""The threads that write to a log: that of the event loop, and one of the log."""
CALLS = (
    "write",
    "fdatasync",
    "fsync",
    "openat",
    "mkdir",
    "flock",
    "ftruncate",
    "pwrite64",
    "rename",
)
"""What a run does to the files of its log."""
ROOT = Path(__file__).parent.parent.parent

ZYGOTE = """
import json, os, sys, threading, traceback
from importlib import import_module

for name in ("codojo.dojo", "codojo.cli.run", "codojo.graphs.ending", "codojo.graphs.run",
             "codojo.memory.recall", "codojo.sandboxes.judge", "codojo.sandboxes.opening",
             "codojo.serving.chat_model", "codojo.serving.supervisor", "codojo.tasks.katas",
             "codojo.trajectories.schema", "langchain_openai", "openai.types.chat"):
    import_module(name)
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    gate, opener = os.pipe()
    begun, begin = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(opener)
        os.close(begun)
        out = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.read(gate, 1)
        if order["thread"] == "main":
            os.close(begin)
        else:
            usual = threading.Thread.run

            def run(self):
                if self.name == order["thread"]:
                    os.write(begin, b"%d" % threading.get_native_id())
                    os.close(begin)
                    os.read(gate, 1)
                usual(self)

            threading.Thread.run = run
        sys.argv = ["codojo", *order["argv"]]
        code = 0
        try:
            import_module("codojo.cli").main()
        except SystemExit as err:
            code = err.code if isinstance(err.code, int) else int(err.code is not None)
        except BaseException:
            traceback.print_exc()
            code = 70
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    os.close(gate)
    os.close(begin)
    print(pid, flush=True)
    sys.stdin.readline()
    os.write(opener, b"x")
    if order["thread"] != "main":
        print(os.read(begun, 20).decode() or "0", flush=True)
        sys.stdin.readline()
        os.write(opener, b"x")
    os.close(opener)
    os.close(begun)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Kill(NamedTuple):
    """Which call of which thread does not return."""

    thread: str
    call: str
    n: int


@dataclass
class Ran:
    """What became of one process."""

    code: int
    said: str


@dataclass
class Zygote:
    """Starts `codojo` commands by forking."""

    process: "subprocess.Popen[str]"
    folder: Path

    def run(self, argv: Sequence[str], kill: Kill | None = None, paths: Sequence[Path] = ()) -> Ran:
        """A command, killed by strace as one of its threads enters the n-th call of a kind, or left alone."""
        out = self.folder / "out"
        thread = kill.thread if kill else "main"
        self._say(json.dumps({"argv": list(argv), "out": str(out), "thread": thread}))
        pid = int(self._hear())
        strace = _attach(pid, kill, paths) if kill and thread == "main" else None
        self._say("go")
        if kill and thread != "main":
            begun = int(self._hear())
            strace = _attach(begun, kill, paths) if begun else None
            self._say("go")
        code = int(self._hear())
        if strace:
            strace.communicate()
        return Ran(code, out.read_text(errors="replace"))

    def _say(self, line: str) -> None:
        stdin = cast(IO[str], self.process.stdin)
        stdin.write(line + "\n")
        stdin.flush()

    def _hear(self) -> str:
        return cast(IO[str], self.process.stdout).readline()


def _attach(thread: int, kill: Kill, paths: Sequence[Path]) -> "subprocess.Popen[str]":
    """strace on one thread that waits; it sees only calls on those paths."""
    command = [*strace_command(kill.call, kill.n, paths, Path(os.devnull)), "-p", str(thread)]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in cast(IO[str], strace.stderr):
        if "attached" in line:
            return strace
        raise RuntimeError(f"strace cannot attach: {line}")
    raise RuntimeError("strace ended at once")


def strace_command(call: str, n: int, paths: Sequence[Path], trace: Path) -> list[str]:
    """strace that kills at the n-th call of a kind on one of the paths."""
    command = ["strace", "-y", "-s", "0", "-o", str(trace), "-e", f"trace={','.join(CALLS)}"]
    command += ["-e", f"inject={call}:signal=KILL:when={n}"]
    if call == "rename":
        return command  # strace looks at the old name alone, which nobody knows before: every rename counts
    return command + [word for path in paths for word in ("-P", str(path))]


def why_not() -> str:
    """Why processes cannot be killed by strace here; empty where they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        ["strace", "-e", "inject=openat:signal=KILL:when=1", "/bin/true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if tried.returncode == -9 else f"strace does not work here: {tried.stderr[:200]}"


@dataclass
class Point:
    """One kill and what a resume made of it."""

    kill: Kill
    held: int
    """Events that the log held at the kill, the acknowledged ones among them."""
    lost: int
    """Of these, events that the resumed log does not hold."""
    repeated: int
    """Effects that the log held at the kill and that were asked or performed again."""
    reasked: int
    """Effects under way at the kill, as the rollouts count them."""
    uncounted: int
    """Requests that the engine got more than the log and `reasked` explain."""


@dataclass
class Rig:
    """A zygote, an engine that answers by a script, and the outcome of an uninterrupted run."""

    folder: Path
    zygote: Zygote
    metrics: str
    script: Path
    large: str
    """Name of the artifact that the run's one long answer becomes."""
    whole: dict[str, Any] = field(default_factory=dict)

    def argv(self, dojo: Path) -> list[str]:
        """A run of `team` on one task that needs a repair."""
        return [
            *("run", "--suite", "katas", "--tasks", "1", "--graph", "team", "--samples", "2"),
            *("--dojo", str(dojo), "--json", "--unsafe-no-sandbox"),
            *("--set", "engine.kind=scripted", "--set", f"engine.model={self.script}"),
            *("--set", "sampling.max_tokens=8000"),
        ]

    def paths(self, dojo: Path, segment: int, *more: Path) -> list[Path]:
        """What a run writes to, as far as its name is known before."""
        log, artifacts = dojo / "log", dojo / "artifacts"
        shard = artifacts / self.large[:2]
        store = [artifacts, shard, shard / self.large]
        return [
            dojo,
            log,
            log / ".lock",
            log / f"{segment:06d}.jsonl",
            dojo / "locks",
            *store,
            *more,
        ]

    def requests(self) -> int:
        """Requests that the engine has answered so far."""
        with urllib.request.urlopen(self.metrics, timeout=5) as answer:
            return int(json.load(answer)["requests"].get("/v1/chat/completions", 0))

    def run_whole(self) -> None:
        """The run that the others are compared with."""
        dojo = self.folder / "whole"
        done = self.zygote.run(self.argv(dojo))
        assert done.code == 0, done.said
        self.whole = outcome(load_trajectories(dojo / "log"))

    def kill_fresh(self, kill: Kill) -> Point | None:
        """Kill a new run; None where it came to its end first."""
        dojo = self.folder / "fresh"
        before = self.requests()
        killed = self.zygote.run(self.argv(dojo), kill, self.paths(dojo, 1))
        if killed.code == 0:
            shutil.rmtree(dojo)
            return None
        assert killed.code == -9, killed.said
        held = events_of(dojo)
        done = self.zygote.run(["run", "--resume", "last", "--dojo", str(dojo)])
        if (
            done.code == 2
        ):  # killed before the run was accepted, or as its end was on the way to the disk
            states = [run.state for run in runs(dojo)]
            assert states in ([], ["finished"]) and "holds no unfinished run" in done.said
            done = replace(done, code=0) if states else self.zygote.run(self.argv(dojo))
        assert done.code == 0, done.said
        return self._judge(kill, dojo, held, self.requests() - before)

    def kill_resumed(self, seed: Path, run: str, kill: Kill, spent: int) -> Point | None:
        """Kill the resume of a run that was killed before, and resume it once more.

        Args:
            spent: Requests of the first process.
        """
        dojo = self.folder / "resumed"
        shutil.copytree(seed, dojo)
        paths = self.paths(dojo, 2, dojo / "locks" / f"{run}.lock", dojo / "log" / "000001.jsonl")
        resume = ["run", "--resume", run, "--dojo", str(dojo)]
        before = self.requests()
        killed = self.zygote.run(resume, kill, paths)
        if killed.code == 0:
            shutil.rmtree(dojo)
            return None
        assert killed.code == -9, killed.said
        held = events_of(dojo)
        done = self.zygote.run(resume)
        assert done.code == 0, done.said
        return self._judge(kill, dojo, held, self.requests() - before + spent)

    def _judge(self, kill: Kill, dojo: Path, held: list[Event], requests: int) -> Point:
        events = events_of(dojo)
        found = load_trajectories(dojo / "log")
        assert outcome(found) == self.whole, "it ends as the uninterrupted run"
        there = {(event.segment, event.seq) for event in events}
        before = {(event.segment, event.seq) for event in held}
        had = {event.data["key"] for event in held if event.kind == EFFECT}
        counts = Counter(event.data["key"] for event in events if event.kind == EFFECT)
        late = [event for event in events if (event.segment, event.seq) not in before]
        again = {event.data["key"] for event in late if event.kind in (ASKED, EFFECT)} & had
        again |= {key for key, count in counts.items() if count > 1}
        reasked = sum(t.end.reasked for t in found.values() if t.end)
        replies = sum(e.kind == EFFECT and e.data["effect"] == "reply" for e in events)
        shutil.rmtree(dojo)
        return Point(
            kill=kill,
            held=len(before),
            lost=len(before - there),
            repeated=len(again),
            reasked=reasked,
            uncounted=max(0, requests - replies - reasked),
        )


def events_of(dojo: Path) -> list[Event]:
    """All events; none where there is no log yet."""
    return list(read_log(dojo / "log"))


def outcome(found: dict[str, Trajectory]) -> dict[str, Any]:
    """What a run decided, without ids and times."""
    return {
        t.brief.task_id: [
            (p.candidate.code, p.verdict.status if p.verdict else None) for p in t.proposals
        ]
        for t in found.values()
    }


@contextlib.contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    """The rig for the block; its engine is one for all runs, as `codojo models start` leaves it."""
    task = load_katas().split("train")[0]
    wrong = f"```python\n{task.starter}\n    return None\n```"
    critique = {"diagnosis": "It returns None. " * 1200, "advice": "count them", "confidence": 1}
    long = json.dumps(critique)
    rules = [
        {"match": "That is not right yet", "replies": [f"```python\n{task.reference}\n```"]},
        {"match": "Review this attempt", "replies": [long]},
        {"match": "Complete this Python function", "replies": [wrong]},
        {"match": "", "replies": ["nonsense"]},
    ]
    script = folder / "script.json"
    script.write_text(json.dumps({"rules": rules}))
    state = folder / "state"
    runtime = state / "codojo" / "engine"
    settings = EngineSettings(kind="scripted", model=str(script))
    endpoint = asyncio.run(start_engine(settings, runtime_dir=runtime))
    env = {**os.environ, "XDG_STATE_HOME": str(state), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", ZYGOTE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        metrics = endpoint.url.removesuffix("/v1") + "/metrics"
        large = hashlib.sha256(long.encode()).hexdigest()
        made = Rig(folder, Zygote(process, folder), metrics, script, large)
        made.run_whole()
        yield made
    finally:
        process.kill()
        process.communicate()
        stop_engine(runtime_dir=runtime)


def every(kill: Callable[[Kill], Point | None]) -> list[Point]:
    """Every kill point of some run: each thread's calls of each kind, one after the other."""
    points = []
    for thread in THREADS:
        for call in CALLS:
            for n in count(1):
                point = kill(Kill(thread, call, n))
                if point is None:
                    break
                points.append(point)
    return points


def sweep_fresh(made: Rig) -> list[Point]:
    """Every kill point of a new run."""
    return every(made.kill_fresh)


def sweep_resumed(made: Rig) -> list[Point]:
    """Every kill point of a run that is resumed after a kill half-way."""
    seed = made.folder / "seed"
    before = made.requests()
    killed = made.zygote.run(made.argv(seed), Kill("main", "write", 8), made.paths(seed, 1))
    assert killed.code == -9, killed.said
    spent = made.requests() - before
    run = find_run(seed, "run").id
    return every(lambda kill: made.kill_resumed(seed, run, kill, spent))


def table(points: Sequence[Point]) -> str:
    """Sums by system call, for the docs."""
    lines = [
        "| killed as it entered | points | events held | lost | effects repeated | reasked | requests not counted |",
        "|---|---|---|---|---|---|---|",
    ]
    for call in [*dict.fromkeys(point.kill.call for point in points), ""]:
        of = [point for point in points if call in ("", point.kill.call)]
        sums = [sum(getattr(point, name) for point in of) for name in COLUMNS]
        name = f"`{call}`" if call else "all"
        lines.append("| " + " | ".join([name, str(len(of)), *map(str, sums)]) + " |")
    return "\n".join(lines)


COLUMNS = ("held", "lost", "repeated", "reasked", "uncounted")


def main() -> None:
    """The whole sweep, and the graph beside SqliteSaver."""
    argparse.ArgumentParser(description=main.__doc__, epilog="Takes minutes.").parse_args()
    if reason := why_not():
        raise SystemExit(reason)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="codojo-kill-") as name, rig(Path(name)) as made:
        for title, sweep in (("a new run", sweep_fresh), ("a resumed run", sweep_resumed)):
            print(f"\n{title}\n\n{table(sweep(made))}", flush=True)
        print(
            "\n| way | kills | acted on, then repeated | in flight, repeated |\n|---|---|---|---|"
        )
        from tests.trajectories.graph_kills import sweep_graph

        peer = environment(*PEER)
        for way in (JOURNAL, SYNC, LAGGING):
            python = Path(sys.executable) if way.ours else peer
            done = sweep_graph(way, python, Path(name), 20)
            print(f"| {done.way} | {done.kills} | {done.acted_on} | {done.in_flight} |", flush=True)
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
