"""Which adapter serves: one winner, one event, and a way back."""

import threading
from pathlib import Path

import pytest

from codojo.errors import AdapterRejected
from codojo.serving.registry import PROMOTION, AdapterRegistry
from codojo.trajectories.log import Log, read_log


@pytest.fixture
def registry(tmp_path: Path) -> AdapterRegistry:
    found = AdapterRegistry(tmp_path / "adapters", tmp_path / "log")
    for name in ("all-a", "all-b"):
        source = tmp_path / name
        source.mkdir()
        (source / "adapter_config.json").write_text(name)
        found.add(source, name)
    return found


def promotions(folder: Path) -> list[str | None]:
    return [e.data["name"] for e in read_log(folder) if e.kind == PROMOTION]


@pytest.mark.row("E12")
def test_of_many_promoters_one_wins(registry: AdapterRegistry, tmp_path: Path) -> None:
    lost: list[str] = []

    def promote(name: str) -> None:
        with Log(tmp_path / "log") as log:
            try:
                registry.promote(name, log, expected=None, reason="test")
            except AdapterRejected as err:
                lost.append(str(err))

    threads = [threading.Thread(target=promote, args=(f"all-{'ab'[n % 2]}",)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = promotions(tmp_path / "log")
    assert registry.champion() == winner
    assert len(lost) == 5 and all("another promotion came first" in said for said in lost)


def test_rollback_goes_back_step_by_step(registry: AdapterRegistry, tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log:
        registry.promote("all-a", log, expected=None, reason="gate")
        registry.promote("all-b", log, expected="all-a", reason="gate")
        assert registry.rollback(log) == "all-a"
        assert registry.rollback(log) is None
        with pytest.raises(AdapterRejected, match="nothing to roll back"):
            registry.rollback(log)
        registry.promote("all-b", log, expected=None, reason="gate")
        assert registry.rollback(log) is None


@pytest.mark.row("E13")
def test_pointers_follow_the_log(registry: AdapterRegistry, tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log:
        registry.promote("all-a", log, expected=None, reason="gate")
        (tmp_path / "adapters" / "champions.json").unlink()
        assert registry.champion() is None
        assert not registry.promote("all-a", log, expected=None, reason="asked again")
        assert registry.champion() == "all-a"
    assert promotions(tmp_path / "log") == ["all-a"]
    (tmp_path / "adapters" / "champions.json").unlink()
    registry.rebuild()
    assert registry.champion() == "all-a"


@pytest.mark.row("E22")
def test_an_adapter_that_is_gone_cannot_become_champion(
    registry: AdapterRegistry, tmp_path: Path
) -> None:
    with Log(tmp_path / "log") as log:
        for name in ("all-c", "../escape", ".hidden"):
            with pytest.raises(AdapterRejected, match="codojo models list"):
                registry.promote(name, log, expected=None, reason="test")
    assert registry.champion() is None
