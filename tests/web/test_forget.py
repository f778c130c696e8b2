"""Forgetting in a server where others are at work: hidden at once, removed when that is possible."""

import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from codojo.trajectories.log import Log
from tests.chat.talking import RIGHT, RULES, write_script
from tests.chat.test_forget import everything
from tests.web.serving import served, told, wait_until_done

pytestmark = [pytest.mark.timeout(600), pytest.mark.row("F17")]

WORD = b"Quarterstaff"
QUICK = "Write double(x) for Mallory Quarterstaff"


def test_it_waits_for_the_team_at_work_in_another_conversation(tmp_path: Path) -> None:
    slow = RIGHT.replace("return", f"{'# slowly ' * 40}\n    return")
    rules = [{"match": "the slow one", "replies": [slow]}, *RULES]
    script = write_script(tmp_path, rules, token_ms=20)
    with served(tmp_path / "dojo", script) as server, closing(server.client()) as client:
        one, other = (client.post("/api/sessions", json={}).json()["id"] for _ in range(2))
        client.post(f"/api/sessions/{one}/say", json={"text": QUICK})
        wait_until_done(client, one)
        client.post(f"/api/sessions/{other}/say", json={"text": "Write double(x), the slow one"})
        said = client.post(f"/api/sessions/{one}/forget", json={}).json()["said"]
        assert "once no other conversation is at work" in said[0]
        assert told(client, other)["working"] and WORD in everything(server.dojo)
        assert client.get(f"/api/sessions/{one}").status_code == 404
        assert [s["id"] for s in client.get("/api/sessions").json()] == [other]
        assert wait_until_done(client, other)["turns"][0]["end"] == "finished"
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with suppress(FileNotFoundError):  # it is just being removed
                if WORD not in everything(server.dojo):
                    break
            time.sleep(0.2)
        assert WORD not in everything(server.dojo)
        assert client.post(f"/api/sessions/{other}/rate", json={"good": True}).status_code == 200


def test_what_another_process_was_in_the_way_of_goes_at_the_next_start(tmp_path: Path) -> None:
    dojo, script = tmp_path / "dojo", write_script(tmp_path)
    with served(dojo, script) as server, closing(server.client()) as client:
        id = client.post("/api/sessions", json={}).json()["id"]
        client.post(f"/api/sessions/{id}/say", json={"text": QUICK})
        wait_until_done(client, id)
        with Log(dojo / "log"):
            refused = client.post(f"/api/sessions/{id}/forget", json={})
        assert refused.status_code == 400 and "still there" in refused.json()["error"]
        assert client.get("/api/sessions").json() == []
        assert WORD in everything(dojo)
    with served(dojo, script, token=server.token):
        assert WORD not in everything(dojo)
