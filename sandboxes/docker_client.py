"""Talking to a container engine: the connection, the pinned image, and whose containers are whose.

Any engine that speaks Docker's API will do. `DOCKER_HOST` names its socket, as for every client.
"""

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from codojo.errors import SandboxError

OWNER = "codojo.owner"
"""Label of every container of ours; its value names the process that it belongs to."""
TIMEOUT_S = 60.0
REMOVALS = 5


def connect() -> Any:
    """A `docker.APIClient` to the engine that the environment names; safe to use from threads.

    Raises:
        SandboxError: If the package or the engine is missing.
    """
    try:
        import docker
    except ImportError:
        raise SandboxError(
            "the docker backend needs the package docker: install it with 'pip install "
            "\"codojo[docker]\"', or set sandbox.backend to 'bubblewrap'"
        ) from None
    address = "the default socket"
    try:
        options = docker.utils.kwargs_from_env()
        address = options.get("base_url", address)
        _knock(docker.utils.parse_host(options.get("base_url")))
        return docker.APIClient(**options, version="auto", timeout=TIMEOUT_S, max_pool_size=32)
    except failures() as err:
        raise SandboxError(
            f"no container engine answers at {address} ({explained(err)}); start Docker, or set "
            "DOCKER_HOST to another engine's socket (rootless Podman: "
            "unix://$XDG_RUNTIME_DIR/podman/podman.sock)"
        ) from err


def _knock(address: str) -> None:
    """Fail where nobody listens, since docker-py then leaves its socket open."""
    if path := re.fullmatch(r"(?:http\+)?unix://(/.+)", address):
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.settimeout(TIMEOUT_S)
            knocking.connect(path[1])


@cache
def failures() -> tuple[type[Exception], ...]:
    """What the client raises where the engine refuses or does not answer."""
    from docker.errors import DockerException

    # Those of requests are among the OSErrors.
    return (DockerException, OSError)


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn a refusal of the engine into a `SandboxError` that says what was asked."""
    try:
        yield
    except failures() as err:
        raise SandboxError(f"the container engine cannot {what}: {explained(err)}") from err


def explained(error: Exception) -> str:
    """The engine's own words where there are any, on one line."""
    said = getattr(error, "explanation", None) or error
    return " ".join(str(said).split())[:300]


def is_podman(client: Any) -> bool:
    """Whether the engine is Podman, which speaks Docker's API with differences of its own."""
    with asking("say what it is"):
        parts = client.version().get("Components") or []
    return any("podman" in str(part.get("Name", "")).lower() for part in parts)


def pinned(client: Any, image: str) -> str:
    """The content id of an image, so that a tag that moves later changes nothing.

    Raises:
        SandboxError: If the engine does not have it, or it asks for folders on the host's disk.
    """
    from docker.errors import NotFound

    try:
        with asking(f"look up the image {image!r}"):
            found = client.inspect_image(image)
    except SandboxError as err:
        if not isinstance(err.__cause__, NotFound):
            raise
        raise SandboxError(
            f"the container engine has no image {image!r}: make one with 'codojo sandbox "
            "build-image', or set sandbox.image to one that it has"
        ) from err
    if volumes := (found.get("Config") or {}).get("Volumes"):
        raise SandboxError(
            f"the image {image!r} declares volumes ({', '.join(volumes)}), which no limit covers; "
            "use one without, or make one with 'codojo sandbox build-image'"
        )
    return str(found["Id"])


def remove(client: Any, container: str) -> None:
    """Kill and remove a container; one that is gone already is fine.

    Raises:
        SandboxError: If the engine cannot, or does not answer.
    """
    from docker.errors import APIError, NotFound

    with asking(f"remove the container {container[:12]}"):
        for left in reversed(range(REMOVALS)):
            try:
                client.remove_container(container, force=True, v=True)
            except NotFound:
                return
            except APIError:
                # It is just ending by itself, or somebody else is at it.
                if not left:
                    raise
                time.sleep(0.1)
            else:
                return


def sweep(client: Any) -> int:
    """Remove what killed processes of this machine left behind; how many that were.

    Others' containers, and those of processes that still run or cannot be seen from here, stay.
    """
    with asking("list containers"):
        found = client.containers(all=True, filters={"label": OWNER})
    left = [c["Id"] for c in found if _is_abandoned(c["Labels"].get(OWNER, ""))]
    for container in left:
        # Another process may be sweeping, too.
        with contextlib.suppress(SandboxError):
            remove(client, container)
    return len(left)


def owner() -> str:
    """This process for as long as the machine is up: boot, process namespace, id and start."""
    return f"{_view()}/{os.getpid()}/{_started(os.getpid())}"


def _view() -> str:
    """Where process ids mean the same: the boot, and the namespace of processes."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"


def _started(pid: int) -> str:
    """When a process started, in ticks since boot; empty if there is none."""
    try:
        # The name before it may hold spaces and parentheses.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _is_abandoned(label: str) -> bool:
    view, _, process = label.rpartition("/")[0].rpartition("/")
    started = label.rpartition("/")[2]
    return view == _view() and process.isdecimal() and _started(int(process)) != started
