"""What all tests share: the option `--row`, and no deadlines on examples."""

import pytest
from hypothesis import HealthCheck, settings

# Benchmarks measure; tests must not fail because another process had the core.
settings.register_profile("codojo", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("codojo")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--row", help="only tests of this row of the reliability matrix, for example C5"
    )
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files anew; look at the diff"
    )
    parser.addoption(
        "--update-pictures", action="store_true", help="write the docs' screenshots anew"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    row = config.getoption("--row")
    if row:
        items[:] = [item for item in items if any(row in m.args for m in item.iter_markers("row"))]
