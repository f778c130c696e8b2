"""What stands before every route: which hosts and origins are answered, how much is read, and what a page may do."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 1 << 20
BODY_S = 10.0
"""Seconds in which a body must have arrived."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Shield:
    """Wraps an ASGI application.

    Args:
        hosts: Values of the header `Host` that are answered; every other one may be a rebound name.
    """

    def __init__(self, app: App, hosts: Collection[str]) -> None:
        self.app = app
        self.hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        refused = self._refusal(scope["method"], headers)
        if refused:
            await _answer(send, *refused)
            return
        try:
            body = await _body(receive) if scope["method"] == "POST" else b""
        except _TooLarge:
            await _answer(send, 413, f"more than {MAX_BODY} bytes are not read")
            return
        except TimeoutError:
            await _answer(send, 408, "the request took too long to arrive")
            return
        given_on = False

        async def replayed() -> MutableMapping[str, Any]:
            nonlocal given_on
            if given_on:
                return await receive()
            given_on = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (n.encode(), v.encode())
                        for n, v in HEADERS.items()
                        if n.encode() not in given
                    ),
                ]
                if b"content-security-policy" not in given:
                    message["headers"].append((b"content-security-policy", POLICY.encode()))
            await send(message)

        await self.app(scope, replayed, guarded)

    def _refusal(self, method: str, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if host not in self.hosts:
            return (
                421,
                "this server does not answer to that name; open it by the address it printed",
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "the request comes from another origin"
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "the request comes from another site"
        if method in ("GET", "HEAD"):
            return None
        if method != "POST":
            return 405, "only GET, HEAD and POST are answered"
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return 415, "bodies are JSON"  # a form of another site cannot send that
        try:
            size = int(headers.get("content-length", "0"))
        except ValueError:
            return 400, "the length is no number"
        return (413, f"more than {MAX_BODY} bytes are not read") if size > MAX_BODY else None


class _TooLarge(Exception):
    pass


async def _body(receive: Receive) -> bytes:
    """The whole of a body, in time and within its size."""
    body, more = b"", True
    async with asyncio.timeout(BODY_S):
        while more:
            message = await receive()
            if message["type"] != "http.request":
                break
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_BODY:
                raise _TooLarge
    return body


async def _answer(send: Send, status: int, text: str) -> None:
    body = text.encode()
    headers = {
        **HEADERS,
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        "connection": "close",
        "content-security-policy": POLICY,
    }
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
