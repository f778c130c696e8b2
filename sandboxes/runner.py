# ruff: noqa: PTH103, PTH109, PTH117, PTH120, PTH123, PTH208, S102, S108, SIM105
# Every module imported here is paid for by every candidate; running its code is the point.
"""Runs inside a cage: gives each case to a fresh child process and passes on what the child answers.

Sent as source, so standard library only, down to Python 3.9. The judge sends a job (program, entry
point, limits), then one case at a time, without what is expected. A child loads the program, calls
it and writes one answer into a pipe of its own; the runner adds how the child ended and forwards
the bytes unread. It is the first process of its cage, which the candidate therefore cannot kill.

A check in code is different: test and candidate share the child, which the verdict says.
"""

from __future__ import annotations

import builtins
import json
import os
import select
import signal
import struct
import sys
import time
import types

from codojo.sandboxes.frames import claim_pipes, read_question, write_frame
from codojo.tasks.values import ValueRefused, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMES = {
    cls: name
    for name, cls in vars(builtins).items()
    if isinstance(cls, type) and issubclass(cls, BaseException) and cls.__name__ == name
}
"""Exceptions by what they are, taken before a candidate can touch anything."""
PRELOADED = ("collections", "itertools", "functools", "math", "typing", "heapq", "bisect", "string")
"""Imported once in the runner where the program mentions them, so that no child pays for it."""
SCRATCH = ("/tmp/work", "/tmp", "/dev/shm")


def serve(job: dict[str, Any], source: int, target: int) -> None:
    """Answer cases until the judge closes the pipe."""
    code = job["files"].get("solution.py", "")
    for name in PRELOADED:
        if name in code:
            __import__(name)
    # Asked of the kernel, too: killing everyone and leaving files is for a cage of one's own only.
    alone = job["sealed"] and os.getpid() == 1
    while (asked := read_question(source)) is not None:
        case, _ = asked
        head, answer = run_child(job, case, alone)
        head["nonce"], head["case"] = job["nonce"], case["case"]
        head["spoilt"] = alone and any(_scratch(folder) for folder in SCRATCH)
        write_frame(target, head, answer)


def _scratch(folder: str) -> bool:
    """Whether a case left something behind."""
    return bool(set(os.listdir(folder)) - {"work"})


def run_child(
    job: dict[str, Any], case: dict[str, Any], alone: bool
) -> tuple[dict[str, Any], bytes]:
    """How a fresh child ended, and the bytes it answered."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(job, case, writer)
    os.close(writer)
    handle = os.pidfd_open(pid)
    try:
        answer, end = _await_answer(reader, handle, job["wall_s"], job["max_answer"])
    finally:
        os.close(handle)
        os.close(reader)
    status, spent = _end_child(pid, alone)
    if end == "died" and spent >= job["cpu_s"] - 0.5:
        end = "cpu"
    died_of = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return {"end": end, "signal": died_of}, answer


def _await_answer(reader: int, handle: int, wall_s: float, cap: int) -> tuple[bytes, str]:
    """The child's answer, or why there is none: `died`, `timeout` or `large`."""
    os.set_blocking(reader, False)
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    poll.register(handle, select.POLLIN)
    deadline = time.monotonic() + wall_s
    data = bytearray()
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return b"", "timeout"
        gone = handle in dict(poll.poll(left * 1000))
        try:
            while chunk := os.read(reader, 65536):
                data += chunk
                if len(data) >= 4:
                    size = struct.unpack(">I", data[:4])[0]
                    if size > cap:
                        return b"", "large"
                    if len(data) >= size + 4:
                        return bytes(data[4 : size + 4]), "answer"
            return b"", "died"
        except BlockingIOError:
            if gone:
                return b"", "died"


