"""Self-made tests count only if they notice wrong programs."""

import pytest

from codojo.scoring.test_quality import Evidence, useful_tests


@pytest.mark.row("G12")
def test_only_tests_that_notice_a_stub_and_a_fault_count() -> None:
    kept = useful_tests(
        [
            Evidence("good", False, (True, False, True)),
            Evidence("asserts nothing", True, (True, True)),
            Evidence("likes the stub", True, (False, False)),
            Evidence("sees no fault", False, (True, True)),
            Evidence("unproved", False, ()),
        ]
    )
    assert kept.tests == ("good",)
    assert kept.dropped == {
        "asserts nothing": "a stub passes it",
        "likes the stub": "a stub passes it",
        "sees no fault": "it notices no fault",
        "unproved": "no passing candidate to prove it on",
    }
