"""One small dojo for all tests of formats."""

from pathlib import Path

import pytest

from tests.formats.world import make_dojo


@pytest.fixture(scope="session")
def dojo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dojo(tmp_path_factory.mktemp("formats") / "dojo")
