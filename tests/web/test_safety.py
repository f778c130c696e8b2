"""What nobody gets from the browser's face: without a token, from another site, or by another person's id."""

import json
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from codojo.trajectories.log import read_log
from codojo.web.app import POSTS
from tests.chat.talking import REQUEST, write_script
from tests.web.serving import Served, command, served, told, wait_until_done

pytestmark = pytest.mark.timeout(600)

GETS = ("", "/events", "/graph", "/export", "/export?format=json")
STRANGER = "01KB0H5R9NQ2V7T3M8X4C6D1B0"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("web")
    script = write_script(folder)
    with served(folder / "dojo", script) as server:
        yield server


@pytest.fixture(scope="module")
def grace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str, str]]:
    """A server of two people: it, and the tokens of ada and grace."""
    folder = tmp_path_factory.mktemp("two")
    script = write_script(folder)
    more = [*command(folder / "dojo", script), "--token-for"]
    tokens = []
    for name in ("ada", "grace"):
        done = subprocess.run([*more, name], capture_output=True, text=True, check=True)
        tokens.append(done.stdout.split(": ")[1].strip())
    with served(folder / "dojo", script, token=tokens[0]) as server:
        yield server, tokens[0], tokens[1]


def answered(client: httpx.Client) -> tuple[str, dict[str, Any]]:
    """A session with one finished request."""
    id = client.post("/api/sessions", json={}).json()["id"]
    said = client.post(f"/api/sessions/{id}/say", json={"text": REQUEST})
    assert said.status_code == 200, said.text
    return id, wait_until_done(client, id)


@pytest.mark.row("H3")
def test_nothing_is_told_without_a_token_and_the_cookie_is_out_of_reach(server: Served) -> None:
    with httpx.Client(base_url=server.url) as client:
        for path in (
            "/api/me",
            "/api/sessions",
            "/runs",
            "/adapters",
            "/memory",
            "/improve.svg",
            "/runs/x",
        ):
            assert client.get(path).status_code == 401
        for path in (f"/api/sessions/{STRANGER}{end}" for end in GETS):
            assert client.get(path).status_code == 401
        assert client.get("/").headers["location"] == "/login"
        assert client.get(f"/api/me?token={server.token}").status_code == 401
        assert client.post("/api/login", json={"token": ""}).status_code == 401
        assert client.post("/api/login", json={"token": "admin"}).status_code == 401
        said = client.post("/api/login", json={"token": server.token})
        cookie = said.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie
        assert server.token not in said.text + cookie
    users = server.dojo / "web-users.json"
    assert stat.S_IMODE(users.stat().st_mode) == 0o600
    assert server.token not in users.read_text()
    listening = {c.laddr.ip for c in psutil.Process(server.process.pid).net_connections("tcp")}
    assert listening == {"127.0.0.1"}


@pytest.mark.row("H4")
def test_a_login_changes_the_cookie_ends_with_it_and_guesses_are_slowed_down(
    server: Served,
) -> None:
    with closing(server.client()) as client:
        first = client.cookies["codojo"]
        client.post("/api/login", json={"token": server.token})
        second = client.cookies["codojo"]
        assert first != second
        with httpx.Client(base_url=server.url, cookies={"codojo": first}) as thief:
            assert thief.get("/api/me").status_code == 401, "a fixed cookie is worth nothing"
        assert client.post("/api/logout", json={}).status_code == 200
    with httpx.Client(base_url=server.url, cookies={"codojo": second}) as thief:
        assert thief.get("/api/me").status_code == 401, "logged out is logged out"


@pytest.mark.row("H4")
def test_guesses_are_slowed_down(tmp_path: Path) -> None:
    with served(tmp_path / "dojo", write_script(tmp_path)) as server:
        with httpx.Client(base_url=server.url) as client:
            codes = [
                client.post("/api/login", json={"token": f"guess {n}"}).status_code
                for n in range(12)
            ]
            late = client.post("/api/login", json={"token": server.token})
        assert codes == [401] * 10 + [429] * 2
        assert late.status_code == 429 and int(late.headers["retry-after"]) > 0


