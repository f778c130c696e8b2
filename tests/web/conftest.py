"""A real Chromium for the tests of the browser's face, and an ear for everything that it asks for."""

import io
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CHROMIUM = Path("/usr/bin/chromium")
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHROMIUMS_OWN = ("*.google.com", "*.googleapis.com", "*.gstatic.com", "*.gvt1.com")
"""What the browser's maker has it call by itself, in spite of the flags: there are no such names."""


class Ear:
    """Everywhere but 127.0.0.1: every name leads to this socket, which keeps what is said there."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:
                return
            with caller:
                caller.settimeout(10)
                try:
                    self.heard.append(caller.recv(65_536))
                except OSError:
                    self.heard.append(b"")

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


@pytest.fixture(scope="session")
def ear() -> Iterator[Ear]:
    """The ear of the whole suite."""
    ear = Ear()
    yield ear
    ear.close()


@pytest.fixture(
    scope="module"
)  # its loop runs as long as it does, and would be in the way of async tests
def chromium(ear: Ear, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The system's Chromium."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright drives the browser; make dev installs it"
    )
    if not CHROMIUM.exists():
        pytest.skip("the system has no /usr/bin/chromium; 'make system-packages' installs it")
    with playwright.sync_playwright() as driver:
        browser = launched(driver.chromium, ear)
        yield browser
        browser.close()


def launched(kind: Any, ear: Ear) -> Any:
    """A browser that finds nothing but 127.0.0.1 and, by every other name, the ear."""
    own = "".join(f"MAP {name} ~NOTFOUND, " for name in CHROMIUMS_OWN)
    rules = f"{own}MAP * 127.0.0.1:{ear.port}, EXCLUDE 127.0.0.1"
    return kind.launch(
        executable_path=str(CHROMIUM), args=[*FLAGS, f"--host-resolver-rules={rules}"]
    )


@pytest.fixture
def page(chromium: Any, ear: Ear) -> Iterator[Any]:
    """A fresh browser; whatever it asks for must be asked of the server, and no script may fail."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(30_000)
    asked: list[str] = []
    faults: list[str] = []

    def dismissed(dialog: Any) -> None:
        faults.append(dialog.message)
        dialog.dismiss()

    context.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", dismissed)
    yield page
    context.close()
    outside = [url for url in asked if not url.startswith(("http://127.0.0.1:", "blob:"))]
    assert (outside, ear.heard) == ([], []), "something outside was asked"
    assert faults == [], "a script failed, or ran that is not ours"


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Callable[[Any, str], None]:
    """Keeps a screenshot for the docs, where `--update-pictures` asks for them."""

    def keep(page: Any, name: str) -> None:
        if request.config.getoption("--update-pictures"):
            page.wait_for_timeout(300)
            taken = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            taken.quantize(160).save(PICTURES / f"{name}.png", optimize=True)

    return keep
