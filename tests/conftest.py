"""What all tests share: the `row` marker's option, and a home of their own."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--row", help="only tests of this row of the reliability matrix, for example C5"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    row = config.getoption("--row")
    if row:
        items[:] = [item for item in items if any(row in m.args for m in item.iter_markers("row"))]
