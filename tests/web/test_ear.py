"""The ear that the browser's tests listen with: it tells the browser's maker from an outsider."""

import socket
import ssl
import time

import pytest

from tests.web.conftest import Ear


def _greeting(name: str) -> bytes:
    """The first thing that TLS says to a server of this name."""
    context = ssl.create_default_context()
    context.set_alpn_protocols([f"filler-{number}" * 12 for number in range(20)])
    said = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), said, server_hostname=name).do_handshake()
    return said.read()


@pytest.mark.parametrize(
    ("name", "heard"), [("content-autofill.googleapis.com", 0), ("listener.test", 1)]
)
def test_a_greeting_in_pieces_is_heard_to_its_end(name: str, heard: int) -> None:
    ear = Ear()
    greeting = _greeting(name)
    at = greeting.index(name.encode()) + 1
    with socket.create_connection(("127.0.0.1", ear.port)) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        caller.sendall(greeting[:at])
        time.sleep(0.1)
        caller.sendall(greeting[at:])
        caller.recv(1)  # hung up, so it was heard to the end
    ear.close()
    assert len(ear.heard) == heard