@pytest.mark.row("H4")
def test_a_login_outlives_a_restart_and_ends_by_time_by_hand_or_with_its_token(
    tmp_path: Path,
) -> None:
    dojo, script = tmp_path / "dojo", write_script(tmp_path)
    logins = dojo / "web-logins.json"

    def codojo_web(*more: str) -> str:
        done = subprocess.run(
            [*command(dojo, script), *more], capture_output=True, text=True, check=True
        )
        return done.stdout

    def aged(field: str, seconds: float) -> None:
        ((key, login),) = json.loads(logins.read_text()).items()
        logins.write_text(json.dumps({key: login | {field: login[field] - seconds}}))

    with served(dojo, script) as first, closing(first.client()) as client:
        cookie = client.cookies["codojo"]
    with served(dojo, script, token=first.token) as server:

        def seen(cookie: str) -> int:
            with httpx.Client(base_url=server.url, cookies={"codojo": cookie}) as client:
                return client.get("/api/me").status_code

        assert seen(cookie) == 200, "a restart keeps the login"
        assert stat.S_IMODE(logins.stat().st_mode) == 0o600
        kept = logins.read_text()
        assert cookie not in kept and first.token not in kept
        for stolen in (*json.loads(kept), kept):
            assert seen(stolen.replace("\n", "")[:500]) == 401, "what is kept opens nothing"
        aged("seen", 13 * 3600)
        assert seen(cookie) == 401, "unused for half a day"
        for end in ("began", "log out", "all", "token"):
            with closing(server.client()) as client:
                cookie = client.cookies["codojo"]
                assert seen(cookie) == 200
                if end == "began":
                    aged("began", 8 * 24 * 3600)
                elif end == "log out":
                    client.post("/api/logout", json={})
                elif end == "all":
                    assert codojo_web("--log-out-all") == "ended 1 login\n"
                else:
                    server.token = codojo_web("--token-for", "ada").split(": ")[1].strip()
            assert seen(cookie) == 401, end
        with closing(server.client()) as client:
            assert client.get("/api/me").json()["user"] == "ada", "with the new token"
        logins.write_text("{")
        assert seen(cookie) == 401


@pytest.mark.row("H5")
def test_other_origins_other_names_and_forms_are_refused(server: Served) -> None:
    with closing(server.client()) as client:
        id = client.post("/api/sessions", json={}).json()["id"]
        for headers in (
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"origin": server.url.replace("127.0.0.1", "127.0.0.2")},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ):
            assert client.post(f"/api/sessions/{id}/stop", json={}, headers=headers).is_client_error
            assert client.get(f"/api/sessions/{id}/events", headers=headers).status_code == 403
        for host in ("evil.example", "127.0.0.1", f"evil.example:{httpx.URL(server.url).port}", ""):
            assert client.get("/api/me", headers={"host": host}).status_code == 421
        form = {"content-type": "application/x-www-form-urlencoded"}
        for kind in (form, {"content-type": "text/plain"}):
            refused = client.post(f"/api/sessions/{id}/stop", content="{}", headers=kind)
            assert refused.status_code == 415
        assert client.get(f"/api/sessions/{id}/stop").status_code == 405
        upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
        upgrade |= {
            "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "origin": "http://evil.example",
        }
        assert client.get("/", headers=upgrade).status_code == 403
        allowed = client.get("/").headers
        assert "access-control-allow-origin" not in allowed
        assert "unsafe" not in allowed["content-security-policy"]


@pytest.mark.row("H6")
def test_another_persons_ids_are_not_found_on_any_route(grace: tuple[Served, str, str]) -> None:
    server, ada_token, grace_token = grace
    with closing(server.client(ada_token)) as ada, closing(server.client(grace_token)) as eve:
        id, done = answered(ada)
        said = ada.post(f"/api/sessions/{id}/rate", json={"good": True}).json()["id"]
        run = done["turns"][0]["run"]
        (rollout,) = {e.rollout for e in read_log(server.dojo / "log") if e.rollout}
        own, _ = answered(eve)
        before = told(ada, id)
        for path in (
            *(f"/api/sessions/{id}{end}" for end in GETS),
            f"/runs/{run}",
            f"/rollouts/{rollout}",
            f"/reports/{run}",
        ):
            foreign, unknown = eve.get(path), eve.get(path.replace(id, STRANGER))
            assert foreign.status_code == 404, path
            assert foreign.text == unknown.text, "nobody learns whether it exists"
            assert (
                path.startswith("/reports") or ada.get(path, timeout=2).status_code == 200
                if ("events" not in path)
                else True
            )
        for name in POSTS:
            assert eve.post(f"/api/sessions/{id}/{name}", json={}).status_code == 404, name
        assert eve.post(f"/api/sessions/{own}/revoke", json={"id": said}).status_code == 404
        foreign_step = before["turns"][0]["feedback"][0]["step"]
        rated = eve.post(f"/api/sessions/{own}/rate", json={"good": False, "step": foreign_step})
        assert rated.status_code == 400
        assert told(ada, id) == before
        assert id not in eve.get("/api/sessions").text and run not in eve.get("/runs").text
        assert id in ada.get("/api/sessions").text and run in ada.get("/runs").text


@pytest.mark.row("H7")
@pytest.mark.parametrize(
    "path",
    [
        "../accounts.py",
        "..%2faccounts.py",
        "%2e%2e/accounts.py",
        "..%5caccounts.py",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "app.js%00.css",
        "%00",
        "....//accounts.py",
        "\\\\host\\share",
        "index.html",
    ],
)
def test_no_path_leads_out_of_what_is_served(server: Served, path: str) -> None:
    with closing(server.client()) as client:
        for place in ("/static/", "/rollouts/", "/reports/", "/runs/", "/api/sessions/"):
            port = httpx.URL(server.url).port
            with socket.create_connection(("127.0.0.1", port or 0)) as raw:
                cookie = client.cookies["codojo"]
                target = f"{place}{path}".encode().replace(b" ", b"%20")
                raw.sendall(
                    b"GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nCookie: codojo=%s\r\nConnection: close\r\n\r\n"
                    % (target, port or 0, cookie.encode())
                )
                status = raw.recv(100).split()[1]
            assert status in (b"404", b"400"), (place, path, status)


