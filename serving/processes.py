"""What every child process of an engine needs: a clean environment and a free port."""

import os
import socket
from pathlib import Path

import codojo

_SECRET_ENDINGS = ("_KEY", "_SECRET", "_TOKEN", "_PASSWORD", "_CREDENTIALS")
_NEEDED_SECRETS = {"HF_TOKEN"}
"""Hub models may be private."""


def engine_env() -> dict[str, str]:
    """Our environment without secrets, and without a path that belongs to another Python."""
    return {
        name: value
        for name, value in os.environ.items()
        if (name in _NEEDED_SECRETS or not name.upper().endswith(_SECRET_ENDINGS))
        and name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    }


def own_env() -> dict[str, str]:
    """The same for a child that runs `python -m codojo...`, wherever codojo was loaded from."""
    root = Path(str(codojo.__file__)).parent.parent
    return engine_env() | {"PYTHONPATH": str(root)}


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def has_gpu() -> bool:
    """Whether an NVIDIA GPU can be used here, WSL2 included."""
    return any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg"))
