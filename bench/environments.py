"""Environments of the peers: each package in one of its own, made once in the user's cache folder."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import platformdirs

from codojo.bench.rounds import tell

INSTALL_S = 900
BATCH_S = 900


class PeerMissing(Exception):
    """A peer cannot be measured here; the message is the reason, for the table."""


class PeerHung(Exception):
    """A peer gave no answer at all, and was ended."""


def environment(*requirements: str, dependencies: bool = True) -> Path:
    """The interpreter of an environment that holds the pinned packages.

    Args:
        dependencies: Whether pip also installs what the packages name; for those that name far more
            than is needed of them.

    Raises:
        PeerMissing: If they do not install.
    """
    name = (
        f"{requirements[0].replace('==', '-')}-py{sys.version_info.major}{sys.version_info.minor}"
    )
    home = Path(platformdirs.user_cache_dir("codojo")) / "bench" / name
    python = home / "bin" / "python"
    done = home / "installed"
    if done.exists():
        return python
    tell(f"installing {requirements[0]} into {home}")
    shutil.rmtree(home, ignore_errors=True)
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    pip += [] if dependencies else ["--no-deps"]
    for command in ([sys.executable, "-m", "venv", str(home)], [*pip, *requirements]):
        try:
            ran = subprocess.run(
                command, capture_output=True, text=True, timeout=INSTALL_S, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            raise PeerMissing(f"{requirements[0]} took over {INSTALL_S} s to install") from None
        if ran.returncode:
            last = [line for line in ran.stderr.splitlines() if line.strip()][-1:]
            raise PeerMissing(f"{requirements[0]} does not install: {''.join(last)[:120]}")
    done.touch()
    return python


def ask(
    python: Path, script: str, order: dict[str, Any], *, limit_s: float = BATCH_S
) -> dict[str, Any]:
    """What a script of `bench/` answers in a peer's interpreter; it takes its own times.

    One process for each order, and a file for the answer: what hostile candidates write to the
    descriptors of an unguarded peer then meets nobody.

    Raises:
        PeerMissing: If it cannot do what it was asked.
        PeerHung: If it took longer than `limit_s`.
    """
    with tempfile.TemporaryDirectory(prefix="codojo-bench-") as folder:
        question, answer = Path(folder) / "order.json", Path(folder) / "answer.json"
        question.write_text(json.dumps(order))
        path = str(Path(__file__).with_name(script))
        command = [str(python), "-B", path, str(question), str(answer)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=folder,
            start_new_session=True,
        )
        try:
            _, complaint = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise PeerHung(f"no answer within {limit_s:.0f} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if not answer.exists():
            last = complaint.decode(errors="replace").strip().splitlines()[-1:]
            raise PeerMissing(f"it cannot: {''.join(last)[:160]}")
        said: dict[str, Any] = json.loads(answer.read_text())
        if "error" in said:
            raise PeerMissing(f"it cannot: {said['error']}")
        return said
