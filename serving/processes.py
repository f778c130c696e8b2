"""What every child process of an engine needs: a clean environment and a free port."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def reserved_port() -> Iterator[int]:
    """A loopback port that for the block no other process is given, and a server may listen on.

    Linux lets a second socket have a port while both ask for its reuse, as servers do, and the first does
    not listen; who asks for any port gets another.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


def has_gpu() -> bool:
    """Whether an NVIDIA GPU can be used here, WSL2 included."""
    return any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg"))
