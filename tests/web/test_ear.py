"""The ear that the browser's tests listen with is not deaf."""

import time
from contextlib import closing
from typing import Any

from tests.web.conftest import Ear, launched


def test_whatever_a_page_asks_of_an_outsider_is_heard(chromium: Any) -> None:
    with closing(Ear()) as ear:
        browser = launched(chromium.browser_type, ear)
        page = browser.new_page()
        page.set_content('<img src="http://listener.test/x"><img src="http://fonts.gstatic.com/x">')
        until = time.monotonic() + 60
        while not any(b"listener.test" in said for said in ear.heard):
            assert time.monotonic() < until, ear.heard
            time.sleep(0.05)
        browser.close()
        assert not any(b"gstatic" in said for said in ear.heard), "the browser finds no such name"
