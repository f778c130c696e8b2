"""The server process: one socket, one event loop, an orderly end."""

import asyncio
import logging
import resource
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from codojo.dojo import Dojo
from codojo.errors import CodojoError, SettingsError
from codojo.web.accounts import Accounts
from codojo.web.app import Web
from codojo.web.patient import Patient
from codojo.web.talks import Talks

logger = logging.getLogger(__name__)

CONNECTIONS = 1_000
"""Open at once; one more is told 503."""
MAX_HEAD = 64 * 1024
KEEP_ALIVE_S = 30


def hosts_of(host: str, port: int) -> list[str]:
    """What a browser may call this server; other names may be rebound ones.

    >>> hosts_of("127.0.0.1", 8321)
    ['127.0.0.1:8321', 'localhost:8321']
    """
    names = [f"[{host}]" if ":" in host else host]
    if host in ("127.0.0.1", "::1"):
        names.append("localhost")
    return [f"{name}:{port}" for name in names] + (names if port == 80 else [])


def listen(host: str, port: int) -> socket.socket:
    """A bound socket.

    Raises:
        SettingsError: If the address is taken or is none.
    """
    if host in ("0.0.0.0", "::", ""):  # noqa: S104  # refused
        raise SettingsError(
            "name the one address that browsers will use (--host 192.168.1.5), since requests to any other name "
            "are refused"
        )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.create_server((host, port), family=family, backlog=512)
    except OSError as err:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {err.strerror}; choose another with --port"
        ) from err
    return bound


async def serve(
    dojo: Dojo,
    accounts: Accounts,
    folder: Path | None,
    host: str,
    port: int,
    *,
    say: Callable[[str], None],
) -> None:
    """Serve until a signal comes; then stop what works, and keep what was done.

    Raises:
        SettingsError: If the folder or the address cannot be used.
    """
    if folder is not None and not await asyncio.to_thread(folder.is_dir):
        raise SettingsError(f"{folder} is no folder; name one with --dir")
    place = await asyncio.to_thread(folder.resolve) if folder else None
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core holds tokens
    bound = listen(host, port)
    port = bound.getsockname()[1]
    web = Web(Talks(dojo, place), accounts)
    await web.talks.tidy()
    config = uvicorn.Config(
        web.app(hosts_of(host, port)),
        http=Patient,
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEAD,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=3,
    )
    shown = f"[{host}]" if ":" in host else host
    say(f"http://{shown}:{port}/")
    if host not in ("127.0.0.1", "::1"):
        say("this is plain HTTP beyond this machine: put it behind a proxy that speaks TLS")
    server = _Server(config, web.talks)
    opening = asyncio.create_task(_open(dojo))
    try:
        await server.serve([bound])
    finally:
        opening.cancel()
        await asyncio.wait({opening})


class _Server(uvicorn.Server):
    """uvicorn's, which lets the readers of conversations end before it waits for them."""

    def __init__(self, config: uvicorn.Config, talks: Talks) -> None:
        super().__init__(config)
        self._talks = talks

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """A signal came."""
        await self._talks.close()
        await super().shutdown(sockets)


async def _open(dojo: Dojo) -> None:
    """The engine takes a while; whoever talks first need not wait as long."""
    try:
        await dojo.view()
    except CodojoError as err:
        logger.warning("%s", err)  # whoever talks first is told, too