def _end_child(pid: int, alone: bool) -> tuple[int, float]:
    """Kill the child and what it started; its exit status and the processor time it took."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        os.kill(pid, signal.SIGKILL)
    if alone:
        try:
            os.kill(-1, signal.SIGKILL)
        except OSError:
            pass
    _, status, usage = os.wait4(pid, 0)
    while alone:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    return status, usage.ru_utime + usage.ru_stime


def _child(job: dict[str, Any], case: dict[str, Any], writer: int) -> None:
    """Never returns: whatever happens in here ends in `_exit`."""
    try:
        os.setsid()
        if writer != 3:
            os.dup2(writer, 3)
        os.closerange(4, 1024)
        nonce = job.pop("nonce")
        answer = check(job, case["check"], nonce) if "check" in case else call(job, case["args"])
        _answer(3, json.dumps(answer).encode())
    finally:
        os._exit(0)


def _answer(target: int, data: bytes) -> None:
    """What the child says, whole, to the runner that waits for it."""
    view = memoryview(struct.pack(">I", len(data)) + data)
    while view:
        view = view[os.write(target, view) :]


def call(job: dict[str, Any], args: object) -> dict[str, Any]:
    """What the entry point gives for the arguments."""
    module = types.ModuleType("solution")
    trouble = load(job["files"], module)
    if trouble:
        return trouble
    function = vars(module).get(job["entry"])
    if not callable(function):
        return {"missing": True}
    try:
        return {"value": encode(function(*decode(args)))}  # type: ignore[misc]  # it is a tuple
    except ValueRefused as err:
        return {"refused": str(err)[:200]}
    except BaseException as err:
        return describe(err)


def load(files: dict[str, str], module: types.ModuleType) -> dict[str, Any] | None:
    """Run the program as the module `solution`; None, or what went wrong."""
    sys.modules["solution"] = module
    if len(files) > 1:
        _lay_out(files)
    try:
        program = compile(files.get("solution.py", ""), "solution.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as err:
        return {"syntax": f"{type(err).__name__}: {err}"[:200]}
    try:
        exec(program, vars(module))
    except BaseException as err:
        return {"load": describe(err)}
    return None


def _lay_out(files: dict[str, str]) -> None:
    """Put a candidate of several files where its program can import them."""
    for path, text in files.items():
        if os.path.isabs(path) or ".." in path.split("/"):
            continue
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(text)
    sys.path.insert(0, os.getcwd())


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as the nearest builtin one, or as the limit that it stands for."""
    kinds = type.mro(type(error))
    if SystemExit in kinds:
        return {"abort": "SystemExit"}
    if MemoryError in kinds:
        return {"limit": "memory"}
    try:
        text = str(error)[:200]
        number = error.errno if OSError in kinds else None  # type: ignore[attr-defined]
    except BaseException:
        text, number = "", None
    if number == 11 or text == "can't start new thread":
        return {"limit": "pids"}
    if number in (27, 28, 122):
        return {"limit": "disk"}
    return {"raised": next(NAMES[kind] for kind in kinds if kind in NAMES), "text": text}


def check(job: dict[str, Any], test: dict[str, Any], nonce: str) -> dict[str, Any]:
    """Whether `check(candidate)` returned after calling the candidate."""
    scope: dict[str, Any] = {"__name__": "check"}
    for name in test["presets"]:
        scope[name] = __import__(name)
    exec(test["prelude"], scope)
    module = types.ModuleType("solution")
    trouble = load(job["files"], module)
    if trouble:
        return trouble
    program = compile(test["source"], "check.py", "exec")
    calls: list[object] = []
    found = bind(names_in(program), job["entry"], vars(module), scope, calls)
    if not found:
        return {"missing": True}
    try:
        exec(program, scope)
        function = scope["check"]
        # A candidate may bear the name of a builtin, of a stub in the prompt, or of `check` itself.
        scope.update(found)
        function(found.get(job["entry"], next(iter(found.values()))))
    except AssertionError:
        return {"assertion": True}
    except BaseException as err:
        return describe(err)
    return {"passed": nonce} if calls else {"no_call": True}


def bind(
    names: set[str], entry: str, program: dict[str, Any], scope: dict[str, Any], calls: list[object]
) -> dict[str, Any]:
    """What the test may mean by its free names: the candidate's entry point and other definitions.

    Helpers of the prompt stay the prompt's own, so a candidate cannot replace them.
    """
    found = {}
    for name in sorted(names | {entry}):
        known = name in scope or hasattr(builtins, name)
        if name in program and (name == entry or not known):
            found[name] = counted(program[name], calls)
    scope.update(found)
    return found


def counted(thing: object, calls: list[object]) -> object:
    """The candidate's function, noting that it was called; anything else as it is."""
    if not isinstance(thing, types.FunctionType):
        calls.append(thing)
        return thing

    def stand_in(*args: object, **kwargs: object) -> object:
        calls.append(True)
        return thing(*args, **kwargs)

    return stand_in


def names_in(code: types.CodeType) -> set[str]:
    """Every name that a program looks up outside its own functions (attributes, too)."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= names_in(constant)
    return found


def main() -> None:
    """Take the job, then answer cases."""
    source, target = claim_pipes()
    asked = read_question(source)
    if asked is not None:
        serve(asked[0], source, target)


if __name__ == "__main__":
    main()