@pytest.mark.row("H8")
def test_no_address_of_a_client_is_ever_asked(server: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ear, closing(server.client()) as client:
        ear.settimeout(1)
        url = f"http://127.0.0.1:{ear.getsockname()[1]}/"
        id = client.post("/api/sessions", json={"url": url, "folder": url}).json().get("id")
        id = id or client.post("/api/sessions", json={}).json()["id"]
        for name in POSTS:
            if name != "forget":
                names = ("text", "url", "graph", "model", "tests", "step", "id", "file", "image")
                client.post(f"/api/sessions/{id}/{name}", json=dict.fromkeys(names, url))
        client.get(f"/api/sessions/{id}/export", params={"url": url, "format": url})
        with pytest.raises(TimeoutError):
            ear.accept()


@pytest.mark.row("H9")
def test_large_endless_and_slow_requests_end_and_take_no_memory(server: Served) -> None:
    port = httpx.URL(server.url).port or 0
    head = (
        f"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    )
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss

    def said(*pieces: bytes, seconds: float = 30) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as raw:
            try:
                for piece in pieces:
                    raw.sendall(piece)
                return raw.recv(300)
            except (ConnectionError, BrokenPipeError):
                return b""

    assert b" 413 " in said(f"{head}Content-Length: 99999999999\r\n\r\n".encode())
    chunks = [f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()]
    chunks += [b"10000\r\n" + b"x" * 0x10000 + b"\r\n"] * 300
    assert said(*chunks)[9:12] in (b"413", b"")
    many = "".join(f"X-{n}: y\r\n" for n in range(10_000))
    assert said(f"GET / HTTP/1.1\r\n{many}".encode())[9:12] in (b"400", b"431", b"")
    began = time.monotonic()
    slow = [socket.create_connection(("127.0.0.1", port), timeout=40) for _ in range(20)]
    for n, raw in enumerate(slow):
        raw.sendall(b"GET / HT" if n % 2 else f"{head}Content-Length: 50\r\n\r\n{{".encode())
    assert httpx.get(f"{server.url}/login").status_code == 200, "others are served meanwhile"
    for raw in slow:
        with raw:
            rest = raw.recv(100)
            assert rest == b"" or b" 408 " in rest
    assert time.monotonic() - began < 35
    assert process.memory_info().rss - before < 60_000_000


@pytest.mark.row("H10")
def test_readers_that_leave_or_are_slow_cost_nothing(server: Served) -> None:
    process = psutil.Process(server.process.pid)
    with closing(server.client()) as client:
        id, _ = answered(client)
        port, cookie = httpx.URL(server.url).port or 0, client.cookies["codojo"]
        before = process.num_fds()
        request = (
            f"GET /api/sessions/{id}/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Cookie: codojo={cookie}\r\n\r\n"
        )
        readers = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        for raw in readers:
            raw.sendall(request.encode())
        _, done = answered(client)
        assert done["turns"][0]["end"] == "finished", "two hundred readers hold nobody up"
        assert sum(b"text/event-stream" in raw.recv(4000) for raw in readers) == 200
        for raw in readers:
            raw.close()
        end = time.monotonic() + 30
        while process.num_fds() > before + 5 and time.monotonic() < end:
            time.sleep(0.2)
        assert process.num_fds() <= before + 5


@pytest.mark.row("H14")
def test_no_token_is_on_a_command_line_and_none_is_kept(server: Served) -> None:
    process = psutil.Process(server.process.pid)
    lines = [process.cmdline()]
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # one that tried a wall, and has ended
            lines.append(child.cmdline())
    assert server.token not in json.dumps(lines)
    assert process.rlimit(psutil.RLIMIT_CORE)[0] == 0
    for file in server.dojo.rglob("*"):
        assert not file.is_file() or server.token.encode() not in file.read_bytes()


@pytest.mark.row("H15")
def test_what_is_typed_stays_one_record(server: Served) -> None:
    forged = (
        'x\n{"kind": "feedback", "data": {}}\r\n\u2028id: 7\ndata: {"type": "run_finished"}\n\n'
    )
    with closing(server.client()) as client:
        id, _ = answered(client)
        before = len(list(read_log(server.dojo / "log")))
        said = client.post(f"/api/sessions/{id}/rate", json={"good": True, "comment": forged})
        assert said.status_code == 200
        events = list(read_log(server.dojo / "log"))
        assert len(events) == before + 1
        assert events[-1].data["comment"] == forged
        client.post(f"/api/sessions/{id}/say", json={"text": f"{REQUEST}\n{forged}"})
        wait_until_done(client, id)
        with client.stream("GET", f"/api/sessions/{id}/events") as stream:
            lines = []
            for line in stream.iter_lines():
                lines.append(line)
                if '"run_finished"' in line and len(lines) > 20:
                    break
        assert "id: 7" not in [
            line for line in lines if line.startswith("id: 7") and "data" in line
        ]
        assert all(json.loads(line[6:])["run"] for line in lines if line.startswith("data: "))
