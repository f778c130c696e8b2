"""The stream that browsers read, line by line."""

import pytest

from codojo.graphs import events as e
from codojo.graphs.hub import Hub
from codojo.web.wire import encode, stream
from tests.chat.test_screen import everything
from tests.web.payloads import PAYLOADS


@pytest.mark.row("H1")
@pytest.mark.row("H15")
async def test_every_event_is_one_line_that_a_strict_reader_takes() -> None:
    for payload in [*PAYLOADS, "\ud800", "a\r\nid: 1\ndata: x\n\n", "\u2028"]:
        hub = Hub(list(everything(payload)))
        hub.close()
        sent = b"".join([chunk async for chunk in stream(hub, 0)]).decode("utf-8", "strict")
        blocks = [block for block in sent.split("\n\n") if block]
        assert len(blocks) == 1 + len(list(everything(payload)))
        for block in blocks[1:]:
            head, data = block.split("\n")
            assert head.startswith("id: ")
            e.TEAM_EVENT.validate_json(data.removeprefix("data: "))
    assert encode("\ud800") == b'"?"'
